"""In-place calls on symbolic tensors: values are rebound, aliases replayed, doubt is an error."""

from __future__ import annotations

import weakref
from collections.abc import Container
from typing import TYPE_CHECKING, Any

import torch

from trtnn.errors import DTypeError, UnsupportedError
from trtnn.graph.program import change, storage_of
from trtnn.graph.tensor import Path, Tensor, family_of, root_of, tensors_in
from trtnn.ops.arithmetic import cast, tensor_of
from trtnn.ops.assignment import fitting, put_at
from trtnn.ops.indexing import Slice, cut_by
from trtnn.ops.movement import Expand, Shuffle, expand, permute, reshape
from trtnn.ops.op import TABLE, Op, bind, spec_of
from trtnn.ops.scattering import replaced
from trtnn.sizes.dims import decide
from trtnn.source import find_user_line
from trtnn.tracing import calls
from trtnn.tracing.frames import require_own
from trtnn.tracing.known import view_of

if TYPE_CHECKING:
    from trtnn.graph.graph import Value
    from trtnn.tracing.recorder import Recorder


def link(recorder: Recorder, function: Any, arguments: Any, result: Any) -> Any:
    """Note which results of a call share memory with its operands, and make copies new tensors."""
    operands = [t for t in tensors_in(arguments) if isinstance(t, Tensor)]
    values = {_value_in_graph(recorder, t): t for t in reversed(operands)}
    copies = function in calls.COPIES or _is_copy(function, arguments)

    def note(view: torch.Tensor) -> torch.Tensor:
        assert isinstance(view, Tensor)
        if any(view is operand for operand in operands):
            if function in calls.SAME and not copies:
                return view
            if view._trtnn_known is not None:
                return recorder.known.again(view, shared=function in calls.VIEWS, copy=copies)
            view = _tensor(recorder, recorder.value_of(view))
        if view._trtnn_known is None and not copies:
            _note_view(recorder, function, values, view)
        return view

    return change(result, torch.Tensor, note)


def _value_in_graph(recorder: Recorder, tensor: Tensor) -> Value | None:
    """Return the graph's value of a tensor, None where it is known and not there yet."""
    if tensor._trtnn_known is None:
        return tensor._trtnn_value
    return recorder.interned.get(view_of(tensor._trtnn_known), (None,))[0]


def _is_copy(function: Any, arguments: Any) -> bool:
    args, _ = arguments
    return function is torch.Tensor.__getitem__ and calls.copies_by_index(args[1])


def _note_view(
    recorder: Recorder, function: Any, operands: dict[Value | None, Tensor], view: Tensor
) -> None:
    """Link a result to the operand that it reads through view ops alone, exactly or in doubt."""
    start, ops = _trace_back(recorder, operands, view._trtnn_value)
    is_view = function in calls.VIEWS
    if start is None and not is_view:
        return
    base = operands[start] if start is not None else next(reversed(operands.values()))
    if base._trtnn_known is not None:
        view._trtnn_over = (base, ops if is_view and start is not None else None)
        pointer = storage_of(base._trtnn_known)
        recorder.known.doubtful.setdefault(pointer, []).append(weakref.ref(view))
    elif is_view and start is not None:
        _link_view(base, view, ops)
    else:
        _doubt(base, view)


def _trace_back(
    recorder: Recorder, starts: Container[Value | None], end: Value | None
) -> tuple[Value | None, tuple[Op, ...]]:
    """Return the first of ``starts`` that ``end`` reads through view ops alone, and those ops."""
    ops: list[Op] = []
    while end is not None and end not in starts:
        node = recorder.makers.get(end)
        if node is None or not isinstance(node.op, (Shuffle, Slice, Expand)):
            return None, ()
        ops.append(node.op)
        end = node.inputs[0]
    return end, tuple(reversed(ops))


def _link_view(base: Tensor, view: Tensor, ops: tuple[Op, ...]) -> None:
    root = root_of(base)
    view._trtnn_base, view._trtnn_writes = root, root._trtnn_writes
    view._trtnn_path = (base._trtnn_path, ops)
    if root._trtnn_views is None:
        root._trtnn_views = weakref.WeakValueDictionary()
    root._trtnn_views[id(view)] = view


