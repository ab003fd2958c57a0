"""Host inputs: integers that decide shapes, against PyTorch on the reference and the doubles."""

from __future__ import annotations

import ctypes
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F

import trtnn
from tests import double
from tests.on_double import on_double
from trtnn import Dim, Input, InputError, ShapeError
from trtnn.options import BuildOptions
from trtnn.run.allocating import AllocatingRunner
from trtnn.run.runner import Runner
from trtnn.sizes.dims import evaluate
from trtnn.tracing.signature import declare
from trtnn.tree import flatten, unflatten

CPU = torch.device("cpu")
B, S = Dim("b", 1, 2, 4), Dim("s", 2, 6, 12)
N, M = Dim("n", 1, 3, 8), Dim("m", 1, 3, 8)
HOST = Input(N, host=True)
VERSIONS = ["8.6", "10", "11"]
FAST = BuildOptions(builder_optimization_level=0)


@dataclass(frozen=True)
class Row:
    """A function, its inputs by declaration, and which host inputs TensorRT is given.

    ``on_host`` are those whose values shapes need; ``computed`` those that only layers read.
    """

    function: Callable[..., Any]
    inputs: list[Any]
    on_host: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()


ROWS = {
    "zeros": Row(
        lambda x, n: torch.cat([x, torch.zeros(x.shape[0], n)], 1), [Input((B, 3)), HOST], ("n",)
    ),
    "slice": Row(lambda x, n: x[:, :n] * 2, [Input((B, S)), HOST], ("n",)),
    "doubled": Row(lambda x, n: x.expand(n * 2, 3) + 1, [Input((1, 3)), HOST], ("n",)),
    "interpolate": Row(
        lambda x, n, m: F.interpolate(x, size=(n, m)),
        [Input((1, 2, 4, 4)), HOST, Input(M, host=True)],
        ("n", "m"),
    ),
    "no tensor": Row(lambda n: torch.arange(n + 2) * 2, [HOST], ("n",)),
    "twice": Row(lambda x, n, k: x.expand(n, k) * 2, [Input((1, 1)), HOST, HOST], ("n",)),
    "nested": Row(
        lambda x, sizes: F.interpolate(x, size=(sizes["rows"], sizes["columns"][0])),
        [Input((1, 2, 4, 4)), {"rows": HOST, "columns": (Input(M, host=True),)}],
        ("sizes.rows", "sizes.columns[0]"),
    ),
    "shape and data": Row(lambda x, n: x.expand(n) * n, [Input((1,)), HOST], ("n",)),
    "data": Row(lambda x, n: x * n, [Input((B, 3)), HOST], (), ("n",)),
    "integer data": Row(lambda x, n: x + n, [Input((3,), torch.int32), HOST], (), ("n",)),
    "unused": Row(lambda x, n: x * 2, [Input((B, 3)), HOST]),
    "in a shape too": Row(lambda x, n: x * 2 + torch.ones(n, 1), [Input((N, 3)), HOST]),
    "behind a shape": Row(
        lambda x, n: torch.cat([x, torch.zeros(n)]), [Input((2 * N,)), HOST], ("n",)
    ),
    "returned": Row(lambda x, n: (x * 2, n + 1, x.new_ones(n).shape), [Input((B, 3)), HOST]),
}


def calls(row: Row, device: torch.device = CPU) -> list[list[Any]]:
    """Return the arguments of calls at the least, the greatest and other sizes."""
    leaves, tree = flatten(row.inputs)

    def make(declared: Input, sizes: dict[str, int]) -> Any:
        if declared.host:
            return sizes[declared.shape.name]
        shape = [evaluate(size, sizes) for size in declared.shape]
        return torch.randint(-9, 9, shape).to(device, declared.dtype)

    values = itertools.product((1, 4), (12,), (1, 5, 8), (2, 8))
    every = [dict(zip("bsnm", sizes, strict=True)) for sizes in values]
    return [unflatten(tree, [make(x, sizes) for x in leaves]) for sizes in every]


def results(function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    return flatten(function(*arguments))[0]


def assert_same(given: list[Any], wanted: list[Any]) -> None:
    assert len(given) == len(wanted)
    for one, other in zip(given, wanted, strict=True):
        if isinstance(other, torch.Tensor):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other)
        else:
            assert one == other and type(one) is type(other)


