"""Loops whose steps are one graph: while a condition holds, or once for each slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, ShapeError, TraceError
from trtnn.flow.bodies import Body, Index, copied, record, recorder_for, traced
from trtnn.graph.graph import Graph
from trtnn.graph.holding import Holder, Run, only
from trtnn.ops.movement import movedim
from trtnn.ops.op import Spec, axis_of, shape_of, spec_of, unequal
from trtnn.sizes.dims import Size, decide
from trtnn.tree import Tree, flatten, unflatten

if TYPE_CHECKING:
    from trtnn.lower.network import ITensor, Net

__all__ = ["Loop", "scan", "while_loop"]


@dataclass(frozen=True, repr=False)
class Loop(Holder):
    """What is left of values that a graph computes anew in each step, and what each step gave.

    The body takes the carried values, a slice of each scanned one along its axis, and what it
    captured; it gives the next carried values, and what is stacked. It runs ``length`` times, or,
    where that is None, as long as ``condition`` holds.

    Attributes:
        shapes: Of what one step gives to be stacked.
    """

    body: Graph
    condition: Graph | None
    carried: int
    axes: tuple[int, ...] = ()
    reverse: bool = False
    length: Size | None = None
    shapes: tuple[tuple[Size, ...], ...] = ()

    @property
    def own(self) -> int:
        return self.carried + len(self.axes)

    @property
    def lead(self) -> int:
        return self.own

    def keeping(self, wanted: Sequence[bool]) -> tuple[Loop, Sequence[bool]]:
        left = (*(True,) * self.carried, *wanted[self.carried :])
        body = replace(self.body, outputs=only(self.body.outputs, left))
        shapes = only(self.shapes, left[self.carried :])
        return replace(self, body=body, shapes=shapes), left

    def infer(self, *operands: Spec) -> tuple[Spec, ...]:
        self.require_captured(operands[self.own :])
        states = operands[: self.carried]
        for graph in (self.body, self.condition):
            for spec, value in zip(states, graph.inputs if graph is not None else (), strict=False):
                _require_kept(spec, value.spec)
        outputs = [value.spec for value in self.body.outputs]
        for spec, after in zip(states, outputs, strict=False):
            _require_kept(spec, after)
        stacked = outputs[self.carried :]
        steps = () if self.length is None else (self.length,)
        return (*states, *(Spec((*steps, *s.shape), s.dtype) for s in stacked))

    def reference(self, run: Run, *tensors: torch.Tensor) -> Any:
        states = [tensor.clone() for tensor in tensors[: self.carried]]
        scanned, captured = tensors[self.carried : self.own], tensors[self.own :]
        if self.condition is not None:
            while run(self.condition, [*states, *captured])[0]:
                states = run(self.body, [*states, *captured])
            return tuple(states)
        count = self.length
        assert isinstance(count, int)
        stacked: list[list[torch.Tensor]] = [[] for _ in self.shapes]
        for step in reversed(range(count)) if self.reverse else range(count):
            slices = [x.select(axis, step) for x, axis in zip(scanned, self.axes, strict=True)]
            outputs = run(self.body, [*states, *slices, *captured])
            states = outputs[: self.carried]
            for found, output in zip(stacked, outputs[self.carried :], strict=True):
                found.append(output)
        return (*states, *map(self._stacked, stacked, range(len(stacked))))

    def _stacked(self, found: list[torch.Tensor], index: int) -> torch.Tensor:
        if not found:
            value = self.body.outputs[self.carried + index]
            shape: Any = (0, *self.shapes[index])
            return torch.empty(shape, dtype=value.spec.dtype)
        return torch.stack(found[::-1] if self.reverse else found)

    def lower(self, net: Net, *operands: Any) -> tuple[ITensor | None, ...]:
        states, scanned = operands[: self.carried], operands[self.carried : self.own]
        return net.repeated(
            (self.body, self.condition),
            states,
            list(zip(scanned, self.axes, strict=True)),
            operands[self.own :],
            length=self.length,
            reverse=self.reverse,
        )


def _require_kept(before: Spec, after: Spec) -> None:
    if before != after:
        raise ShapeError(f"a loop carries {before}, which becomes {after}")


def while_loop(
    cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any
) -> Any:
    """Return what is left of ``carried_inputs`` when ``cond_fn`` of them no longer holds.

    As ``torch.while_loop``, which means the same in ``forward``: ``while cond_fn(*values):
    values = body_fn(*values)``. Both may use parameters and other values from outside, and hold
    conditions and loops themselves. How many steps there are, the data decides.

    Args:
        cond_fn: Gives a scalar tensor of bool.
        body_fn: Gives a tuple of the next values, each of the shape and dtype that it had.
        carried_inputs: A tuple of tensors, or of structures of them.

    Raises:
        ShapeError: A carried value changes its shape or dtype.
        DTypeError: ``cond_fn`` gives no scalar of bool.
        TraceError: A carried value is no tensor, or ``body_fn`` returns another structure.

    >>> start = (torch.tensor(0), torch.tensor(1.0))
    >>> while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), start)[1]
    tensor(8.)
    """
    values = _tuple_of("while_loop", "carried_inputs", carried_inputs)
    leaves, tree = flatten(values)
    recorder = recorder_for(leaves)
    if recorder is None:
        while cond_fn(*values):
            values = _tuple_of("while_loop", "the result of body_fn", body_fn(*values))
        return copied(values)
    _require_tensors("while_loop", leaves)
    specs = [spec_of(leaf) for leaf in leaves]

    def calling(function: Callable[..., Any]) -> Callable[[Any], Any]:
        return lambda given: function(*unflatten(tree, given))

    truth = traced(recorder, "while_loop's cond_fn", cond_fn, specs, calling(cond_fn))
    _require_truth(truth)
    body = traced(recorder, "while_loop's body_fn", body_fn, specs, calling(body_fn))
    _require_same_form(body, tree, [Index(i) for i in range(len(leaves))])
    _require_states(recorder, "while_loop", leaves, body)
    results = record(recorder, lambda b, c: Loop(b, c, len(leaves)), (body, truth), *leaves)
    return unflatten(tree, results)


def scan(
    combine_fn: Callable[..., Any], init: Any, xs: Any, *, dim: int = 0, reverse: bool = False
) -> Any:
    """Step through slices of ``xs``; return the last carry, and what each step gave, stacked.

    As torch's ``scan``, which means the same in ``forward``: ``combine_fn(carry, slice)`` gives
    the next carry and one slice of the result. There are as many steps as ``xs`` has slices along
    ``dim``, which may be a symbolic size.

    Args:
        init: The first carry: a tensor, or a structure of them.
        xs: A tensor, or a structure of them.
        dim: The dim of ``xs`` that is stepped along, and of the result.
        reverse: Whether to begin with the last slice; the result is in the order of ``xs``.

    Raises:
        ShapeError: A carry changes its shape or dtype, or ``xs`` have different lengths.
        TraceError: Something is no tensor, or ``combine_fn`` returns another structure.

    >>> scan(lambda total, x: (total + x, total + x), torch.tensor(0), torch.tensor([1, 2, 3]))
    (tensor(6), tensor([1, 3, 6]))
    """
    states, form = flatten(init)
    rows, rows_form = flatten(xs)
    _require_tensors("scan", [*states, *rows])
    if not rows:
        raise TraceError("scan: xs holds no tensor")
    axes = tuple(axis_of("scan", dim, spec_of(row).rank) for row in rows)
    length = _length(rows, axes)

    def call(given: Sequence[Any]) -> Any:
        carry, row = given[: len(states)], given[len(states) :]
        return combine_fn(unflatten(form, carry), unflatten(rows_form, row))

    recorder = recorder_for((*states, *rows))
    if recorder is None:
        return _scanned(call, states, form, rows, axes, dim, reverse=reverse)
    specs = [spec_of(state) for state in states]
    specs += [_row_spec(spec_of(row), axis) for row, axis in zip(rows, axes, strict=True)]
    body = traced(recorder, "scan's combine_fn", combine_fn, specs, call)
    kept, outputs = _parted(body, form)
    _require_same_form(body, form, [Index(i) for i in range(len(states))], of=kept)
    _require_states(recorder, "scan", states, body)
    count = len(states)
    shapes = tuple(value.spec.shape for value in body.graph.outputs[count:])

    def made(graph: Graph) -> Loop:
        return Loop(graph, None, count, axes, reverse, length, shapes)

    results = record(recorder, made, (body,), *states, *rows)
    tree, leaves = outputs
    stacked = [_moved(results[x], dim) if isinstance(x, Index) else x for x in leaves]
    return unflatten(form, results[:count]), unflatten(tree, stacked)


def _moved(stacked: Any, dim: int) -> Any:
    """Put the steps where the slices were, as far as a result has that dim."""
    rank = spec_of(stacked).rank
    return movedim(stacked, 0, dim) if dim and -rank <= dim < rank else stacked


def _row_spec(spec: Spec, axis: int) -> Spec:
    return Spec((*spec.shape[:axis], *spec.shape[axis + 1 :]), spec.dtype)


def _length(rows: Sequence[Any], axes: Sequence[int]) -> Size:
    sizes = [shape_of(row)[axis] for row, axis in zip(rows, axes, strict=True)]
    for size in sizes[1:]:
        if size != sizes[0] and decide("eq", size, sizes[0]) is not True:
            raise ShapeError(
                f"scan: lengths {unequal(sizes[0], size)}",
                hint="declare one Dim for both",
                sizes=(sizes[0], size),
            )
    return sizes[0]


def _scanned(
    call: Callable[..., Any],
    states: Sequence[Any],
    form: Tree,
    rows: Sequence[Any],
    axes: Sequence[int],
    dim: int,
    *,
    reverse: bool,
) -> Any:
    """Run the steps at once, on real tensors."""
    count = rows[0].shape[axes[0]]
    if count == 0:
        raise TraceError("scan: xs has no slice, and so no step says what the result is")
    carry: Any = unflatten(form, states)
    found: list[list[Any]] = []
    tree = form
    for step in reversed(range(count)) if reverse else range(count):
        slices = [row.select(axis, step) for row, axis in zip(rows, axes, strict=True)]
        carry, output = call([*flatten(carry)[0], *slices])
        leaves, tree = flatten(output)
        found.append([x.clone() if isinstance(x, torch.Tensor) else x for x in leaves])
    if reverse:
        found.reverse()
    columns = [list(column) for column in zip(*found, strict=True)]
    stacked = [
        _moved(torch.stack(c), dim) if isinstance(c[0], torch.Tensor) else c[0] for c in columns
    ]
    return copied(carry), unflatten(tree, stacked)


# What is refused ----------------------------------------------------------------------------------


def _tuple_of(function: str, what: str, given: Any) -> tuple[Any, ...]:
    if not isinstance(given, (tuple, list)):
        raise TraceError(
            f"{function}: expected a tuple as {what}, got a {type(given).__name__}",
            hint="write (x,) for one value",
        )
    return tuple(given)


def _require_tensors(function: str, leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor):
            raise TraceError(
                f"{function}: expected tensors to carry and to step through, got {leaf!r}",
                hint="write torch.tensor(0) for a counter",
            )


def _require_truth(body: Body) -> None:
    """Refuse a condition that is no scalar of bool, or that no step changes."""
    outputs = body.graph.outputs
    if body.leaves != (Index(0),) or body.tree != Tree():
        raise DTypeError(
            f"{body.what} returns {body.leaves[0] if body.leaves else 'nothing'!r}, expected a "
            "scalar tensor of torch.bool",
            hint="compare a tensor that is carried: i < 10",
        )
    if outputs[0].spec != Spec((), torch.bool):
        raise DTypeError(
            f"{body.what} returns {outputs[0].spec}, expected a scalar tensor of torch.bool, "
            f"{body.line(0)}",
            hint="compare, and reduce with .any() or .all()",
        )
    used = {value for node in body.graph.nodes for value in node.inputs}
    if used.isdisjoint(body.graph.inputs):
        raise TraceError(
            f"{body.what} does not depend on what is carried: the loop never ends, or never begins"
        )


def _parted(body: Body, form: Tree) -> tuple[tuple[Tree, list[Any]], tuple[Tree, list[Any]]]:
    """Return structure and leaves of the two things that ``combine_fn`` returned."""
    if body.tree.kind not in (tuple, list) or len(body.tree.children) != 2:
        raise TraceError(
            f"{body.what} returns no pair",
            hint="return the next carry, and what this step gives: return carry, y",
        )
    first, second = body.tree.children
    count = _width(first)
    return (first, list(body.leaves[:count])), (second, list(body.leaves[count:]))


def _width(tree: Tree) -> int:
    return 1 if tree.kind is None else sum(map(_width, tree.children))


def _require_same_form(
    body: Body, tree: Tree, leaves: list[Any], of: tuple[Tree, list[Any]] | None = None
) -> None:
    found, given = of if of is not None else (body.tree, list(body.leaves))
    alike = found == tree or {found.kind, tree.kind} == {list, tuple}
    if not alike or found.children != tree.children or given != leaves:
        raise TraceError(
            f"{body.what} returns another structure than what is carried",
            hint="return as many tensors as it is given, in the same tuples, lists and dicts",
        )


def _require_states(recorder: Any, function: str, leaves: Sequence[Any], body: Body) -> None:
    """Refuse a carried value that becomes another shape or type, with both lines."""
    for index, (leaf, after) in enumerate(zip(leaves, body.graph.outputs, strict=False)):
        before = spec_of(leaf)
        if before == after.spec:
            continue
        node = recorder.makers.get(getattr(leaf, "_trtnn_value", None))
        line = node.origin.source if node is not None else None
        where = f"\n  at {line}" if line is not None else ""
        raise ShapeError(
            f"{function}: carried value {index} is {before}{where}\n"
            f"  and becomes {after.spec}, {body.line(index)}",
            hint="keep its shape and dtype in every step: expand it before the loop, .to(dtype)",
            sizes=(*before.shape, *after.spec.shape),
        )


# PyTorch's own ------------------------------------------------------------------------------------


def torch_while_loop(
    cond_fn: Any, body_fn: Any, carried_inputs: Any, additional_inputs: Any = ()
) -> Any:
    """Give ``torch.while_loop`` its meaning; its operator takes and gives flat tuples."""
    return while_loop(
        lambda *states: cond_fn(*states, *additional_inputs),
        lambda *states: body_fn(*states, *additional_inputs),
        tuple(carried_inputs),
    )


def torch_scan(combine_fn: Any, init: Any, xs: Any, additional_inputs: Any = ()) -> Any:
    """Give torch's ``scan`` its meaning; its operator takes flat lists, and steps give trees."""
    forms: list[Tree] = []

    def step(carry: Any, rows: Any) -> Any:
        after, output = combine_fn(*carry, *rows, *additional_inputs)
        leaves, form = flatten(after)
        forms.append(form)
        return leaves, output

    carry, stacked = scan(step, list(init), list(xs))
    return unflatten(forms[0], carry), stacked
