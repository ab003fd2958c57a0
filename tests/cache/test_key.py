"""The key of the engine cache: what differs never shares an entry, what is equal always does."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests.double.surface import VERSIONS
from tests.layout import ROOT
from tests.settings import CASES, DOUBLES, configured, options_of
from trtnn.cache import engines
from trtnn.cache.engines import engine_key
from trtnn.compiler import optimize
from trtnn.graph.graph import Graph
from trtnn.ops.op import Op, bind
from trtnn.options import SETTINGS, BuildOptions
from trtnn.tracing.signature import Input
from trtnn.trt.library import TensorRT

GPU = {"name": "A", "compute_capability": [9, 0], "sm_count": 132, "memory_bytes": 1 << 36}
LIBRARIES = {version: TensorRT(trt) for version, trt in DOUBLES.items()}
PLAIN = BuildOptions()
ONE = [Input((2, 3), name="x")]


def traced(function: Any, inputs: Any = ONE) -> Graph:
    return optimize(trtnn.trace(function, inputs), LIBRARIES["8.6"])


def key_of(
    graph: Graph,
    options: BuildOptions = PLAIN,
    *,
    version: str = "8.6",
    tf32: bool = True,
    gpu: Mapping[str, Any] = GPU,
) -> str:
    key = engine_key(graph, LIBRARIES[version], options, tf32=tf32, gpu=dict(gpu))
    assert key is not None
    return key


def batch(low: int, best: int, high: int, name: str = "batch") -> list[Input]:
    return [Input((trtnn.Dim(name, low, best, high), 3), name="x")]


def relu(x: Any) -> Any:
    return torch.relu(x)


def exchanged(x: Any) -> Any:
    double, power = x * 2, torch.exp(x)
    return power, double


def named(name: str) -> torch.nn.Module:
    return torch.nn.Sequential(OrderedDict([(name, torch.nn.ReLU())]))


def constant(*values: float, dtype: torch.dtype = torch.float32) -> Callable[[Any], Any]:
    """Return a function that adds a constant."""
    added = torch.tensor(values, dtype=dtype)
    return lambda x: x + added.to(x.dtype)


WIDE = torch.arange(12.0).reshape(3, 4)

# Each function with its inputs; no two of them are the same network.
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "softmax over 1": (lambda x: torch.softmax(x, 1), ONE),
    "softmax over 0": (lambda x: torch.softmax(x, 0), ONE),
    "another slope": (lambda x: torch.nn.functional.leaky_relu(x, 0.1), ONE),
    "a slope": (lambda x: torch.nn.functional.leaky_relu(x, 0.2), ONE),
    "a slope nearby": (lambda x: torch.nn.functional.leaky_relu(x, 0.2 + 1e-16), ONE),
    "x - exp": (lambda x: x - torch.exp(x), ONE),
    "exp - x": (lambda x: torch.exp(x) - x, ONE),
    "x, exp": (lambda x: (x * 2, torch.exp(x)), ONE),
    "exp, x": (lambda x: (torch.exp(x), x * 2), ONE),
    "results exchanged": (exchanged, ONE),
    "only exp": (lambda x: (torch.exp(x),), ONE),
    "relu": (relu, ONE),
    "relu of another name": (relu, [Input((2, 3), name="y")]),
    "relu of another size": (relu, [Input((2, 4), name="x")]),
    "relu of another rank": (relu, [Input((2, 3, 1), name="x")]),
    "relu of another dtype": (relu, [Input((2, 3), torch.float16, name="x")]),
    "relu in a module": (named("first"), ONE),
    "relu in another module": (named("other"), ONE),
    "relu, 1 to 8": (relu, batch(1, 2, 8)),
    "relu, best at 4": (relu, batch(1, 4, 8)),
    "relu, 1 to 9": (relu, batch(1, 2, 9)),
    "relu, 2 to 8": (relu, batch(2, 2, 8)),
    "relu, a dim of another name": (relu, batch(1, 2, 8, "count")),
    "relu, two profiles": (
        relu,
        [Input((trtnn.Dim("batch", profiles=[(1, 2, 8), (8, 8, 8)]), 3), name="x")],
    ),
    "relu, profiles exchanged": (
        relu,
        [Input((trtnn.Dim("batch", profiles=[(8, 8, 8), (1, 2, 8)]), 3), name="x")],
    ),
    "channels first": (relu, [Input((2, 8, 4, 4), name="x")]),
    "channels last": (
        relu,
        [Input((2, 8, 4, 4), name="x", memory_format=torch.channels_last)],
    ),
    "x - y": (lambda x, y: x - y, [Input((3,), name="x"), Input((3,), name="y")]),
    "y - x": (lambda x, y: y - x, [Input((3,), name="x"), Input((3,), name="y")]),
    "inputs exchanged": (lambda y, x: x - y, [Input((3,), name="y"), Input((3,), name="x")]),
    "constant": (constant(1, 2, 3), ONE),
    "one value": (constant(1, 2, 4), ONE),
    "order": (constant(3, 2, 1), ONE),
    "the least bit": (constant(1, 2, 3 + 2**-22), ONE),
    "zero": (constant(0, 2, 3), ONE),
    "minus zero": (constant(-0.0, 2, 3), ONE),
    "not a number": (constant(float("nan"), 2, 3), ONE),
    "a wide constant": (lambda x: x @ WIDE, ONE),
    "its rows exchanged": (lambda x: x @ WIDE.flip(0), ONE),
    "other strides, other values": (lambda x: x @ WIDE.reshape(4, 3).t(), ONE),
    "integers": (lambda x: x[torch.tensor([0, 1])], ONE),
    "other integers": (lambda x: x[torch.tensor([1, 0])], ONE),
    "a size": (lambda x: x.reshape(-1), batch(1, 2, 8)),
    "a number of sizes": (lambda x: torch.zeros(x.shape[0], 2) + x[:, :2], batch(1, 2, 8)),
    "half of a size": (lambda x: x[: x.shape[0] // 2], batch(2, 2, 8)),
    "a third of a size": (lambda x: x[: x.shape[0] // 3], batch(2, 2, 8)),
}


def test_what_differs_in_the_graph_has_another_key() -> None:
    keys = {name: key_of(traced(*case)) for name, case in DIFFERENT.items()}
    shared = [pair for pair in itertools.combinations(keys, 2) if keys[pair[0]] == keys[pair[1]]]
    assert shared == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_second_trace_has_the_same_key(name: str) -> None:
    assert key_of(traced(*DIFFERENT[name])) == key_of(traced(*DIFFERENT[name]))


def test_the_layout_of_a_constant_in_memory_does_not_matter() -> None:
    strided = WIDE.t().contiguous().t()
    part = torch.cat([WIDE, WIDE])[3:]
    keys = {key_of(traced(lambda x, w=w: x @ w, ONE)) for w in (WIDE, strided, part)}
    assert len(keys) == 1 and strided.stride() != WIDE.stride()


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8]
)
def test_every_byte_of_a_constant_counts(dtype: torch.dtype) -> None:
    """Whatever its dtype, and wherever the byte stands."""
    graph = traced(lambda x: x @ WIDE, ONE)
    (value,) = graph.constants

    def key(tensor: torch.Tensor) -> str:
        made = type(graph.constants[value])(tensor)
        return key_of(replace(graph, constants={value: made}))

    tensors = [torch.zeros(3, 5, dtype=dtype) for _ in range(16)]
    for place, tensor in enumerate(tensors[1:]):
        tensor.view(torch.uint8).view(-1)[place * tensor.element_size()] = 1
    assert len({key(t) for t in tensors}) == 16
    assert key(tensors[0]) == key(torch.zeros(5, 3, dtype=dtype).t())
    assert key(torch.zeros(0, dtype=dtype)) != key(torch.zeros(1, dtype=dtype))


class Tied(torch.nn.Module):
    """Two weights of equal values: one parameter, or two."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.first = torch.nn.Parameter(torch.ones(3))
        self.second = torch.nn.Parameter(torch.ones(3)) if not tied else self.first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (self.first * 2) + self.second * 2


