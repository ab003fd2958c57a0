"""Compiling with the engine cache: a hit builds nothing, and what is damaged is built anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.cache.test_key import GPU, Other
from tests.double.surface import VERSIONS
from tests.layout import ROOT
from tests.on_double import on_double
from tests.run.test_runner import double_it
from trtnn.cache import engines
from trtnn.cache.folder import Cache, Summary
from trtnn.engine.engine import Engine
from trtnn.errors import OptionError
from trtnn.ops.op import bind
from trtnn.options import BuildOptions


class World:
    """A machine with a GPU and a TensorRT, which counts what is made of it."""

    def __init__(self, version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.trt = double.load(version)
        double.on_execute(self.trt, double_it)
        self.made: list[str] = []
        for name in ("Builder", "Runtime"):
            monkeypatch.setattr(self.trt, name, self._counted(getattr(self.trt, name)))
        monkeypatch.setitem(sys.modules, "tensorrt", self.trt)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(engines, "gpu_facts", lambda device: dict(GPU))

    def _counted(self, kind: Any) -> Any:
        made = self.made

        class Counted(kind):
            def __init__(self, *given: Any) -> None:
                made.append(kind.__name__)
                super().__init__(*given)

        return Counted

    def compile(self, module: Any = lambda x: x * 2, **chosen: Any) -> tuple[Any, list[str]]:
        """Return a compiled model, and what TensorRT was asked to make."""
        inputs = chosen.pop("inputs", [trtnn.Input((2, 3), name="x")])
        self.made.clear()
        given = {"cache": self.folder, "device": "cpu", **chosen}
        return trtnn.compile(module, inputs=inputs, **given), list(self.made)

    def files(self) -> list[str]:
        return sorted(re.sub("[0-9a-f]{64}", "KEY", path.name) for path in self.folder.iterdir())

    def entry(self) -> Path:
        (path,) = self.folder.glob("*.trtnn-engine")
        return path


TIMINGS = {v: f"timing-{n}-A-132.cache" for v, n in VERSIONS.items()}
BUILT, FOUND = ["Builder", "Runtime"], ["Runtime"]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(version, tmp_path / "cache", monkeypatch)


# Compiling --------------------------------------------------------------------------------------


def test_a_hit_makes_a_runtime_and_no_builder(world: World, version: str) -> None:
    first, made = world.compile()
    assert made == BUILT
    second, made = world.compile()
    assert made == FOUND
    x = torch.randn(2, 3)
    assert torch.equal(first(x), x * 2) and torch.equal(second(x), x * 2)
    assert second.engine.plan == first.engine.plan
    assert second.engine.timing_digest == first.engine.timing_digest
    assert world.files() == ["KEY.trtnn-engine", TIMINGS[version], f"{TIMINGS[version]}.lock"]
    assert world.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "other",
    [
        {"module": lambda x: x * 3},
        {"inputs": [trtnn.Input((2, 4), name="x")]},
        {"precision": "fp32"},
        {"options": BuildOptions(builder_optimization_level=5)},
    ],
)
def test_another_engine_is_built(other: dict[str, Any], world: World) -> None:
    world.compile()
    assert world.compile(**other)[1] == BUILT
    assert world.compile(**other)[1] == FOUND
    assert world.compile()[1] == FOUND


@pytest.mark.parametrize("version", ["10", "11"], indirect=True)
def test_a_hit_of_a_stripped_plan_makes_no_builder_either(world: World) -> None:
    net, held = torch.nn.Linear(3, 4), []
    options = BuildOptions(refit="refit", strip_plan=True)
    for wanted in (BUILT, FOUND):
        model, made = world.compile(net, options=options)
        assert made == wanted
        plain = Engine(model.plan, model.engine.library)
        held.append({n: w.content for n, w in model.engine.handle._weights.items()})
        assert {w.content for w in plain.handle._weights.values()} == {None}
    assert held[0] == held[1] and net.weight.detach().numpy().tobytes() in held[0].values()


@pytest.mark.parametrize(
    "other", [{"int64_checks": "first"}, {"options": BuildOptions(log_level=10)}]
)
def test_what_no_plan_depends_on_is_a_hit(other: dict[str, Any], world: World) -> None:
    world.compile()
    assert world.compile(**other)[1] == FOUND


def test_a_lazy_model_finds_its_engine(world: World) -> None:
    x = torch.randn(2, 3)
    for made in (BUILT, FOUND):
        model, before = world.compile(inputs=None)
        assert before == []
        model(x)
        assert world.made == made


def test_without_a_cache_nothing_is_written(world: World) -> None:
    default = Path(os.environ["TRTNN_CACHE_DIR"])
    for _ in range(2):
        assert world.compile(cache=False)[1] == BUILT
    assert not world.folder.exists() and not default.exists()


def test_by_default_the_folder_is_the_users(world: World) -> None:
    default = Path(os.environ["TRTNN_CACHE_DIR"])
    world.compile(cache=None)
    assert world.compile(cache=None)[1] == FOUND
    assert len(list(default.glob("*.trtnn-engine"))) == 1


def test_the_reference_touches_no_folder(tmp_path: Path) -> None:
    one = [trtnn.Input((2, 3))]
    for given in (None, tmp_path / "cache"):
        trtnn.compile(torch.nn.ReLU(), inputs=one, backend="reference", cache=given)
    assert not Path(os.environ["TRTNN_CACHE_DIR"]).exists() and not list(tmp_path.iterdir())
    with pytest.raises(OptionError, match="cache: expected a folder, False or None, got True"):
        trtnn.compile(torch.nn.ReLU(), inputs=one, backend="reference", cache=True)


def test_without_a_gpu_to_name_nothing_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "gpu_facts", lambda device: None)
    for _ in range(2):
        assert world.compile()[1] == BUILT
    assert world.files() == []


@pytest.mark.parametrize("version", ["8.6", "10"], indirect=True)
def test_what_a_selector_chose_is_not_stored(world: World) -> None:
    options = BuildOptions(algorithm_selector=world.trt.IAlgorithmSelector())
    for _ in range(2):
        assert world.compile(options=options)[1] == BUILT
    assert world.files() == []


def test_an_op_of_the_users_own_is_not_stored(
    world: World, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lower(self: Any, net: Any, x: Any) -> Any:
        return net.elementwise(x, x, "SUM")

    monkeypatch.setattr(Other, "lower", lower, raising=False)
    for _ in range(2):
        assert world.compile(lambda x: bind(Other(), x))[1] == BUILT
    assert world.files() == [TIMINGS[version], f"{TIMINGS[version]}.lock"]


def test_host_code_of_the_own_cache_is_run(world: World) -> None:
    options = BuildOptions(version_compatible=True)
    assert world.compile(options=options)[1] == BUILT
    assert world.compile(options=options)[1] == FOUND


def test_an_engine_that_was_found_can_be_refitted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = torch.nn.Linear(3, 4)
    options = BuildOptions(refit="refit")
    assert world.compile(net, options=options)[1] == BUILT
    model, made = world.compile(net, options=options)
    assert made == FOUND
    other = torch.nn.Linear(3, 4).state_dict()
    model.refit(other)
    assert world.compile(net, options=options)[1] == FOUND
    net.load_state_dict(other)
    assert world.compile(net, options=options)[1] == BUILT


# Timings ----------------------------------------------------------------------------------------


def test_builds_share_their_timings(world: World, version: str) -> None:
    first, _ = world.compile()
    path = world.folder / TIMINGS[version]
    assert path.read_bytes() == first.engine.timing_cache
    second, _ = world.compile(torch.nn.ReLU())
    assert second.engine.timing_digest != first.engine.timing_digest
    assert path.read_bytes() == second.engine.timing_cache
    assert set(first.engine.timing_cache.splitlines()) < set(path.read_bytes().splitlines())


@pytest.mark.parametrize(
    "options",
    [
        BuildOptions(timing_cache=False),
        BuildOptions(builder_optimization_level=0),
        BuildOptions(timing_cache=b""),
    ],
)
def test_a_build_without_that_file(options: BuildOptions, world: World) -> None:
    if options.timing_cache == b"":
        first = world.compile(cache=False)[0].engine.timing_cache
        options = BuildOptions(timing_cache=first)
    world.compile(options=options)
    assert world.files() == ["KEY.trtnn-engine"]


@pytest.mark.parametrize("version", ["10", "11"], indirect=True)
def test_timings_that_can_be_edited_stay_apart(world: World) -> None:
    world.compile(options=BuildOptions(editable_timing_cache=True))
    assert world.files() == ["KEY.trtnn-engine"]


def test_timings_that_tensorrt_refuses_are_made_anew(world: World, version: str) -> None:
    world.folder.mkdir(0o700)
    path = world.folder / TIMINGS[version]
    path.write_bytes(b"garbage")
    with pytest.warns(UserWarning, match="(?s)could not read the timing cache .*is made anew"):
        model, made = world.compile()
    assert made == BUILT and path.read_bytes() == model.engine.timing_cache


def test_timings_that_cannot_be_read_are_no_error(world: World, version: str) -> None:
    (world.folder / TIMINGS[version]).mkdir(0o700, parents=True)
    with pytest.warns(UserWarning, match=r"timing cache .*: not used: "):
        _, made = world.compile()
    assert made == BUILT


# Damage -------------------------------------------------------------------------------------------


def test_a_damaged_file_costs_a_build_and_a_warning(world: World) -> None:
    world.compile()
    path = world.entry()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="truncated or altered"):
        assert world.compile()[1] == BUILT
    assert world.compile()[1] == FOUND


def test_a_plan_that_tensorrt_refuses_is_built_anew(world: World) -> None:
    world.compile()
    (key,) = (path.stem for path in world.folder.glob("*.trtnn-engine"))
    Cache(world.folder).write(key, b"no plan of this TensorRT", Summary())
    with pytest.warns(UserWarning, match="built anew: TensorRT could not deserialize the plan"):
        model, made = world.compile()
    assert made == ["Runtime", *BUILT] and model.engine.plan
    assert world.compile()[1] == FOUND


OTHERS: dict[str, tuple[Any, trtnn.Input]] = {
    "name": (lambda z: z * 2, trtnn.Input((2, 3), name="z")),
    "dtype": (lambda x: x * 2, trtnn.Input((2, 3), torch.float16)),
    "outputs": (lambda x: (x * 2, x + 1), trtnn.Input((2, 3))),
    "larger output": (lambda x: x.repeat(2, 1), trtnn.Input((2, 3))),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_plan_of_another_graph_is_built_anew(other: str, world: World, version: str) -> None:
    function, given = OTHERS[other]
    foreign, _ = on_double(version, function, [given])
    world.compile()
    (key,) = (path.stem for path in world.folder.glob("*.trtnn-engine"))
    Cache(world.folder).write(key, foreign.plan, Summary())
    with pytest.warns(UserWarning, match="built anew: the plan in the cache: "):
        _, made = world.compile()
    assert made == ["Runtime", *BUILT]
    assert world.compile()[1] == FOUND


# On a GPU ---------------------------------------------------------------------------------------

TWICE = """
import sys
import torch
import trtnn
import tests.conftest
from tests.zoo import MODELS, build_lively
from trtnn.trt.library import TensorRT