class OnDouble:
    """A row compiled for a double, which checks what it is given and computes with PyTorch."""

    def __init__(self, version: str, row: Row, runner: Any = Runner) -> None:
        self.row, self.arguments = row, []
        self.signature = declare(row.function, row.inputs)
        self.model, self.runner = on_double(version, row.function, row.inputs, runner)
        self.library = self.runner.engine.library
        double.on_execute(self.library.trt, self.compute)

    def compute(self, context: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Stand in for the engine."""
        leaves = dict(zip(self.signature.names, flatten(self.arguments)[0], strict=True))
        for name in tensors.keys() & leaves.keys():
            given, wanted = content(tensors[name]), numpy.asarray(leaves[name])
            assert numpy.array_equal(given.reshape(wanted.shape), wanted), name
        outputs = [y.numpy() for y in results(self.row.function, self.arguments) if is_tensor(y)]
        kinds = [KINDS[tensors[f"output_{i}"][2].name] for i in range(len(outputs))]
        pairs = zip(outputs, kinds, strict=True)
        return {f"output_{i}": y.astype(kind) for i, (y, kind) in enumerate(pairs)}

    def __call__(self, arguments: list[Any]) -> Any:
        self.arguments = arguments
        return self.model(*arguments)


KINDS = {"FLOAT": "f4", "INT32": "i4", "INT64": "i8"}


def content(tensor: tuple[int, Any, Any]) -> Any:
    """Return what an engine's input holds."""
    pointer, shape, dtype = tensor
    kind = numpy.dtype(KINDS[dtype.name])
    return numpy.frombuffer(ctypes.string_at(pointer, kind.itemsize * math.prod(shape)), kind)


def is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


@pytest.mark.parametrize("name", ROWS)
def test_rows_on_the_reference(name: str) -> None:
    row = ROWS[name]
    model = trtnn.compile(row.function, inputs=row.inputs, backend="reference")
    for arguments in calls(row):
        assert_same(results(model, arguments), results(row.function, arguments))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ROWS)
def test_rows_on_the_doubles(name: str, version: str) -> None:
    row = ROWS[name]
    made = OnDouble(version, row)
    engine, trt = made.runner.engine, made.library.trt
    inputs = {n for n, is_input, _ in engine.tensors if is_input}
    assert inputs - set(made.signature.specs) == {*row.on_host, *row.computed}
    for given in (*row.on_host, *row.computed):
        place = trt.TensorLocation.HOST if given in row.on_host else trt.TensorLocation.DEVICE
        assert engine.handle.get_tensor_location(given) == place
        assert {n: d for n, _, d in engine.tensors}[given] == made.library.target.index_dtype
    for arguments in calls(row) * 2:
        assert_same(flatten(made(arguments))[0], results(row.function, arguments))


@pytest.mark.gpu
def test_rows_on_a_gpu() -> None:
    device = torch.device("cuda", 0)
    for row in ROWS.values():
        model = trtnn.compile(
            row.function, inputs=row.inputs, backend="tensorrt", device=device, options=FAST
        )
        for arguments in calls(row, device) * 2:
            with device:
                wanted = results(row.function, arguments)
            assert_same(results(model, arguments), wanted)
    model = trtnn.compile(lambda k: torch.ones(k), inputs=[HOST], backend="tensorrt", options=FAST)
    with pytest.raises(InputError, match="k: a host input is given as a Python int or a CPU"):
        model(torch.tensor(3, device=device))


@pytest.mark.parametrize("version", VERSIONS)
def test_another_integer_is_another_call_with_the_same_shapes(version: str) -> None:
    made = OnDouble(version, ROWS["slice"])
    x = torch.randn(2, 6)
    for n in (3, 5, 3):
        assert made([x, n]).shape == (2, n)
    (context,) = made.runner.pool.contexts
    assert context.handle.calls["set_input_shape"] == 1
    assert len(made.runner.known) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_profiles_are_chosen_by_the_integer(version: str) -> None:
    ranged = Input(Dim("n", profiles=[(1, 4, 8), (1, 2, 3), (16, 16, 16)]), host=True)
    function = ROWS["slice"].function
    made = OnDouble(version, Row(function, [Input((2, 20)), ranged]))
    x = torch.randn(2, 20)
    profiles = []
    for n in (5, 2, 16, 3):
        assert torch.equal(made([x, n]), function(x, n))
        profiles.append(made.runner.profile)
    assert profiles == [0, 0, 2, 1]
    with pytest.raises(InputError, match=r"n: n = 12 does not fit profile 0: n = 1 to 8; 1: .* 16"):
        made([x, 12])
    pinned = made.model.with_profile(1)
    made.arguments = [x, 2]
    assert torch.equal(pinned(x, 2), function(x, 2))
    with pytest.raises(InputError, match="n: n = 5 does not fit profile 1: n = 1 to 3"):
        pinned(x, 5)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_integer_that_the_engine_does_not_take_has_profiles_too(version: str) -> None:
    ranged = Input(Dim("n", profiles=[(1, 1, 2), (8, 8, 8)]), host=True)
    made = OnDouble(version, Row(lambda x, n: x * 2, [Input((3,)), ranged]))
    for n in (1, 8):
        assert torch.equal(made([torch.ones(3), n]), torch.full((3,), 2.0))


