"""Compiling at the first call: what later calls build, what is proposed, what is widened."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import trtnn
from trtnn import InputError, OptionError, RecompileWarning


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def total(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x + y.sum()


def test_the_warning_proposes_the_declaration() -> None:
    model = trtnn.compile(total, backend="reference")
    model(torch.ones(2, 3), torch.ones(2))
    proposal = (
        r'x_0 = trtnn\.Dim\("x_0", 2, 5, 5\); inputs=\{"x": trtnn\.Input\(\(x_0, 3,\), '
        r'torch\.float32\), "y": trtnn\.Input\(\(x_0,\), torch\.float32\)\}'
    )
    with pytest.warns(RecompileWarning, match=proposal):
        model(torch.ones(5, 3), torch.ones(5))


def test_the_proposal_is_a_declaration_that_works() -> None:
    model = trtnn.compile(double, backend="reference")
    model(torch.ones(2, 3))
    with pytest.warns(RecompileWarning) as caught:
        model(torch.ones(5, 3))
    text = str(caught[0].message).split("declare what changes: ")[1].split(", or give")[0]
    scope: dict[str, Any] = {"trtnn": trtnn, "torch": torch}
    exec(text, scope)
    declared = trtnn.compile(double, inputs=scope["inputs"], backend="reference")
    for size in (2, 3, 5):
        assert declared(torch.ones(size, 3)).shape == (size, 3)
    with pytest.raises(InputError):
        declared(torch.ones(6, 3))


def test_dynamic_makes_what_changed_dynamic() -> None:
    model = trtnn.compile(double, backend="reference", dynamic=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (3, 5, 4, 8, 2):
            x = torch.randn(size, 3)
            assert torch.equal(model(x), x * 2)
            if size == 5:
                assert [str(d) for d in model.graph.dims] == ["x_0"]
                assert model.profiles == ({"x_0": (2, 5, 8)},)
        assert repr(model) == "CompiledModule(lazy, 2 compiled)"
        model(torch.randn(9, 3))
    assert model.profiles == ({"x_0": (2, 9, 16)},)
    assert repr(model) == "CompiledModule(lazy, 3 compiled)"


def test_sizes_that_were_equal_share_a_dim_until_they_differ() -> None:
    model = trtnn.compile(total, backend="reference", dynamic=True)
    for n in (2, 3):
        model(torch.ones(n, 3), torch.ones(n))
    assert len(model.graph.dims) == 1
    model(torch.ones(4, 3), torch.ones(2))
    assert len(model.graph.dims) == 2


def test_another_structure_is_another_model() -> None:
    model = trtnn.compile(double, backend="reference", dynamic=True)
    model(torch.ones(2))
    with pytest.warns(RecompileWarning):
        model(torch.ones(2, dtype=torch.float64).int())


def test_dynamic_needs_no_inputs() -> None:
    with pytest.raises(OptionError, match="dynamic: expected False"):
        trtnn.compile(double, inputs=[trtnn.Input((2,))], backend="reference", dynamic=True)


def test_a_call_that_does_not_fit_forward() -> None:
    with pytest.raises(InputError, match="missing a required argument: 'x'"):
        trtnn.compile(double, backend="reference")()


def test_a_known_call_makes_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    for dynamic in (False, True):
        model = trtnn.compile(total, backend="reference", dynamic=dynamic)
        x, y = torch.ones(2, 3), torch.ones(2)
        model(x, y)
        model(x, y=y)
        with monkeypatch.context() as patch:
            patch.setattr(model, "_find", lambda *_: pytest.fail("a signature was made"))
            assert torch.equal(model(x, y), total(x, y))
            assert torch.equal(model(x, y=y), total(x, y))


def test_other_dtypes_and_constants_are_other_calls() -> None:
    def scaled(x: torch.Tensor, by: Any = 2) -> torch.Tensor:
        return x * by

    model = trtnn.compile(scaled, backend="reference")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        x = torch.arange(4)
        for given in ((x,), (x.int(),), (x, 3), (x, 3.0), (x, True), (x.float(), 3)):
            result, wanted = model(*given), scaled(*given)
            assert torch.equal(result, wanted) and result.dtype == wanted.dtype


def test_threads_compile_once() -> None:
    model = trtnn.compile(total, backend="reference")
    x, y = torch.ones(2, 3), torch.ones(2)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(r, total(x, y)) for r in pool.map(lambda _: model(x, y), range(16)))
    assert repr(model) == "CompiledModule(lazy, 1 compiled)"


def apart(x: torch.Tensor, by: Any) -> torch.Tensor:
    return x / by


def test_signed_zeros_are_two_constants_and_each_nan_one() -> None:
    model = trtnn.compile(apart, backend="reference")
    x = torch.ones(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecompileWarning)
        assert model(x, 0.0)[0] == float("inf") and model(x, -0.0)[0] == float("-inf")
        for _ in range(9):
            model(x, float("nan"))
    declared = trtnn.compile(apart, inputs=[trtnn.Input((2,)), 0.0], backend="reference")
    with pytest.raises(InputError, match=r"by: compiled for the constant 0\.0, got -0\.0"):
        declared(x, -0.0)


CALLS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "any number": (lambda *a: a[0] + a[1], (torch.ones(2), torch.ones(2)), {}),
    "any keyword": (lambda x, **k: x + k["y"], (torch.ones(2),), {"y": torch.ones(2)}),
    "keyword only": (lambda x, *, y: x + y, (torch.ones(2),), {"y": torch.ones(2)}),
    "a list": (lambda a: a[0] * 2, ([torch.ones(2)],), {}),
    "a dict": (lambda a: a["k"] * 2, ({"k": torch.ones(2)},), {}),
    "an empty list": (lambda a, b: b[0] + b[1], ([], [torch.ones(2), torch.ones(2)]), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_way_to_give_arguments(name: str) -> None:
    function, args, kwargs = CALLS[name]
    model = trtnn.compile(function, backend="reference")
    for _ in range(2):
        assert torch.equal(model(*args, **kwargs), function(*args, **kwargs))


def test_positional_only() -> None:
    def forward(x: torch.Tensor, /, y: torch.Tensor) -> torch.Tensor:
        return x - y

    model = trtnn.compile(forward, backend="reference")
    assert torch.equal(model(torch.ones(2), torch.zeros(2)), torch.ones(2))


def test_a_list_of_one_tensor_is_no_tensor() -> None:
    inputs = [[trtnn.Input((2,))]]
    model = trtnn.compile(lambda a: a[0] * 2, inputs=inputs, backend="reference")
    assert torch.equal(model([torch.ones(2)]), torch.full((2,), 2.0))
    with pytest.raises(InputError):
        model(torch.ones(2))


def test_what_cannot_be_compiled_counts_for_nothing() -> None:
    def forward(x: torch.Tensor, good: bool) -> torch.Tensor:
        return x * 2 if good or x.sum() > 0 else x

    model = trtnn.compile(forward, backend="reference")
    for _ in range(9):
        with pytest.raises(trtnn.TraceError):
            model(torch.ones(2), False)
    assert torch.equal(model(torch.ones(2), True), torch.full((2,), 2.0))


CHANGES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], tuple[str, ...]]] = {
    "a number": (
        (torch.ones(2), 2),
        (torch.ones(2), 3),
        ("by was 2 and is 3", "torch.tensor(3)", 'Dim("by", min, opt, max), host=True'),
    ),
    "a float": (
        (torch.ones(2), 2.0),
        (torch.ones(2), 0.5),
        ("by was 2.0 and is 0.5", "as a tensor"),
    ),
    "a flag": (
        (torch.ones(2), True),
        (torch.ones(2), False),
        ("by was True", "a model for each by"),
    ),
    "a dtype": (
        (torch.ones(2), 2),
        (torch.ones(2).int(), 2),
        ("x was (2,) float32 and is (2,) int32", "x.to(torch.float32)"),
    ),
    "a rank": ((torch.ones(2), 2), (torch.ones(2, 1), 2), ("is (2, 1)", "give x with 1 dims")),
    "a number and a size": (
        (torch.ones(2), 2),
        (torch.ones(3), 3),
        (
            "x was (2,) float32 and is (3,) float32, by was 2 and is 3",
            "trtnn.Dim",
            "torch.tensor(3)",
        ),
    ),
    "an argument": ((torch.ones(2), 2), (torch.ones(2),), ("given are x, and before x, by",)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_warning_says_what_changed_and_what_to_do(name: str) -> None:
    first, second, texts = CHANGES[name]
    model = trtnn.compile(lambda x, by=2: x * by, backend="reference")
    model(*first)
    with pytest.warns(RecompileWarning) as caught:
        model(*second)
    assert all(text in str(caught[0].message) for text in texts), str(caught[0].message)


def test_a_range_that_fails_falls_back_to_what_was_seen() -> None:
    table = torch.randn(6, 3)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return x + table[: x.shape[0]]

    model = trtnn.compile(forward, backend="reference", dynamic=True)
    model(torch.ones(3, 3))
    for size, low in ((5, 3), (2, 2), (6, 2)):
        high = max(size, 5)
        with pytest.warns(RecompileWarning, match=r"x_0 from 2 to 8 cannot be compiled") as caught:
            assert torch.equal(model(torch.ones(size, 3)), 1 + table[:size])
        assert f"takes x_0 from {low} to {high}, what was seen: " in str(caught[0].message)
        assert model.profiles == ({"x_0": (low, size, high)},)
    with pytest.raises(trtnn.ShapeError):
        model(torch.ones(7, 3))
    assert torch.equal(model(torch.ones(4, 3)), 1 + table[:4])
