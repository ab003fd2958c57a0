"""Recurrent networks: one engine for all lengths, and short ones written out or as a loop."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

import trtnn
from benchmarks.instruments import onnx_path
from benchmarks.instruments.bound import Bound
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.contest import Contender, Record, Tensors, compete, eager_openers, enter
from benchmarks.instruments.timing import Effort, captured
from benchmarks.measures.comparison import all_met, finite_error
from benchmarks.subjects.cases import Case
from tests.compare import leaves
from trtnn.engine.engine import Engine
from trtnn.flow import recurrent
from trtnn.options import BuildOptions

NETWORKS: Mapping[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU}
WIDTH = {"full": 256, "small": 8}
LENGTHS = {"full": (1, 7, 50, 200), "small": (1, 4)}
BATCHES = {"full": (1, 16), "small": (1, 2)}
FIXED = {"full": 50, "small": 4}  # the length of the engines of one shape, ours and the parser's
BAR = 1e-4  # of the relative error in float32

Openers = dict[str, Callable[[], Contender]]


@torch.no_grad()
def measure_recurrent(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Run one engine of two layers, both ways, at all lengths and batches, beside eager's.

    The engine is tuned for a single sequence of the length ``FIXED``. At that length there are
    engines of one shape beside it: trtnn's, and the ONNX parser's.
    """
    width, batches, lengths = WIDTH[case.size], BATCHES[case.size], LENGTHS[case.size]
    net, machine, fixed = network(case.model, width), builds.machine, FIXED[case.size]
    dims = (
        trtnn.Dim("batch", min(batches), min(batches), max(batches)),
        trtnn.Dim("steps", min(lengths), fixed, max(lengths)),
    )
    row: dict[str, Any] = {"width": width, "layers": net.num_layers, "contenders": {}}
    with float32():
        eager = copy.deepcopy(net).to(machine.device)
        declared = [trtnn.Input((*dims, width), name="x")]
        model, row["build"] = builds.compile(case.level, eager, declared, precision="fp32")
        for batch in batches:
            for length in lengths:
                given = (sequences(batch, length, width).to(machine.device),)
                openers = eagerly(eager, given, builds)
                openers["dynamic"] = functools.partial(entered, model, given)
                if length == fixed:
                    openers |= _of_one_shape(case, builds, eager, given)
                found = raced(openers, exact(net, given), builds, effort)
                row["contenders"][f"batch {batch}, length {length}"] = found
                machine.free()
    row["met"] = all_met(within(found, BAR) for found in row["contenders"].values())
    return row


def _of_one_shape(case: Case, builds: Builds, net: nn.Module, given: Tensors) -> Openers:
    """Return how the engines enter that are built for the shape of an input alone."""

    def ours() -> Contender:
        model, facts = builds.compile(case.level, net, given, precision="fp32")
        return entered(model, given, facts)

    def onnx() -> Contender:
        library = builds.machine.gpu

        def make(options: BuildOptions) -> Engine:
            return Engine(onnx_path.build(net, given, library, options, tf32=False), library)

        engine, facts = builds.build(case.level, make, lambda engine: engine)
        bound = Bound(engine, {"input_0": given[0]})
        return Contender({"": bound.execute}, {"": bound.enqueue}, lambda: bound.outputs, facts)

    return {"static": ours} | ({"onnx": onnx} if builds.machine.library else {})