@pytest.mark.parametrize("version", VERSIONS)
def test_beside_sizes_that_depend_on_data(version: str) -> None:
    row = Row(lambda x, n: (torch.nonzero(x), x.new_ones(n)), [Input((B, 3)), HOST])
    made = OnDouble(version, row, AllocatingRunner)
    for n in (2, 5):
        arguments = [torch.eye(3)[:2], n]
        assert_same(list(made(arguments)), results(row.function, arguments))


ACCEPTED = [5, numpy.int64(5), numpy.uint8(5), torch.tensor(5), torch.tensor([5])]


@pytest.mark.parametrize("value", [*ACCEPTED, torch.tensor(5, dtype=torch.int32)], ids=repr)
def test_what_an_integer_may_be_given_as(value: Any) -> None:
    row = ROWS["slice"]
    model = trtnn.compile(row.function, inputs=row.inputs, backend="reference")
    assert model(torch.ones(2, 6), value).shape == (2, 5)
    assert model(x=torch.ones(2, 6), n=value).shape == (2, 5)


REFUSED = [
    (5.0, "expected an int, n from 1 to 8, got 5.0"),
    (True, "expected an int, n from 1 to 8, got True"),
    ("5", "expected an int, n from 1 to 8, got '5'"),
    (None, "expected an int, n from 1 to 8, got None"),
    ([5], "expected an int, n from 1 to 8, got a list"),
    (numpy.ones(1, int), "expected an int, n from 1 to 8, got a ndarray"),
    (torch.tensor(5.0), r"expected an int, n from 1 to 8, got a tensor \(\) float32 on cpu"),
    (torch.tensor(True), "got a tensor .* bool"),
    (torch.tensor([5, 5]), r"got a tensor \(2,\) int64"),
    (torch.tensor([[5]]), r"got a tensor \(1, 1\) int64"),
    (torch.tensor(5, device="meta"), "no device round trip; got a tensor on meta"),
    (torch.tensor([5]).to_sparse(), "expected a dense tensor"),
    (0, "0 is out of range: n is 1 to 8"),
    (torch.tensor(9), "9 is out of range: n is 1 to 8"),
    (2**40, "out of range: n is 1 to 8"),
    (-1, "-1 is out of range: n is 1 to 8"),
]


@pytest.mark.parametrize("backend", ["reference", *VERSIONS])
@pytest.mark.parametrize(("value", "text"), REFUSED)
def test_what_is_no_such_integer(value: Any, text: str, backend: str) -> None:
    row = ROWS["slice"]
    if backend == "reference":
        model = trtnn.compile(row.function, inputs=row.inputs, backend="reference")
    else:
        model = OnDouble(backend, row).model
    with pytest.raises(InputError, match=f"^n: .*{text}"):
        model(torch.ones(2, 6), value)


@pytest.mark.parametrize("backend", ["reference", *VERSIONS])
def test_an_integer_and_a_shape_must_agree(backend: str) -> None:
    row = Row(lambda x, y, k: (x * k, y), [Input((N, 3)), Input((2 * N,)), HOST])
    if backend == "reference":
        model: Any = trtnn.compile(row.function, inputs=row.inputs, backend="reference")
    else:
        model = OnDouble(backend, row).model
    with pytest.raises(InputError, match=r"^k: 4 should be 5 \(n; n = 5 given by x, dim 0\)"):
        model(torch.ones(5, 3), torch.ones(10), 4)
    with pytest.raises(
        InputError, match=r"^y: size 8 of dim 0 should be 10 \(2\*n; n = 5 given by x, dim 0\)"
    ):
        model(torch.ones(5, 3), torch.ones(8), 5)


def test_two_integers_of_one_dim_must_agree() -> None:
    row = ROWS["twice"]
    model = trtnn.compile(row.function, inputs=row.inputs, backend="reference")
    with pytest.raises(InputError, match=r"^k: 4 should be 5 \(n; n = 5 given by n\)"):
        model(torch.ones(1, 1), 5, 4)


