"""The real TensorRT on a GPU: the rows, the smallest program, and the runner's promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests.rows import Row, all_rows
from tests.test_ops import dims_of, traced
from trtnn._trt import TensorRT
from trtnn.compiler import optimize
from trtnn.engine import Engine, build
from trtnn.errors import UnsupportedError
from trtnn.options import BuildOptions
from trtnn.runner import Runner
from trtnn.tree import flatten

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:Using padding='same'")]
ROWS = [(name, row) for name, row in all_rows() if row.raises is None]
FAST = BuildOptions(builder_optimization_level=0)
# Built without TF32; 8.6.0 accumulates half in half.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 8e-3}


@pytest.mark.parametrize("row", [r for _, r in ROWS], ids=[n for n, _ in ROWS])
def test_row_on_the_engine(row: Row) -> None:
    graph, inputs, call = traced(row)
    library = TensorRT()
    if any(hasattr(node.op, "bind_sizes") for node in graph.nodes):
        return
    lowered = optimize(graph, library)
    if row.unsupported.get("8.6"):
        with pytest.raises(UnsupportedError):
            build(lowered, library, FAST, tf32=False)
        return
    device = torch.device("cuda", 0)
    runner = Runner(build(lowered, library, FAST, tf32=False), lowered, device, "always")
    for end in ("min", "opt", "max"):
        bindings = {d.name: getattr(d, end) for d in dims_of(inputs)}
        generator = torch.Generator().manual_seed(11)
        tensors = [x.make(bindings, generator) for x in inputs]
        expected, _ = flatten(call(row.oracle or row.function, [t.clone() for t in tensors]))
        outputs, _ = runner([t.to(device) for t in tensors])
        for leaf, want in zip(graph.leaves, expected, strict=True):
            if isinstance(want, torch.Tensor):
                given = outputs[leaf].cpu()
                assert given.shape == want.shape and given.dtype == want.dtype
                tolerance = TOLERANCE.get(want.dtype, 0)
                torch.testing.assert_close(
                    given, want, rtol=tolerance, atol=tolerance, equal_nan=True
                )


def test_smallest_program(tmp_path: Path) -> None:
    x = trtnn.Input(((1, 3, 6), (1, 4, 7), (1, 5, 8)), name="x")
    model = trtnn.compile(lambda x: x, inputs=[x], backend="tensorrt", options=FAST)
    plan = tmp_path / "identity.plan"
    assert model.engine is not None
    plan.write_bytes(model.engine.serialize())
    for engine in (model.engine, Engine.deserialize(plan.read_bytes())):
        runner = Runner(engine, model.graph, torch.device("cuda", 0), "always")
        for shape in ((3, 4, 5), (6, 7, 8)):
            tensor = torch.randn(shape, device="cuda")
            assert torch.equal(runner([tensor])[0][0], tensor)
        with pytest.raises(trtnn.InputError, match="x: size 7 of dim 0"):
            runner([torch.randn(7, 7, 8, device="cuda")])


@pytest.fixture(scope="module")
def doubled() -> Any:
    batch = trtnn.Dim("batch", 1, 8, 2**20)
    return trtnn.compile(
        lambda x: x * 2, inputs=[trtnn.Input((batch,), name="x")], backend="tensorrt", options=FAST
    )


@pytest.mark.parametrize("kind", ["default", "side", "non-blocking"])
def test_a_slow_producer_is_waited_for(doubled: Any, kind: str) -> None:
    stream = torch.cuda.default_stream() if kind == "default" else torch.cuda.Stream()
    big = torch.randn(8192, 8192, device="cuda")
    torch.cuda.synchronize()
    for i in range(10):
        x = torch.zeros(2**20, device="cuda")
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            for _ in range(4):
                big @ big
            x.fill_(float(i))
            y = doubled(x)
        assert bool((y == 2 * i).all()), f"call {i}"


def test_copies_are_said_and_right(doubled: Any) -> None:
    base = torch.randn(64, device="cuda")
    with pytest.warns(trtnn.CopyWarning, match="x is not contiguous"):
        assert torch.equal(doubled(base[::2]), base[::2] * 2)
    with pytest.warns(trtnn.CopyWarning, match="not aligned"):
        assert torch.equal(doubled(base[1:]), base[1:] * 2)


def test_capture_is_refused(doubled: Any) -> None:
    x = torch.zeros(8, device="cuda")
    doubled(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x.add_(1)  # torch warns about a graph that is empty
        with pytest.raises(trtnn.StreamError, match="captured"):
            doubled(x)


def test_int64_is_narrowed_and_checked() -> None:
    model = trtnn.compile(
        lambda x: x + 1,
        inputs=[trtnn.Input((4,), torch.int64, name="x")],
        backend="tensorrt",
        options=FAST,
    )
    x = torch.tensor([1, 2, 3, 4], device="cuda")
    assert torch.equal(model(x), x + 1) and model(x).dtype == torch.int64
    with pytest.raises(trtnn.InputError, match="int64 values"):
        model(x + 2**31)
