"""What goes in and comes out: structures, Python values, sizes, and tensors that never alias."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers.modeling_outputs import BaseModelOutput

import trtnn
from tests.tracing.traced import S, X, check, refused
from trtnn import DTypeError, Input, TraceError, trace
from trtnn.ops.op import TABLE

Pair = namedtuple("Pair", ["first", "second"])


@dataclasses.dataclass
class Both:
    one: Any
    two: Any = None


def structures(x: torch.Tensor) -> Any:
    y = x + 1
    return {
        "dataclass": Both(y, [x.shape[0], None]),
        "namedtuple": Pair(y, x),
        "shape": x.shape,
        "size": x.shape[0] * 2,
        "empty": ((), {}, []),
        "values": ("text", True, 2.5),
        "model": BaseModelOutput(last_hidden_state=x * 2),
        "constant": torch.ones(2),
    }


def test_structures_come_back_as_they_are() -> None:
    model = trtnn.compile(structures, inputs=[X], backend="reference")
    x = torch.randn(3, 6)
    given, wanted = model(x), structures(x)
    assert type(given["dataclass"]) is Both and given["dataclass"].two == [3, None]
    assert type(given["namedtuple"]) is Pair and type(given["shape"]) is torch.Size
    assert type(given["model"]) is BaseModelOutput
    assert type(given["size"]) is int
    for key in ("shape", "size", "empty", "values"):
        assert given[key] == wanted[key]
    torch.testing.assert_close(given["namedtuple"], wanted["namedtuple"])
    torch.testing.assert_close(given["model"].last_hidden_state, x * 2)


def test_outputs_alias_neither_inputs_nor_each_other_nor_constants() -> None:
    weight = torch.nn.Parameter(torch.ones(2))

    def forward(x: torch.Tensor) -> Any:
        y = x + 1
        return x, y, y, weight, weight

    model = trtnn.compile(forward, inputs=[X], backend="reference")
    x = torch.randn(3, 6)
    results = model(x)
    addresses = [t.data_ptr() for t in (x, weight, *results)]
    assert len(set(addresses)) == len(addresses)
    torch.testing.assert_close(results, forward(x))


def test_nested_arguments_and_constants() -> None:
    def forward(x: torch.Tensor, pair: Any, scale: float) -> Any:
        return {"sum": pair[0] + pair[1]["b"], "rest": (x * scale, None)}

    inputs = [X, (Input((S, 6), name="a"), {"b": Input((S, 6), name="b")}), 2.0]
    model = trtnn.compile(forward, inputs=inputs, backend="reference")
    x, a, b = (torch.randn(3, 6) for _ in range(3))
    result = model(x, (a, {"b": b}), 2.0)
    torch.testing.assert_close(result, forward(x, (a, {"b": b}), 2.0))


def test_a_size_or_nothing_alone_is_a_result() -> None:
    x = torch.ones(3, 6)
    for function in (lambda x: x.shape[0], lambda x: None, lambda x: (), lambda x: x.shape):
        assert trtnn.compile(function, inputs=[X], backend="reference")(x) == function(x)


NOT_FOUND: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "set": (lambda x: {x}, "returns a set"),
    "generator": (lambda x: (row for row in x.t()), "returns a generator"),
    "half a size": (lambda x: x.shape[0] * 0.5, "float() of the symbolic size seq/2"),
    "open question": (lambda x: x.shape[0] == 3, "cannot decide seq == 3"),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_a_result_in_which_tensors_are_not_found_is_refused(name: str) -> None:
    function, text = NOT_FOUND[name]
    with pytest.raises(TraceError) as caught:
        trace(function, [X])
    assert text in str(caught.value)


RESULTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "pow": lambda x: torch.pow(x * x, 3.0),
    "out=None": lambda x: torch.add(x, x, out=None),
    "reversed pow": lambda x: torch.pow(2.0, x),
    "data": lambda x: x.data + 1,
    "mT": lambda x: x.mT + 0,
    "copied deeply": lambda x: copy.deepcopy(x) + 1,
    "axis and keepdims": lambda x: x.mean(axis=1, keepdims=True),
    "x1 and x2": lambda x: torch.add(x1=x, x2=x),
    "contiguity": lambda x: x * x.is_contiguous(),
    "facts": lambda x: x * x.element_size() * x.dim() * x.is_floating_point(),
    "identity": lambda x: x * (x is not None) * (x in [x]),
    "as a parameter": lambda x: torch.nn.Parameter(x) * 2,
    "gradients": lambda x: x.requires_grad_() * 2,
    "checkpoint": lambda x: torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=False),
    "grad mode": lambda x: _with_grad(x),
}


def _with_grad(x: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        y = x * 2
    with torch.no_grad():
        return y * 2


@pytest.mark.parametrize("name", RESULTS)
def test_every_door_of_pytorch_gives_its_result(name: str) -> None:
    check(RESULTS[name])


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x * 2


def script(function: Any) -> Any:
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # from PyTorch 2.12 on, by Python
            warnings.simplefilter("ignore", category)
        return torch.jit.script(function)


def sine(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) + 1


SINE, LINEAR = script(sine), script(torch.nn.Linear(6, 6))


def test_autograd_functions_and_scripted_functions_are_traced() -> None:
    check(lambda x: Double.apply(x) + 1)
    check(lambda x: SINE(x) * 2)


DOORS: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "full": (lambda x: torch.full((2,), x), "full(): argument 'fill_value'"),
    "scalar_tensor": (lambda x: torch.scalar_tensor(x), "must be Number, not Tensor"),
    "scripted module": (lambda x: LINEAR(x), "torch.jit.script"),
    "vmap": (lambda x: torch.vmap(torch.sin)(x), "torch.vmap"),
    "nested": (lambda x: torch.nested.nested_tensor([x]), "below torch functions"),
    "copied": (lambda x: copy.copy(x), "__reduce_ex__"),
    "pickle": (lambda x: pickle.dumps(x), "__reduce_ex__"),
    "backward": (lambda x: x.sum().backward(), "backward"),
    "unknown": (lambda x: F.multilabel_margin_loss(x, x.long()), "has no lowering yet"),
    "out": (lambda x: torch.add(x, x, out=torch.zeros(2)), "add(out=...)"),
    "set data": (lambda x: setattr(x, "data", x), "data.__set__"),
}


@pytest.mark.parametrize("name", DOORS)
def test_a_door_that_is_closed_says_so_at_its_line(name: str) -> None:
    refused(*DOORS[name])


def test_pytorch_does_not_swallow_an_error_that_is_a_type_error() -> None:
    error = refused(lambda x: (x > 0) - (x > 0), "torch.bool")
    assert type(error) is DTypeError


def test_a_keyword_that_a_function_lacks_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, torch.softmax, lambda input, dim: input)
    refused(lambda x: torch.softmax(x, 1, dtype=torch.float32), "softmax: ")
    refused(lambda x: torch.softmax(x, 1, dtype=torch.float32), "'dtype'")


def test_an_error_of_the_users_is_left_alone() -> None:
    def forward(x: torch.Tensor) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trace(forward, [X])
