"""The tracer: runs ``forward`` on symbolic tensors and writes down what it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from trtnn import op as op_module
from trtnn.dims import Dim
from trtnn.errors import TraceError
from trtnn.graph import Graph, Value
from trtnn.op import Spec, as_size, bind
from trtnn.ops.movement import Identity
from trtnn.recorder import Recorder
from trtnn.tensor import Tensor, tensors_in
from trtnn.tree import LEAF, Tree, flatten, unflatten

_lock = threading.RLock()
_thread = threading.local()
op_module._active.append(lambda: getattr(_thread, "recorder", None))


class TracingMode(TorchFunctionMode):
    """Sees every torch call of this thread while ``forward`` runs."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.recorder.call(func, args, kwargs or {})


def trace(
    function: Callable[..., Any],
    arguments: tuple[Tree, Sequence[Any]],
    names: Sequence[str],
    dims: Sequence[Dim],
    device: torch.device,
) -> Graph:
    """Run ``function`` symbolically and return its graph.

    Args:
        function: A module, or any callable of tensors.
        arguments: Structure and leaves of ``(args, kwargs)``; a leaf that is a Spec becomes an
            input, any other is a constant of the compilation.
        names: One name per leaf that is a Spec.
        dims: Every Dim of the specs.
        device: The compilation's device, which need not exist here.

    Raises:
        TraceError: Code that has no meaning in a graph, or that writes to the module.
        UnsupportedError: A torch callable without a lowering.
    """
    tree, leaves = arguments
    module = function if isinstance(function, torch.nn.Module) else None
    keys = _keys(module)
    home = next((t.device for _, t in keys.values()), torch.device("cpu"))
    recorder = Recorder(device, home, keys)
    remaining = iter(names)
    given = [recorder.input(next(remaining), x) if isinstance(x, Spec) else x for x in leaves]
    inputs = tuple(t._trtnn_value for t in given if isinstance(t, Tensor))
    recorder.__dict__["inputs"] = inputs
    args, kwargs = unflatten(tree, given)
    with _lock, _tracing(recorder, module):
        result = function(*args, **kwargs)
        outputs, structure, kept = _finish(recorder, result, inputs)
    return Graph(
        inputs=tuple(v for v in inputs if v is not None),
        nodes=tuple(recorder.nodes),
        outputs=outputs,
        constants=recorder.constants,
        dims=tuple(dims),
        assumptions=tuple(recorder.assumptions),
        notes=tuple(dict.fromkeys(recorder.notes)),
        result=structure,
        leaves=kept,
        known=tuple(recorder.known),
    ).live()


def _keys(module: torch.nn.Module | None) -> dict[int, tuple[str, torch.Tensor]]:
    """Return the ``state_dict`` key of each parameter and buffer; shared ones once."""
    if module is None:
        return {}
    named = [*module.named_parameters(), *module.named_buffers()]
    return {id(tensor): (name, tensor) for name, tensor in named}


def _finish(
    recorder: Recorder, result: Any, inputs: Sequence[Any]
) -> tuple[tuple[Value, ...], Tree, tuple[Any, ...]]:
    """Return output values, the result's structure, and per leaf an index, size or value.

    Outputs never alias inputs or each other: such a leaf gets a copy in the graph.
    """
    with torch._C.DisableTorchFunction():
        return _results(recorder, result, inputs)


def _results(
    recorder: Recorder, result: Any, inputs: Sequence[Any]
) -> tuple[tuple[Value, ...], Tree, tuple[Any, ...]]:
    leaves, structure = flatten(result)
    outputs: list[Value] = []
    kept: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            value = recorder.value_of(leaf)
            if value in inputs or value in recorder.constants or value in outputs:
                copy = bind(Identity(), Tensor(value.spec, recorder, value=value))
                value = recorder.value_of(copy)
            kept.append(Output(len(outputs)))
            outputs.append(value)
        elif isinstance(leaf, torch.SymInt):
            kept.append(as_size(leaf))
        elif isinstance(leaf, torch.Size):
            kept.append(Sizes(tuple(as_size(s) for s in leaf)))
        else:
            kept.append(leaf)
    return tuple(outputs), structure if leaves else LEAF, tuple(kept)