class Computed(torch.nn.Module):
    """A constant that follows from one of two buffers of equal values."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.register_buffer("first", torch.ones(3))
        self.register_buffer("second", torch.ones(3))
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + getattr(self, self.name) * 2


def test_what_names_the_weights_counts_for_a_refit() -> None:
    refit = BuildOptions(refit="refit")
    for one, other in (
        (Tied(tied=True), Tied(tied=False)),
        (Computed("first"), Computed("second")),
    ):
        first, second = traced(one), traced(other)
        assert key_of(first, refit) == key_of(traced(one), refit) != key_of(second, refit)


@pytest.mark.parametrize("version", VERSIONS)
def test_options_that_decide_have_keys_of_their_own(version: str) -> None:
    """What is set in TensorRT is equal where the key is equal, and the other way round."""
    trt = DOUBLES[version]
    graph = traced(*DIFFERENT["relu"])
    chosen = [PLAIN]
    for field, case in CASES.items():
        there = all(CASES[n].exists(trt) for n in (field, *case.beside) if n in CASES)
        if there and SETTINGS[field].kind not in ("instance", "features"):
            chosen.append(options_of(trt, field, case))
    chosen += [BuildOptions(builder_optimization_level=level) for level in (0, 1, 2)]
    for name in trt.PreviewFeature.__members__:
        chosen.append(BuildOptions(preview_features={name: True}))
    chosen = [o for o in chosen if not o.plugins_to_serialize and o.algorithm_selector is None]
    keys: dict[str, set[str]] = {}
    for options, tf32 in itertools.product(chosen, (True, False)):
        key = key_of(graph, options, version=version, tf32=tf32)
        keys.setdefault(key, set()).add(held(version, options, tf32=tf32))
    assert all(len(configurations) == 1 for configurations in keys.values())
    apart = [o for o in chosen if o.describe(keyed=True) or o is PLAIN]
    assert len(keys) == 2 * len(apart)


def held(version: str, options: BuildOptions, *, tf32: bool) -> str:
    """Return all that decides, as a TensorRT's configuration holds it after it was set."""
    trt = DOUBLES[version]
    library = LIBRARIES[version]
    builder, _ = configured(trt, PLAIN)
    config = library.config(builder, options, tf32=tf32, half=False)
    idle = [s.name for s in SETTINGS.values() if not s.keyed]
    flags = {n: config.get_flag(m) for n, m in trt.BuilderFlag.__members__.items() if n not in idle}
    features = {n: config.get_preview_feature(m) for n, m in trt.PreviewFeature.__members__.items()}
    numbers = {
        s.name: str(getattr(config, s.name))
        for s in SETTINGS.values()
        if s.kind in ("number", "member") and hasattr(trt.IBuilderConfig, s.name) and s.keyed
    }
    pools = {n: config.get_memory_pool_limit(m) for n, m in trt.MemoryPoolType.__members__.items()}
    found = [flags, features, numbers, pools, config.get_tactic_sources()]
    return json.dumps(found, sort_keys=True)


