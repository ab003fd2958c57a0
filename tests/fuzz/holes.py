"""How each hole of a form is filled, of what the draft has: an operand, an axis, an index."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from hypothesis import strategies as st

from tests.fuzz import language
from tests.fuzz.drafts import Draft, Unfit, kind_of


def _first(test: Callable[[torch.Tensor], bool], draft: Draft) -> str:
    """Draw a tensor; the first that is drawn is what all other operands have to fit."""
    name = draft.pick(draft.fitting(test))
    draft.first = draft.first or name
    return name


def _ordered(draft: Draft) -> str:
    """Draw numbers that are surely none NaN: which index such a one has is not defined."""
    if draft.has_edges:
        raise Unfit
    return _first(lambda t: t.dtype != torch.bool and bool(t.isfinite().all()), draft)


def _tensor(draft: Draft, test: Callable[[torch.Tensor], bool] = lambda t: True) -> str:
    return draft.pick([x for x in draft.fitting(test) if draft.fits_first(x)])


def _like(draft: Draft) -> str:
    if draft.draw(st.integers(0, 2)) == 0:
        return _scalar(draft)
    return _tensor(draft, lambda t: t.dtype != torch.bool)


def _twin(draft: Draft) -> str:
    dtype = draft.at(draft.first)[0].dtype
    return _tensor(draft, lambda t: t.dtype == dtype)


def _cond(draft: Draft) -> str:
    exact, draft.exact = draft.exact, True
    try:
        name = _tensor(draft)
    finally:
        draft.exact = exact
    boolean = draft.at(name)[0].dtype == torch.bool
    return name if boolean else f"({name} > {draft.pick(('0', '1'))})"


def _scalar(draft: Draft) -> str:
    kind = kind_of(draft.at(draft.first)[0].dtype) if draft.first else "float"
    return draft.pick(language.SCALARS[kind].split())


def _divisor(draft: Draft) -> str:
    if draft.draw(st.integers(0, 2)) == 0:
        return _tensor(draft, lambda t: t.dtype != torch.bool and bool((t != 0).all()))
    return draft.pick(language.DIVISORS[kind_of(draft.at(draft.first)[0].dtype)].split())


def _shapes(draft: Draft) -> list[list[int]]:
    """Return the sizes of each axis of the first tensor, on the probes."""
    shapes = [tensor.shape for tensor in draft.at(draft.first)]
    return [list(sizes) for sizes in zip(*shapes, strict=True)]


def _axis(draft: Draft) -> str:
    rank = len(_shapes(draft))
    if not rank:
        raise Unfit
    return str(draft.draw(st.integers(-rank, rank - 1)))


def _axes(draft: Draft) -> str:
    rank = len(_shapes(draft))
    if rank < 2:
        raise Unfit
    return f"({draft.draw(st.integers(0, rank - 2))}, {rank - 1})"


def _new_axis(draft: Draft) -> str:
    rank = len(_shapes(draft))
    return str(draft.draw(st.integers(-rank - 1, rank)))


def _permutation(draft: Draft) -> str:
    order = draft.draw(st.permutations(range(len(_shapes(draft)))))
    return ", ".join(map(str, order)) or "()"


def _known_size(draft: Draft, sizes: list[int], axis: int) -> str:
    """Write the size of an axis as a number, or where the probes differ, as what it is."""
    return str(sizes[0]) if len(set(sizes)) == 1 else f"{draft.first}.shape[{axis}]"


def _shape(draft: Draft) -> str:
    """Draw another shape of as many entries: axes joined, split or left out for -1."""
    sizes = _shapes(draft)
    parts = [_known_size(draft, size, axis) for axis, size in enumerate(sizes)]
    if not parts:
        return draft.pick(("-1", "1", "1, 1"))
    at = draft.draw(st.integers(0, len(parts) - 1))
    how = draft.draw(st.sampled_from(("infer", "join", "one", "halve", "front", "flat")))
    if how == "join" and at + 1 < len(parts):
        parts[at : at + 2] = [f"{parts[at]} * {parts[at + 1]}"]
    elif how == "one":
        parts.insert(at, "1")
    elif how == "halve" and all(size % 2 == 0 for size in sizes[at]):
        parts[at : at + 1] = ["2", "-1"]
    elif how == "front":
        parts = [parts[0], "-1"]
    elif how == "flat":
        parts = ["-1"]
    else:
        parts[at] = "-1"
    return ", ".join(parts)


def _bound(draft: Draft, sizes: list[int], axis: int) -> str:
    """Draw an end of a slice: a small number, or a part of the axis."""
    size = _known_size(draft, sizes, axis)
    return draft.pick(("1", "2", "-1", "-2", f"{size} // 2", f"{size} - 1", size))


def _entry(draft: Draft, sizes: list[int], axis: int, *, copies: bool) -> str:
    plain = (":", "0", "-1", "1:", ":-1", "::2", "bound", "start")
    how = draft.pick((*plain, "[0, -1]", "tensor", "tensor", "mask") if copies else plain)
    if how == "bound":
        return f":{_bound(draft, sizes, axis)}"
    if how == "start":
        return f"{_bound(draft, sizes, axis)}:"
    if how == "tensor":
        return _index_tensor(draft)
    if how == "mask":
        masks = [
            x
            for x in draft.fitting(lambda t: t.dtype == torch.bool and t.ndim == 1)
            if [t.shape[0] for t in draft.at(x)] == sizes
        ]
        return draft.pick(masks)
    return how


def _index_tensor(draft: Draft) -> str:
    """Draw a tensor of indices that are in range of axes of two or more."""
    exact, draft.exact = draft.exact, True
    try:
        return draft.pick(
            draft.fitting(
                lambda t: t.dtype in (torch.int64, torch.int32) and bool(((t >= 0) & (t < 2)).all())
            )
        )
    finally:
        draft.exact = exact


def _index(draft: Draft, *, copies: bool = True) -> str:
    entries = []
    count = draft.draw(st.integers(1, max(1, min(3, len(_shapes(draft))))))
    for axis, sizes in enumerate(_shapes(draft)[:count]):
        if draft.draw(st.integers(0, 7)) == 7:
            entries.append(draft.pick(("None", "...")))
        entries.append(_entry(draft, sizes, axis, copies=copies))
    if entries.count("...") > 1:
        raise Unfit
    return ", ".join(entries or ["..."])


def _size(draft: Draft) -> str:
    if draft.sizes and draft.draw(st.booleans()):
        return draft.pick(draft.sizes)
    ranked = draft.fitting(lambda t: t.ndim > 0)
    return f"{draft.pick(ranked)}.shape[{draft.pick(('0', '-1'))}]"


def _of(names: tuple[str, ...], draft: Draft) -> str:
    return draft.pick(names)


HOLES: dict[str, Callable[[Draft], str]] = {
    "x": partial(_first, lambda t: True),
    "n": partial(_first, lambda t: t.dtype != torch.bool),
    "f": partial(_first, lambda t: t.dtype.is_floating_point),
    "i": partial(_first, lambda t: kind_of(t.dtype) == "integer"),
    "b": partial(_first, lambda t: t.dtype == torch.bool),
    "o": _ordered,
    "like": _like,
    "twin": _twin,
    "cond": _cond,
    "scalar": _scalar,
    "divisor": _divisor,
    "axis": _axis,
    "axes": _axes,
    "new_axis": _new_axis,
    "permutation": _permutation,
    "shape": _shape,
    "index": _index,
    "part": partial(_index, copies=False),
    "index_tensor": _index_tensor,
    "size": _size,
    "keep": partial(_of, ("keepdim=False", "keepdim=True")),
    "count": partial(_of, ("1", "2", "3")),
    "dtype": partial(_of, language.DTYPES),
    "float_dtype": partial(_of, language.FLOATS),
}
