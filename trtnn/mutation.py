"""In-place calls on symbolic tensors: values are rebound, aliases replayed, doubt is an error."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch

from trtnn import calls
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.op import TABLE, Op, bind, spec_of
from trtnn.ops.arithmetic import cast
from trtnn.ops.indexing import Slice, cat
from trtnn.ops.movement import Expand, Shuffle, expand, permute, reshape
from trtnn.tensor import Tensor

if TYPE_CHECKING:
    from trtnn.graph import Value
    from trtnn.recorder import Recorder


def link(recorder: Recorder, function: Any, base: Tensor, result: Any) -> Any:
    """Note on the results of a view function that they share memory with ``base``."""
    if function in calls.VIEWS:
        results = result if isinstance(result, (tuple, list)) else (result,)
        for view in results:
            if isinstance(view, Tensor) and view is not base:
                _link_view(recorder, base, view)
    elif function in calls.MAYBE_VIEWS and isinstance(result, Tensor):
        if result is base:
            result = Tensor(base._trtnn_spec, recorder, base._trtnn_value, base._trtnn_known)
        result._trtnn_maybe.append(weakref.ref(_root(base)))
        _root(base)._trtnn_maybe.append(weakref.ref(result))
    return result


def _link_view(recorder: Recorder, base: Tensor, view: Tensor) -> None:
    path = _path(recorder, base._trtnn_value, view._trtnn_value)
    if path is None:
        return
    root = _root(base)
    view._trtnn_base = root
    view._trtnn_path = (*base._trtnn_path, *path)
    root._trtnn_views.add(view)


def _path(recorder: Recorder, start: Value | None, end: Value | None) -> tuple[Op, ...] | None:
    """Return the view ops that lead from one value to another; None where others take part."""
    ops: list[Op] = []
    for node in reversed(recorder.nodes):
        if end is start:
            return tuple(reversed(ops))
        if end in node.outputs:
            if not isinstance(node.op, (Shuffle, Slice, Expand)):
                return None
            ops.append(node.op)
            end = node.inputs[0]
    return tuple(reversed(ops)) if end is start else None


def _root(tensor: Tensor) -> Tensor:
    return tensor if tensor._trtnn_base is None else tensor._trtnn_base


def write(recorder: Recorder, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Give an in-place call its meaning."""
    name = calls.name_of(function)
    target = args[0]
    if not isinstance(target, Tensor):
        raise UnsupportedError(
            f"{name} writes a computed value into a real tensor",
            hint="make the target in forward, for example with x.new_zeros(...)",
        )
    if name == "__setitem__":
        _set_item(recorder, target, args[1], args[2])
        return None
    if name == "copy_":
        return assign(recorder, target, args[1])
    if name in ("zero_", "fill_"):
        value = 0 if name == "zero_" else args[1]
        return assign(recorder, target, TABLE[torch.full_like](target, value))
    base = calls.out_of_place(function)
    if base is None or TABLE.get(base) is None:
        raise UnsupportedError(f"{name} has no lowering yet", hint="use its out-of-place form")
    return assign(recorder, target, TABLE[base](*args, **kwargs))


def _set_item(recorder: Recorder, target: Tensor, index: Any, value: Any) -> None:
    get = torch.Tensor.__getitem__
    _ensure_value(recorder, target)
    view = TABLE[get](target, index)
    if view is not target:
        _link_view(recorder, target, view)
        if view._trtnn_base is None:
            raise UnsupportedError(
                "assignment through an index tensor or mask",
                hint="use torch.where, or index with ints and slices",
            )
    assign(recorder, view, value)


def _ensure_value(recorder: Recorder, tensor: Tensor) -> None:
    """Turn a known tensor, and its known relatives, into values of the graph."""
    if tensor._trtnn_known is not None:
        tensor._trtnn_value = recorder.constant(tensor._trtnn_known.clone())
        tensor._trtnn_known = None


