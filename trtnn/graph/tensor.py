"""The symbolic tensor: a ``torch.Tensor`` without storage that every torch call accepts."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.program import Slot
from trtnn.ops.op import Spec
from trtnn.sizes.symnode import sym_int
from trtnn.source import SourceLine

if TYPE_CHECKING:
    from trtnn.graph.graph import Value

Path: TypeAlias = tuple[Any, ...]
"""How a view reads its base: nothing, or the path of another view and the ops after it."""


class Tensor(torch.Tensor):
    """A tensor of a graph that is being traced: shape, dtype and device, no data.

    It holds either a graph value, or a real tensor that is known at compile time, with its slot
    in the program. What it shares memory with is the business of ``mutation.py``.
    """

    _trtnn_spec: Spec
    _trtnn_recorder: Any
    _trtnn_held: Value | None = None
    _trtnn_known: torch.Tensor | None
    _trtnn_slot: Slot | None = None
    _trtnn_base: Tensor | None = None
    _trtnn_path: Path = ()
    _trtnn_views: weakref.WeakValueDictionary[int, Any] | None = None
    _trtnn_doubtful: weakref.WeakValueDictionary[int, Any] | None = None
    _trtnn_over: tuple[Tensor, Any] | None = None
    _trtnn_made: tuple[Tensor, Callable[[Tensor], Any]] | None = None
    _trtnn_stale: tuple[str, SourceLine | None] | None = None
    _trtnn_layout: Any = None
    _trtnn_writes = 0  # to a root, and those that the value held by a view has seen
    _trtnn_parts: tuple[Any, Any] | None = None  # of a complex one, which has no value
    _trtnn_drawn: tuple[str, SourceLine | None] | None = None
    _trtnn_frame: Any = None  # of the graph that is written when it is made

    @staticmethod
    def __new__(
        cls,
        spec: Spec,
        recorder: Any,
        value: Value | None = None,
        known: torch.Tensor | None = None,
        slot: Slot | None = None,
    ) -> Tensor:
        sizes = [sym_int(size, recorder) for size in spec.shape]
        make: Any = torch.Tensor._make_wrapper_subclass
        tensor: Tensor = make(cls, sizes, dtype=spec.dtype, device=recorder.device)
        tensor._trtnn_spec = spec
        tensor._trtnn_recorder = recorder
        tensor._trtnn_value = value
        tensor._trtnn_known = known
        tensor._trtnn_slot = slot
        tensor._trtnn_frame = getattr(recorder, "frame", None)
        return tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    @property
    def _trtnn_value(self) -> Value | None:
        """The value in the graph; a view reads what was written since only when it is asked."""
        base = self._trtnn_base
        if base is not None and self._trtnn_writes != base._trtnn_writes:
            self._trtnn_value = self._trtnn_recorder.replay(self)
        return self._trtnn_held

    @_trtnn_value.setter
    def _trtnn_value(self, value: Value | None) -> None:
        self._trtnn_held = value
        if self._trtnn_base is not None:
            self._trtnn_writes = self._trtnn_base._trtnn_writes

    def __repr__(self) -> str:  # type: ignore[override]
        what = self._trtnn_value if self._trtnn_known is None else "known"
        return f"trtnn.Tensor({what}: {self._trtnn_spec})"

    def __hash__(self) -> int:
        return id(self)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _recorder_in(args, kwargs or {}).call(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _recorder_in(args, kwargs or {}).dispatch(func, args, kwargs or {})


def root_of(tensor: Tensor) -> Tensor:
    """Return the tensor that a view looks into, itself where it is none."""
    return tensor if tensor._trtnn_base is None else tensor._trtnn_base


def family_of(tensor: Tensor) -> list[Tensor]:
    """Return the living tensors that surely share memory with this one, itself among them."""
    root = root_of(tensor)
    views = root._trtnn_views
    return [root, *(views.values() if views is not None else ())]


def _recorder_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for tensor in tensors_in((args, kwargs)):
        recorder = getattr(tensor, "_trtnn_recorder", None)
        if recorder is not None:
            return recorder
    raise UnsupportedError("a symbolic tensor was used where trtnn cannot see it")


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Return the tensors in nested tuples, lists, dicts and slices."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    elif isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    found: list[torch.Tensor] = []
    for item in value:
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif isinstance(item, (tuple, list, dict, slice)):
            found += tensors_in(item)
    return found
