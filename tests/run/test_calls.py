"""Every way to call a compiled model, on the doubles and the reference: results, errors, counts."""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.on_double import on_double
from trtnn.errors import InputError, OptionError, StreamError, UnsupportedError
from trtnn.run import cuda_graphs

VERSIONS = ("8.6", "10", "11")
EXECUTIONS = ("sync", "async", "graph")
BATCH = trtnn.Dim("batch", 1, 4, 64)
INPUTS = [trtnn.Input((BATCH, 3), name="x"), trtnn.Input((BATCH, 3), name="y")]


def forward(x: Any, y: Any) -> Any:
    return x + y, x * 2


def stand_in(context: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Stand in for the engine of ``forward``."""
    given = [_read(tensors[name]) for name in ("x", "y")]
    return {"output_0": (given[0] + given[1]).numpy(), "output_1": (given[0] * 2).numpy()}


def _read(tensor: tuple[int, tuple[int, ...], Any]) -> torch.Tensor:
    address, shape, _ = tensor
    content = (ctypes.c_float * torch.Size(shape).numel()).from_address(address)
    return torch.frombuffer(content, dtype=torch.float32).clone().view(shape)


def plain_record(context: Any, streams: Any, results: Any) -> Any:
    """Stand in for a capture: the replay runs the context again."""
    context.enqueue(0)
    return lambda: context.enqueue(0) and None


@pytest.fixture(autouse=True)
def no_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "record", plain_record)


def make(version: str, execution: str = "sync", function: Any = forward, **how: Any) -> Any:
    """Return a model on a double, or the reference."""
    if version == "reference":
        model = trtnn.compile(function, inputs=INPUTS, backend="reference")
        return model.with_execution(execution)
    made, runner = on_double(version, function, INPUTS, execution=execution, **how)
    double.on_execute(runner.engine.library.trt, stand_in)
    return made


def pair(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(size, 3), torch.randn(size, 3)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("version", [*VERSIONS, "reference"])
def test_every_way_gives_the_same(version: str, execution: str) -> None:
    model = make(version, execution)
    for size in (4, 4, 7, 4, 64, 7, 1):
        x, y = pair(size)
        want = forward(x, y)
        got = model(x, y)
        out = tuple(torch.full_like(t, torch.nan) for t in want)
        assert model(x, y=y, out=out) is out and model(x, y, out=out) is out
        bound = model.bind(x, y)
        again = bound()
        assert bound() is again and bound.outputs is again
        for results in (got, out, again):
            for result, expected in zip(results, want, strict=True):
                torch.testing.assert_close(result, expected)
        x.add_(1)
        bound()
        torch.testing.assert_close(again[1], x * 2)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_results_are_new_each_time(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    first, second = model(x, y), model(x, y)
    assert {t.data_ptr() for t in first}.isdisjoint(t.data_ptr() for t in second)


@pytest.mark.parametrize(
    ("out", "text"),
    [
        (torch.empty(4, 3), "out: expected a tuple of 0, 1"),
        ((torch.empty(4, 3),), r"out\[1\]: missing"),
        ((torch.empty(4, 3), torch.empty(5, 3)), r"out\[1\]: expected the shape \(4, 3\)"),
        ((torch.empty(4, 3), torch.empty(4, 3).half()), r"out\[1\]: expected torch.float32"),
        ((torch.empty(4, 3), None), r"out\[1\]: expected a tensor \(4, 3\) torch.float32"),
        ((torch.empty(3, 4).t(), torch.empty(4, 3)), r"out\[0\]: expected contiguous"),
        ((torch.empty(4, 3).to("meta"), torch.empty(4, 3)), r"out\[0\]: expected a tensor on cpu"),
        ((torch.empty(4, 3, requires_grad=True), torch.empty(4, 3)), r"out\[0\]: requires a grad"),
    ],
)
@pytest.mark.parametrize("version", ["8.6", "reference"])
def test_a_wrong_out_is_named(version: str, out: Any, text: str) -> None:
    model = make(version)
    x, y = pair(4)
    for _ in range(2):  # cold, and where the call is hot
        with pytest.raises(InputError, match=text):
            model(x, y, out=out)
        with pytest.raises(InputError, match=text):
            model.bind(x, y, out=out)
        model(x, y)


@pytest.mark.parametrize("version", ["8.6", "reference"])
def test_an_output_may_not_share_memory(version: str) -> None:
    model = make(version)
    x, y = pair(4)
    whole = torch.empty(8, 3)
    good = (torch.empty(4, 3), torch.empty(4, 3))
    model(x, y, out=good)
    for out in ((x, good[1]), (good[0], good[0]), (whole[:4], whole[2:6])):
        with pytest.raises(InputError, match="shares memory with"):
            model(x, y, out=out)
    model(x, y, out=(whole[:4], whole[4:]))
    torch.testing.assert_close(whole, torch.cat(forward(x, y)))


def test_an_out_of_forward_is_its_own() -> None:
    def own(x: Any, out: Any) -> Any:
        return x + out, x * 2

    inputs = {"x": trtnn.Input((4, 3)), "out": trtnn.Input((4, 3))}
    model = trtnn.compile(own, inputs=inputs, backend="reference")
    x, y = pair(4)
    torch.testing.assert_close(model(x, out=y)[0], x + y)


def test_what_bind_cannot_read_in_place_is_refused() -> None:
    model = make("8.6")
    with pytest.raises(InputError, match="y: bind reads it in place"):
        model.bind(torch.zeros(4, 3), torch.zeros(3, 4).t())


def test_an_input_with_a_gradient_leaves_no_trace_in_a_graph() -> None:
    model = make("8.6", "graph")
    x, y = pair(4)
    x.requires_grad_()
    for _ in range(3):
        results = model(x, y)
        torch.testing.assert_close(results[0], (x + y).detach())
        assert not any(t.requires_grad for t in results)
    (captured,) = model._runner.graphs.values()
    assert not any(t.requires_grad for t in captured.inputs)


def test_a_capture_that_is_refused_falls_back_once_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any) -> Any:
        raise StreamError("no capture here", search=False)

    monkeypatch.setattr(cuda_graphs, "record", refuse)
    model = make("8.6", "graph")
    x, y = pair(4)
    with pytest.warns(UserWarning, match='no capture here; such calls run as execution="async"'):
        torch.testing.assert_close(model(x, y)[0], x + y)
    for size in (4, 7):  # without another one
        x, y = pair(size)
        torch.testing.assert_close(model(x, y)[0], x + y)
        torch.testing.assert_close(model.bind(x, y)()[0], x + y)


def test_the_graphs_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[int] = []
    monkeypatch.setattr(
        cuda_graphs, "record", lambda c, s, r: recorded.append(len(r[0])) or plain_record(c, s, r)
    )
    model = make("8.6", "graph")
    for size in (*range(1, 9), 1, 9, 1, 2):
        x, y = pair(size)
        torch.testing.assert_close(model(x, y)[0], x + y)
    assert recorded == [*range(1, 9), 9, 2]  # 2 was the least recently used when 9 came
    assert len(model._runner.graphs) == 8


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("memory", ["own", "shared"])
def test_threads_get_their_own_results(execution: str, memory: str) -> None:
    if memory == "shared" and execution != "sync":
        with pytest.raises(OptionError, match='memory="shared" is for models that run one after'):
            make("8.6", execution, memory=memory)
        return
    model = make("8.6", execution, memory=memory, max_contexts=3)

    def run(number: int) -> bool:
        x, y = torch.full((number + 1, 3), float(number)), torch.ones(number + 1, 3)
        bound = model.bind(x, y)
        for _ in range(50):
            if not torch.equal(model(x, y)[0], x + y) or not torch.equal(bound()[1], x * 2):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(8)))
    assert len(model._runner.pool.contexts) <= 3


@pytest.mark.parametrize("version", VERSIONS)
def test_models_that_share_memory_learn_where_it_is(version: str) -> None:
    first, second = (make(version, memory="shared") for _ in range(2))
    arena = first._runner.pool.arena
    assert arena is second._runner.pool.arena
    x, y = pair(4)
    first(x, y)
    arena.reserve(1 << 16)
    for model in (first, second, first):
        torch.testing.assert_close(model(x, y)[0], x + y)
    (context,) = first._runner.pool.contexts
    assert context.handle.device_memory == arena.memory.data_ptr()


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_what_is_made_anew_keeps_its_results(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    model(x, y)
    bound = model.bind(x, y)
    pool = model._runner.pool
    old = [c.handle for c in pool.contexts]
    done = threading.Event()
    with pool.exclusive():
        waiting = threading.Thread(target=lambda: (model(x, y), bound(), done.set()))
        waiting.start()
        assert not done.wait(0.05) and not pool.contexts
    waiting.join()
    assert done.is_set() and not {id(c.handle) for c in pool.contexts} & {id(h) for h in old}
    torch.testing.assert_close(bound()[0], x + y)
    torch.testing.assert_close(model(x, y)[0], x + y)


@pytest.mark.parametrize("execution", ["sync", "async"])
def test_a_failed_run_is_an_error_and_its_context_goes(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    model(x, y)
    (context,) = model._runner.pool.contexts
    monkeypatched = lambda *args: False  # noqa: E731
    context.execute = context.enqueue = monkeypatched
    with pytest.raises(trtnn.BuildError, match="TensorRT failed to execute"):
        model(x, y)
    assert context not in model._runner.pool.contexts
    torch.testing.assert_close(model(x, y)[0], x + y)


def test_data_dependent_outputs_have_no_memory_to_give() -> None:
    model = trtnn.compile(lambda x: x.nonzero(), inputs=[trtnn.Input((4,))], backend="reference")
    x = torch.tensor([1.0, 0.0, 2.0, 0.0])
    with pytest.raises(InputError, match="out: an output has a size that depends on data"):
        model(x, out=torch.empty(2, 1, dtype=torch.int64))
    with pytest.raises(UnsupportedError, match="bind: an output has a size that depends on data"):
        model.bind(x)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"execution": "later"}, "execution: expected one of sync, async, graph, got 'later'"),
        ({"memory": "none"}, "memory: expected one of own, shared, got 'none'"),
        ({"max_contexts": 0}, "max_contexts: expected an int of 1 or more, got 0"),
        ({"max_contexts": True}, "max_contexts: expected an int of 1 or more, got True"),
    ],
)
def test_wrong_settings(how: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        trtnn.compile(forward, inputs=INPUTS, backend="reference", **how)


@pytest.mark.parametrize("version", ["8.6", "reference"])
def test_a_gradient_that_needs_what_an_output_overwrites_is_an_error(version: str) -> None:
    model = make(version)
    x, y = pair(4)
    out = model(x, y)
    for _ in range(2):  # cold, and hot
        model(x, y, out=out)
        weight = torch.ones(4, 3, requires_grad=True)
        loss = (out[0] * weight).sum()
        model(x, y, out=out)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_a_tensor_without_memory_is_named() -> None:
    model = make("8.6")
    x, y = pair(4)
    model(x, y)
    freed = torch.randn(4, 3)
    freed.untyped_storage().resize_(0)
    with pytest.raises(InputError, match="y: expected a tensor with memory of its own"):
        model(x, freed)
    with pytest.raises(InputError, match=r"out\[1\]: expected a tensor with memory of its own"):
        model(x, y, out=(torch.empty(4, 3), freed))


def test_the_reference_returns_memory_of_its_own() -> None:
    inputs = [trtnn.Input((4, 3), name="x")]
    model = trtnn.compile(lambda x: (x.t(), x[:2]), inputs=inputs, backend="reference")
    x = torch.randn(4, 3, requires_grad=True)
    for result, want in zip(model(x), (x.t(), x[:2]), strict=True):
        torch.testing.assert_close(result, want.detach())
        assert not result.requires_grad
        assert result.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
