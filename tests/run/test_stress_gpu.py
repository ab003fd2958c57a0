"""The three ways to run on a GPU: right on every stream, in threads, in many shapes, no copies."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import random
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import trtnn
from benchmarks.measures.activities import BETWEEN_HOST_AND_DEVICE, count_activities, traced
from benchmarks.measures.mixed import PROFILES, forward, sizes
from benchmarks.measures.one_layer import EXECUTIONS
from trtnn.options import BuildOptions

pytestmark = pytest.mark.gpu
FAST = BuildOptions(builder_optimization_level=0, timing_cache=False)
WIDTH, LONGEST = 128, 2**13
STREAMS = ("default", "side", "blocking")  # torch's own side streams never block


def compiled(function: Any, inputs: list[trtnn.Input], **how: Any) -> Any:
    return trtnn.compile(
        function, inputs=inputs, backend="tensorrt", options=FAST, cache=False, **how
    )


@pytest.fixture(scope="module")
def model() -> Any:
    """Return a model of up to 2**13 rows, with memory enough for eight threads."""
    batch = trtnn.Dim("batch", 1, 64, LONGEST)
    return compiled(forward, [trtnn.Input((batch, WIDTH), name="x")], max_contexts=8)


@pytest.fixture(scope="module")
def profiled() -> Any:
    batch = trtnn.Dim("batch", profiles=list(PROFILES))
    return compiled(forward, [trtnn.Input((batch, WIDTH), name="x")])


@pytest.fixture(params=EXECUTIONS)
def execution(request: Any) -> str:
    return str(request.param)


@functools.cache
def blocking() -> torch.cuda.Stream:
    """Return a stream that waits for the legacy default stream, and that one for it."""
    handle = ctypes.c_void_p()
    assert torch.cuda.cudart().cudaStreamCreate(ctypes.addressof(handle)) == 0
    return torch.cuda.ExternalStream(handle.value or 0)


@contextlib.contextmanager
def current(kind: str) -> Iterator[None]:
    """Make a stream of some kind current, when the GPU is idle."""
    streams = {"default": torch.cuda.default_stream, "side": torch.cuda.Stream}
    torch.cuda.synchronize()
    with torch.cuda.stream(streams.get(kind, blocking)()):
        yield
    torch.cuda.synchronize()


def busy(big: torch.Tensor) -> None:
    """Keep the current stream busy for some milliseconds."""
    for _ in range(4):
        big @ big


@pytest.fixture(scope="module")
def big() -> torch.Tensor:
    return torch.randn(8192, 8192, device="cuda")


@pytest.mark.parametrize("kind", STREAMS)
def test_a_slow_producer_is_waited_for(
    model: Any, execution: str, kind: str, big: torch.Tensor
) -> None:
    run = model.with_execution(execution)
    x = torch.zeros(64, WIDTH, device="cuda")
    run(x)  # what is made once: a graph that is captured here waits for everything
    with current(kind):
        run(x)
        for i in range(10):
            x.zero_()
            busy(big)
            x.fill_(float(i))
            y = run(x)
            # The reader stands on the same stream, as whatever PyTorch does next.
            assert bool((y == 2 * i + 1).all()), f"call {i}"


@pytest.mark.parametrize("kind", STREAMS)
def test_a_slow_producer_of_a_bound_call_is_waited_for(
    model: Any, execution: str, kind: str, big: torch.Tensor
) -> None:
    x = torch.zeros(64, WIDTH, device="cuda")
    with current(kind):
        bound = model.with_execution(execution).bind(x)
        for i in range(10):
            busy(big)
            x.fill_(float(i))
            y = bound()
            assert bool((y == 2 * i + 1).all()), f"call {i}"


def test_an_input_that_is_dropped_at_once_is_kept_until_it_is_read(
    model: Any, execution: str, big: torch.Tensor
) -> None:
    """Its memory may be given to the next tensor only after TensorRT has read it."""
    run = model.with_execution(execution)
    given = [torch.full((LONGEST, WIDTH), float(i), device="cuda") for i in range(4)]
    run(given[0])
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    results = []
    while given:
        x = given.pop()  # allocated on the default stream
        with torch.cuda.stream(side):
            busy(big)
            results.append((float(len(given)), run(x)))
        del x
        torch.full((LONGEST, WIDTH), -5.0, device="cuda")  # takes the memory if it is free
    torch.cuda.synchronize()
    for value, y in results:
        assert bool((y == 2 * value + 1).all())


def test_the_ways_to_run_agree_bit_by_bit(model: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (1, 63, 64, 65, 1000):
        x = torch.randn(size, WIDTH, generator=generator).cuda()
        results = [model.with_execution(kind)(x) for kind in EXECUTIONS]
        assert all(torch.equal(y, forward(x)) for y in results)
        assert len({y.data_ptr() for y in results}) == len(results)


def test_outputs_are_fresh(model: Any, execution: str) -> None:
    run = model.with_execution(execution)
    inputs = [torch.full((8, WIDTH), float(i), device="cuda") for i in range(4)]
    results = [run(x) for x in inputs]
    torch.cuda.synchronize()
    assert all(bool((y == 2 * i + 1).all()) for i, y in enumerate(results))


def test_outputs_go_where_the_caller_says(model: Any, execution: str) -> None:
    run = model.with_execution(execution)
    x = torch.ones(8, WIDTH, device="cuda")
    y = torch.full_like(x, -1.0)
    assert run(x, out=y) is y
    assert torch.equal(y, forward(x))
    base = torch.zeros(8 * WIDTH + 1, device="cuda")
    with pytest.raises(trtnn.InputError):
        run(x, out=base[1:].view(8, WIDTH))  # misaligned
    with pytest.raises(trtnn.InputError):
        run(x, out=torch.empty(7, WIDTH, device="cuda"))
    assert not bool(base.any())


def test_a_bound_call_keeps_its_memory(model: Any, execution: str) -> None:
    x = torch.zeros(16, WIDTH, device="cuda")
    y = torch.empty_like(x)
    run = model.with_execution(execution)
    for bound in (run.bind(x), run.bind(x, out=y)):
        addresses = set()
        for i in range(5):
            x.fill_(float(i))
            result = bound()
            addresses.add(result.data_ptr())
            assert bool((result == 2 * i + 1).all())
        assert len(addresses) == 1
    assert addresses == {y.data_ptr()}


def test_a_bound_call_outlives_other_shapes(model: Any, execution: str) -> None:
    """Its context, or its graph, is its own: other calls do not change what it was bound to."""
    run = model.with_execution(execution)
    x = torch.ones(16, WIDTH, device="cuda")
    bound = run.bind(x)
    for size in range(1, 20):  # more than the graphs that a model keeps
        run(torch.zeros(size, WIDTH, device="cuda"))
    assert torch.equal(bound(), forward(x))


def test_threads_get_their_own_results(model: Any, execution: str) -> None:
    run = model.with_execution(execution)

    def work(number: int) -> int:
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(8 + number % 4, WIDTH, generator=generator).cuda()
        expected = forward(x)
        return sum(not torch.equal(run(x), expected) for _ in range(300))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [0] * 8
    assert len(model._runner.pool.contexts) <= 8


def test_threads_on_streams_of_their_own(model: Any, execution: str, big: torch.Tensor) -> None:
    run = model.with_execution(execution)

    def work(number: int) -> int:
        stream, wrong = torch.cuda.Stream(), 0
        with torch.cuda.stream(stream):
            x = torch.zeros(8, WIDTH, device="cuda")
            for i in range(20):
                big[:1024] @ big
                x.fill_(float(number + i))
                wrong += not bool((run(x) == 2 * (number + i) + 1).all())
        return wrong

    torch.cuda.synchronize()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [0] * 8


def test_mixed_shapes(profiled: Any) -> None:
    longest = torch.randn(PROFILES[-1][-1], WIDTH, device="cuda")
    models = [profiled.with_execution(kind) for kind in EXECUTIONS]
    chosen = random.Random(1)
    wrong = []
    for number, size in enumerate(sizes(2000, range(1, len(longest) + 1))):
        kind = chosen.randrange(len(models))
        x = longest[:size]
        if not torch.equal(models[kind](x), forward(x)):
            wrong.append((number, EXECUTIONS[kind], size))
    assert wrong == []


def test_no_copy_crosses_between_host_and_device(model: Any, execution: str) -> None:
    x = torch.ones(64, WIDTH, device="cuda")
    run = model.with_execution(execution)
    bound, y = run.bind(x), torch.empty_like(x)
    for what, call in {
        "call": lambda: run(x),
        "out": lambda: run(x, out=y),
        "bound": bound,
    }.items():
        counts = count_activities(traced(call))
        assert counts.get("kernel", 0) > 0, f"{what}: the trace saw nothing"
        assert all(counts.get(kind, 0) == 0 for kind in BETWEEN_HOST_AND_DEVICE), what
        # Graph mode copies inputs into its buffers and outputs out of them.
        limit = 2 if execution == "graph" and what != "bound" else 0
        assert counts.get("DtoD", 0) <= limit and counts.get("memset", 0) == 0, (what, counts)


@pytest.mark.parametrize("kind", EXECUTIONS)
def test_a_capture_that_cannot_be_is_refused(model: Any, kind: str) -> None:
    x = torch.zeros(8, WIDTH, device="cuda")
    run = model.with_execution(kind)
    run(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x.add_(1)  # torch warns about a graph that is empty
        with pytest.raises(trtnn.StreamError, match="captured"):
            run(x)


def test_a_graph_is_replaced_by_calls_where_a_capture_fails() -> None:
    """8.6.0 says that an engine which compares two batches as it runs is not capturable."""
    rows, length = trtnn.Dim("rows", 1, 4, 8), trtnn.Dim("length", 1, 16, 32)

    def attend(q: Any, k: Any, mask: Any) -> Any:
        scores = torch.softmax(q @ k.transpose(1, 2) + mask, -1)
        return torch.nn.functional.layer_norm(scores @ k, (64,))

    inputs = [
        trtnn.Input((rows, length, 64), name="q"),
        trtnn.Input((rows, length, 64), name="k"),
        trtnn.Input((rows, 1, length), name="mask"),
    ]
    model = compiled(attend, inputs, execution="graph", precision="fp32")
    sync = model.with_execution("sync")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n, m in [(2, 16), (2, 16), (3, 7), (2, 16)]:
            q, k = (torch.randn(n, m, 64, device="cuda") for _ in range(2))
            mask = torch.randn(n, 1, m, device="cuda")
            torch.testing.assert_close(model(q, k, mask), sync(q, k, mask), rtol=1e-5, atol=1e-5)
        # Whether it is captured depends on the version: right it is either way, and said once.
        assert len([w for w in caught if "async" in str(w.message)]) <= 1
        caught.clear()
        other = compiled(lambda x: x * 2, [trtnn.Input((8,), name="x")], execution="graph")
        assert float(other(torch.ones(8, device="cuda")).sum()) == 16
        assert not [w for w in caught if "async" in str(w.message)]  # it is captured


def test_data_dependent_outputs_are_refused_in_graph_mode() -> None:
    def count(x: Any) -> Any:
        return torch.nonzero(x)

    with pytest.raises(trtnn.TrtnnError, match="graph"):
        compiled(count, [trtnn.Input((8,), name="x")], execution="graph")


def test_deleting_a_model_frees_its_memory() -> None:
    def used() -> int:
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return int(total - free)

    def run() -> None:
        net = torch.nn.Sequential(torch.nn.Linear(4096, 4096), torch.nn.Linear(4096, 4096)).cuda()
        made = compiled(net, [trtnn.Input((64, 4096), name="x")])
        x = torch.randn(64, 4096, device="cuda")
        for kind in EXECUTIONS:
            made.with_execution(kind)(x)
        made.with_execution("graph").bind(x)()

    run()
    before = used()
    for _ in range(2):
        run()
    # Each engine holds 128 MiB of weights.
    assert used() - before < 64 * 2**20
