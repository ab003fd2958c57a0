"""What stays behind: memory after many models were built, loaded, run and deleted."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

import trtnn
from benchmarks.instruments.bound import Bound
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.machine import Machine
from benchmarks.instruments.timing import Effort, captured
from benchmarks.measures.one_layer import EXECUTIONS, SHAPE, require_right
from benchmarks.subjects.cases import Case
from trtnn.engine.engine import Engine
from trtnn.errors import BuildError
from trtnn.options import BuildOptions

BUILT, LOADED = 20, 180
LIMIT = 4 * 2**20  # bytes beyond what the raw loop keeps
WIDTH = 256


class Loop(Protocol):
    """A model that is built into a file, or loaded from it; run once in some way, and dropped."""

    def build(self, execution: str) -> None: ...

    def load(self, execution: str) -> None: ...


def measure_cycles(_: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Compare what 200 cycles of trtnn and of raw TensorRT keep from cycle 20 on.

    The three ways to run take turns; builds are at level 0.
    """
    net, x = subject(builds.machine.device)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        loops: dict[str, Loop] = {
            "raw": Raw(builds.machine, net, x, Path(folder) / "raw.plan"),
            "trtnn": Ours(builds.machine, net, x, Path(folder) / "ours.trtnn"),
        }
        counts = effort.of(BUILT), effort.of(LOADED)
        kept = {kind: keep(loop, builds.machine, *counts) for kind, loop in loops.items()}
    return {"cycles": sum(counts), "from": counts[0], "kept_bytes": kept, **judge_kept(kept)}


def subject(device: torch.device) -> tuple[nn.Sequential, torch.Tensor]:
    """Return the network of the cycles, and its input."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(SHAPE[1], WIDTH), nn.ReLU())
    return net.to(device), torch.randn(SHAPE).to(device)


def keep(loop: Loop, machine: Machine, built: int, loaded: int) -> dict[str, int]:
    """Return how much memory the loaded cycles add to the built ones, in bytes."""
    for number in range(built):
        loop.build(EXECUTIONS[number % len(EXECUTIONS)])
    before = memory(machine)
    for number in range(loaded):
        loop.load(EXECUTIONS[number % len(EXECUTIONS)])
    return grown(before, memory(machine))


def memory(machine: Machine) -> dict[str, int]:
    """Return the bytes in use: of the device outside torch, of the host, of torch's tensors."""
    machine.free()
    free, total = torch.cuda.mem_get_info()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "device": total - free - torch.cuda.memory_reserved(),
        "host": pages * os.sysconf("SC_PAGE_SIZE"),
        "torch": torch.cuda.memory_allocated(),
    }


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return how much each kind of memory grew.

    >>> grown({"device": 5, "host": 7}, {"device": 9, "host": 6})
    {'device': 4, 'host': -1}
    """
    return {kind: after[kind] - before[kind] for kind in after}


def judge_kept(kept: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Say whether trtnn keeps at most 4 MiB more than raw TensorRT does, and no tensor.

    What raw gave back by chance is nothing that trtnn would have to give back too.

    >>> raw = {"device": -8, "host": 2**21, "torch": 0}
    >>> judge_kept({"raw": raw, "trtnn": {"device": 2**22, "host": 6 * 2**20, "torch": 0}})["met"]
    True
    >>> judge_kept({"raw": raw, "trtnn": {"device": 2**22 + 1, "host": 0, "torch": 0}})["met"]
    False
    """
    ours, raw = kept["trtnn"], kept["raw"]
    beyond = {kind: ours[kind] - max(raw[kind], 0) for kind in ("device", "host")}
    met = all(value <= LIMIT for value in beyond.values()) and ours["torch"] <= 0
    return {"beyond_bytes": beyond, "limit_bytes": LIMIT, "met": met}


class Ours:
    """The loop in trtnn."""

    def __init__(self, machine: Machine, net: nn.Module, x: torch.Tensor, path: Path) -> None:
        self.machine, self.net, self.x, self.path = machine, net, x, path
        self.expected = [net(x)]

    def build(self, execution: str) -> None:
        model = trtnn.compile(
            self.net,
            inputs=[trtnn.Input(SHAPE, name="x")],
            backend=self.machine.backend,
            device=self.machine.device,
            execution=execution,
            cache=False,
            options=BuildOptions(builder_optimization_level=0, timing_cache=False),
        )
        require_right(model(self.x), self.expected, f"a built model, {execution}")
        model.save(self.path)

    def load(self, execution: str) -> None:
        model = trtnn.load(self.path).with_execution(execution)
        require_right(model(self.x), self.expected, f"a loaded model, {execution}")


class Raw:
    """The same loop over TensorRT's own calls."""

    def __init__(self, machine: Machine, net: nn.Sequential, x: torch.Tensor, path: Path) -> None:
        self.library, self.x, self.path = machine.gpu, x, path
        self.linear, self.expected = net[0], [net(x)]

    def build(self, execution: str) -> None:
        library, trt = self.library, self.library.trt
        builder = library.builder()
        network = library.network(builder)
        # TensorRT only refers to what it is given.
        arrays = [
            tensor.detach().cpu().contiguous().numpy()
            for tensor in (self.linear.weight, self.linear.bias.reshape(1, -1))
        ]
        weight, bias = (
            network.add_constant(array.shape, trt.Weights(array)).get_output(0) for array in arrays
        )
        x, turned = network.add_input("x", trt.DataType.FLOAT, SHAPE), trt.MatrixOperation
        product = network.add_matrix_multiply(x, turned.NONE, weight, turned.TRANSPOSE)
        added = network.add_elementwise(product.get_output(0), bias, trt.ElementWiseOperation.SUM)
        y = network.add_activation(added.get_output(0), trt.ActivationType.RELU).get_output(0)
        y.name = "output_0"
        network.mark_output(y)
        config = builder.create_builder_config()
        config.builder_optimization_level = 0
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BuildError(f"the raw build failed: {library.log.take()}")
        self.path.write_bytes(bytes(plan))
        self.load(execution)

    def load(self, execution: str) -> None:
        bound = Bound(Engine(self.path.read_bytes(), self.library), {"x": self.x})
        calls = {"sync": lambda: bound.execute, "async": lambda: bound.enqueue}
        run = calls.get(execution, lambda: captured(bound.enqueue))()
        run()
        self.library.log.take()
        torch.cuda.synchronize()
        require_right(bound.outputs, self.expected, f"raw TensorRT, {execution}")
