"""The engine and the runner on the double: copies, checks, errors, and counts of calls."""

from __future__ import annotations

import ctypes
import sys
from functools import partial
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.options import BuildOptions
from trtnn.run.runner import Runner
from trtnn.trt.library import TensorRT

CPU = torch.device("cpu")


def runner(version: str, function: Any, inputs: Any) -> tuple[Any, Runner]:
    trt = double.load(version)
    library = TensorRT(trt)
    graph = optimize(trtnn.trace(function, inputs), library)
    return trt, Runner(build(graph, library, BuildOptions()), graph, CPU, "always")


def double_it(context: Any, tensors: dict[str, Any]) -> None:
    """Stand in for the engine of ``x * 2``."""
    (source, shape, _), (target, _, _) = tensors["x"], tensors["output_0"]
    count = 1
    for size in shape:
        count *= size
    values = (ctypes.c_float * count).from_address(source)
    (ctypes.c_float * count).from_address(target)[:] = [2 * v for v in values]


@pytest.fixture(params=["8.6", "10", "11"])
def made(request: Any) -> Any:
    batch = trtnn.Dim("batch", 1, 2, 8)
    trt, made = runner(request.param, lambda x: x * 2, [trtnn.Input((batch, 3), name="x")])
    double.on_execute(trt, double_it)
    return made


def test_outputs_are_fresh_and_right(made: Runner) -> None:
    for size in (1, 4, 8, 4):
        x = torch.randn(size, 3)
        (first,), _ = made([x])
        (second,), _ = made([x])
        torch.testing.assert_close(first, x * 2)
        assert first.data_ptr() != second.data_ptr()


def test_shapes_are_set_on_change_only_and_nothing_else_is_asked(made: Runner) -> None:
    x = torch.randn(4, 3)
    made([x])
    before = dict(made.pool.contexts[0].handle.calls)
    asked = dict(made.engine.handle.calls)
    for _ in range(5):
        made([x])
    after = dict(made.pool.contexts[0].handle.calls)
    assert after.pop("execute_v2") == before.pop("execute_v2") + 5
    assert after == before and dict(made.engine.handle.calls) == asked


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.zeros(9, 3), "x: size 9 of dim 0 is out of range: batch is 1 to 8"),
        (torch.zeros(2, 4), "x: size 4 of dim 1 should be 3"),
        (torch.zeros(2, 3, 1), "x: expected 2 dims"),
        (torch.zeros(2, 3).double(), "x: expected torch.float32, got torch.float64"),
    ],
)
def test_wrong_inputs_name_the_argument(made: Runner, tensor: torch.Tensor, text: str) -> None:
    before = made.pool.contexts[0].handle.calls["execute_v2"]
    with pytest.raises(trtnn.InputError) as caught:
        made([tensor])
    assert text in str(caught.value)
    assert made.pool.contexts[0].handle.calls["execute_v2"] == before


def test_a_strided_input_is_copied_once_and_said(made: Runner) -> None:
    x = torch.randn(3, 4).t()
    with pytest.warns(trtnn.CopyWarning, match="x is not contiguous"):
        (y,), _ = made([x])
    torch.testing.assert_close(y, x * 2)
    made([x])


def test_int64_on_8_6_is_narrowed_and_its_range_checked() -> None:
    _, made = runner("8.6", lambda x: x + 1, [trtnn.Input((4,), torch.int64, name="x")])
    (y,), _ = made([torch.arange(4)])
    assert y.dtype == torch.int64
    with pytest.raises(trtnn.InputError, match="x: int64 values"):
        made([torch.tensor([0, 1, 2, 2**31])])


def test_int64_constants_beyond_int32_are_refused_on_8_6() -> None:
    with pytest.raises(trtnn.UnsupportedError, match="int64 constant"):
        runner("8.6", lambda x: x + 2**40, [trtnn.Input((4,), torch.int64)])
    runner("10", lambda x: x + 2**40, [trtnn.Input((4,), torch.int64)])


def test_two_inputs_share_a_dim() -> None:
    batch = trtnn.Dim("batch", 1, 2, 8)
    both = [trtnn.Input((batch, 3), name="x"), trtnn.Input((2 * batch,), name="y")]
    model = trtnn.compile(lambda x, y: (x * 2, y * 2), inputs=both, backend="reference")
    model(torch.zeros(3, 3), torch.zeros(6))
    with pytest.raises(trtnn.InputError, match=r"y: size 7 of dim 0 should be 6 .*given by x"):
        model(torch.zeros(3, 3), torch.zeros(7))


def test_plans_go_round_and_damage_is_an_error(made: Runner) -> None:
    engine = made.engine
    again = Engine.deserialize(engine.serialize(), engine.library)
    assert again.tensors == engine.tensors
    with pytest.raises(trtnn.BuildError, match="deserialize"):
        Engine.deserialize(b"damaged", engine.library)
    with pytest.raises(trtnn.BuildError, match="expected the bytes"):
        Engine.deserialize("text", engine.library)  # type: ignore[arg-type]


