"""Regions of ``forward`` that say what is computed in which type."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from trtnn.errors import OptionError, UnsupportedError
from trtnn.graph.program import change
from trtnn.ops.op import TABLE, active_recorder
from trtnn.tracing import calls

__all__ = ["autocast"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LOW_WORDS = ("fp16", "bf16")
TYPED = "typed"
"""The region where nothing is changed: ``torch.autocast(enabled=False)``."""
_WORDS = {dtype: word for word, dtype in DTYPES.items()}
_FLOATS = frozenset(DTYPES.values())


class autocast:
    """Compute in a precision what ``forward`` calls inside, whatever the module's is elsewhere.

    Compiled, the region is an island of the graph: ``"fp32"`` computes in float32 and casts back
    where its results leave it; ``"fp16"`` and ``"bf16"`` are what ``torch.autocast`` is. In eager
    mode ``"fp32"`` computes each call in float32 and casts its result back.

    Raises:
        OptionError: Another precision.

    >>> x = torch.tensor([300.0], dtype=torch.float16)
    >>> with autocast("fp32"):
    ...     y = (x * x).sqrt()  # each result is a float16 again in eager mode: inf
    >>> y.dtype
    torch.float16
    """

    def __init__(self, precision: str) -> None:
        if precision not in DTYPES:
            raise OptionError(f"autocast: expected one of {', '.join(DTYPES)}, got {precision!r}")
        self.precision = precision
        self._exits: list[Callable[[], None]] = []

    def __enter__(self) -> autocast:
        recorder: Any = active_recorder()
        stack = ExitStack()
        low = self.precision != "fp32"
        if recorder is not None:
            stack.callback(recorder.regions.leave, recorder.regions.enter(self.precision))
        else:
            for device in ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",):
                dtype = DTYPES[self.precision] if low else None
                stack.enter_context(torch.autocast(device, dtype, enabled=low))
        if recorder is None and not low:
            stack.enter_context(_Wide())
        self._exits.append(stack.close)
        return self

    def __exit__(self, *_: Any) -> None:
        self._exits.pop()()


class Regions:
    """The regions that a trace is in, innermost last: each is left by its own token."""

    def __init__(self) -> None:
        self._entered: dict[object, str] = {}

    @property
    def word(self) -> str | None:
        return next(reversed(self._entered.values()), None)

    def enter(self, word: str) -> object:
        token = object()
        self._entered[token] = word
        return token

    def leave(self, token: object) -> None:
        self._entered.pop(token, None)


class _Wide(TorchFunctionMode):
    """Computes what has floats of 16 bits in float32, and gives the result in their type."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        found: list[torch.dtype] = []

        def widened(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.is_floating_point():
                found.append(tensor.dtype)
            return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

        moves = func in calls.VIEWS | calls.SAME | calls.COPIES | calls.INFORMATION
        if moves or calls.is_mutating(func) or func not in TABLE or kwargs.get("out") is not None:
            return func(*args, **kwargs)
        wide = change((args, kwargs), torch.Tensor, widened)
        result = func(*wide[0], **wide[1])
        if len({*found}) != 1 or found[0] == torch.float32 or kwargs.get("dtype") is not None:
            return result
        return change(
            result, torch.Tensor, lambda t: t.to(found[0]) if t.is_floating_point() else t
        )


def region_of(device: str, dtype: torch.dtype | None, *, enabled: bool) -> str:
    """Return the region that a ``torch.autocast`` asks for; by PyTorch's CUDA lists always."""
    if not enabled:
        return TYPED
    asked = dtype if dtype is not None else torch.get_autocast_dtype(device)
    if asked not in _WORDS:
        raise UnsupportedError(
            f"torch.autocast: expected float16, bfloat16 or float32, got {asked}",
            hint="leave out dtype=, or give one of these",
        )
    return _WORDS[asked]


def stated(module: torch.nn.Module) -> str | None:
    """Return the precision that a ``trtnn.Module`` states of itself.

    Raises:
        OptionError: It is no precision.
    """
    if not hasattr(type(module), "_trtnn_states_precision"):
        return None  # another library's module may mean something else by the name
    precision = getattr(module, "precision", None)
    if precision is not None and precision not in DTYPES:
        name = f"{type(module).__name__}.precision"
        raise OptionError(f"{name}: expected one of {', '.join(DTYPES)}, got {precision!r}")
    return precision


def region_around() -> str | None:
    """Return the region that this thread is in as it starts to compile."""
    for device in ("cuda", "cpu"):
        if torch.is_autocast_enabled(device):
            return region_of(device, None, enabled=True)
    return None


@contextmanager
def reading_autocast(recorder_of_thread: Callable[[], Any]) -> Iterator[None]:
    """Let ``torch.autocast`` tell the recorder of this thread, instead of PyTorch's dispatcher.

    It is read from its arguments: without a GPU, ``autocast("cuda")`` switches itself off.
    """
    kind = torch.amp.autocast_mode.autocast
    plain = {name: getattr(kind, name) for name in ("__init__", "__enter__", "__exit__")}

    def init(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            if recorder_of_thread() is not None:
                warnings.simplefilter("ignore", UserWarning)
            plain["__init__"](self, device_type, *args, **kwargs)
        asked = {**dict(zip(("dtype", "enabled"), args, strict=False)), **kwargs}
        self._trtnn_asked = (device_type, asked.get("dtype"), asked.get("enabled", True))

    def enter(self: Any) -> Any:
        recorder = recorder_of_thread()
        if recorder is None:
            return plain["__enter__"](self)
        token = recorder.regions.enter(region_of_instance(self))
        self.__dict__.setdefault("_trtnn_tokens", []).append(token)
        return self

    def leave(self: Any, *error: Any) -> Any:
        recorder = recorder_of_thread()
        if recorder is None:
            return plain["__exit__"](self, *error)
        recorder.regions.leave(self.__dict__["_trtnn_tokens"].pop())
        return False

    around = {device: torch.is_autocast_enabled(device) for device in ("cuda", "cpu")}
    for name, function in (("__init__", init), ("__enter__", enter), ("__exit__", leave)):
        setattr(kind, name, function)
    try:
        for device in around:
            torch.set_autocast_enabled(device, False)  # noqa: FBT003 - PyTorch's
        with _answering(recorder_of_thread):
            yield
    finally:
        for device, was in around.items():
            torch.set_autocast_enabled(device, was)
        for name, function in plain.items():
            setattr(kind, name, function)


@contextmanager
def _answering(recorder_of_thread: Callable[[], Any]) -> Iterator[None]:
    """Let ``torch.is_autocast_enabled`` answer for the regions of this thread's trace."""
    plain = torch.is_autocast_enabled

    def is_enabled(*device_type: str) -> bool:
        recorder = recorder_of_thread()
        return plain(*device_type) if recorder is None else recorder.regions.word in LOW_WORDS

    answer: Any = is_enabled
    torch.is_autocast_enabled = answer
    try:
        yield
    finally:
        torch.is_autocast_enabled = plain


def region_of_instance(instance: Any) -> str:
    """Return the region that an ``autocast`` object asks for."""
    asked = getattr(instance, "_trtnn_asked", None)
    if asked is not None:
        return region_of(asked[0], asked[1], enabled=bool(asked[2]))
    if instance.device == "cuda" and not instance._enabled and not torch.cuda.is_available():
        raise UnsupportedError(
            "torch.autocast('cuda') that was made before forward ran, and on a machine without a "
            "GPU is off",
            hint="make it in forward: with torch.autocast('cuda', dtype=torch.float16): ...",
        )
    return region_of(instance.device, instance.fast_dtype, enabled=bool(instance._enabled))
