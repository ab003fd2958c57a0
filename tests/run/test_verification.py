"""Engines that compute something else than their graph: found at compile, and kept nowhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # which looks for tensorrt, before the double stands there
from torch import nn

import trtnn
from benchmarks.subjects.faults import FAULTS, weights, with_constant
from tests import double
from tests.answering import Answers, let_answer
from tests.cache.test_compiling import World
from tests.double.surface import VERSIONS
from tests.on_double import on_double
from tests.saved.saving import manifest_of
from tests.zoo import MODELS, build_lively
from trtnn import InputError, OptionError, VerifyWarning, WrongEngineError
from trtnn.engine.verified import Measured, Verified
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.run import verification
from trtnn.saved.schema import MANIFEST, require_form
from trtnn.trt.library import TensorRT

INF = float("inf")
BATCH = trtnn.Dim("batch", 1, 4, 8)
X = [trtnn.Input((2, 3), name="x")]


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> World:
    monkeypatch.setattr(verification, "why_not", lambda *_: "")
    return World(getattr(request, "param", "8.6"), tmp_path / "cache", monkeypatch)


@pytest.fixture(params=VERSIONS)
def answering(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """A machine whose engines answer with their graph; ``fault`` is planted in later ones."""
    world = World(request.param, tmp_path / "cache", monkeypatch)
    world.answers = let_answer(monkeypatch, lambda graph: world.fault(graph))  # type: ignore[attr-defined]
    world.fault = lambda graph: graph  # type: ignore[attr-defined]
    return world


def test_a_right_engine_is_verified_once(answering: Any, tmp_path: Path) -> None:
    batched = [trtnn.Input((BATCH, 3), name="x")]
    for made in (1, 1):
        model, _ = answering.compile(nn.Linear(3, 4), inputs=batched)
        assert model.verified and len(answering.answers) == made
        assert answering.answers[0].calls == 3  # opt, max and min
        assert model.verified.sizes == ("batch = 4", "batch = 8", "batch = 1")
        torch.manual_seed(0)
    model.save(tmp_path / "net.trtnn")
    loaded = trtnn.load(tmp_path / "net.trtnn", device="cpu")
    assert loaded.verified == model.verified
    assert "relative L2" in str(loaded.verified)


def test_an_engine_that_draws_numbers_is_not_held_against_its_graph(answering: Any) -> None:
    def noisy(x: torch.Tensor) -> torch.Tensor:
        return x + trtnn.nvinfer.fill(x.shape, "RANDOM_NORMAL")

    with pytest.warns(VerifyWarning, match="not verified: RandomFill draws random numbers"):
        model, _ = answering.compile(noisy, inputs=X)
    assert not model.verified and answering.answers[0].calls == 0


def test_integers_that_are_divided_by_0_show_nothing(answering: Any, monkeypatch: Any) -> None:
    zeros = [(torch.arange(3) % 2,)]
    monkeypatch.setattr(verification, "draws", lambda *_, **__: zeros)
    whole = [trtnn.Input((3,), torch.int64, name="n")]
    with pytest.warns(VerifyWarning, match="not verified.*an integer is divided by 0"):
        model, _ = answering.compile(lambda n: 7 // n, inputs=whole)
    assert not model.verified


def test_what_is_nearer_to_0_than_a_float_can_be_is_0(answering: Any) -> None:
    with pytest.warns(VerifyWarning, match="output 0 is all 0 in the reference"):
        answering.compile(lambda x: x / 3e38 / 1e4, inputs=X)


def test_other_inputs_that_the_graph_refuses_are_said(answering: Any, monkeypatch: Any) -> None:
    table = torch.randn(4, 3)
    drawn = {1: [(torch.tensor([0, 3]),)], 2: [(torch.tensor([9, 9]),)]}
    monkeypatch.setattr(verification, "draws", lambda *_, seed=1: drawn[seed])
    ids = [trtnn.Input((2,), torch.int64, name="ids")]
    model, _ = answering.compile(lambda ids: table[ids], inputs=ids)
    assert model.verified and "whether outputs move is not known" in str(model.verified)


def test_verify_can_be_left_out_and_made_up_for(answering: Any) -> None:
    net = nn.Linear(3, 4)
    model, _ = answering.compile(net, verify=False)
    assert str(model.verified) == "not verified: verify=False"
    model, made = answering.compile(net)
    assert made == ["Runtime"] and model.verified  # a hit that nobody had verified
    model, _ = answering.compile(net, verify=False)
    assert model.verified


def fault(kind: str) -> Callable[[Graph], Graph]:
    """Return what plants the first fault of a kind."""
    return lambda graph: next(FAULTS[kind](graph)).graph


class Heads(nn.Module):
    """A small network with most of what a fault can be planted in."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(50, 8), nn.LayerNorm(8)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 6)
        nn.init.normal_(self.second.bias)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        x = self.norm(self.words(ids)) * mask[..., None].to(self.words.weight.dtype)
        y = self.second(torch.tanh(self.first(x)))
        return y, y.argmax(-1), y > 0


