"""The builder of TensorRT for RTX: NVIDIA's own, which needs no GPU, given rows and graphs.

``build`` lowers a graph, compares every tensor that TensorRT made with the graph's, and serializes
an engine for one GPU. Rows go to a child process, for the library may die of what it is given:
``run_rows`` then starts another, and halves what was being built until one row has the blame.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch

import trtnn
from tests.layout import ROOT
from tests.ops.test_ops import dims_of, lower_watched, traced
from tests.rows import Row, Sample, all_rows, prepare
from trtnn.compiler import optimize
from trtnn.engine.builder import profile_shapes
from trtnn.errors import UnsupportedError
from trtnn.graph.graph import Graph, Value
from trtnn.lower.network import Net
from trtnn.options import BuildOptions
from trtnn.sizes.dims import Dim
from trtnn.sizes.profiles import count_profiles, profile_of
from trtnn.trt.identity import RTX, is_installed
from trtnn.trt.library import TensorRT

ABSENT = not any(map(is_installed, (RTX, f"{RTX}_bindings")))
needs_builder = pytest.mark.skipif(ABSENT, reason="needs the tensorrt-rtx package")
GPU = ("8.9",)  # takes all types but FP4
# What this builder lacks and TensorRT has, by op: such rows are refused, at the user's line.
LACKS = {
    "Plugin": r'TensorRT for RTX .* has no plugins(.|\n)*\n  at .*(.|\n)*backend="tensorrt"',
    "NonZero": r'TensorRT for RTX .* has no NonZero(.|\n)*\n  at .*(.|\n)*backend="tensorrt"',
}
HALF, BFLOAT, FLOAT = torch.float16, torch.bfloat16, torch.float32
VARIANTS: dict[str, dict[torch.dtype, torch.dtype]] = {
    "as it stands": {},
    "float16": {FLOAT: HALF},
    "bfloat16": {FLOAT: BFLOAT},
    "float32": {HALF: FLOAT, BFLOAT: FLOAT},
    "int32": {torch.int64: torch.int32},
    "int64": {torch.int32: torch.int64},
}


@cache
def library() -> TensorRT:
    return TensorRT(package=RTX)


def build(graph: Graph, *, accumulate: str | None = None) -> bytes:
    """Return the plan of a graph, all of whose tensors are what the graph says."""
    trt = library()
    builder = trt.builder()
    network = trt.network(builder)
    lowered = optimize(graph, trt, accumulate=accumulate)
    net, tensors = lower_watched(lowered, trt, network)
    compare(net, lowered, tensors)
    config = trt.config(builder, BuildOptions(), tf32=True, half=net.half, capabilities=GPU)
    for index in range(count_profiles(graph.dims)):
        integers = {name: profile_of(dim, index) for name, dim in net.shape_inputs().items()}
        shapes = profile_shapes(graph, index)
        if integers:
            trt.profile(builder, config, shapes, integers)
        elif shapes:
            trt.profile(builder, config, shapes)
    plan, _ = trt.build(builder, network, config)
    return bytes(plan)


def compare(net: Net, graph: Graph, tensors: list[tuple[Value, Any]]) -> None:
    """Compare dtype, rank and static sizes of all that TensorRT made with the graph's."""
    inside = [(value, tensor, net.kind(value.spec.dtype)) for value, tensor in tensors]
    ports = [net.network.get_input(i) for i in range(net.network.num_inputs)]
    given = {tensor.name: tensor for tensor in ports}
    border = [(v, given[v.name]) for v in graph.inputs]
    border += [(v, net.network.get_output(i)) for i, v in enumerate(graph.outputs)]
    names = [str(v.spec.dtype).removeprefix("torch.") for v, _ in border]
    outside = [(*pair, net.library.dtype(n)) for pair, n in zip(border, names, strict=True)]
    for value, tensor, dtype in inside + outside:
        assert tensor.dtype == dtype, f"{value} {value.spec} is {tensor.dtype}, not {dtype}"
        sizes = [size if isinstance(size, int) else -1 for size in value.spec.shape]
        assert list(tensor.shape) == sizes, f"{value} {value.spec} has sizes {tensor.shape}"


def merged(graphs: Sequence[Graph]) -> Graph:
    """Return one graph that computes what several do, of inputs of its own for each."""
    inputs: list[Value] = []
    result = Graph((), (), (), {})
    for index, graph in enumerate(graphs):
        own = {v: Value(f"g{index}_{v.name}", v.spec) for v in graph.inputs}
        inputs += own.values()
        nodes = [
            replace(node, inputs=tuple(own.get(v, v) for v in node.inputs)) for node in graph.nodes
        ]
        result = replace(
            result,
            nodes=(*result.nodes, *nodes),
            outputs=(*result.outputs, *(own.get(v, v) for v in graph.outputs)),
            constants=result.constants | {v: replace(c, slot=None) for v, c in _constants(graph)},
            dims=tuple({d.name: d for d in (*result.dims, *graph.dims)}.values()),
        )
    return replace(result, inputs=tuple(inputs))


def _constants(graph: Graph) -> Any:
    return graph.constants.items()


# Rows ---------------------------------------------------------------------------------------------


def variant_of(row: Row, kinds: dict[torch.dtype, torch.dtype]) -> Row | None:
    """Return a row whose inputs and constants are of other types; None where that changes none."""
    changed = False

    def change(x: Any) -> Any:
        nonlocal changed
        if isinstance(x, (tuple, list)):
            return type(x)(map(change, x))
        if isinstance(x, Sample) and x.dtype in kinds:
            changed = True
            return replace(x, dtype=kinds[x.dtype])
        return x

    args = [change(a) for a in row.args]
    kwargs = {key: change(value) for key, value in row.kwargs.items()}
    expecting = {"unsupported": row.unsupported, "name": row.name}
    made = Row(row.function, *args, **kwargs, **expecting)
    return made if changed else None


