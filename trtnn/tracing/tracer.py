"""The tracer: runs ``forward`` on symbolic tensors and writes down what it does."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import PreDispatchTorchFunctionMode
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from trtnn.errors import TraceError, TrtnnError, UnsupportedError, noted
from trtnn.graph.graph import Graph, Value
from trtnn.graph.tensor import Tensor
from trtnn.ops import op as op_module
from trtnn.ops.movement import Identity
from trtnn.ops.op import Spec, as_size, bind
from trtnn.sizes.dims import Dim
from trtnn.sizes.symnode import sym_int
from trtnn.source import find_error_line
from trtnn.tracing.attributes import Attributes, reach
from trtnn.tracing.forward import module_of
from trtnn.tracing.known import State
from trtnn.tracing.libraries import restated
from trtnn.tracing.numbers import taking_sizes
from trtnn.tracing.quantizers import quantizers_of
from trtnn.tracing.recorder import Carried, Recorder
from trtnn.tracing.regions import reading_autocast, region_around, stated
from trtnn.tracing.uncompiled import uncompiled
from trtnn.tree import Tree, flatten, unflatten

_lock = threading.RLock()
_thread = threading.local()
op_module._active.append(lambda: getattr(_thread, "recorder", None))


class TracingMode(PreDispatchTorchFunctionMode):
    """Sees every torch call of this thread while ``forward`` runs.

    PyTorch tells a mode of this kind, and no other, where ``torch.vmap`` begins.
    """

    def __init__(self, recorder: Recorder) -> None:
        TorchFunctionMode.__init__(self)
        self.recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(_thread, "recorder", None) is not self.recorder:
            return func(*args, **(kwargs or {}))  # what a trace inside this one computes
        if str(getattr(func, "__module__", "")).startswith("torch._functorch"):
            raise UnsupportedError(
                "torch.vmap and torch.func transforms are not taken",
                hint="write the batch dimension out",
            )
        return self.recorder.call(func, args, kwargs or {})


def trace(
    function: Callable[..., Any],
    arguments: tuple[Tree, Sequence[Any]],
    names: Sequence[str],
    dims: Sequence[Dim],
    device: torch.device,
    formats: Mapping[str, str],
) -> Graph:
    """Run ``function`` symbolically and return its graph.

    Traces run one at a time, and while one runs ``torch.compiler.is_compiling()`` and
    ``is_exporting()`` answer True in every thread; other threads' calls are not touched.

    Args:
        function: A module, or any callable of tensors.
        arguments: Structure and leaves of ``(args, kwargs)``; a leaf that is a Spec becomes an
            input, a Dim a host input, and any other is a constant of the compilation.
        names: One name per leaf that is a Spec or a Dim.
        dims: Every Dim of these.
        device: The compilation's device, which need not exist here.
        formats: The memory format of each input that is not contiguous, by name.

    Raises:
        TraceError: Code that has no meaning in a graph, or that writes to the module.
        UnsupportedError: A torch callable without a lowering.
    """
    tree, leaves = arguments
    module = module_of(function)
    with _lock:
        states = states_of(module)
        home = next((s.tensor.device for s in states), torch.device("cpu"))
        recorder = Recorder(device, home, states)
        remaining = iter(names)
        args, kwargs = unflatten(tree, [_given(x, remaining, recorder, formats) for x in leaves])
        with (
            noted() as refusals,
            quantizers_of(module),
            _tracing(recorder, module, [function]),
            _typed_errors(recorder),
        ):
            result = function(*args, **kwargs)
            _require_none(refusals)
            outputs, structure, kept = _finish(recorder, result, recorder.inputs)
    program = recorder.known.program.finish()
    constants = {
        v: c if c.slot is None or program.depends(c.slot) else replace(c, slot=None)
        for v, c in recorder.constants.items()
    }
    return Graph(
        inputs=recorder.inputs,
        nodes=tuple(recorder.nodes),
        outputs=outputs,
        constants=constants,
        dims=tuple(dims),
        hosts=recorder.hosts,
        assumptions=tuple(replace(a, times=n) for a, n in recorder.assumptions.items()),
        notes=tuple(recorder.notes),
        formats=formats,
        result=structure,
        leaves=kept,
        program=program,
    ).live()


def _require_none(refusals: Sequence[TrtnnError]) -> None:
    """Raise the first error of ours that somebody caught: the graph has the other branch."""
    if refusals:
        error = refusals[0]
        caught = "a refusal ends the trace, also where forward or a library catches it"
        error.hint = f"{error.hint}; {caught}" if error.hint else caught
        raise error


def _given(leaf: Any, names: Iterator[str], recorder: Recorder, formats: Mapping[str, str]) -> Any:
    """Return what ``forward`` receives for a leaf of its arguments."""
    if isinstance(leaf, Spec):
        name = next(names)
        return recorder.input(name, leaf, formats.get(name, "contiguous_format"))
    if isinstance(leaf, Dim):
        recorder.hosts[next(names)] = leaf
        return sym_int(leaf, recorder)
    return leaf


def states_of(module: torch.nn.Module | None) -> list[State]:
    """Return each parameter and buffer once, with the ``state_dict`` keys that it has.

    Raises:
        TraceError: A lazy parameter that no call has given a shape yet.
    """
    found: dict[int, tuple[str, torch.Tensor, list[str]]] = {}
    for path, part in module.named_modules(remove_duplicate=False) if module is not None else ():
        tensors = [*part._parameters.items(), *part._buffers.items()]
        for name, tensor in tensors:
            if tensor is None:
                continue
            key = f"{path}.{name}" if path else name
            if torch.nn.parameter.is_lazy(tensor):
                raise TraceError(f"{key} has no shape yet", hint="call the module once in PyTorch")
            _, _, keys = found.setdefault(id(tensor), (key, tensor, []))
            if name not in part._non_persistent_buffers_set:
                keys.append(key)
    return [State(tensor, name, tuple(keys)) for name, tensor, keys in found.values()]


@contextmanager
def _typed_errors(recorder: Recorder) -> Iterator[None]:
    """Raise our own error where PyTorch or Python swallowed it, or refused a symbolic operand."""
    try:
        yield
    except Carried as error:
        raise error.error from None
    except (TypeError, RuntimeError, AttributeError, AssertionError) as error:
        if isinstance(error, TrtnnError):
            raise
        failure, text = recorder.failure, str(error)
        if failure is not None and failure.message in text:
            raise failure from error
        if _SYMBOLIC_OPERAND.search(text) and not isinstance(error, RuntimeError):
            where = find_error_line(error.__traceback__)
            first = text.splitlines()[0]
            raise UnsupportedError(
                f"a traced tensor or a symbolic size does not go there: {first}",
                hint="NumPy takes neither: math.sqrt(size), size ** 0.5, torch.sqrt(tensor)"
                if "ufunc" in first
                else None,
                where=where,
            ) from error
        raise


_SYMBOLIC_OPERAND = re.compile(
    r"Sym(Int|Float|Bool|Node)|(Size|Float|Bool)Node|, not (Tensor|BatchSizes)"
)


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
    leaves, structure = flatten(result, "the result")
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
            kept.append(_python_value(leaf))
    return tuple(outputs), structure, tuple(kept)


def _python_value(leaf: Any) -> Any:
    """Return a leaf of the result that is no tensor and no size."""
    if isinstance(leaf, torch.SymBool):
        return bool(leaf)
    if isinstance(leaf, torch.SymFloat):
        return leaf.node.guard_float("", 0)
    hidden = any(isinstance(x, (torch.Tensor, torch.SymInt)) for _, x in reach(leaf))
    if hidden or isinstance(leaf, Iterator):
        raise TraceError(
            f"forward returns a {type(leaf).__name__}, in which tensors are not found",
            hint="return tuples, lists, dicts or dataclasses of tensors; "
            "for a cache of a transformers model, pass use_cache=False",
            search=False,
        )
    return leaf


class Output(int):
    """The index of an output tensor, as distinct from an int that ``forward`` returned."""

    def __repr__(self) -> str:
        return f"output {int(self)}"


class Sizes(tuple[Any, ...]):
    """A ``torch.Size`` that ``forward`` returned."""


@contextmanager
def _tracing(
    recorder: Recorder, module: torch.nn.Module | None, written: Sequence[Any]
) -> Iterator[None]:
    """Set everything that tracing needs and put it back, whatever happens."""
    around = region_around()
    if around is not None:
        recorder.regions.enter(around)
    limit = sys.getrecursionlimit()
    attributes = Attributes(written[0] if module is None else module)
    flags = {
        name: getattr(torch.compiler, name)
        for name in ("_is_compiling_flag", "_is_exporting_flag")
        if hasattr(torch.compiler, name)
    }
    outer = getattr(_thread, "recorder", None)
    hooks = _install_hooks(recorder, module)
    try:
        for name in flags:
            setattr(torch.compiler, name, True)
        sys.setrecursionlimit(4 * limit)  # a traced call takes more frames than an eager one
        _thread.recorder = recorder
        watching = attributes.watched(written)
        reading = reading_autocast(lambda: getattr(_thread, "recorder", None))
        mode = TracingMode(recorder)
        with torch.no_grad(), uncompiled(), watching, reading, mode, taking_sizes(), restated():
            yield
    finally:
        recorder.close()
        sys.setrecursionlimit(limit)
        _thread.recorder = outer
        for name, value in flags.items():
            setattr(torch.compiler, name, value)
        for hook in hooks:
            hook.remove()
        attributes.restore()


def _install_hooks(recorder: Recorder, root: torch.nn.Module | None) -> list[RemovableHandle]:
    """Follow module calls, so that each node knows its module's path."""
    paths = {id(m): name for name, m in root.named_modules()} if root is not None else {}
    counts: dict[int, int] = {}
    tokens: list[object] = []

    def enter(module: torch.nn.Module, args: Any) -> None:
        if getattr(_thread, "recorder", None) is not recorder:
            return
        index = counts.get(id(module), 0)
        counts[id(module)] = index + 1
        name = type(module).__name__
        recorder.scopes.append((paths.get(id(module), name), name, index, module))
        own = stated(module)
        tokens.append(None if own is None else recorder.regions.enter(own))
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedError(
                f"{name} is a module of torch.jit.script or torch.jit.trace",
                hint="call the module that it was made from",
            )

    def leave(module: torch.nn.Module, args: Any, result: Any) -> None:
        if getattr(_thread, "recorder", None) is recorder and len(recorder.scopes) > 1:
            recorder.scopes.pop()
            recorder.regions.leave(tokens.pop())

    hooks = torch.nn.modules.module
    return [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave, always_call=True),
    ]