HEADS = [trtnn.Input((BATCH, 12), torch.int64, name=name) for name in ("ids", "mask")]


@pytest.mark.parametrize("half", [False, True], ids=["tf32", "half"])
@pytest.mark.parametrize("kind", ["dropped bias", "swapped channels"])
def test_a_wrong_engine_is_found(kind: str, half: bool, answering: Any) -> None:
    net = Heads().half() if half else Heads()
    model, _ = answering.compile(net, inputs=HEADS)
    assert model.verified
    answering.fault = fault(kind)
    with pytest.raises(WrongEngineError, match="output 0: relative L2") as bad:
        answering.compile(net, inputs=HEADS, cache=False)
    assert "verify=False" in str(bad.value) and "at batch = 4" in str(bad.value)
    assert len(list(answering.folder.glob("*.trtnn-engine"))) == 1
    answering.compile(net, inputs=HEADS, cache=False, verify=False)


def test_a_mask_or_ids_that_are_not_read_are_found(answering: Any) -> None:
    net = Heads()
    graphs: list[Graph] = []
    answering.fault = lambda graph: (graphs.append(graph), graph)[1]
    answering.compile(net, inputs=HEADS)
    for kind in ("ignored mask", "off-by-one gather", "batch element copied"):
        (planted,) = FAULTS[kind](graphs[0])
        answering.fault = lambda graph: graph

        def wrong(self: Answers, given: Any, planted: Any = planted) -> Any:
            outputs = run(self.graph, planted.before(list(given)), device=torch.device("cpu"))[0]
            return planted.after(outputs)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(WrongEngineError):
            patch.setattr(Answers, "compute", wrong)
            answering.compile(net, inputs=HEADS, cache=False)


@pytest.mark.parametrize("answering", ["8.6"], indirect=True)
def test_a_little_too_far_off_is_a_warning(answering: Any) -> None:
    net = nn.Linear(3, 4)
    answering.fault = lambda graph: next(
        replace(f, graph=with_constant(graph, v, lambda t: t * 1.02)).graph
        for f in FAULTS["scale of 1.1"](graph)
        for _, v, _ in weights(graph)
    )
    with pytest.warns(VerifyWarning, match="further off than rounding explains: output 0") as said:
        model, _ = answering.compile(net)
    assert len(said) == 1 and model.verified


# With what ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answering", ["11"], indirect=True)
def test_a_lazy_model_is_verified_with_its_first_call(answering: Any) -> None:
    net = nn.Linear(3, 4)
    model, _ = answering.compile(net, inputs=None)
    x = torch.randn(5, 6)[:, ::2]  # not contiguous, which the call itself says
    with pytest.warns(trtnn.CopyWarning) as said:
        y = model(x)
    assert len(said) == 1 and torch.allclose(y, net(x), atol=1e-6)
    assert model.verified.sizes == ("the given inputs",) and answering.answers[0].calls == 2


@pytest.mark.parametrize("answering", ["11"], indirect=True)
@pytest.mark.parametrize(
    "given", [(torch.randn(2, 3),), [torch.randn(2, 3)], {"input": torch.randn(2, 3)}]
)
def test_inputs_may_be_given(given: Any, answering: Any) -> None:
    model, _ = answering.compile(nn.Linear(3, 4), verify=given, inputs=X)
    assert model.verified.sizes == ("the given inputs",)