def torch_takes(row: Row) -> bool:
    """Say whether PyTorch runs a row on the CPU."""
    inputs, call = prepare(row)
    generator = torch.Generator().manual_seed(11)
    opt = {d.name: d.opt for d in dims_of(inputs)}
    try:
        call(row.function, [x.make(opt, generator) for x in inputs])
    except (RuntimeError, NotImplementedError, IndexError, TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Ready:
    """A row that PyTorch takes, and its graph; ``refusal`` is what the builder says of it."""

    name: str
    graph: Graph
    refusal: str | None


def ready(name: str, variant: str) -> Ready | str:
    """Return a row's variant, traced; or why there is none."""
    row: Row | None = dict(all_rows())[name]
    assert row is not None
    if kinds := VARIANTS[variant]:
        row = variant_of(row, kinds)
        if row is None:
            return "no such type"
        if not torch_takes(row):
            return "PyTorch refuses"
    try:
        graph = traced(row)[0]
    except trtnn.TrtnnError as error:
        return f"does not trace: {error}"
    lacks = [LACKS[node.op.name] for node in graph.nodes if node.op.name in LACKS]
    return Ready(name, graph, row.unsupported.get("rtx") or next(iter(lacks), None))


def groups_of(rows: Sequence[Ready], size: int) -> Iterator[list[Ready]]:
    """Yield rows that fit into one graph; what is refused stands alone."""
    group: list[Ready] = []
    dims: dict[str, Dim] = {}
    for row in rows:
        clash = any(dims.get(d.name, d).profiles != d.profiles for d in row.graph.dims)
        if row.refusal is not None:
            yield [row]
            continue
        if len(group) == size or clash:
            yield group
            group, dims = [], {}
        group.append(row)
        dims |= {d.name: d for d in row.graph.dims}
    if group:
        yield group


def judge(group: Sequence[Ready]) -> dict[str, str]:
    """Build rows as one graph; return what became of each, halving a group that fails."""
    refusal = group[0].refusal
    try:
        build(group[0].graph if len(group) == 1 else merged([row.graph for row in group]))
    except UnsupportedError as error:
        if refusal is not None and re.search(refusal, str(error)):
            return {group[0].name: f"refused: {error.message}"}
        failure: Exception = error
    except Exception as error:
        failure = error
    else:
        return {row.name: "built" if refusal is None else "was to be refused" for row in group}
    if len(group) == 1:
        return {group[0].name: f"{type(failure).__name__}: {failure}"}
    middle = len(group) // 2
    return judge(group[:middle]) | judge(group[middle:])


# In a child process -------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What became of rows, by name."""

    said: dict[str, str] = field(default_factory=dict)

    def of(self, start: str) -> dict[str, str]:
        return {name: text for name, text in self.said.items() if text.startswith(start)}

    @property
    def failed(self) -> dict[str, str]:
        fine = ("built", "refused", "no such type", "PyTorch refuses", "does not trace")
        return {name: text for name, text in self.said.items() if not text.startswith(fine)}

    def __str__(self) -> str:
        starts = ("built", "refused", "no such type", "PyTorch refuses", "does not trace")
        counts = ", ".join(f"{len(self.of(start))} {start}" for start in starts)
        return f"{len(self.said)} rows: {counts}, {len(self.failed)} failed"


def run_rows(variant: str, names: Sequence[str], size: int, *, dies: str = "") -> Outcome:
    """Build a variant of rows, ``size`` at once, in processes that may die.

    ``dies`` is a row at which the process aborts, as a fault of the library would make it.
    """
    outcome = Outcome()
    groups = [list(names)]
    while groups:
        asked = {"variant": variant, "groups": groups, "size": size, "dies": dies}
        code, begun, errors = _child(asked, outcome)
        if code == 0:
            break
        left = [[n for n in group if n not in outcome.said] for group in groups]
        suspects = [n for n in begun if n not in outcome.said]
        if len(suspects) < 2:
            name = suspects[0] if suspects else f"none of {len(names)} rows"
            outcome.said[name] = f"the process died ({_cause(code)}): {errors[-2000:]}"
        middle = (len(suspects) + 1) // 2
        halves = [suspects[:middle], suspects[middle:]] if len(suspects) > 1 else []
        rest = [[n for n in g if n not in begun] for g in left] if suspects else []
        groups = [group for group in (*halves, *rest) if group]
    return outcome


def _child(asked: dict[str, Any], outcome: Outcome) -> tuple[int, list[str], str]:
    """Run a process; return its exit code, the rows that it began last, and its errors."""
    begun: list[str] = []
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.real_builder", json.dumps(asked)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("begun "):
                    begun = json.loads(line.removeprefix("begun "))
                elif line.startswith("said "):
                    outcome.said.update(json.loads(line.removeprefix("said ")))
        errors.seek(0)
        return process.returncode, begun, errors.read()


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def main(variant: str, groups: list[list[str]], size: int, dies: str) -> None:
    """Judge groups of rows, and say so in lines of JSON."""
    for names in groups:
        rows = []
        for name in names:
            found = ready(name, variant)
            if isinstance(found, str):
                _say("said", {name: found})
            else:
                rows.append(found)
        for group in groups_of(rows, size):
            _say("begun", [row.name for row in group])
            if any(row.name == dies for row in group):
                signal.raise_signal(signal.SIGABRT)
            _say("said", judge(group))


def _say(word: str, what: Any) -> None:
    print(word, json.dumps(what), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