made = []
for name in ("builder", "deserialize"):
    def counted(self, *given, inner=getattr(TensorRT, name), name=name, **named):
        made.append(name)
        return inner(self, *given, **named)
    setattr(TensorRT, name, counted)
torch.backends.cudnn.allow_tf32 = False
model = MODELS["small"]["resnet18"]
net = build_lively(model).eval().cuda()
inputs = [x.cuda() for x in model.inputs(2, 3)]
with torch.no_grad():
    expected = net(*inputs)
compiled = trtnn.compile(
    net, inputs=inputs, backend="tensorrt", precision="fp32", cache=sys.argv[1]
)
torch.testing.assert_close(compiled(*inputs), expected, rtol=1e-3, atol=1e-3)
print(made)
"""


@pytest.mark.gpu
def test_a_second_process_builds_nothing(tmp_path: Path) -> None:
    said = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", TWICE, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for _ in range(2)
    ]
    assert said == ["['builder', 'deserialize']", "['deserialize']"]


@pytest.mark.gpu
def test_a_real_plan_that_is_altered_is_built_anew(tmp_path: Path) -> None:
    inputs = [trtnn.Input((2, 3), name="x")]
    fast = BuildOptions(builder_optimization_level=0)

    def compiled() -> Any:
        return trtnn.compile(
            torch.nn.ReLU(), inputs=inputs, backend="tensorrt", options=fast, cache=tmp_path
        )

    compiled()
    (path,) = tmp_path.glob("*.trtnn-engine")
    x = torch.randn(2, 3, device="cuda")
    altered = bytearray(path.read_bytes())
    altered[-100] ^= 1
    path.write_bytes(altered)
    with pytest.warns(UserWarning, match="truncated or altered"):
        model = compiled()
    assert torch.equal(model(x), x.relu())
    cache = Cache(tmp_path)
    cache.write(path.stem, b"no plan", cache.read(path.stem).summary)
    with pytest.warns(UserWarning, match="TensorRT could not deserialize the plan"):
        model = compiled()
    assert torch.equal(model(x), x.relu()) and cache.read(path.stem).plan == model.engine.plan