@torch.no_grad()
def measure_unrolled(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Run engines of one static length, whose steps are written out, and are a loop's.

    The first may be replayed as a CUDA graph as well, which TensorRT refuses where there is a loop.
    """
    name, steps = case.model.split()
    width, machine = WIDTH[case.size], builds.machine
    net = network(name, width)
    with float32():
        eager = copy.deepcopy(net).to(machine.device)
        given = (sequences(case.batch, int(steps), width).to(machine.device),)

        def built(limit: int) -> Any:
            with unrolled(limit):
                return builds.compile(case.level, eager, given, precision="fp32")

        models = {"unrolled": built(int(steps)), "loop": built(0)}
        openers = eagerly(eager, given, builds)
        for kind, (model, facts) in models.items():
            openers[kind] = functools.partial(entered, model, given, facts)
        if machine.library is not None:
            openers["unrolled graph"] = lambda: replayed(models["unrolled"][0], given)
        found = raced(openers, exact(net, given), builds, effort)
    return {"steps": int(steps), "width": width, "contenders": found, "met": within(found, BAR)}


def network(name: str, width: int) -> nn.RNNBase:
    """Return two layers, both ways, with weights that let a state live on."""
    torch.manual_seed(0)
    net = NETWORKS[name](width, width, num_layers=2, bidirectional=True, batch_first=True)
    return net.eval()


def sequences(batch: int, length: int, width: int) -> torch.Tensor:
    """Return sequences of float32 on the CPU."""
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, width, generator=generator)


def exact(net: nn.Module, given: Tensors) -> list[torch.Tensor]:
    """Return what eager computes in float64 on the CPU."""
    wide = [(x.double() if x.is_floating_point() else x).cpu() for x in given]
    return list(leaves(copy.deepcopy(net).cpu().double()(*wide)))


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """Turn off PyTorch's TF32, which would be compared with float32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@contextlib.contextmanager
def unrolled(limit: int) -> Iterator[None]:
    """Write out as many steps of a static length as ``limit``."""
    before, recurrent.UNROLLED = recurrent.UNROLLED, limit
    try:
        yield
    finally:
        recurrent.UNROLLED = before


def alone(net: nn.Module, given: Tensors) -> Contender:
    """Return how eager PyTorch enters."""
    call = {"": lambda: net(*given)}
    return Contender(call, call, call[""])


def eagerly(net: nn.Module, given: Tensors, builds: Builds) -> Openers:
    """Return how eager PyTorch enters, plainly and, on a GPU, in a CUDA graph."""
    found = eager_openers(net, given, on_gpu=builds.machine.library is not None)
    return {**found, "eager": lambda: alone(net, given)}


def entered(model: Any, given: Tensors, facts: Record | None = None) -> Contender:
    """Return how a compiled model enters: its calls on the host, its engine's runs on the GPU."""
    call, engine = (lambda: model(*given)), getattr(model, "engine", None)
    if engine is None:
        return Contender({"": call}, outputs=call, facts=facts or {})
    bound = Bound(engine, dict(zip(model.input_specs, given, strict=True)))
    # A replay of a loop would repeat the number of steps, so each run is given to the stream.
    return Contender({"": call}, {"": bound.enqueue}, call, facts or {}, bound)


def replayed(model: Any, given: Tensors) -> Contender:
    """Return how a CUDA graph of a model's engine enters."""
    bound = Bound(model.engine, dict(zip(model.input_specs, given, strict=True)))
    bound.execute()
    call = captured(bound.enqueue)
    return Contender({"": call}, {"": call}, lambda: bound.outputs, alive=bound)


def raced(openers: Openers, reference: Any, builds: Builds, effort: Effort) -> dict[str, Record]:
    """Time contenders in turn; say how far off each is, and its time over that of "eager".

    Args:
        reference: What all should return, or that of each by its name.
    """
    on_gpu, wait = builds.machine.library is not None, builds.machine.wait
    openers = {"eager": openers["eager"], **openers}
    contenders, failed = enter(openers, wait, on_gpu=on_gpu)
    if "eager" in failed:
        raise RuntimeError(f"eager PyTorch failed: {failed['eager']['failed']}")
    records = compete(contenders, 1, effort, wait, on_gpu=on_gpu)
    for name, record in records.items():
        del record["samples_per_s"]
        outputs = contenders[name].outputs
        if outputs is not None:
            wanted = reference[name] if isinstance(reference, dict) else reference
            record["error"] = finite_error(outputs(), wanted)
        for field in ("host_us", "gpu_us"):
            if field in record and field in records["eager"]:
                eager = records["eager"][field]["median"]
                record[f"{field[:-3]}_ratio"] = round(record[field]["median"] / eager, 4)
    return {**records, **failed}


def within(found: Mapping[str, Record], bar: float) -> bool:
    """Say whether trtnn's own contenders ran, and how far off each is.

    >>> within({"eager": {"error": 1.0}, "loop": {"error": 1e-6}, "onnx": {"failed": "no"}}, 1e-4)
    True
    >>> within({"loop": {"error": None}}, 1e-4), within({"loop": {"failed": "no"}}, 1e-4)
    (False, False)
    """
    theirs = ("eager", "eager graph", "onnx")
    ours = [record for name, record in found.items() if name not in theirs]
    errors = [record.get("error") if "failed" not in record else None for record in ours]
    return all(error is not None and error <= bar for error in errors)
