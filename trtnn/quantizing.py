"""``quantize``: a module with scales that are found on data, layer by layer as it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trtnn.compiled import CompiledModule
from trtnn.compiler import _trace
from trtnn.errors import InputError, OptionError
from trtnn.graph.graph import Graph, Node
from trtnn.graph.interpreter import run
from trtnn.ops.attention import Attention
from trtnn.ops.matrix import MatrixMultiply
from trtnn.ops.quantization import LARGEST
from trtnn.precision import scales as files
from trtnn.precision.calibration import METHODS, Histogram
from trtnn.precision.placement import names_of, points_of, prepared, weighted
from trtnn.precision.quantized import Placement, QuantizationReport, QuantizedModel
from trtnn.run.reference import Reference
from trtnn.settings import choose
from trtnn.tracing.forward import _parameters, module_of, unwrapped
from trtnn.tracing.signature import Signature, from_arguments, spread
from trtnn.tree import flatten
from trtnn.trt.progress import display

__all__ = ["QuantizedModel", "quantize"]

COMPARED = 16  # batches that a quantized model is compared with the module on
Batch = tuple[tuple[Any, ...], dict[str, Any]]


def quantize(
    module: Callable[..., Any],
    data: Iterable[Any] | None = None,
    *,
    method: str | None = None,
    per_channel: bool = True,
    exclude: Sequence[str | type] = (),
    attention: bool = False,
    activations: bool = True,
    dtype: torch.dtype = torch.int8,
    tolerance: float | None = None,
    calibration_cache: Any = None,
    progress: bool | None = None,
) -> QuantizedModel:
    """Return ``module`` with its convolutions and products rounded to 8 bits.

    Weights are rounded in steps of their own largest entry, activations in steps that are found
    on ``data``. ``compile`` takes the result as it takes the module.

    Args:
        data: Inputs as ``forward`` takes them, an iterable of tensors, of tuples of arguments, or
            of dicts by name; batches above 1. Some hundred samples will do.
        method: How a scale follows from what was seen: ``"entropy"`` (TensorRT's own),
            ``"max"``, ``"percentile"`` (99.99) or ``"mse"``. None: percentile for transformers,
            entropy for others.
        per_channel: Give weights a scale for each output, else one for all.
        exclude: Module paths that stay as they are, as ``"head"`` or ``"encoder.layer.0.*"``, and
            classes of modules.
        attention: Quantize both products of attention, too.
        activations: Quantize what is computed, too; False: weights alone, for which one batch
            will do. TensorRT 8.6 multiplies those wrongly beside floats: there they are rounded as
            8 bits hold them, and are floats in the engine.
        dtype: ``torch.int8``, or ``torch.float8_e4m3fn`` where the GPU has it.
        tolerance: The largest error that is right: relative L2 of an output against the module,
            on the first 16 batches. Layers are left as they are until it holds, the worst first.
        calibration_cache: A file of scales. It is read if it is there, one that a TensorRT
            calibrator wrote as well, and else written.
        progress: Whether to show how far it is on stderr; None: where stderr is a terminal.

    Raises:
        OptionError: A value that is none of these, or excludes nothing.
        InputError: ``data`` does not fit ``forward``, is empty, or gives NaN or infinity.

    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> quantized = quantize(net, [torch.randn(16, 8) for _ in range(4)])
    >>> quantized.report.quantized
    ('0/MatrixMultiply', '2/MatrixMultiply')
    """
    choose("method", method, (None, *METHODS))
    choose("dtype", dtype, tuple(LARGEST))
    if tolerance is not None and not tolerance > 0:
        raise OptionError(f"tolerance: expected a number above 0, got {tolerance!r}")
    if isinstance(exclude, (str, type)):
        exclude = (exclude,)
    module = unwrapped(module)
    graphs = Graphs(module, attention)
    kept: list[Batch] = []
    batches = _batches(data, kept)
    placement = Placement(frozenset(), {}, per_channel, activations, attention, dtype)
    path = None if calibration_cache is None else Path(calibration_cache)
    with display("quantize", progress) as shown:
        calibration = Calibration(graphs, placement, tuple(exclude), method, shown)
        if path is not None and path.exists() and activations:
            calibration.read(path, batches)
        else:
            calibration.observe(batches)
            if path is not None and activations:
                files.write(path, calibration.found())
        return calibration.finished(kept, tolerance)


def _batches(data: Any, kept: list[Batch]) -> Iterator[Batch]:
    """Yield the arguments of each call, and keep those of the first."""
    if isinstance(data, (torch.Tensor, dict, str)) or not isinstance(data, (Iterable, type(None))):
        raise InputError(
            f"data: expected an iterable of inputs, got a {type(data).__name__}",
            hint="give a list of batches: [x]",
        )
    for item in data if data is not None else ():
        if isinstance(item, dict):
            batch: Batch = ((), dict(item))
        else:
            batch = (tuple(item) if isinstance(item, (tuple, list)) else (item,), {})
        if len(kept) < COMPARED:
            kept.append(batch)
        yield batch


@dataclass
class Graphs:
    """The graphs of a module, one for each combination of shapes, dtypes and constants."""

    module: Callable[..., Any]
    attention: bool
    made: dict[Any, Graph] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        owner = module_of(self.module)
        tensors = (*owner.parameters(), *owner.buffers()) if owner is not None else ()
        return tensors[0].device if tensors else torch.device("cpu")

    def of(self, batch: Batch) -> tuple[Graph, list[torch.Tensor]]:
        """Return the graph of a call, prepared, and its inputs on the module's device."""
        signature, leaves = self._signature(*batch)
        key = signature.tree, signature.keys
        if key not in self.made:
            graph = _trace(self.module, signature, self.device)
            self.made[key] = prepared(graph, attention=self.attention)
        tensors = [x.to(self.device) for x in leaves if isinstance(x, torch.Tensor)]
        return self.made[key], tensors

    def _signature(self, args: Any, kwargs: Any) -> tuple[Signature, list[Any]]:
        try:
            bound = _parameters(self.module).bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(
                f"data: {error}; forward takes {_parameters(self.module)}",
                hint="give the arguments of forward alone, without labels",
            ) from None
        leaves = [leaf for value in spread(bound).values() for leaf in flatten(value)[0]]
        return from_arguments(bound, kwargs), leaves


@dataclass
class Calibration:
    """What is found out of a model while data run through it."""

    graphs: Graphs
    placement: Placement
    exclude: tuple[str | type, ...]
    method: str | None
    shown: Any
    histograms: dict[str, Histogram] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    unmatched: set[str | type] | None = None
    transforms: bool = False

    def observe(self, batches: Iterable[Batch]) -> None:
        """Run data through the module, and find the scales of what is quantized.

        Raises:
            InputError: There is none.
        """
        self._begin("calibrating")
        seen = 0
        for seen, batch in enumerate(batches, start=1):
            graph, tensors = self.graphs.of(batch)
            wanted = self._wanted(graph)

            def see(value: Any, tensor: torch.Tensor, wanted: Any = wanted) -> None:
                if (name := wanted.get(value)) is not None:
                    self.histograms.setdefault(name, Histogram()).add(name, tensor)

            for value, tensor in zip(graph.inputs, tensors, strict=True):
                see(value, tensor)
            run(graph, tensors, device=self.graphs.device, observe=see)
            self._step("calibrating", seen)
        self._end("calibrating")
        if not seen:
            raise InputError(
                "data: expected at least one batch, got none",
                hint="give a list, or a new iterator each time: one that was used up is empty",
            )
        name = self.method_name
        largest = LARGEST[self.placement.dtype]
        self.scales = {n: (h.amax(name) / largest) or 1.0 for n, h in self.histograms.items()}

    def read(self, path: Path, batches: Iterable[Batch]) -> None:
        """Take the scales from a file; the first batch tells the layers."""
        found = files.read(path)
        batch = next(iter(batches), None)
        if batch is None:
            raise InputError(
                "data: expected at least one batch, to find the layers on, got none",
                hint="give what forward takes: with a calibration_cache one batch will do",
            )
        wanted = self._wanted(self.graphs.of(batch)[0])
        for _ in batches:  # what is compared, is kept on its way
            pass
        found.require(path, {**self._facts(), "method": self.method})
        if absent := sorted(set(wanted.values()) - set(found.scales)):
            raise InputError(
                f"calibration_cache: {path} has no scale of {', '.join(absent[:5])}",
                hint="names are those of inputs, and of layers as module.path/op",
            )
        self.method = found.facts.get("method", "entropy")
        self.scales = {name: found.scales[name] for name in wanted.values()}

    def found(self) -> files.Scales:
        return files.Scales(self.scales, self._facts())

    def finished(self, kept: Sequence[Batch], tolerance: float | None) -> QuantizedModel:
        """Return the model, with layers left out until the tolerance holds."""
        if self.unmatched:
            (first, *_) = self.unmatched
            names = ", ".join(sorted({n.origin.path for n in self.nodes.values()}))
            text = repr(first) if isinstance(first, str) else first.__name__
            raise OptionError(f"exclude: {text} names no layer", hint=f"there are {names}")
        placement = replace(self.placement, layers=frozenset(self.nodes), scales=self.scales)
        expected = [self._outputs(batch, None) for batch in kept]
        error = self._error(kept, expected, placement)
        trials: list[tuple[str, float]] = []
        if tolerance is not None and error > tolerance:
            placement, error, trials = self._leave_out(kept, expected, placement, tolerance)
        layers = placement.layers
        left = {name: reason for name, reason in self.left.items() if name not in self.nodes}
        late = dict.fromkeys(self.nodes.keys() - layers, "the tolerance did not hold with it")
        report = QuantizationReport(
            tuple(name for name in self.nodes if name in layers),
            {**left, **{name: late[name] for name in self.nodes if name in late}},
            dict(self.scales),
            self.method_name,
            error if kept else None,
            tuple(trials),
        )
        module = self.graphs.module
        return QuantizedModel(module, placement, report, Eager(module, placement))

    @property
    def method_name(self) -> str:
        return self.method or ("percentile" if self.transforms else "entropy")

    def _facts(self) -> dict[str, Any]:
        return {
            "dtype": str(self.placement.dtype).removeprefix("torch."),
            "method": self.method_name,
            "weights": files.digest_of(module_of(self.graphs.module)),
        }

    def _wanted(self, graph: Graph) -> dict[Any, str]:
        """Return the values of a graph that need a scale, with their names; note its layers."""
        chosen, left = weighted(graph, attention=self.placement.attention)
        self.transforms |= any(map(partial(_attends, graph), graph.nodes))
        if self.unmatched is None:
            self.unmatched = set(self.exclude)
        for name, node in list(chosen.items()):
            for pattern in self.exclude:
                if _matches(pattern, node):
                    self.unmatched.discard(pattern)
                    left[name] = "it is excluded"
                    chosen.pop(name, None)
        self.nodes.update(chosen)
        self.left.update(left)
        names = names_of(graph)
        points = points_of(graph, set(chosen.values())) if self.placement.activations else {}
        return {value: names[value] for value in points.values()}

    # Error ----------------------------------------------------------------------------------

    def _outputs(self, batch: Batch, placement: Placement | None) -> list[torch.Tensor]:
        graph, tensors = self.graphs.of(batch)
        if placement is not None:
            graph = placement.applied(graph)
        results, _ = run(graph, tensors, device=self.graphs.device)
        return [result.float() for result in results if result.is_floating_point()]

    def _error(self, kept: Sequence[Batch], expected: Sequence[Any], placement: Placement) -> float:
        """Return the relative L2 of the output that differs most."""
        if not kept:
            return 0.0
        pairs = [
            list(zip(self._outputs(batch, placement), want, strict=True))
            for batch, want in zip(kept, expected, strict=True)
        ]
        found = []
        for output in zip(*pairs, strict=True):
            apart = sum(float((a - b).double().square().sum()) for a, b in output)
            size = sum(float(b.double().square().sum()) for _, b in output)
            found.append((apart / size) ** 0.5 if size else float(apart > 0))
        return max(found, default=0.0)

    def _leave_out(
        self,
        kept: Sequence[Batch],
        expected: Sequence[Any],
        placement: Placement,
        tolerance: float,
    ) -> tuple[Placement, float, list[tuple[str, float]]]:
        """Return a placement that keeps the tolerance, its error, and each layer's trial."""
        name = "leaving one out"
        self._begin(name, len(placement.layers))
        trials = []
        error_of = partial(self._error, kept, expected)
        for step, layer in enumerate(sorted(placement.layers), start=1):
            rest = replace(placement, layers=placement.layers - {layer})
            trials.append((layer, error_of(rest)))
            self._step(name, step)
        self._end(name)
        trials.sort(key=lambda trial: trial[1])
        error = error_of(placement)
        for layer, _ in trials:
            if error <= tolerance:
                break
            placement = replace(placement, layers=placement.layers - {layer})
            error = error_of(placement)
        return placement, error, trials

    # Progress -------------------------------------------------------------------------------

    def _begin(self, name: str, count: int = 0) -> None:
        if self.shown is not None:
            self.shown.phase_start(name, None, count)

    def _step(self, name: str, number: int) -> None:
        if self.shown is not None:
            self.shown.step_complete(name, number - 1)

    def _end(self, name: str) -> None:
        if self.shown is not None:
            self.shown.phase_finish(name)


def _attends(graph: Graph, node: Node) -> bool:
    """Say whether a node is attention, or one of its products."""
    product = isinstance(node.op, MatrixMultiply)
    return isinstance(node.op, Attention) or (
        product and not any(value in graph.constants for value in node.inputs)
    )


def _matches(pattern: str | type, node: Node) -> bool:
    if isinstance(pattern, type):
        return node.origin.module_class in (pattern.__name__, pattern.__qualname__)
    path = node.origin.path
    return path == pattern or path.startswith(f"{pattern}.") or fnmatchcase(path, pattern)


class Eager:
    """Calls a quantized model in PyTorch: a graph for each combination of shapes."""

    def __init__(self, module: Callable[..., Any], placement: Placement) -> None:
        self.graphs, self.placement = Graphs(module, placement.attention), placement
        self.models: dict[Any, CompiledModule] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        signature, _ = self.graphs._signature(args, kwargs)
        key = signature.tree, signature.keys
        if key not in self.models:
            device = self.graphs.device
            graph = self.placement.applied(_trace(self.graphs.module, signature, device))
            self.models[key] = CompiledModule(
                graph, signature, _parameters(self.graphs.module), Reference(graph, device), None
            )
        return self.models[key](*args, **kwargs)
