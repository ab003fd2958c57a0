"""A new engine runs beside its graph before it is given out, and before a cache keeps it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from trtnn.engine.engine import Engine
from trtnn.engine.verified import Measured, Verified
from trtnn.errors import BuildError, VerifyWarning, WrongEngineError
from trtnn.graph.graph import Graph, Node, Value, all_nodes
from trtnn.graph.interpreter import run
from trtnn.ops.movement import Shuffle
from trtnn.ops.plugins import Plugin
from trtnn.run.bars import REFUSED, Results, VagueError, measure, ranked, relative
from trtnn.run.rounding import kind_of, own, widened, without_tf32
from trtnn.run.samples import CPU, draws, require_indices, sizes_of
from trtnn.run.subject import Subject
from trtnn.run.trial import Constants, Runs, runs_of, trial_of
from trtnn.source import warn_user
from trtnn.trt.library import TensorRT

AFTER = (
    "compile with verify=False and give the model to trtnn.check, which names the first node that "
    "differs; another precision, or builder_optimization_level, makes another engine"
)
SECONDS, PART = 1.0, 0.1  # what may be spent: so much, or so large a part of the build
Tensors = Sequence[torch.Tensor]


def why_not(library: TensorRT, device: torch.device) -> str:
    """Return why engines cannot run here; empty where they can."""
    return "" if device.type == "cuda" else f"no GPU here that {library.target.name} runs on"


def verify(engine: Engine, subject: Subject, *, build_seconds: float = 0.0) -> Verified:
    """Run an engine beside its graph, and return what was found.

    One size is always run, others while a tenth of the build's time or a second lasts. Meanwhile
    PyTorch's TF32 is off, in the whole process.

    Raises:
        WrongEngineError: Its results are not those of its graph.
        BuildError: It does not run.
    """
    if why := why_not(engine.library, subject.device):
        return Verified(why=why)
    if drawing := next((n for n in all_nodes(subject.source) if n.op.draws), None):
        found = Verified(why=f"{drawing.label} draws random numbers: no two runs give the same")
        warn_user(f"the engine is not verified: {found.why}", VerifyWarning)
        return found
    plugins = (n.op for n in all_nodes(subject.source) if isinstance(n.op, Plugin))
    if alone := next((op for op in plugins if op.meaning is None), None):
        found = Verified(why=f"{alone.title} has no reference=: nothing to hold it against")
        warn_user(f"the engine is not verified: {found.why}", VerifyWarning)
        return found
    start = time.perf_counter()
    graphs = subject.source, subject.lowered
    try:
        with without_tf32(), torch.autocast(subject.device.type, enabled=False):
            trial, constants = trial_of(engine, graphs, subject.state)
            runs = runs_of(trial, subject.lowered, subject.device)
            examination = Examination(
                subject, constants, runs, refits=engine.refittable is not None
            )
            examination.run(start + max(SECONDS, PART * build_seconds))
        found = examination.result(notes_of(engine.library))
    except (BuildError, torch.OutOfMemoryError) as error:
        if not lacks_memory(error):
            raise
        found = Verified(why=f"no memory for it: {first_line(error)}")
    finally:
        if subject.device.type == "cuda":
            torch.cuda.empty_cache()  # TensorRT's contexts cannot have what PyTorch keeps
    if not found:
        warn_user(f"the engine is not verified: {found.why}", VerifyWarning)
    return replace(found, seconds=time.perf_counter() - start)


def lacks_memory(error: Exception) -> bool:
    """Say whether the GPU had no memory: what a build fitted into may not fit in beside it."""
    text = str(error).lower().replace(" ", "")
    return isinstance(error, torch.OutOfMemoryError) or "outofmemory" in text


def first_line(text: object) -> str:
    return str(text).partition("\n")[0]


def notes_of(library: TensorRT) -> list[str]:
    """Return what an engine's first run does not show of later ones."""
    if library.compiles_kernels and library.runtime.kernel_specialization != "eager":
        return ["its fallback kernels ran; those compiled meanwhile were not looked at"]
    return []


