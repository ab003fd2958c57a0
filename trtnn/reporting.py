"""``report``: what an engine does wrong, or that there is none, in one file for those who mend."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trtnn.building import build_ahead
from trtnn.checking import Check, recipe_of, refuse_told, require_tolerance
from trtnn.compiled import CompiledModule
from trtnn.compiler import prepare
from trtnn.errors import BuildError, InputError, OptionError, TrtnnError, UnsupportedError
from trtnn.graph.graph import Graph, Value
from trtnn.lazy import LazyModule
from trtnn.options import BuildOptions
from trtnn.precision.policy import Precision
from trtnn.run.arguments import call_leaves
from trtnn.run.calling import refuse_traced
from trtnn.run.reference import Reference
from trtnn.run.rounding import without_tf32
from trtnn.saved.description import gpu_of, versions_of
from trtnn.saved.fit import platform_of
from trtnn.settings import choose, library_for, place_for, settings_of
from trtnn.tools.bisection import limited, smallest
from trtnn.tools.bundle import FORMAT, SCRIPT, Kept, Report, new_file, write
from trtnn.tools.cutting import Cutter, Part
from trtnn.tools.failing import ENGINE, NONE, REFUSED, TYPES, Make, Outcome, Trials
from trtnn.tools.findings import CheckReport
from trtnn.tools.inspection import label_of
from trtnn.tools.judging import worst
from trtnn.tools.recipe import Recipe, Runs
from trtnn.tools.script import script_of
from trtnn.tools.stand_ins import SMALL, with_stand_ins
from trtnn.tracing.forward import _parameters, unwrapped
from trtnn.tracing.signature import from_arguments
from trtnn.trt.identity import RTX, TENSORRT
from trtnn.trt.library import TensorRT
from trtnn.trt.recording import Recorder

__all__ = ["report"]

MOST_BUILDS, MOST_RUNS, SEED = 32, 2000, 0


def report(
    model: Callable[..., Any],
    *inputs: Any,
    path: str | os.PathLike[str],
    named: Mapping[str, Any] | None = None,
    precision: str | Precision | None = None,
    backend: str = "auto",
    options: BuildOptions | None = None,
    tolerance: float | None = None,
    weights: bool = False,
) -> Report:
    """Write what is wrong with a model to one zip file: its smallest part that fails, to be sent.

    What fails is what TensorRT refuses to build or to run, or what ``check`` finds to be wrong: the
    engine, or the model's own types. The graph is then cut smaller around it, on the values that
    the call had at the cuts, as long as the failure stays: by bisection, in at most 32 builds, none
    of which is cached (in 2000 runs of PyTorch where it shows the error too). Where nothing fails,
    the report says so, and holds the whole graph.

    The file holds the part as a script of TensorRT's own calls, recorded from our lowering, which
    needs TensorRT and NumPy alone; as a graph, which ``Report.load`` reads and the reference runs;
    its inputs, PyTorch's outputs and the engine's; versions, GPU and options; TensorRT's log.
    **No weights** are in it, unless ``weights`` says so: constants that follow from the module's
    parameters and buffers, and others of more than 16 entries, are random, of the same scale, from
    seed 0. The manifest names them, and says whether the failure is still seen. What the call gave,
    and made of it at the cuts, is in it.

    TensorRT for RTX builds without a GPU: there a report finds what it refuses, and runs nothing.

    Args:
        model: What ``compile`` gave, or a module, as ``check`` takes it; for a model that is not
            built, the module.
        inputs: The arguments of a call.
        path: The zip file, which must not be there yet.
        named: Arguments that are given by name.
        precision: As ``compile`` takes it, for a module; likewise the next two.
        backend: One of ``compile``'s.
        options: What TensorRT's builder is told.
        tolerance: As ``check`` takes it.
        weights: Keep all constants as they are.

    Raises:
        OptionError: A value that is none of these, or that only a module takes; a file that is
            there already, or no folder for it.
        InputError: ``inputs`` do not fit, or an index among them is out of range.
        UnsupportedError: The model was loaded or moved, or has other weights than its module; or
            it computes nothing from its inputs.
        OSError: The folder cannot be written.

    >>> import tempfile
    >>> x = torch.full((1, 4), 100.0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Softmax(-1))
    >>> _ = torch.nn.init.constant_(net[0].weight, 500.0)
    >>> asked = Precision("fp16", ranges=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = report(net, x, path=f"{folder}/net.zip", precision=asked, backend="reference")
    ...     read = Report.load(made.path)
    >>> made.manifest["how"], made.manifest["held"]["labels"], made.manifest["seen"]
    ('types', ['0/MatrixMultiply'], True)
    >>> bool(read.run()[0].isinf().all()), bool(read.expected[0].isfinite().all())
    (True, True)
    """
    place = new_file(path)
    require_tolerance(tolerance)
    choose("backend", backend, ("auto", TENSORRT, RTX, "reference"))
    if type(weights) is not bool:
        raise OptionError(f"weights: expected True or False, got {weights!r}")
    told = {"precision": precision, "options": options}
    told["backend"] = None if backend == "auto" else backend
    given = {name: value for name, value in told.items() if value is not None}
    call = _call(model, inputs, dict(named or {}), given)
    with without_tf32(), torch.autocast(call.device.type, enabled=False):
        return Reporting(call, tolerance).report(place, weights=weights)


@dataclass(frozen=True, eq=False)
class Subject:
    """One model on one call's arguments.

    Attributes:
        runner: What runs the model; None of a module, which is not built yet.
        ahead: Whether it is built where no GPU runs it.
    """

    recipe: Recipe
    device: torch.device
    arguments: list[Any]
    runner: Any = None
    ahead: bool = False


def _call(
    model: Any, inputs: tuple[Any, ...], named: dict[str, Any], given: Mapping[str, Any]
) -> Subject:
    """Return what is reported of; ``given`` is said of how a module is compiled."""
    if isinstance(model, CompiledModule):
        refuse_told(given)
        model = model._model(inputs, named) if isinstance(model, LazyModule) else model
        recipe, runner = recipe_of(model, "report"), model._runner
        arguments = list(model._caller.arguments(inputs, named))
        return Subject(recipe, runner.device, arguments, runner)
    if not callable(model):
        raise OptionError(f"model: expected a module, or what compile gave, got {model!r}")
    refuse_traced()
    module, backend = unwrapped(model), given.get("backend", "auto")
    settings = settings_of(
        given.get("options"),
        None,
        given.get("precision", "tf32"),
        "always",
        cache=False,
        progress=None,
        execution="sync",
        verify=False,
    )
    ahead = backend == RTX and not torch.cuda.is_available()
    library = TensorRT(log_level=settings.options.log_level, package=RTX) if ahead else None
    if library is not None:
        library.check_options(settings.options)
    else:
        library = library_for(backend, settings)
    device = place_for(module, None, None if ahead else library)
    parameters = _parameters(module)
    try:
        signature = from_arguments(parameters.bind(*inputs, **named), named)
    except TypeError as error:
        raise InputError(f"call: {error}") from None
    _, signature, recipe = prepare(module, settings, library, device, signature)
    arguments = call_leaves(signature, parameters, inputs, named)
    return Subject(recipe, device, arguments, None, ahead)


class Reporting:
    """What fails of a model, cut as small as it goes."""

    def __init__(self, subject: Subject, tolerance: float | None) -> None:
        self.subject, self.recipe, self.tolerance = subject, subject.recipe, tolerance
        self.precision = self.recipe.precision
        tf32 = self.recipe.tf32(self.precision)
        self.trials = Trials(subject.device, tolerance, tf32=tf32)
        self.count = 0
        self.refusal: BuildError | None = None
        self.notes: list[str] = []

    def report(self, place: Path, *, weights: bool) -> Report:
        """Look for what fails, and write it."""
        check, found = self._found()
        self.graph = check.seen.typed.graph
        self.how = self._how(found)
        self.make = self._make(self.recipe.library)
        hosts = check.hosts
        cutter, places = self._smallest(check.seen.own, hosts, found)
        part = cutter.part(places)
        if part is None:
            raise UnsupportedError("report: the model computes nothing from its inputs")
        key_of = {v: c.key for v, c in part.graph.constants.items()}
        graph, random = (part.graph, ()) if weights else with_stand_ins(part.graph, SEED)
        part = replace(part, graph=graph)
        kept = Kept()
        outcome, recorder, log = self._last(part, kept)
        finding = self._finding(found)
        manifest = {
            "format": FORMAT,
            "how": self.how,
            "finding": finding,
            "notes": [*found.notes, *self.notes],
            **self._shown(part.graph, outcome),
            "constants": {
                "random": [_constant(value, key_of[value]) for value in random],
                "seed": SEED,
                "more_entries_than": SMALL,
            },
            **self._surroundings(),
        }
        script = None if recorder is None else self._script(recorder, finding)
        tensors = part.inputs, part.hosts, outcome.expected, outcome.found
        made = Report(str(place), finding, manifest, graph, *tensors)
        write(made, kept, script, log)
        return made

    def _found(self) -> tuple[Check, CheckReport]:
        """Return what ``check`` finds; a refusal of TensorRT is kept, and PyTorch runs instead."""
        runner, make = self.subject.runner, self._make(self.recipe.library)
        graph = self.recipe.typed(self.precision).graph
        try:
            if runner is None and make is not None:
                runner = make(graph)
            check = self._check(graph, runner)
            return check, check.found()
        except BuildError as error:
            self.refusal = error
            check = self._check(graph, None)
            return check, check.found()

    def _check(self, graph: Graph, runner: Any) -> Check:
        runs = Reference(graph, self.subject.device) if runner is None else runner
        return Check(self.recipe, runs, self.subject.arguments, self.tolerance)

    def _how(self, found: CheckReport) -> str:
        wrong = worst(found.measured)
        if self.refusal is not None:
            return REFUSED
        if wrong is None or wrong.times <= 1:
            return NONE
        return TYPES if found.reproduced else ENGINE

    def _finding(self, found: CheckReport) -> str:
        if self.refusal is not None:
            return self.refusal.message
        if self.how == NONE and self.subject.ahead and self.recipe.library is not None:
            return f"{self.recipe.library.target.name} builds it; nothing ran: there is no GPU here"
        return found.finding

    def _shown(self, graph: Graph, outcome: Outcome) -> dict[str, Any]:
        """Return what the manifest says of the part, and of the failure in it."""
        measured = outcome.alone if self.how == TYPES else outcome.measured
        sizes = "static"
        if self.graph.dims:
            sizes = "as declared" if graph.dims else "of the call"
        return {
            "seen": outcome.fails(self.how, self.refusal),
            "measured": [str(one) for one in measured],
            "held": {
                "nodes": len(graph.nodes),
                "of": len(self.graph.nodes),
                "labels": [label_of(node) for node in graph.nodes],
                "sizes": sizes,
                "trials": self.count,
            },
        }

    def _make(self, library: TensorRT | None) -> Make | None:
        """Return what builds a graph; None on the reference."""
        if library is None:
            return None
        if self.subject.ahead:
            return partial(self._ahead, library)
        assert self.recipe.build is not None
        return partial(self.recipe.build, precision=self.precision, other=library)

    def _ahead(self, library: TensorRT, graph: Graph) -> Runs | None:
        asked = self.precision
        options, tf32 = self.recipe.options, asked.uses_tf32
        build_ahead(graph, library, options, tf32=tf32, accumulate=asked.accumulate)
        return None

    # The smallest part -------------------------------------------------------------------------

    def _smallest(
        self, values: Mapping[Value, torch.Tensor], hosts: Sequence[int], found: CheckReport
    ) -> tuple[Cutter, Sequence[int]]:
        """Return the fewest nodes that fail, and what cuts them out; all where nothing fails.

        The sizes of the call are tried before those that are declared: they are simpler.
        """
        every = range(len(self.graph.nodes))
        most = MOST_RUNS if self.how == TYPES else MOST_BUILDS
        forms = (True, False) if self.graph.dims else (False,)
        for fixed in forms if self.how != NONE else ():
            cutter = Cutter(self.graph, values, hosts, fixed=fixed)
            holds = limited(partial(self._fails, cutter), most - self.count)
            places = next(filter(holds, self._guesses(found)), every)
            kept = smallest(places, holds)
            if kept is not None:
                return cutter, kept
        if self.how != NONE:
            self.notes.append("it is not seen when the graph is built once more, and held whole")
        return Cutter(self.graph, values, hosts, fixed=False), every

    def _guesses(self, found: CheckReport) -> list[list[int]]:
        """Return where the failure may be: the node that is named, and its module."""
        text = self.refusal.message if self.refusal is not None else ""
        nodes = list(enumerate(self.graph.nodes))
        named = [i for i, n in nodes if n.label in text and n.origin.path]
        if self.refusal is None and found.node is not None:
            named = [i for i, n in nodes if label_of(n) == found.node.label]
        paths = {self.graph.nodes[i].origin.path for i in named}
        return [named, [i for i, n in nodes if n.origin.path in paths]] if named else []

    def _fails(self, cutter: Cutter, places: Sequence[int]) -> bool:
        self.count += 1
        try:
            part = cutter.part(places)
            if part is None:
                return False
            outcome = self.trials.outcome(part, None if self.how == TYPES else self.make)
        except TrtnnError:  # such a part is no network: a size or a type that it cannot have
            return False
        return outcome.fails(self.how, self.refusal)

    # The file ----------------------------------------------------------------------------------

    def _last(self, part: Part, kept: Kept) -> tuple[Outcome, Recorder | None, list[str]]:
        """Build and run a part once more, and write down TensorRT's calls and log."""
        library = self.recipe.library
        if library is None:
            return self.trials.outcome(part, None), None, []
        recorder = Recorder(library, kept.content)
        with library.log.keep() as lines:
            outcome = self.trials.outcome(part, self._make(recorder))
        return outcome, recorder, lines

    def _script(self, recorder: Recorder, finding: str) -> str:
        target = recorder.target
        named = {"tensorrt": target.name, "package": target.package}
        versions = {"trtnn": str(versions_of(None)["trtnn"]), **named}
        title = finding.splitlines()[0].replace("\\", "/").replace('"', "'")
        return script_of(title, SCRIPT, versions, recorder.lines, whole=recorder.built)

    def _surroundings(self) -> dict[str, Any]:
        """Return what the failure may depend on beside the graph."""
        return {
            "versions": versions_of(self.recipe.library),
            "platform": {**platform_of(), "release": platform.platform()},
            "gpu": gpu_of(self.subject.device),
            "precision": str(self.precision),
            "tf32": self.trials.tf32,
            "options": self.recipe.options.describe(),
        }


def _constant(value: Value, key: str | None) -> dict[str, Any]:
    """Return what the manifest says of a constant that is random."""
    shape = [int(size) for size in value.spec.shape]  # type: ignore[arg-type]
    dtype = str(value.spec.dtype).removeprefix("torch.")
    return {"name": value.name, "key": key, "dtype": dtype, "shape": shape}
