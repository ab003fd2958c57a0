"""``compile``: trace, check, passes, network, engine, runner; and the module it returns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from trtnn import passes
from trtnn._trt import TensorRT
from trtnn.assumptions import verify
from trtnn.dims import Size, evaluate
from trtnn.engine import Engine, build
from trtnn.errors import BackendError, InputError, OptionError, RecompileWarning
from trtnn.graph import Graph
from trtnn.interpreter import run
from trtnn.op import Spec
from trtnn.options import BuildOptions
from trtnn.runner import Runner, check_rank, check_tensor
from trtnn.signature import Input, Signature, _parameters, call_leaves, declare
from trtnn.tracer import Output, Sizes
from trtnn.tracer import trace as trace_graph
from trtnn.tree import unflatten

__all__ = ["CompiledModule", "Input", "compile", "trace"]

MAX_ENGINES = 8


def trace(module: Callable[..., Any], inputs: Any, device: Any = "cpu") -> Graph:
    """Return the graph that ``module`` computes on ``inputs``.

    Args:
        module: A ``torch.nn.Module``, or a function of tensors.
        inputs: As for ``compile``.

    Raises:
        TraceError: Code in ``forward`` that has no meaning in a graph.
        UnsupportedError: A torch callable without a lowering.

    >>> print(trace(torch.nn.ReLU(), [Input((2, 3))]).outputs[0].spec)
    (2, 3) float32
    """
    signature = declare(module, inputs)
    return _trace(module, signature, torch.device(device))


def _trace(module: Callable[..., Any], signature: Signature, device: torch.device) -> Graph:
    graph = trace_graph(
        module, signature.arguments(), tuple(signature.specs), signature.dims, device
    )
    graph.check()
    return graph


def compile(
    module: Callable[..., Any],
    *,
    inputs: Any = None,
    precision: str = "tf32",
    backend: str = "auto",
    device: Any = None,
    checks: str = "always",
    options: BuildOptions | None = None,
) -> CompiledModule:
    """Compile a module for the shapes and dtypes of ``inputs``.

    Args:
        module: A ``torch.nn.Module``, ``trtnn.Module`` or not, or a function of tensors.
        inputs: A list in ``forward``'s positional order, or a dict by parameter name. Each entry
            is an ``Input``, an example tensor (its shape is static), a plain value (a constant of
            the compilation), or a tuple, list or dict of these. ``None``: the first call decides.
        precision: ``"tf32"``, or ``"fp32"`` to turn TF32 off for what is float32 in the graph.
        backend: ``"tensorrt"``, ``"reference"`` (PyTorch runs the graph), or ``"auto"``, which
            takes the reference, with a warning, where TensorRT or a GPU is absent.
        device: Where inputs will be; the module's own, or the current GPU, if omitted.
        checks: ``"always"``, or ``"first"``: the range of int64 inputs is checked on the first
            call of a signature only, where TensorRT has no int64.
        options: What TensorRT's builder is told.

    Raises:
        OptionError: A value that is none of these.
        BackendError: ``backend="tensorrt"`` without TensorRT or a GPU.
        TraceError: Code in ``forward`` that has no meaning in a graph.
        UnsupportedError: Something that trtnn or this TensorRT cannot express.
        BuildError: TensorRT refused the network; carries its log lines.

    >>> model = compile(torch.nn.Linear(4, 2), inputs=[Input((3, 4))], backend="reference")
    >>> model(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    _choose("precision", precision, ("tf32", "fp32"))
    _choose("backend", backend, ("auto", "tensorrt", "reference"))
    _choose("checks", checks, ("always", "first"))
    options = options if options is not None else BuildOptions()
    library = _library(backend, options)
    place = _device(module, device, library)
    settings = _Settings(module, precision, library, place, checks, options)
    if inputs is None:
        return LazyModule(settings)
    return CompiledModule(settings, declare(module, inputs))


def _choose(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")


def _library(backend: str, options: BuildOptions) -> TensorRT | None:
    """Return TensorRT, or None for the reference."""
    if backend == "reference":
        return None
    try:
        library = TensorRT(log_level=options.log_level)
        if not torch.cuda.is_available():
            raise BackendError("PyTorch sees no CUDA device")
    except BackendError as error:
        if backend == "tensorrt":
            raise
        warnings.warn(
            f'the reference backend is used: {error.message}; backend="reference" says so silently',
            UserWarning,
            stacklevel=3,
        )
        return None
    return library


def _device(module: Any, device: Any, library: TensorRT | None) -> torch.device:
    if device is None:
        tensors = list(module.parameters()) if isinstance(module, torch.nn.Module) else []
        own = tensors[0].device if tensors else torch.device("cpu")
        device = "cuda" if library is not None and own.type != "cuda" else own
    place = torch.device(device)
    if place.type == "cuda" and place.index is None:
        index = torch.cuda.current_device() if torch.cuda.is_available() else 0
        return torch.device("cuda", index)
    return place


class _Settings:
    """What all engines of one ``compile`` share."""

    def __init__(
        self,
        module: Any,
        precision: str,
        library: TensorRT | None,
        device: torch.device,
        checks: str,
        options: BuildOptions,
    ) -> None:
        self.module, self.precision, self.library = module, precision, library
        self.device, self.checks, self.options = device, checks, options


class Reference:
    """Runs a graph with PyTorch, on copies of its constants."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.graph, self.device = graph, device
        self.constants = {
            v: c.tensor.detach().to(device, copy=True) for v, c in graph.constants.items()
        }

    def __call__(self, tensors: list[torch.Tensor]) -> tuple[list[torch.Tensor], Any]:
        for value, tensor in zip(self.graph.inputs, tensors, strict=True):
            check_rank(value.name, value.spec.shape, tensor)
            check_tensor(value.name, value.spec.dtype, tensor, self.device)
        ready = [t.to(v.spec.dtype) for t, v in zip(tensors, self.graph.inputs, strict=True)]
        outputs, bindings = run(self.graph, ready, self.constants)
        self.bindings = bindings
        return outputs, self


class CompiledModule:
    """A compiled model: called like ``forward``, returning the same structure.

    Attributes:
        graph: The traced graph; ``print`` shows it as a table.
        backend: ``"tensorrt"`` or ``"reference"``.
        engine: The TensorRT engine; None on the reference.
        input_specs: Shape and dtype by input name.
        output_specs: Shape and dtype of each output tensor, in order.
    """

    def __init__(self, settings: _Settings, signature: Signature) -> None:
        self._settings, self._signature = settings, signature
        self._parameters = _parameters(settings.module)
        self._build()
        names = signature.names
        self._is_flat = all(isinstance(leaf, Spec) for leaf in signature.leaves) and len(
            names
        ) == len(signature.parameters)
        self._single = self.graph.result.kind is None and isinstance(self.graph.leaves[0], Output)

    def _build(self) -> None:
        """Run the stages in order: this is what compiling is."""
        settings = self._settings
        graph = _trace(settings.module, self._signature, settings.device)
        verify(graph, self._signature, lambda s: _trace(settings.module, s, settings.device))
        self.graph = graph
        self._runner: Any
        if settings.library is None:
            self.engine: Engine | None = None
            self._runner = Reference(graph, settings.device)
            return
        lowered = optimize(graph, settings.library)
        self.engine = build(
            lowered, settings.library, settings.options, tf32=settings.precision == "tf32"
        )
        self._runner = Runner(self.engine, lowered, settings.device, settings.checks)

    @property
    def backend(self) -> str:
        return "reference" if self._settings.library is None else "tensorrt"

    @property
    def input_specs(self) -> dict[str, Spec]:
        return self._signature.specs

    @property
    def output_specs(self) -> tuple[Spec, ...]:
        return tuple(v.spec for v in self.graph.outputs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model.

        Raises:
            InputError: An argument does not fit its declaration; the message names it.
        """
        tensors: Any = args
        plain = self._is_flat and not kwargs and len(args) == len(self._signature.leaves)
        if not (plain and all(isinstance(t, torch.Tensor) for t in args)):
            tensors = call_leaves(self._signature, self._parameters, args, kwargs)
        outputs, shapes = self._runner(tensors)
        if self._single:
            return outputs[0]
        leaves = (_leaf(x, outputs, shapes.bindings) for x in self.graph.leaves)
        return unflatten(self.graph.result, leaves)

    def __repr__(self) -> str:
        specs = ", ".join(f"{n}: {s}" for n, s in self.input_specs.items())
        return f"CompiledModule({self.backend}, {specs})"


def _leaf(leaf: Any, outputs: list[torch.Tensor], bindings: dict[str, int]) -> Any:
    if isinstance(leaf, Output):
        return outputs[leaf]
    if isinstance(leaf, Sizes):
        return torch.Size([evaluate(s, bindings) for s in leaf])
    return evaluate(leaf, bindings) if isinstance(leaf, Size) and type(leaf) is not bool else leaf


def optimize(graph: Graph, library: TensorRT) -> Graph:
    """Return the graph as it is lowered: the list of passes stands here."""
    graph = passes.fold_norms(graph)
    graph = passes.decompose(graph, library.target)
    graph = passes.absorb_expands(graph)
    graph = passes.merge_shuffles(graph)
    graph.check()
    return graph


class LazyModule(CompiledModule):
    """A compiled model whose first call's shapes, dtypes and plain values decide the engine."""

    def __init__(self, settings: _Settings) -> None:
        self._settings = settings
        self._parameters = _parameters(settings.module)
        self._variants: dict[Any, CompiledModule] = {}
        self._last: CompiledModule | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inputs = self._parameters.bind(*args, **kwargs)
        signature = declare(self._settings.module, dict(inputs.arguments))
        key = (signature.tree, signature.leaves)
        model = self._variants.get(key)
        if model is None:
            model = self._variants[key] = self._add(signature)
        self._last = model
        return model(*args, **kwargs)

    def _add(self, signature: Signature) -> CompiledModule:
        specs = ", ".join(f"{n} {s}" for n, s in signature.specs.items())
        if len(self._variants) >= MAX_ENGINES:
            raise InputError(
                f"a {MAX_ENGINES + 1}th combination of static shapes: {specs}",
                hint="declare dynamic sizes: inputs=[trtnn.Input((trtnn.Dim(...), ...))]",
            )
        if self._variants:
            warnings.warn(
                f"another engine is compiled, for {specs}; for one engine, declare what changes: "
                'inputs=[trtnn.Input((trtnn.Dim("batch", min, opt, max), ...))]',
                RecompileWarning,
                stacklevel=3,
            )
        return CompiledModule(self._settings, signature)

    def __getattr__(self, name: str) -> Any:
        if name in ("graph", "engine", "_signature") and self.__dict__.get("_last") is not None:
            return getattr(self._last, name)
        raise AttributeError(f"{name}: nothing is compiled before the first call")

    def __repr__(self) -> str:
        return f"CompiledModule(lazy, {len(self._variants)} compiled)"