def _doubt(base: Tensor, other: Tensor) -> None:
    """Note that two tensors may share memory, or not: after a write to one the other is refused.

    Whoever is in doubt with either is in doubt with both, also when what linked them is gone.
    """
    groups = []
    for tensor in (root_of(base), root_of(other)):
        if tensor._trtnn_doubtful is None:
            tensor._trtnn_doubtful = weakref.WeakValueDictionary({id(tensor): tensor})
        groups.append(tensor._trtnn_doubtful)
    small, large = sorted(groups, key=len)
    if small is not large:
        for tensor in list(small.values()):
            large[id(tensor)] = tensor
            tensor._trtnn_doubtful = large


def _ops(path: Path) -> list[Op]:
    """Return the ops of a path, in order."""
    parts: list[tuple[Op, ...]] = []
    while path:
        path, ops = path
        parts.append(ops)
    return [op for part in reversed(parts) for op in part]


def same_memory(recorder: Recorder, tensor: Tensor) -> Tensor:
    """Return another tensor object for the same memory."""
    twin = Tensor(tensor._trtnn_spec, recorder, value=recorder.value_of(tensor))
    _link_view(tensor, twin, ())
    twin._trtnn_layout = tensor._trtnn_layout
    return twin


def write(recorder: Recorder, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Give an in-place call its meaning."""
    name = calls.name_of(function)
    recorder.known.running = name
    args, kwargs = change((args, kwargs), torch.Tensor, recorder.known.adopt)
    target = args[0]
    if name == "__setitem__":
        _set_item(recorder, target, args[1], args[2])
        return None
    if name == "copy_":
        return assign(recorder, target, args[1] if len(args) > 1 else kwargs["src"])
    if name in ("zero_", "fill_"):
        value = 0 if name == "zero_" else args[1] if len(args) > 1 else kwargs["value"]
        return assign(recorder, target, TABLE[torch.full_like](target, value))
    base = function if function in TABLE else calls.out_of_place(function)
    if base is None or TABLE.get(base) is None:
        raise UnsupportedError(f"{name} has no lowering yet", hint=calls.instead_of(name))
    args, kwargs = calls.named(TABLE[base], args, kwargs)
    result = TABLE[base](*args, **kwargs)
    given, own = spec_of(result).dtype, target._trtnn_spec.dtype
    if not torch.can_cast(given, own):
        raise DTypeError(f"{name}: the result is {given}, which does not go into {own}")
    return assign(recorder, target, result)


def _set_item(recorder: Recorder, target: Tensor, index: Any, value: Any) -> None:
    materialise(recorder, target)
    view, arrays = cut_by(target, index)
    if view is not target:
        start, ops = _trace_back(recorder, (target._trtnn_value,), view._trtnn_value)
        assert start is not None
        _link_view(target, view, ops)
    if not arrays:
        rank = view._trtnn_spec.rank
        fits = fitting(value, rank) if isinstance(value, torch.Tensor) else value
        assign(recorder, view, fits)
        return
    new = value if isinstance(value, torch.Tensor) else tensor_of(value, view._trtnn_spec.dtype)
    if not isinstance(value, torch.Tensor):
        new = cast(new, view._trtnn_spec.dtype)
    assign(recorder, view, put_at(view, arrays, new))


def materialise(recorder: Recorder, target: Tensor) -> None:
    """Turn a known tensor, and all that shares its memory, into values of the graph."""
    if target._trtnn_known is None:
        return
    known = recorder.known
    recorder.check_fresh(target)
    known.before_write(target._trtnn_known)
    relatives = known.relatives(target)
    root = relatives[0]
    for tensor in relatives:
        base, again = tensor._trtnn_made or (None, None)
        view = None
        if tensor is root:
            view = Tensor(tensor._trtnn_spec, recorder, recorder.constant(*known.copied(tensor)))
        elif again is not None and base is not None and base._trtnn_known is None:
            view = again(base)
        tensor._trtnn_known = tensor._trtnn_made = None
        if view is None or view._trtnn_known is not None:
            tensor._trtnn_stale = (UNSEEN, find_user_line())
            continue
        tensor._trtnn_value = recorder.value_of(view)
        if base is not None and tensor is not root:
            start, ops = _trace_back(recorder, (base._trtnn_value,), tensor._trtnn_value)
            if start is None:
                tensor._trtnn_stale = (UNSEEN, find_user_line())
            else:
                _link_view(base, tensor, ops)


UNSEEN = "a view that has no lowering, of a known tensor that a traced value was written to"


def assign(recorder: Recorder, target: Tensor, value: Any) -> Tensor:
    """Make ``target`` hold ``value``, seen through its base and every live view of it."""
    recorder.check_fresh(target)
    require_own(recorder, target)
    spec = target._trtnn_spec
    new = cast(tensor_of(value, spec.dtype), spec.dtype)
    if spec_of(new).shape != spec.shape:
        new = expand(new, *spec.shape)
    result = recorder.value_of(new)
    _join_known(recorder, target)
    materialise(recorder, target)
    recorder.check_fresh(target)
    root = root_of(target)
    if root._trtnn_value in recorder.inputs:
        note = f"{root._trtnn_value.name} is written in forward: a copy is, the caller's is not"
        recorder.notes[note] = None
    _poison(root)
    _rebind(recorder, target, root, result)
    return target


def _join_known(recorder: Recorder, target: Tensor) -> None:
    """Let a view of a known tensor, cut with symbolic sizes, be one of a value of the graph."""
    root = root_of(target)
    if root._trtnn_over is None:
        return
    base, ops = root._trtnn_over
    if ops is None:
        if base._trtnn_known is not None:
            recorder.known.before_write(base._trtnn_known)
        raise UnsupportedError(DOUBT, hint="write in place before the view is taken")
    fresh = [tensor for tensor in family_of(target) if not tensor._trtnn_stale]
    materialise(recorder, base)
    prefix = (base._trtnn_path, ops)
    if root._trtnn_doubtful:
        _doubt(base, root)
    for tensor in fresh:
        tensor._trtnn_stale = tensor._trtnn_over = tensor._trtnn_views = None
        path = tuple(_ops(tensor._trtnn_path))
        _link_view(base, tensor, ())
        tensor._trtnn_path = (prefix, path)


DOUBT = (
    "a tensor that may or may not share memory with one that was written in place: "
    "reshape, flatten and contiguous copy depending on strides"
)


def _poison(root: Tensor) -> None:
    """Refuse from now on what may or may not share the written memory."""
    where = find_user_line()
    for other in list((root._trtnn_doubtful or {}).values()):
        for tensor in family_of(other):
            if root_of(tensor) is not root:
                tensor._trtnn_stale = (DOUBT, where)


def _rebind(recorder: Recorder, target: Tensor, root: Tensor, new: Value) -> None:
    assert root._trtnn_value is not None
    if target is not root:
        path = _ops(target._trtnn_path)
        before = [root._trtnn_value]
        for op in path[:-1]:
            before.append(recorder.value_of(bind(op, _tensor(recorder, before[-1]))))
        value = new
        for op, old in zip(reversed(path), reversed(before if path else []), strict=True):
            replaced = scatter(op, _tensor(recorder, old), _tensor(recorder, value))
            value = recorder.value_of(replaced)
        root._trtnn_value = value
    else:
        root._trtnn_value = new
    root._trtnn_writes += 1
    target._trtnn_value = new


def replay(recorder: Recorder, view: Tensor) -> Value:
    """Return what a view reads in its base, which was written to since it last did."""
    root = root_of(view)
    assert root._trtnn_value is not None
    replayed = _tensor(recorder, root._trtnn_value)
    for op in _ops(view._trtnn_path):
        replayed = bind(op, replayed)
    return recorder.value_of(replayed)


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
    if isinstance(op, Slice) and all(decide("ge", step, 1) for step in op.stride):
        return replaced(before, op.start, op.size, op.stride, new)
    raise UnsupportedError(
        f"in-place write through {op.name}",
        hint="clone it first: PyTorch does not write where entries share memory",
    )


def _inverse(permutation: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(permutation.index(i) for i in range(len(permutation)))