class Output(int):
    """The index of an output tensor, as distinct from an int that ``forward`` returned."""

    def __repr__(self) -> str:
        return f"output {int(self)}"


class Sizes(tuple[Any, ...]):
    """A ``torch.Size`` that ``forward`` returned."""


@contextmanager
def _tracing(recorder: Recorder, module: torch.nn.Module | None) -> Iterator[None]:
    """Set everything that tracing needs and put it back, whatever happens."""
    saved = _Attributes(module)
    flags = {
        name: getattr(torch.compiler, name)
        for name in ("_is_compiling_flag", "_is_exporting_flag")
        if hasattr(torch.compiler, name)
    }
    outer = getattr(_thread, "recorder", None)
    hooks = _install_hooks(recorder, module)
    versions = {key: tensor._version for key, tensor in recorder.keys.values()}
    try:
        for name in flags:
            setattr(torch.compiler, name, True)
        _thread.recorder = recorder
        with torch.no_grad(), TracingMode(recorder):
            yield
        saved.check(recorder)
        _check_versions(recorder, versions)
    finally:
        recorder.closed = True
        _thread.recorder = outer
        for name, value in flags.items():
            setattr(torch.compiler, name, value)
        for hook in hooks:
            hook.remove()
        saved.restore()


def _check_versions(recorder: Recorder, versions: dict[str, int]) -> None:
    for key, tensor in recorder.keys.values():
        if tensor._version != versions[key]:
            raise TraceError(f"forward wrote to the parameter or buffer {key!r} while tracing")


def _install_hooks(recorder: Recorder, root: torch.nn.Module | None) -> list[RemovableHandle]:
    """Follow module calls, so that each node knows its module's path."""
    paths = {id(m): name for name, m in root.named_modules()} if root is not None else {}
    counts: dict[int, int] = {}

    def enter(module: torch.nn.Module, args: Any) -> None:
        if threading.get_ident() != recorder.thread:
            return
        index = counts.get(id(module), 0)
        counts[id(module)] = index + 1
        name = type(module).__name__
        recorder.scopes.append((paths.get(id(module), name), name, index))

    def leave(module: torch.nn.Module, args: Any, result: Any) -> None:
        if threading.get_ident() == recorder.thread and len(recorder.scopes) > 1:
            recorder.scopes.pop()

    hooks = torch.nn.modules.module
    return [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave, always_call=True),
    ]


class _Attributes:
    """The attributes of every submodule before the trace, to compare and to put back."""

    def __init__(self, root: torch.nn.Module | None) -> None:
        modules = root.named_modules() if root is not None else ()
        self.saved = [(name, m, _snapshot(vars(m))) for name, m in modules]

    def check(self, recorder: Recorder) -> None:
        """Raise TraceError where an attribute now holds a symbolic tensor."""
        for path, module, before in self.saved:
            for name, value in _snapshot(vars(module)).items():
                if before.get(name) is value or not _holds_symbolic(value):
                    continue
                full = f"{path}.{name}" if path else name
                if name in ("_buffers", "_parameters"):
                    inner = next(k for k, v in value[1].items() if _holds_symbolic(v))
                    full = f"{path}.{inner}" if path else inner
                raise TraceError(
                    f"forward keeps a traced tensor in the attribute {full!r}",
                    hint="return it instead; a compiled model has no state",
                )

    def restore(self) -> None:
        for _, module, before in self.saved:
            now = vars(module)
            for name in [n for n in now if n not in before]:
                del now[name]
            for name, (value, content) in before.items():
                now[name] = value
                if content is not None:
                    value.clear()
                    (value.extend if isinstance(value, list) else value.update)(content)


def _snapshot(attributes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return each attribute with a shallow copy of its content, if it is a plain container."""
    containers = (list, dict, set)
    return {
        name: (value, value.copy() if type(value) in containers else None)
        for name, value in attributes.items()
    }


def _holds_symbolic(value: Any) -> bool:
    return any(isinstance(t, Tensor) for t in tensors_in(value))