def assign(recorder: Recorder, target: Tensor, value: Any) -> Tensor:
    """Make ``target`` hold ``value``, seen through its base and every live view of it."""
    _ensure_value(recorder, target)
    if not isinstance(value, torch.Tensor):
        value = torch.tensor(value, dtype=target._trtnn_spec.dtype, device=recorder.home)
    new = cast(value, target._trtnn_spec.dtype)
    spec = target._trtnn_spec
    if spec_of(new).shape != spec.shape:
        new = expand(new, *spec.shape)
    if not isinstance(new, Tensor):
        new = Tensor(spec, recorder, value=recorder.constant(new))
    if new._trtnn_spec.shape != spec.shape:
        raise ShapeError(f"in-place result {new._trtnn_spec} does not fit {spec}")
    root = _root(target)
    if root._trtnn_value is not None and any(
        root._trtnn_value is v for v in recorder.__dict__.get("inputs", ())
    ):
        note = f"{root._trtnn_value.name} is written in forward: a copy is, the caller's is not"
        recorder.notes.append(note)
    _poison(target, root)
    _rebind(recorder, target, root, recorder.value_of(new))
    return target


def _poison(target: Tensor, root: Tensor) -> None:
    text = (
        "this tensor may or may not share memory with one that was written in place: "
        "reshape, flatten and contiguous copy depending on strides"
    )
    for tensor in {id(t): t for t in (target, root)}.values():
        for reference in tensor._trtnn_maybe:
            other = reference()
            if other is not None and other is not target:
                other._trtnn_stale = text
                for view in other._trtnn_views:
                    view._trtnn_stale = text


def _rebind(recorder: Recorder, target: Tensor, root: Tensor, new: Value) -> None:
    if target is not root:
        assert root._trtnn_value is not None
        before = [root._trtnn_value]
        for op in target._trtnn_path[:-1]:
            before.append(recorder.value_of(bind(op, _tensor(recorder, before[-1]))))
        value = new
        for op, old in zip(reversed(target._trtnn_path), reversed(before), strict=True):
            replaced = scatter(op, _tensor(recorder, old), _tensor(recorder, value))
            value = recorder.value_of(replaced)
        root._trtnn_value = value
    else:
        root._trtnn_value = new
    target._trtnn_value = new
    for view in list(root._trtnn_views):
        if view is not target:
            replayed = _tensor(recorder, root._trtnn_value)
            for op in view._trtnn_path:
                replayed = bind(op, replayed)
            view._trtnn_value = recorder.value_of(replayed)


def _tensor(recorder: Recorder, value: Value) -> Tensor:
    return Tensor(value.spec, recorder, value=value)


def scatter(op: Op, before: Tensor, new: Tensor) -> Any:
    """Return ``before`` with the part that ``op`` views replaced by ``new``."""
    if isinstance(op, Shuffle):
        shape = before._trtnn_spec.shape
        rank = len(shape)
        first = op.first or tuple(range(rank))
        moved = tuple(shape[i] for i in first)
        result: Any = permute(new, _inverse(op.second)) if op.second else new
        return permute(reshape(result, moved), _inverse(first))
    if isinstance(op, Slice) and all(step == 1 for step in op.stride):
        return _scatter_slice(op, before, new, 0)
    raise UnsupportedError(
        f"in-place write through {op.name}",
        hint="write to a slice with step 1, or build the result with torch.cat or torch.where",
    )


def _inverse(permutation: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(permutation.index(i) for i in range(len(permutation)))


def _scatter_slice(op: Slice, before: Tensor, new: Any, axis: int) -> Any:
    shape = before._trtnn_spec.shape
    if axis == len(shape):
        return new
    start, size = op.start[axis], op.size[axis]
    if start == 0 and size == shape[axis]:
        return _scatter_slice(op, before, new, axis + 1)
    middle = _cut(before, axis, start, size)
    parts = [_scatter_slice(op, middle, new, axis + 1)]
    if start != 0:
        parts.insert(0, _cut(before, axis, 0, start))
    end = start + size
    if shape[axis] != end:
        parts.append(_cut(before, axis, end, shape[axis] - end))
    return cat(parts, axis)


def _cut(tensor: Tensor, axis: int, start: Any, size: Any) -> Any:
    shape = tensor._trtnn_spec.shape
    starts = tuple(start if i == axis else 0 for i in range(len(shape)))
    sizes = tuple(size if i == axis else s for i, s in enumerate(shape))
    return bind(Slice(starts, sizes, (1,) * len(shape), "STRICT_BOUNDS"), tensor)