class Examination:
    """Results of an engine and its reference, one size after another.

    Attributes:
        worst: By output and norm.
        vague: Why an output shows nothing, where it never showed anything.
        refused: Why the graph takes no inputs that were tried.
    """

    def __init__(
        self, subject: Subject, constants: Sequence[Constants], runs: Runs, *, refits: bool
    ) -> None:
        self.subject, self.constants, self.runs, self.refits = subject, constants, runs, refits
        self.kind = kind_of(subject.lowered, tf32=subject.tf32)
        self.dtype = torch.float64 if self.kind == "fp32" else torch.float32
        self.ranked = ranked_outputs(subject.source)
        scores = tuple(value for value, _ in self.ranked.values())
        self.reference = replace(subject.source, outputs=(*subject.source.outputs, *scores))
        self.worst: dict[tuple[int, str], Measured] = {}
        self.vague: dict[int, str] = {}
        self.overflows: set[int] = set()
        self.refused = ""
        self.sizes: list[str] = []
        self.notes: list[str] = []

    def run(self, until: float) -> None:
        """Run one size at least, and more until the time is over.

        Raises:
            WrongEngineError: A result is not what it should be.
        """
        graph, given = self.subject.source, self.subject.given
        count = len(graph.inputs)
        if given is not None:
            tensors = [tensor.detach() for tensor in given[:count]]
            self._judge("the given inputs", [tensors], list(given[count:]))
            return
        sizes, start = sizes_of(graph), time.perf_counter()
        for number, (name, each) in enumerate(sizes):
            now = time.perf_counter()
            if number and now + (now - start) / number > until:
                left = "; ".join(other for other, _ in sizes[number:])
                self.notes.append(f"for lack of time not run at {left}")
                return
            hosts = [each[dim.name] for dim in graph.hosts.values()]
            try:
                exact = self._judge(name, draws(graph, each, self.subject.ranges), hosts)
            except (BuildError, torch.OutOfMemoryError) as error:
                if not number or not lacks_memory(error):
                    raise
                self.notes.append(f"no memory to run at {name}")
                warn_user(f"verify: {self.notes[-1]}", VerifyWarning)
                continue
            if self.refused:
                return
            if not number and graph.inputs:
                others = draws(graph, each, self.subject.ranges, seed=2)
                self._require_movement(exact, others, hosts)

    def _judge(self, name: str, tries: Iterable[Tensors], hosts: Sequence[int]) -> Tensors:
        """Compare the results of the first inputs that the graph takes; return the reference's."""
        for inputs in tries:
            try:
                exact, rounded = self._exact(inputs, hosts), self._rounded(inputs, hosts)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # of whatever type: an index, a division, a size
                self.refused = f"the graph refuses the inputs: {first_line(error)}"
                continue
            self.refused = ""
            found = self.runs(self._laid_out(inputs), hosts)
            self.sizes.append(name)
            self._compare(found, exact, rounded)
            self._require_right(name)
            return exact
        return ()

    def _laid_out(self, inputs: Tensors) -> Tensors:
        """Return inputs as an engine reads them: a call that copies them says so itself."""
        graph, made = self.subject.lowered, []
        for value, tensor in zip(graph.inputs, inputs, strict=True):
            form = getattr(torch, graph.formats.get(value.name, "contiguous_format"))
            made.append(tensor.to(self.subject.device).clone(memory_format=form))
        return made

    def _exact(self, inputs: Tensors, hosts: Sequence[int]) -> Tensors:
        """Return the reference's outputs, and what it ranks."""
        source, device = self.subject.source, self.subject.device
        require_indices(source, self.constants[0], [t.to(CPU) for t in inputs], hosts)
        wide, values = widened(self.dtype, device), self.constants[0]
        outputs = run(self.reference, inputs, values, None, hosts, device, compute=wide)[0]
        return [tensor.to(device) for tensor in outputs]

    def _rounded(self, inputs: Tensors, hosts: Sequence[int]) -> Tensors:
        """Return the outputs of the graph in the engine's own types."""
        device, values = self.subject.device, self.constants[1]
        compute = own(device, tf32=self.subject.tf32)
        outputs = run(self.subject.lowered, inputs, values, None, hosts, device, compute=compute)[0]
        return [tensor.to(device) for tensor in outputs]

    def _compare(self, found: Tensors, exact: Tensors, rounded: Tensors) -> None:
        scores = dict(zip(self.ranked, exact[len(found) :], strict=True))
        for index, three in enumerate(zip(found, exact, rounded, strict=False)):
            results = Results(*three)
            if results.overflows():
                self.overflows.add(index)
            try:
                if index in scores:
                    axis = self.ranked[index][1]
                    measured = ranked(index, results, scores[index], axis, self.kind)
                else:
                    measured = measure(index, results, self.kind)
            except VagueError as error:
                if not any(output == index for output, _ in self.worst):
                    self.vague[index] = str(error)
                continue
            self.vague.pop(index, None)
            for one in measured:
                known = self.worst.get((index, one.norm))
                if known is None or one.times > known.times:
                    self.worst[index, one.norm] = one

    def _require_right(self, name: str) -> None:
        wrong = [str(one) for one in self.worst.values() if one.times > REFUSED]
        if not wrong:
            return
        raise WrongEngineError(
            f"verify: TensorRT built an engine that is wrong: at {name}, {'; '.join(wrong)}",
            hint="compile without refit, or with another TensorRT" if self.refits else AFTER,
        )

    def _require_movement(
        self, exact: Tensors, tries: Iterable[Tensors], hosts: Sequence[int]
    ) -> None:
        """Let an output show nothing that other inputs leave as it is: any engine gives it."""
        moving = moved_outputs(self.subject.source)
        for index, (one, other) in enumerate(zip(exact, self._taken(tries, hosts), strict=False)):
            if index not in moving or one.shape != other.shape or index in self.vague:
                continue
            bar = max((m.bar for (o, _), m in self.worst.items() if o == index), default=0.0)
            if one.dtype.is_floating_point and relative(other, one) <= bar:
                self.vague[index] = "hardly moves with the input"

    def _taken(self, tries: Iterable[Tensors], hosts: Sequence[int]) -> Tensors:
        """Return the reference's results of the first inputs that the graph takes, if any."""
        for inputs in tries:
            try:
                return self._exact(inputs, hosts)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # as above
                why = first_line(error)
        self.notes.append(f"whether outputs move is not known: the graph refuses inputs: {why}")
        return ()

    def result(self, notes: Sequence[str] = ()) -> Verified:
        """Return what was found, and warn of what is further off than rounding explains."""
        far = [str(one) for one in self.worst.values() if one.times > 1]
        if far:
            warn_user(
                f"verify: further off than rounding explains: {'; '.join(far)}", VerifyWarning
            )
        if self.overflows:
            which = ", ".join(map(str, sorted(self.overflows)))
            self.notes.append(f"range: not finite in the graph's own types: output {which}")
            warn_user(f"verify: {self.notes[-1]}, nor in PyTorch", VerifyWarning)
        notes = [*self.notes, *notes]
        if self.kind == "int8":
            notes.append("quantized: gross faults only would have been found")
        why = self.refused or "; ".join(f"output {i} {text}" for i, text in self.vague.items())
        return Verified(why, tuple(self.worst.values()), tuple(self.sizes), tuple(notes))


def ranked_outputs(graph: Graph) -> dict[int, tuple[Value, int]]:
    """Return, of each output that holds indices of a ranking, what was ranked, and the axis."""
    makers = {value: node for node in graph.nodes for value in node.outputs}
    found = {}
    for index, value in enumerate(graph.outputs):
        node = makers.get(value)
        while node is not None and (node.op.name in ("Cast", "Identity") or is_reshape(node)):
            value = node.inputs[0]
            node = makers.get(value)
        if node is not None and node.op.name == "TopK" and value is node.outputs[1]:
            found[index] = node.inputs[0], int(vars(node.op)["axis"])
    return found


def is_reshape(node: Node) -> bool:
    """Say whether a node leaves all entries in their order."""
    return isinstance(node.op, Shuffle) and node.op.first is None and node.op.second is None


def moved_outputs(graph: Graph) -> set[int]:
    """Return which outputs are computed from an input's content."""
    known = set(graph.inputs)
    for node in graph.nodes:
        if not known.isdisjoint(node.inputs):
            known.update(node.outputs)
    return {index for index, value in enumerate(graph.outputs) if value in known}
