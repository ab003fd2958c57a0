"""``check``: a model beside its module in float32, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from trtnn.compiled import CompiledModule
from trtnn.compiler import compile as compile_module
from trtnn.engine.verified import Measured
from trtnn.errors import BuildError, InputError, OptionError, UnsupportedError
from trtnn.graph.graph import Graph, Value
from trtnn.lazy import LazyModule
from trtnn.ops.arithmetic import HALVES
from trtnn.ops.masks import depends_on_data
from trtnn.options import BuildOptions
from trtnn.precision.policy import Precision
from trtnn.precision.typing import Typed
from trtnn.run.bars import Results
from trtnn.run.rounding import without_tf32
from trtnn.run.samples import CPU, require_indices
from trtnn.run.verification import ranked_outputs
from trtnn.tools.bisection import collapsed, limited, smallest
from trtnn.tools.findings import CheckReport, NodeFinding
from trtnn.tools.inspection import Inspection, outputs
from trtnn.tools.judging import allowed, judged, worst
from trtnn.tools.recipe import Recipe, Runs, kept_wide

__all__ = ["check"]

MOST_BUILDS, MOST_RUNS = 32, 2000
ENGINE = (
    "the graph is right in the engine's own types: TensorRT's engine computes something else; "
    "another builder_optimization_level, or another TensorRT, makes another engine"
)


def check(
    model: Callable[..., Any],
    *inputs: Any,
    named: Mapping[str, Any] | None = None,
    precision: str | Precision | None = None,
    backend: str = "auto",
    options: BuildOptions | None = None,
    tolerance: float | None = None,
    fix: bool = False,
) -> CheckReport:
    """Say whether a model is right on ``inputs``, and if it is not, where it goes wrong.

    It is held against its graph in float32 without TF32 (``"fp32"``: in float64). If PyTorch shows
    the error too, in the model's own types, it is looked for there: the first node that leaves the
    tolerance, and the modules that must stay in float32, by bisection. If only the engine has it,
    each trial is a build, at most 32, none of which is cached; and an engine that shows what is
    between its modules as well, by debug tensors where TensorRT has them, names the first that
    differs, if it is wrong in the same way.

    Args:
        model: What ``compile`` gave, or a module, which is then compiled with ``precision``,
            ``backend`` and ``options``, for these very inputs.
        inputs: The arguments of a call.
        named: Those that are given by name.
        tolerance: The largest error that is right: relative L2 of an output. None: what ``verify``
            allows, where rounding counts as 0.01 at most in half and TF32, 0.05 in bf16.
        fix: Find the smallest set of modules to keep in float32, and the precision that says so.

    Raises:
        OptionError: A value that is none of these, or that only a module takes.
        InputError: ``inputs`` do not fit, or an index among them is out of range.
        UnsupportedError: The model was loaded or moved, or has other weights than its module.

    >>> x = torch.full((1, 4), 100.0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4))
    >>> _ = torch.nn.init.constant_(net[0].weight, 500.0)
    >>> asked = Precision("fp16", ranges=False)
    >>> report = check(net, x, precision=asked, backend="reference", fix=True)
    >>> report.node.label, report.modules
    ('0/MatrixMultiply', ('0', '1'))
    """
    require_tolerance(tolerance)
    told = {"precision": precision, "options": options}
    told["backend"] = None if backend == "auto" else backend
    compiled = _compiled(model, inputs, dict(named or {}), told)
    recipe = recipe_of(compiled, "check")
    arguments = compiled._caller.arguments(inputs, dict(named or {}))
    device = compiled._runner.device
    with without_tf32(), torch.autocast(device.type, enabled=False):
        return Check(recipe, compiled._runner, arguments, tolerance).report(fix=fix)


def require_tolerance(tolerance: Any) -> None:
    """Raise OptionError unless it is None, or a number above 0."""
    right = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if tolerance is not None and not (right and tolerance > 0):
        raise OptionError(f"tolerance: expected a number above 0, got {tolerance!r}")


def _compiled(
    model: Any, inputs: tuple[Any, ...], named: dict[str, Any], told: dict[str, Any]
) -> CompiledModule:
    """Return the one model of a call."""
    given = {name: value for name, value in told.items() if value is not None}
    if isinstance(model, CompiledModule):
        refuse_told(given)
    elif not callable(model):
        raise OptionError(f"model: expected a module, or what compile gave, got {model!r}")
    else:
        model = compile_module(model, verify=False, **given)
    return model._model(inputs, named) if isinstance(model, LazyModule) else model


def refuse_told(given: Mapping[str, Any]) -> None:
    """Raise OptionError where something is said of how to compile a model that is compiled."""
    if given:
        raise OptionError(
            f"{next(iter(given))}: the model is compiled already",
            hint="leave it out, or give the module",
        )


def recipe_of(compiled: CompiledModule, what: str) -> Recipe:
    """Return what a model was made of.

    Raises:
        UnsupportedError: It was loaded or moved, or has other weights than its module.
    """
    recipe = compiled._recipe
    why = recipe.stale if recipe is not None else "it was loaded, or moved to another GPU"
    if recipe is None or why:
        raise UnsupportedError(
            f"{what}: there is no graph to hold the model against: {why}",
            hint=f"give {what} the module: it is compiled as it is now",
        )
    return recipe


class Check:
    """One model on one call's arguments."""

    def __init__(
        self, recipe: Recipe, runner: Any, arguments: Sequence[Any], tolerance: float | None
    ) -> None:
        self.recipe, self.runner, self.tolerance = recipe, runner, tolerance
        self.arguments, self.device = list(arguments), runner.device
        self.precision = recipe.precision
        count = len(recipe.graph.inputs)
        self.inputs, self.hosts = self.arguments[:count], self.arguments[count:]
        self.trials = 0

    def report(self, *, fix: bool) -> CheckReport:
        """Run the model, look for what is wrong with it, and for what repairs it."""
        found = self.found()
        wrong = worst(found.measured)
        if wrong is None or wrong.times <= 1:
            return found
        return self._repaired(found, self.seen.typed, fix=fix)

    def found(self) -> CheckReport:
        """Run the model, and say what is wrong with it, and where."""
        self.runner.sizes(self.arguments)  # says by name what does not fit
        self._require_indices()
        typed = self.recipe.typed(self.precision)
        tf32 = self.recipe.tf32(self.precision)
        self.seen = Inspection(typed, self.inputs, self.hosts, self.device, tf32=tf32)
        self.exact, rounded = self.seen.outputs()
        measured = self._judged(self._run(self.runner), rounded, self.seen.kind)
        wrong = worst(measured)
        if wrong is None or wrong.times <= 1:
            return self._within(tuple(measured))
        alone = self._judged(rounded, rounded, self.seen.kind)
        reproduced = any(one.times > 1 for one in alone if one.output == wrong.output)
        if reproduced:
            limit = self.tolerance or allowed(self.seen.kind)
            node, text = self.seen.parting(wrong.output, limit), "is the first node beyond it"
        else:
            node, text = self._marked(typed)
        finding = f"{wrong}: {node.label if node is not None else 'the engine'} {text}"
        notes = () if reproduced else (ENGINE,)
        return CheckReport(finding, tuple(measured), node, reproduced, notes=notes)

    def _require_indices(self) -> None:
        graph = self.recipe.graph
        constants = {value: c.tensor.detach() for value, c in graph.constants.items()}
        try:
            require_indices(graph, constants, [t.to(CPU) for t in self.inputs], self.hosts)
        except (IndexError, RuntimeError) as error:
            raise InputError(
                f"inputs: the graph refuses them: {str(error).splitlines()[0]}",
                hint="an engine raises nothing for an index out of range: give others",
            ) from error

    def _run(self, runner: Runs) -> list[torch.Tensor]:
        return [tensor.to(CPU) for tensor in runner(self.arguments)[0]]

    def _judged(
        self, found: Sequence[torch.Tensor], rounded: Sequence[torch.Tensor], kind: str
    ) -> list[Measured]:
        ranked = ranked_outputs(self.seen.source)
        scores = {i: (self.seen.exact[value], axis) for i, (value, axis) in ranked.items()}
        results = map(Results, found, self.exact, rounded)
        return [
            one
            for index, three in enumerate(results)
            for one in judged(index, three, kind, self.tolerance, scores)
        ]

    def _within(self, measured: tuple[Measured, ...]) -> CheckReport:
        """Return the report where no output is further off than it may be."""
        for index in range(len(self.exact)):
            node = self.seen.not_finite(index)
            if node is not None:
                text = f"output {index} is not finite in float32 either: {node.label} makes it so"
                return CheckReport(text, measured, node)
        return CheckReport("every output is within the tolerance", measured, passed=True)

    # What only the engine has ------------------------------------------------------------------

    def _marked(self, typed: Typed) -> tuple[NodeFinding | None, str]:
        """Return where an engine that gives what is between modules differs from the graph."""
        marks, count = marked(typed), len(typed.graph.outputs)
        results, way = self._marked_results(typed.graph, [self.seen.now(v) for v in marks])
        if results is None:
            return None, f"is wrong; with values marked as {way} it does not run"
        _, rounded = self.seen.outputs()
        kind, seen = self.seen.kind, self.seen
        if not any(one.times > 1 for one in self._judged(results[:count], rounded, kind)):
            return None, f"is wrong, and right with values between modules marked as {way}"
        for value, found in zip(marks, results[count:], strict=True):
            three = Results(found, seen.exact[value], seen.own[seen.now(value)])
            if any(one.times > 1 for one in judged(0, three, kind, self.tolerance, {})):
                node = seen.maker[value]
                advice = "up to the border of the module before it, the engine is right"
                return seen.finding(node, advice), "is the first border of a module that is wrong"
        return None, "is wrong after the last border of a module"

    def _marked_results(
        self, graph: Graph, wanted: Sequence[Value]
    ) -> tuple[list[torch.Tensor] | None, str]:
        """Return the outputs and marked values, None where no way to have them runs; and the way.

        Debug tensors leave the outputs of the network as they are; 8.6 has outputs alone.
        """
        assert self.recipe.build is not None and self.recipe.library is not None
        marked = replace(graph, outputs=(*graph.outputs, *wanted))
        ways = {"outputs": 0}
        if wanted and self.recipe.library.target.debug_tensors:
            ways = {"debug tensors": len(wanted), **ways}
        for way, debug in ways.items():
            try:
                return self._run(self.recipe.build(marked, self.precision, debug=debug)), way
            except BuildError:
                continue
        return None, way

    def _build(self, graph: Any, precision: Precision | None = None) -> Runs:
        assert self.recipe.build is not None
        return self.recipe.build(graph, precision or self.precision)

    # What repairs it ---------------------------------------------------------------------------

    def _repaired(self, found: CheckReport, typed: Typed, *, fix: bool) -> CheckReport:
        candidates = halves(typed)
        if not candidates:
            return self._in_fp32(found, fix=fix)
        most = MOST_RUNS if found.reproduced else MOST_BUILDS

        def holds(paths: Sequence[str]) -> bool:
            return self._holds(kept_wide(self.precision, paths), engine=not found.reproduced)

        kept = smallest(candidates, limited(holds, most), first=not fix)
        if kept is None:
            note = (
                "with all modules in float32 it is wrong too: what they are computed in is not "
                "what is wrong"
            )
            return replace(found, notes=(*found.notes, note), trials=self.trials)
        paths = collapsed(kept, candidates)
        found = replace(found, modules=tuple(paths), trials=self.trials)
        if not fix:
            return found
        found = replace(found, precision=kept_wide(self.precision, paths))
        return self._confirmed(found)

    def _in_fp32(self, found: CheckReport, *, fix: bool) -> CheckReport:
        """Return whether float32 without TF32 is right, where nothing has 16 bits."""
        if self.recipe.tf32(self.precision):
            wide = replace(self.precision, dtype="fp32")
            if self._holds(wide, engine=not found.reproduced):
                note = 'precision="fp32", which multiplies without TF32, brings it within'
                found = replace(found, precision=wide if fix else None)
                return replace(found, notes=(*found.notes, note), trials=self.trials)
        return replace(found, trials=self.trials)

    def _confirmed(self, found: CheckReport) -> CheckReport:
        """Return whether an engine of the precision that was found is right."""
        assert found.precision is not None
        if self.recipe.build is None or not found.reproduced:
            return found
        right = self._holds(found.precision, engine=True)
        note = "an engine that was built so is right" if right else "an engine built so is not yet"
        return replace(found, notes=(*found.notes, note))

    def _holds(self, precision: Precision, *, engine: bool) -> bool:
        """Say whether the model would be right in a precision."""
        self.trials += 1
        typed, tf32 = self.recipe.typed(precision), self.recipe.tf32(precision)
        rounded = outputs(typed.graph, self.inputs, self.hosts, self.device, tf32=tf32)
        found = self._run(self._build(typed.graph, precision)) if engine else rounded
        # The bar stays what it was for the precision that was asked for.
        return all(one.times <= 1 for one in self._judged(found, rounded, self.seen.kind))


def halves(typed: Typed) -> list[str]:
    """Return the paths of the modules that have values of 16 bits, in order of execution."""
    return list(
        dict.fromkeys(
            node.origin.path
            for node in typed.graph.nodes
            if any(v.spec.dtype in HALVES for v in (*node.inputs, *node.outputs))
        )
    )


def marked(typed: Typed) -> list[Value]:
    """Return the float values that pass from one module to another, and are computed."""
    graph, source = typed.graph, typed.source
    computed = {value for node in graph.nodes for value in node.outputs} - set(graph.outputs)
    path = {value: node.origin.path for node in source.nodes for value in node.outputs}
    found: dict[Value, None] = {}
    for node in source.nodes:
        for value in node.inputs:
            if path.get(value, node.origin.path) == node.origin.path:
                continue
            now = typed.values.get(value, value)
            fits = value.spec.dtype.is_floating_point and not depends_on_data(*now.spec.shape)
            if now in computed and fits:
                found[value] = None
    return list(found)
