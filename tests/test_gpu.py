"""The real TensorRT on a GPU: the rows, the smallest program, and the runner's promises."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import trtnn
from tests.compare import error, leaves
from tests.ops.test_ops import dims_of, traced
from tests.rows import Holder, Row, all_rows, prepare
from tests.shaped import SHAPED, Shaped, corners_and_random
from tests.zoo import MODELS, build_lively
from trtnn.errors import BuildError, TrtnnError, UnsupportedError
from trtnn.options import BuildOptions
from trtnn.run.runner import Runner
from trtnn.tree import flatten

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
    pytest.mark.filterwarnings("ignore::trtnn.errors.PrecisionWarning"),  # of the rows in half
]
ROWS = [(name, row) for name, row in all_rows() if row.raises is None]
REFUSED = {name: row for name, row in ROWS if row.unsupported.get("8.6")}
DIFFERENT = {name: row for name, row in ROWS if row.differs}
GROUP = 16  # rows of one engine
FAST = BuildOptions(builder_optimization_level=0)
# Built without TF32; 8.6.0 accumulates half in half.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 8e-3}


def grouped() -> dict[str, list[Row]]:
    """Return the rows that 8.6 can express, in groups of one module and one float type.

    A row that has both, or a size that depends on data, stays alone: 8.6.0 cannot build many such.
    """
    groups: dict[str, list[Row]] = {}
    for name, row in ROWS:
        if name in REFUSED or name in DIFFERENT:
            continue
        graph = traced(row)[0]
        floats = {v.spec.dtype for v in graph.values() if v.spec.dtype.is_floating_point}
        counted = any(hasattr(node.op, "bind_sizes") for node in graph.nodes)
        if counted or len(floats) > 1:
            groups[name] = [row]
            continue
        kind = f"{name.split('-')[0]}-{'half' if torch.float16 in floats else 'float'}"
        number = sum(len(g) for k, g in groups.items() if k.startswith(kind)) // GROUP
        groups.setdefault(f"{kind}-{number}", []).append(row)
    return groups


GROUPS = grouped()


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_8_6_lacks_are_refused(name: str) -> None:
    samples, call = prepare(REFUSED[name])
    inputs = [trtnn.Input(x.shape, x.dtype, f"x{i}") for i, x in enumerate(samples)]
    with pytest.raises(UnsupportedError, match=REFUSED[name].unsupported["8.6"]):
        trtnn.compile(
            lambda *tensors: call(REFUSED[name].function, tensors),
            inputs=inputs,
            backend="tensorrt",
            options=FAST,
        )


@pytest.mark.parametrize("group", GROUPS)
def test_rows_on_the_engine(group: str) -> None:
    """Many rows share one engine, for an engine takes a second to build and a row a millisecond."""
    rows = GROUPS[group]
    try:
        build_rows(rows)
    except (TrtnnError, AssertionError) as error:
        wrong = list(filter(None, map(what_is_wrong, rows)))  # alone
        assert not wrong, "\n".join(wrong)
        if not isinstance(error, BuildError):  # 8.6.0 cannot build all that is right in one
            raise


def what_is_wrong(row: Row) -> str | None:
    try:
        build_rows([row])
    except (TrtnnError, AssertionError) as error:
        return f"{row.name}: {error}"
    return None


@pytest.mark.parametrize("name", DIFFERENT)
def test_rows_that_8_6_0_computes_otherwise_still_differ(name: str) -> None:
    assert what_is_wrong(DIFFERENT[name]) is not None, "take `differs` from the row"


def build_rows(rows: list[Row]) -> None:
    """Build one engine of several rows; compare each with PyTorch at eight sizes.

    Their constants live on the GPU, as a module's do that was moved there.
    """
    module = Holder(*rows)
    samples = module.samples
    inputs = [trtnn.Input(x.shape, x.dtype, f"x{i}") for i, x in enumerate(samples)]
    model = trtnn.compile(
        module.cuda(),
        inputs=inputs,
        backend="tensorrt",
        precision="fp32",
        options=FAST,
        verify=False,  # that is what follows, at more sizes
    )
    for bindings in corners_and_random(dims_of(samples)):
        generator = torch.Generator().manual_seed(11)
        tensors = [x.make(bindings, generator) for x in samples]
        results = model(*(t.cuda() for t in tensors))
        remaining = iter(tensors)
        for (own, call), given in zip(module.parts, results, strict=True):
            row = call.row
            expected = call(row.oracle or row.function, [next(remaining).clone() for _ in own])
            dtypes = {v.spec.dtype for v in traced(row)[0].values()}
            tolerance = TOLERANCE[torch.float16 if torch.float16 in dtypes else torch.float32]
            for mine, want in zip(flatten(given)[0], flatten(expected)[0], strict=True):
                compare(mine, want, f"{row.name} at {bindings}", tolerance)


def compare(given: Any, want: Any, label: str, tolerance: float) -> None:
    if not isinstance(want, torch.Tensor):
        assert given == want, label
        return
    assert given.shape == want.shape and given.dtype == want.dtype, label
    tolerance = tolerance if want.dtype.is_floating_point else 0
    torch.testing.assert_close(
        given.cpu(),
        want,
        rtol=tolerance,
        atol=tolerance,
        equal_nan=True,
        msg=lambda m: f"{label}: {m}",
    )


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


@pytest.fixture(scope="module", params=SHAPED["small"])
def shaped(request: Any) -> tuple[Shaped, torch.nn.Module, Any]:
    model = SHAPED["small"][request.param]
    net = model.module()
    inputs = {name: trtnn.Input(x.shape, x.dtype) for name, x in model.arguments.items()}
    there = copy.deepcopy(net).cuda()
    options = {"backend": "tensorrt", "precision": "fp32", "options": FAST}
    return model, net, trtnn.compile(there, inputs=inputs, **options)


@pytest.mark.parametrize("index", range(8))
def test_a_model_at_every_size(shaped: Any, index: int) -> None:
    model, net, compiled = shaped
    inputs = model.inputs(model.bindings()[index])
    with torch.no_grad():
        expected = list(leaves(net(**inputs)))
    given = leaves(compiled(**{name: t.cuda() for name, t in inputs.items()}))
    for mine, want in zip(given, expected, strict=True):
        assert error(mine, want) <= 1e-4


@pytest.mark.parametrize("name", MODELS["small"])
def test_a_model_on_the_gpu(name: str) -> None:
    """Parameters, buffers and what forward makes beside them live on the GPU."""
    model = MODELS["small"][name]
    net = build_lively(model)
    there = copy.deepcopy(net).cuda()
    batch = trtnn.Dim("batch", 1, 2, 4)
    inputs = [trtnn.Input((batch, *t.shape[1:]), t.dtype) for t in model.inputs(2, 1)]
    compiled = trtnn.compile(
        there, inputs=inputs, backend="tensorrt", precision="fp32", options=FAST
    )
    for size in (1, 4):
        given = model.inputs(size, 5)
        with torch.no_grad():
            expected = list(leaves(net(*given)))  # on the CPU: PyTorch's convolutions use TF32
        for mine, want in zip(leaves(compiled(*(t.cuda() for t in given))), expected, strict=True):
            assert error(mine, want) <= 1e-3


def test_profiles_alternate() -> None:
    n = trtnn.Dim("n", profiles=[(1, 64, 128), (256, 256, 256)])
    model = trtnn.compile(
        lambda x: torch.softmax(x @ x.T, -1) + x.sum(1),
        inputs=[trtnn.Input((n, 16))],
        backend="tensorrt",
        precision="fp32",
        options=FAST,
    )
    for limit in (4, 1):  # a context for each profile, and one that switches
        run = Runner(model.engine, model._runner.graph, torch.device("cuda", 0), "always", limit)
        for i in range(50):
            x = torch.randn(100 + i % 3 if i % 2 else 256, 16, device="cuda")
            want = torch.softmax((x.double() @ x.double().T), -1) + x.double().sum(1)
            torch.testing.assert_close(run([x])[0][0].double(), want, rtol=1e-4, atol=1e-4)


def test_threads_get_their_own_results() -> None:
    n = trtnn.Dim("n", 1, 64, 128)
    model = trtnn.compile(
        lambda x: x * 3 + 1, inputs=[trtnn.Input((n,))], backend="tensorrt", options=FAST
    )

    def run(number: int) -> bool:
        x = torch.full((number + 1,), float(number), device="cuda")
        return all(bool((model(x) == 3 * number + 1).all()) for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(8)))
    assert len(model._runner.pool.contexts) <= 4
