"""Engines with the weights of the moment: a refitted copy is what runs beside the graph."""

from __future__ import annotations

import copy
import ctypes
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # which looks for tensorrt, before the double stands there
from torch import nn

import trtnn
from tests import double
from tests.cache.test_compiling import World
from tests.double.surface import VERSIONS
from trtnn import BuildError, VerifyWarning, WrongEngineError
from trtnn.engine.engine import Engine
from trtnn.options import BuildOptions
from trtnn.run import trial, verification

F = nn.functional
REFIT = BuildOptions(refit="refit")
INF = float("inf")
BATCH = trtnn.Dim("batch", 1, 4, 8)
X = [trtnn.Input((2, 3), name="x")]
IDS = trtnn.Input((2, 3), torch.int64, name="x")
KINDS = {"FLOAT": torch.float32, "INT32": torch.int32, "INT64": torch.int64, "BOOL": torch.bool}
MASK = trtnn.Input((4, 16), torch.bool, name="mask")
State = dict[str, torch.Tensor]


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> World:
    monkeypatch.setattr(verification, "why_not", lambda *_: "")
    return World(getattr(request, "param", "8.6"), tmp_path / "cache", monkeypatch)


class Played:
    """A module as its engine: it computes with the weights that the engine has at the moment.

    ``wrong`` is what TensorRT makes of them.
    """

    def __init__(self, module: nn.Module, wrong: Callable[[State], Any] | None = None) -> None:
        self.module, self.wrong, self.calls = copy.deepcopy(module).eval(), wrong, 0

    def __call__(self, context: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        state, stored = self.module.state_dict(), context.engine._weights
        for name in state.keys() & stored.keys():
            state[name] = read(stored[name].content, torch.float32).view(state[name].shape)
        if self.wrong is not None:
            self.wrong(state)
        self.module.load_state_dict(state)
        given = []
        for name, (pointer, shape, kind) in tensors.items():
            if not name.startswith("output_"):
                dtype = KINDS[kind.name]
                count = torch.Size(shape).numel() * dtype.itemsize
                given.append(read(ctypes.string_at(pointer, count), dtype).view(shape))
        with torch.no_grad():
            results = self.module(*given)
        results = results if isinstance(results, tuple) else (results,)
        narrow = [t.int() if t.dtype == torch.int64 else t for t in results]
        return {f"output_{i}": tensor.numpy() for i, tensor in enumerate(narrow)}


def read(content: bytes, dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=dtype)


class Twins(nn.Module):
    """Two weights that are equal in a new module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * self.first, x + self.second


class Words(nn.Module):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.words, self.linear = nn.Embedding(rows, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.words(x))


class Hidden(nn.Module):
    """A softmax over what a mask leaves: nothing, where all of the mask is True."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.linear(x).masked_fill(mask, -INF).softmax(-1)


class Flagged(nn.Module):
    """A column of numbers that are indices."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.words(x.long())


class Deciding(nn.Module):
    """Compute another graph with other weights."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale if (self.scale == 1).all() else x


class Extra(nn.Linear):
    """Keep something in its state that is no tensor, and a weight twice."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.tied, self.scale = self.weight, nn.Parameter(torch.ones(3).half())

    def get_extra_state(self) -> Any:
        return {"version": 1}

    def set_extra_state(self, state: Any) -> None:
        assert state == {"version": 1}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.scale.float()


class Beside(nn.Linear):
    """Return something, and what is no number."""

    def __init__(self) -> None:
        super().__init__(3, 4)

    def forward(self, x: torch.Tensor) -> Any:
        y = super().forward(x)
        return y, (-y.abs() - 1).log()


class Done(nn.Module):
    """A linear layer, and something after it."""

    def __init__(self, after: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear, self.after = nn.Linear(3, 4), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.linear(x))


RIGHT: dict[str, tuple[nn.Module, list[Any]]] = {
    "static": (nn.Linear(3, 4), X),
    "dynamic": (nn.Linear(3, 4), [trtnn.Input((BATCH, 3), name="x")]),
    "equal weights": (Twins(), X),
    "indices": (Words(10), [IDS]),
    "a mask": (Hidden(), [trtnn.Input((4, 16), name="x"), MASK]),
    "a decision": (Deciding(), X),
    "extra state": (Extra(), X),
}


@pytest.mark.parametrize("name", RIGHT)
def test_an_engine_that_is_right_is_kept(name: str, world: World) -> None:
    module, inputs = RIGHT[name]
    double.on_execute(world.trt, Played(module))
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, made = world.compile(module, options=REFIT, inputs=inputs)
    assert made.count("Builder") == 1 and torch.equal(torch.get_rng_state(), before)
    sizes = [tuple(s if isinstance(s, int) else 4 for s in i.shape) for i in inputs]
    given = [torch.zeros(s, dtype=i.dtype) for s, i in zip(sizes, inputs, strict=True)]
    results, expected = model(*given), module(*given)  # with its own weights again
    for ours, right in zip(results, expected, strict=True):
        assert torch.allclose(ours, right, atol=1e-6)
    assert world.compile(module, options=REFIT, inputs=inputs)[1] == ["Runtime"]


def test_inputs_are_made_where_they_are_needed(world: World) -> None:
    module = nn.Linear(3, 4)
    double.on_execute(world.trt, Played(module))
    with torch.device("meta"):
        world.compile(module, options=REFIT)


def exchange(state: State) -> None:
    state["first"], state["second"] = state["second"], state["first"]


def drop(state: State) -> None:
    state["linear.weight"] = state["linear.weight"].flip(0)


WRONG: dict[str, tuple[nn.Module, list[Any], Callable[[State], None]]] = {
    "exchanged": (Twins(), X, exchange),
    "upside down": (Words(10), [IDS], drop),
    "after a mask": (Hidden(), RIGHT["a mask"][1], drop),
}


@pytest.mark.parametrize("world", VERSIONS, indirect=True)
@pytest.mark.parametrize("name", WRONG)
def test_a_refittable_engine_that_is_wrong_is_refused_and_not_kept(name: str, world: World) -> None:
    module, inputs, wrong = WRONG[name]
    double.on_execute(world.trt, Played(module, wrong))
    for _ in range(2):
        with pytest.raises(WrongEngineError, match=r"engine that is wrong: .* output 0") as bad:
            world.compile(module, options=REFIT, inputs=inputs)
        assert "without refit" in str(bad.value)
        assert "test_compiling.py" in str(bad.value)  # the line that compiles
    assert not list(world.folder.glob("*.trtnn-engine"))


def test_an_engine_that_does_not_run_is_not_kept(world: World, monkeypatch: Any) -> None:
    def fail(_: Any) -> Any:
        raise BuildError("TensorRT failed to execute")

    monkeypatch.setattr(trial, "runner_for", lambda _: lambda *_: fail)
    with pytest.raises(BuildError, match="failed to execute"):
        world.compile(nn.Linear(3, 4), options=REFIT)
    assert not list(world.folder.glob("*.trtnn-engine"))


UNKNOWN: dict[str, tuple[nn.Module, str]] = {
    "no number": (Done(lambda x: (-x.abs() - 1).log()), "output 0 is not finite"),
    "zeros": (Done(lambda x: x * 0), "output 0 is all 0"),
    "one of two": (Beside(), "output 1 is not finite"),
    "a constant": (Done(lambda x: x * 1e-7 + 1), "output 0 hardly moves with the input"),
    "indices out of range": (Flagged(), "the graph refuses the inputs: index out of range"),
}


@pytest.mark.parametrize("options", [None, REFIT], ids=["plain", "refit"])
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_shows_nothing_is_said(name: str, options: Any, world: World) -> None:
    module, reason = UNKNOWN[name]
    played = Played(module)
    double.on_execute(world.trt, played)
    inputs = [trtnn.Input((50, 3), name="x")]
    with pytest.warns(VerifyWarning, match=f"the engine is not verified: {reason}") as said:
        model, _ = world.compile(module, options=options, inputs=inputs)
    assert len(said) == 1 and str(model.verified).startswith(f"not verified: {reason}")
    # A GPU does not run what would end CUDA for the process.
    assert played.calls == (0 if "refuses" in reason else 1)


def test_an_engine_of_which_the_gpu_has_no_memory_for_a_copy_is_kept_with_a_warning(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(self: Engine) -> Engine:
        raise BuildError("TensorRT could not deserialize the plan\n    out of memory")

    monkeypatch.setattr(Engine, "copy", copied)
    with pytest.warns(VerifyWarning, match="no memory for it: TensorRT could not deserialize"):
        model = trtnn.compile(Twins(), inputs=X, options=REFIT, cache=world.folder, device="cpu")
    assert not model.verified
    model.refit(Twins().state_dict())
