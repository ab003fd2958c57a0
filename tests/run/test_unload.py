"""``model.unload``: nothing of an engine is left, its plan is, and the next call opens it again."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.on_double import on_double
from tests.refitting import REFIT, Twins, X
from tests.run.test_calls import EXECUTIONS, forward, make, pair, plain_record, stand_in
from tests.run.test_refit_calls import call_while_refitting, read_twins
from trtnn.errors import BuildError
from trtnn.run import cuda_graphs


@pytest.fixture(autouse=True)
def no_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "record", plain_record)


def handles(model: Any) -> list[Any]:
    """Return weak references to all that an open model holds of TensorRT."""
    pool, engine = model._runner.pool, model.engine
    held = [thing for holder in pool.holders for thing in getattr(holder, "ready", ())]
    captured = [c for c in (getattr(h, "context", None) for h in (*pool.holders, *held)) if c]
    contexts = [*pool.contexts, *captured, *(h for h in held if hasattr(h, "execute"))]
    assert engine._handle is not None and contexts
    return [weakref.ref(x) for x in (engine._handle, engine.runtime, *(c.handle for c in contexts))]


def right(results: Any, x: torch.Tensor, y: torch.Tensor) -> bool:
    return all(torch.equal(a, b) for a, b in zip(results, forward(x, y), strict=True))


def test_ten_engines_leave_nothing_and_open_again() -> None:
    models = [
        make(version, execution) for version in ("8.6", "10", "11") for execution in EXECUTIONS
    ]
    models.append(make("rtx"))
    x, y = pair(4)
    bound = [model.bind(x, y) for model in models]
    plans = [model.plan for model in models]
    for model in models:
        model(x, y)
    gone = [[*handles(model)] for model in models]
    for model in models:
        model.unload()
        model.unload()  # there is nothing more to close
    assert [ref() for refs in gone for ref in refs] == [None] * sum(map(len, gone))
    assert [model.plan for model in models] == plans
    assert all(model.engine._handle is None for model in models)  # a plan opens nothing
    for model, call, own in zip(models, bound, map(pair, range(1, 11)), strict=True):
        assert right(call(), x, y) and right(model(*own), *own) and right(call(), x, y)
        assert model.engine._handle is not None


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_it_waits_for_running_calls_and_holds_new_ones(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    model(x, y)
    started, goes_on = threading.Event(), threading.Event()

    def slow(context: Any, tensors: Any) -> Any:
        started.set()
        assert goes_on.wait(60)
        return stand_in(context, tensors)

    double.on_execute(model.engine.handle, slow)
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(model, x, y)
        assert started.wait(60)
        gone, unloading = handles(model)[0], threads.submit(model.unload)
        while model._runner.pool.owner is None:
            assert not unloading.done()
        assert gone() is not None
        goes_on.set()
        unloading.result(60)
        assert right(call.result(60), x, y) and model.engine._handle is None
    assert right(model(x, y), x, y)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_calls_meanwhile_are_right(execution: str) -> None:
    model = make("10", execution)
    x, y = pair(4)
    bound = model.bind(x, y)
    opened: list[Any] = []

    def unload(_: int) -> None:
        opened.append(weakref.ref(model.engine.handle))
        model.unload()

    def call() -> bool:
        return right(model(x, y), x, y) and right(bound(), x, y)

    assert all(call_while_refitting(call, unload))
    assert [ref() for ref in opened] == [None] * 20
    assert len(model._runner.pool.contexts) <= 4 and model._runner.pool.lenders == 0


@pytest.mark.parametrize("strip", [False, True])
def test_weights_of_now_are_kept(strip: bool) -> None:
    options = trtnn.options.BuildOptions(refit="refit", strip_plan=True) if strip else REFIT
    model, _ = on_double("10" if strip else "8.6", Twins(1.0), X, options=options)
    double.on_execute(model.engine.library.trt, read_twins)
    x = torch.zeros(2, 4)
    bound = model.bind(x)
    for number in (2.0, 3.0):
        model.refit(Twins(number).state_dict())
        plan = model.plan
        model.unload()
        assert model.plan == plan
        assert [abs(float(t.sum())) for t in bound()] == [8 * number] * 2
    model.unload()
    model.refit(Twins(5.0).state_dict())  # opens it, and leaves the bound call to itself
    assert [abs(float(t.sum())) for t in model(x)] == [40.0] * 2
    assert [abs(float(t.sum())) for t in bound()] == [40.0] * 2


def test_what_cannot_be_opened_again_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make("8.6")
    x, y = pair(4)
    bound = model.bind(x, y)
    model.unload()
    with monkeypatch.context() as patch:
        patch.setattr(model.engine, "_closed", b"damaged meanwhile")
        for call in (bound, lambda: model(x, y)):
            with pytest.raises(BuildError, match="TensorRT could not deserialize the plan"):
                call()
    assert right(bound(), x, y) and right(model(x, y), x, y)


def test_a_lost_engine_is_not_unloaded() -> None:
    model, _ = on_double("8.6", Twins(0.0), X, options=REFIT)
    model.engine.handle._breaks = True
    with pytest.raises(BuildError, match="the engine is unusable"):
        model.refit(Twins(1.0).state_dict())
    for _ in range(2):
        with pytest.raises(BuildError, match="the engine is unusable"):
            model.unload()


def test_views_lazy_models_and_the_reference() -> None:
    model = make("8.6")
    x, y = pair(4)
    view = model.with_execution("async")
    assert right(view(x, y), x, y)
    view.unload()
    assert model.engine._handle is None and right(model(x, y), x, y) and right(view(x, y), x, y)
    lazy = trtnn.compile(torch.nn.ReLU(), backend="reference")
    lazy.unload()
    lazy(x)
    lazy.unload()
    assert torch.equal(lazy(x), x.relu())


@pytest.mark.gpu
def test_three_engines_give_the_memory_of_the_gpu_back() -> None:
    x = torch.randn(64, 2048, device="cuda")
    models, nets = [], []
    for execution in EXECUTIONS:
        net = torch.nn.Sequential(*(torch.nn.Linear(2048, 2048) for _ in range(4))).cuda()
        options = trtnn.options.BuildOptions(builder_optimization_level=0)
        model = trtnn.compile(
            net, inputs=[x], options=options, execution=execution, precision="fp32", cache=False
        )
        models.append(model)
        nets.append(net)
    weights = 3 * 4 * 2048 * 2048 * 4
    before = [model(x) for model in models]
    bound = [model.bind(x) for model in models]
    torch.cuda.synchronize()
    full = torch.cuda.mem_get_info()[0]
    for model in models:
        model.unload()
    torch.cuda.synchronize()
    assert torch.cuda.mem_get_info()[0] - full > 0.9 * weights
    for model, call, net, want in zip(models, bound, nets, before, strict=True):
        assert torch.equal(call(), want) and torch.equal(model(x), want)
        torch.testing.assert_close(want, net(x), rtol=1e-3, atol=1e-3)