@pytest.mark.parametrize(
    ("verify", "inputs", "error", "text"),
    [
        ("yes", X, OptionError, "verify: expected True, False, or the inputs of a call, got 'yes'"),
        (None, X, OptionError, "verify: expected True, False"),
        ((torch.ones(2, 3),), None, OptionError, "verify: the first call's own inputs are used"),
        ((torch.ones(2, 4),), X, InputError, r"verify: x.*4"),
        ((torch.ones(2, 3).half(),), X, InputError, r"verify: x.*float16"),
        ((), X, InputError, "verify: .*input"),
        ({"y": torch.ones(2, 3)}, X, InputError, "verify: .*y"),
        ((3,), X, InputError, "verify: x.*tensor"),
    ],
)
def test_inputs_that_do_not_fit(
    verify: Any, inputs: Any, error: Any, text: str, world: World
) -> None:
    with pytest.raises(error, match=text):
        world.compile(nn.Linear(3, 4), verify=verify, inputs=inputs)


@pytest.mark.parametrize("answering", ["8.6"], indirect=True)
def test_values_lie_in_the_declared_range(answering: Any, monkeypatch: Any) -> None:
    seen: list[torch.Tensor] = []
    compute = Answers.compute
    monkeypatch.setattr(
        Answers, "compute", lambda self, given: (seen.extend(given), compute(self, given))[1]
    )
    inputs = [
        trtnn.Input((40,), name="a", low=2.0, high=3),
        trtnn.Input((40,), torch.int64, name="b", low=5, high=7),
        trtnn.Input((40,), name="c", low=1),
    ]
    model, _ = answering.compile(lambda a, b, c: a + b + c, inputs=inputs)
    assert model.verified
    first, second, third = seen
    assert 2 <= float(first.min()) < float(first.max()) <= 3 and float(third.min()) >= 1
    assert sorted(set(second.tolist())) == [5, 6, 7]


def test_what_time_cut_is_said(answering: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(verification, "SECONDS", -1.0)
    model, _ = answering.compile(nn.Linear(3, 4), inputs=[trtnn.Input((BATCH, 3), name="x")])
    assert model.verified.sizes == ("batch = 4",)
    assert "for lack of time not run at batch = 8; batch = 1" in str(model.verified)


def test_without_a_gpu_nobody_looks(answering: Any, monkeypatch: Any) -> None:
    monkeypatch.undo()
    found = verification.why_not(TensorRT(double.load("11")), torch.device("cpu"))
    assert found.startswith("no GPU here")


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"why": 1}, "verified.why"), ({"seconds": -1.0}, "seconds"), ({"more": 1}, "unknown key")],
)
def test_a_file_that_says_something_else_of_it_is_refused(changes: Any, text: str) -> None:
    facts = Verified("", (Measured(0, "L2", 0.1, 0.2, 0.3),), ("a",), ("b",), 1.0).described()
    check = MANIFEST["verified"]
    check(None, "verified")
    check(json.loads(json.dumps(facts)), "verified")
    assert Verified.of(json.loads(json.dumps(facts))).described() == facts
    with pytest.raises(trtnn.LoadError, match=text):
        check({**facts, **changes}, "verified")


def test_the_first_files_say_nothing_of_it() -> None:
    model, _ = on_double("11", nn.Linear(3, 4), X)
    manifest = {**manifest_of(model), "format": 1, "plan": {"sha256": "0" * 64, "bytes": 1}}
    assert manifest.pop("verified") is None
    require_form(manifest)


# The real TensorRT --------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["tf32", "half"])
@pytest.mark.parametrize("name", MODELS["small"])
def test_no_engine_of_the_zoo_is_taken_for_wrong(name: str, dtype: torch.dtype) -> None:
    model = MODELS["small"][name]
    net = build_lively(model).to("cuda", dtype)
    batch = trtnn.Dim("batch", 1, 2, 4)
    inputs = [
        trtnn.Input((batch, *t.shape[1:]), dtype if t.is_floating_point() else t.dtype)
        for t in model.inputs(2, 1)
    ]
    start = time.perf_counter()
    compiled = trtnn.compile(net, inputs=inputs, backend="tensorrt", cache=False)
    seconds = time.perf_counter() - start
    print(f"{name}: {compiled.verified.seconds / seconds:.3f} of compile\n{compiled.verified}")
    assert compiled.verified and compiled.verified.seconds <= max(5.0, 0.3 * seconds)