@pytest.mark.parametrize(
    "options",
    [
        BuildOptions(log_level=10),
        BuildOptions(max_threads=3),
        BuildOptions(timing_cache=False),
        BuildOptions(timing_cache="timings"),
        BuildOptions(timing_cache=b"timings"),
    ],
)
def test_the_log_threads_and_timings_do_not_matter(options: BuildOptions) -> None:
    graph = traced(*DIFFERENT["relu"])
    assert key_of(graph, options) == key_of(graph)


def test_the_gpu_counts_unless_a_level_stands_for_it() -> None:
    graph = traced(*DIFFERENT["relu"])
    others = [
        {**GPU, "name": "B"},
        {**GPU, "compute_capability": [8, 0]},
        {**GPU, "sm_count": 114},
        {**GPU, "memory_bytes": 1 << 35},
    ]
    assert len({key_of(graph, gpu=gpu) for gpu in (GPU, *others)}) == 5
    none = BuildOptions(hardware_compatibility_level="NONE")
    assert key_of(graph, none) != key_of(graph, none, gpu=others[0])
    level = BuildOptions(hardware_compatibility_level="AMPERE_PLUS")
    assert len({key_of(graph, level, gpu=gpu) for gpu in (GPU, *others)}) == 1
    assert key_of(graph, level) != key_of(graph)