def test_old_versions_of_ten_are_refused() -> None:
    trt = double.load("10")
    trt.__version__ = "10.3.0"
    with pytest.raises(trtnn.BackendError, match=r"before 10\.12"):
        trtnn.trt.library.check_version(trt)


def test_auto_falls_back_with_one_warning() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.warns(UserWarning, match="reference backend is used"):
        model = trtnn.compile(torch.nn.ReLU(), inputs=[trtnn.Input((2,))])
    assert model.backend == "reference" and model.engine is None
    with pytest.raises(trtnn.BackendError):
        trtnn.compile(torch.nn.ReLU(), inputs=[trtnn.Input((2,))], backend="tensorrt")


def test_auto_does_not_fall_back_from_a_version_that_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trt = double.load("10")
    trt.__version__ = "10.3.0"
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    with pytest.raises(trtnn.BackendError, match=r"before 10\.12"):
        trtnn.compile(torch.nn.ReLU(), inputs=[trtnn.Input((2,))])


def test_auto_does_not_fall_back_from_a_graph_that_cannot_be_lowered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", double.load("8.6"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    wide = trtnn.Input((2,), torch.bfloat16)
    with pytest.raises(trtnn.UnsupportedError, match="has no bfloat16"):
        trtnn.compile(torch.nn.ReLU(), inputs=[wide], device="cpu")


def test_a_build_gives_its_timing_cache_and_takes_one(made: Runner) -> None:
    cache = made.engine.timing_cache
    assert cache
    library = made.engine.library
    again = build(made.graph, library, BuildOptions(timing_cache=cache))
    assert again.timing_cache
    assert Engine.deserialize(again.serialize(), library).timing_cache is None


def test_positions_mean_what_was_declared() -> None:
    def forward(ids: Any, mask: Any = None, places: Any = None) -> Any:
        return ids * 2 if places is None else ids * 2 + places

    one = trtnn.Input((2,))
    inputs = {"ids": one, "places": one}
    model = trtnn.compile(forward, inputs=inputs, backend="reference")
    x, y = torch.ones(2), torch.full((2,), 5.0)
    assert torch.equal(model(ids=x, places=y), x * 2 + y)
    assert torch.equal(model(x, places=y), x * 2 + y)
    with pytest.raises(trtnn.InputError, match="mask: an argument that inputs did not declare"):
        model(x, y)


def test_an_input_may_not_have_the_name_of_a_result() -> None:
    with pytest.raises(trtnn.InputError, match="'output_0' is the name of a result"):
        trtnn.trace(lambda x: x, [trtnn.Input((2,), name="output_0")])


def test_what_is_no_tensor_is_named(made: Runner) -> None:
    for given, text in ((3, "got int"), (torch.zeros(2, 3).to_sparse(), "sparse")):
        with pytest.raises(trtnn.InputError, match=f"x: .*{text}"):
            made([given])  # type: ignore[list-item]


@pytest.mark.parametrize("option", ["precision", "backend", "int64_checks"])
def test_bad_options(option: str) -> None:
    arguments: Any = {option: "best"}
    with pytest.raises(trtnn.OptionError, match=f"{option}: expected one of"):
        trtnn.compile(torch.nn.ReLU(), **arguments)


@pytest.mark.parametrize("make", [trtnn.compile, partial(trtnn.build, path="net.trtnn")])
def test_the_former_name_of_an_option_names_the_new_one(make: Any) -> None:
    with pytest.raises(trtnn.OptionError, match=r"checks: .* named int64_checks") as bad:
        make(torch.nn.ReLU(), inputs=[torch.ones(2)], checks="first")
    assert "write int64_checks='first'" in str(bad.value)


def test_lazy_compiles_for_the_first_call_and_warns_on_another() -> None:
    model = trtnn.compile(torch.nn.ReLU(), backend="reference")
    with pytest.raises(AttributeError, match="before the first call"):
        _ = model.graph
    x = torch.randn(2, 3)
    assert torch.equal(model(x), x.relu())
    with pytest.warns(trtnn.RecompileWarning, match="Dim"):
        model(torch.randn(3, 3))
    model(x)
    with pytest.warns(trtnn.RecompileWarning):
        for size in range(4, 10):
            model(torch.zeros(size))
    with pytest.raises(trtnn.InputError, match="9th combination"):
        model(torch.zeros(1))


def test_calls_that_do_not_fit_the_signature() -> None:
    def forward(x: Any, scale: float = 1.0) -> Any:
        return x * scale

    model = trtnn.compile(forward, inputs=[trtnn.Input((2,)), 3.0], backend="reference")
    assert torch.equal(model(torch.ones(2), 3.0), torch.full((2,), 3.0))
    for args, text in [
        ((torch.ones(2), 4.0), "scale: compiled for the constant 3.0, got 4.0"),
        ((), "x: the argument is missing"),
        ((1, 3.0), "x: expected a tensor"),
    ]:
        with pytest.raises(trtnn.InputError, match=text):
            model(*args)