@pytest.mark.parametrize(
    ("declare_it", "error", "text"),
    [
        (lambda: Input(2 * N, host=True), InputError, r"is a Dim, .*, got 2\*n"),
        (lambda: Input((1, 2, 3), host=True), InputError, r"is a Dim, .*, got \(1, 2, 3\)"),
        (lambda: Input(5, host=True), InputError, "is a Dim, .*, got 5"),
        (lambda: Input(N, torch.float32, host=True), InputError, "an int64 .* got torch.float32"),
        (lambda: Input(N), ShapeError, r"tuple of sizes, got n(.|\n)*write \(n,\), or host=True"),
        (lambda: Input(5), ShapeError, "expected a tuple of sizes, got 5"),
        (lambda: Input((5,), "float32"), InputError, "expected a torch.dtype, got 'float32'"),
    ],
)
def test_what_cannot_be_declared(declare_it: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        declare_it()


@pytest.mark.parametrize(
    ("shapes", "hosts", "text"),
    [
        ([(S // 2,)], [], r"^x0: size s//2 of dim 0 does not tell s, and no other input does"),
        ([(B, B * S)], [], r"^x0: size b\*s of dim 1 does not tell s"),
        ([(3,), (4, S % 3)], [], r"^x1: size s%3 of dim 1 does not tell s"),
        ([(B + S,)], [], "^x0: size b [+] s of dim 0 does not tell b"),
        ([(S // 2,), (S,)], [], None),
        ([(S // 2,)], [S], None),
        ([(2 * S + 1,)], [], None),
        ([(B + 2 * S, B)], [], None),
        ([(B * S,)], [B, S], None),
    ],
)
def test_every_dim_is_told_by_some_input(shapes: Any, hosts: Any, text: str | None) -> None:
    inputs = [Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    inputs += [Input(dim, host=True) for dim in hosts]
    if text is None:
        declare(lambda *arguments: arguments, inputs)
        return
    with pytest.raises(ShapeError, match=text) as caught:
        declare(lambda *arguments: arguments, inputs)
    assert "host=True" in str(caught.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_size_with_another_known_one_is_solved(version: str) -> None:
    row = Row(
        lambda x, y: x.new_ones(y.shape[0] - x.shape[0]), [Input((B, 3)), Input((B + 2 * S,))]
    )
    made = OnDouble(version, row)
    arguments = [torch.ones(2, 3), torch.ones(12)]
    assert_same([made(arguments)], results(row.function, arguments))
    assert [d.name for d in made.model.graph.dims] == ["b", "s"]
    with pytest.raises(
        InputError, match=r"^y: size 11 of dim 0 does not fit 2[*]s [+] b, where b = 2 .*x, dim 0"
    ):
        made([torch.ones(2, 3), torch.ones(11)])


def test_a_plain_dim_is_no_declaration() -> None:
    with pytest.raises(InputError, match=r"n: expected an Input, .* got the size n") as caught:
        trtnn.compile(lambda x, n: x, inputs=[Input((2,)), N], backend="reference")
    assert "Input(n, host=True)" in str(caught.value)


def test_a_graph_shows_its_host_inputs() -> None:
    row = ROWS["slice"]
    graph = trtnn.trace(row.function, row.inputs)
    assert dict(graph.hosts) == {"n": N} and N in graph.dims
    assert re.search("^n +host input", str(graph), re.M) and "host input n n" in graph.text()
    renamed = [row.inputs[0], Input(N, name="k", host=True)]
    assert trtnn.trace(row.function, renamed).hash() != graph.hash()
    model = trtnn.compile(row.function, inputs=row.inputs, backend="reference")
    assert model.host_inputs == {"n": N} and list(model.input_specs) == ["x"]
    assert repr(model) == "CompiledModule(reference, x: (b, s) float32, n: n)"


def test_names_differ_among_tensors_and_integers() -> None:
    with pytest.raises(InputError, match="names must differ, got x, x"):
        declare(lambda x, n: x, [Input((2,)), Input(N, name="x", host=True)])


def test_an_int_asked_of_the_integer_names_it() -> None:
    with pytest.raises(trtnn.TraceError, match="of the symbolic size n, which is 1 to 8"):
        trtnn.trace(lambda x, n: [x for _ in range(n)], [Input((2,)), HOST])  # <- here


def test_a_comparison_with_one_is_verified_at_one() -> None:
    def forward(x: Any, n: int) -> Any:
        return x.expand(n, 3).squeeze(0) if n == 1 else x.expand(n, 3)

    with pytest.raises(trtnn.TraceError, match="n is 1"):
        trtnn.compile(forward, inputs=[Input((1, 3)), HOST], backend="reference")
    same = trtnn.compile(
        lambda x, n, m: x.expand(n, m) * 1 if n > 1 else x.expand(1, m) * 1,
        inputs=[Input((1, 1)), HOST, Input(M, host=True)],
        backend="reference",
    )
    assert [tuple(same(torch.ones(1, 1), n, 4).shape) for n in (1, 2)] == [(1, 4), (2, 4)]


def test_an_error_of_a_shape_names_the_integer() -> None:
    with pytest.raises(ShapeError, match=r"n is host input n \(declared Dim n, 1 to 8\)"):
        trtnn.trace(lambda x, n: x + torch.zeros(n), [Input((3,)), HOST])