def test_tensorrt_counts_with_its_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = traced(*DIFFERENT["relu"])
    keys = {key_of(graph, version=version) for version in VERSIONS}
    monkeypatch.setattr(engines, "_wheels", lambda: (("tensorrt", "8.6.0.post1"),))
    keys.add(key_of(graph))
    monkeypatch.setattr(engines, "_wheels", lambda: (("tensorrt_cu12", "8.6.0.post1"),))
    keys.add(key_of(graph))
    assert len(keys) == len(VERSIONS) + 2


def test_the_platform_the_source_and_the_environment_count(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = traced(*DIFFERENT["relu"])
    keys = [key_of(graph)]
    with monkeypatch.context() as patch:
        patch.setattr(engines, "platform_of", lambda: {"system": "Linux", "machine": "other"})
        keys.append(key_of(graph))
    with monkeypatch.context() as patch:
        patch.setattr(engines, "source_digest", lambda: "another")
        keys.append(key_of(graph))
    with monkeypatch.context() as patch:
        patch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        keys.append(key_of(graph))
    assert len(set(keys)) == 4 and key_of(graph) == keys[0]


def test_the_source_is_all_of_trtnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (ROOT / "trtnn").rglob("*.py"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True, parents=True)
        copy.write_bytes(path.read_bytes())
    digest = engines.source_digest.__wrapped__
    monkeypatch.setattr(engines, "PACKAGE", str(tmp_path / "trtnn"))
    before = digest()
    assert before == digest()
    rooms = sorted({path.parent for path in (tmp_path / "trtnn").rglob("*.py")})
    assert len(rooms) > 10
    for room in rooms:
        path = max(room.glob("*.py"))
        path.write_text(path.read_text() + "\n")
        before, earlier = digest(), before
        assert before != earlier, path
    moved = rooms[1] / "moved.py"
    max(rooms[1].glob("*.py")).rename(moved)
    assert digest() not in (before, earlier)
    monkeypatch.setattr(engines, "PACKAGE", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="without its source"):
        digest()


class Other(Op):
    """An op of the user's own, whose source the key does not hold."""

    def infer(self, x: Any) -> Any:
        return x

    def reference(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_what_cannot_be_told_has_no_key(tmp_path: Path) -> None:
    def key(graph: Graph, options: BuildOptions = PLAIN) -> str | None:
        return engine_key(graph, LIBRARIES["8.6"], options, tf32=True, gpu=GPU)

    graph = traced(*DIFFERENT["relu"])
    selector = DOUBLES["8.6"].IAlgorithmSelector()
    assert key(graph, BuildOptions(algorithm_selector=selector)) is None
    assert key(traced(lambda x: bind(Other(), x))) is None
    plugin = tmp_path / "plugin.so"
    options = BuildOptions(version_compatible=True, plugins_to_serialize=[str(plugin)])
    assert key(graph, options) is None
    plugin.write_bytes(b"one")
    first = key(graph, options)
    plugin.write_bytes(b"two")
    assert first is not None and first != key(graph, options)


def test_a_key_is_the_same_in_every_process() -> None:
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "import torch, trtnn\n"
        "import tests.conftest\n"
        "from tests.cache.test_key import DIFFERENT, key_of, traced\n"
        "from tests.zoo import MODELS\n"
        "print([key_of(traced(*case)) for case in DIFFERENT.values()])\n"
        "for name in ('resnet18', 'swin_t', 'bert_encoder'):\n"
        "    torch.manual_seed(0)\n"
        "    model = MODELS['small'][name]\n"
        "    print(key_of(traced(model.build().eval(), list(model.inputs(2, 0)))))\n"
    )
    said = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(done.stdout)
    assert len(said) == 1
