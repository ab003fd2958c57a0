"""A thousand random wrong calls: each an InputError that names the argument, and nothing runs."""

from __future__ import annotations

import inspect
import itertools
import warnings
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests.on_double import on_double
from tests.run.wrong_calls import MISTAKES, MODELS, wrong_calls
from trtnn import CopyWarning, Input, InputError

BACKENDS = ["reference", "8.6", "10"]
COUNT = 1005 // (len(MODELS) * len(BACKENDS))


def compiled(name: str, backend: str) -> tuple[Any, Any]:
    """Return a model, and its runner where there is one."""
    model = MODELS[name]
    if backend == "reference":
        return trtnn.compile(model.build(), inputs=model.inputs, backend="reference"), None
    return on_double(backend, model.build(), model.inputs)


def executions(runner: Any) -> int:
    contexts = runner.pool.contexts if runner is not None else []
    return sum(c.handle.calls["execute_v2"] + c.handle.calls["execute_async_v3"] for c in contexts)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_wrong_calls(name: str, backend: str) -> None:
    model, runner = compiled(name, backend)
    args, kwargs = MODELS[name].call().arguments()
    model(*args, **kwargs)  # so that its shapes are known
    before = executions(runner)
    seed = BACKENDS.index(backend)
    for wrong in itertools.islice(wrong_calls(MODELS[name], seed), COUNT):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                model(*wrong.args, **wrong.kwargs)
        except InputError as error:
            first = error.message.splitlines()[0]
        else:
            pytest.fail(f"{wrong.what}: no error")
        named = [first.startswith(f"{n}:") or f"given by {n}" in first for n in wrong.names]
        assert any(named), (wrong.what, first)
        assert wrong.given in first, (wrong.what, first)
        assert any(text in first for text in wrong.expected), (wrong.what, first)
    assert executions(runner) == before
    model(*args, **kwargs)
    assert runner is None or executions(runner) == before + 1


def test_every_mistake_is_made() -> None:
    made = set()
    for model in MODELS.values():
        for seed in range(len(BACKENDS)):
            made |= {w.what.split()[0] for w in itertools.islice(wrong_calls(model, seed), COUNT)}
    assert len(MODELS) * len(BACKENDS) * COUNT >= 1000
    assert len(made) >= len(MISTAKES), sorted(made)


def text_call(**changed: Any) -> dict[str, Any]:
    args, _ = MODELS["text"].call().arguments()
    return {**dict(zip(("input_ids", "attention_mask"), args, strict=True)), **changed}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_taken(backend: str) -> None:
    model, runner = compiled("text", backend)
    right = text_call()
    narrow = text_call(input_ids=right["input_ids"].int())
    swapped = dict(reversed(right.items()))
    strided = text_call(input_ids=torch.ones(5, 2, dtype=torch.int64).t())
    for number, call in enumerate((right, narrow, swapped)):
        assert model(**call).shape == (2, 4)
        assert runner is None or executions(runner) == number + 1
    if runner is None:
        model(**strided)
        return
    with pytest.warns(CopyWarning, match="input_ids is not contiguous"):
        model(**strided)


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_require_no_gradient(backend: str) -> None:
    model, _ = compiled("convolution", backend)
    (image,), _ = MODELS["convolution"].call().arguments()
    assert not model(image.requires_grad_()).requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_dict_has_no_order(backend: str) -> None:
    model, _ = compiled("nested", backend)
    (batch, state), _ = MODELS["nested"].call().arguments()
    turned = dict(reversed(batch[0].items()))
    given, wanted = model([turned, batch[1]], state), model(batch, state)
    assert [x.shape for x in given] == [x.shape for x in wanted]
    if backend == "reference":
        assert all(map(torch.equal, given, wanted))


class Odd:
    """A value that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("of no use")

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (
            [numpy.ones(3)],
            r"^x: expected a tensor or a plain constant, got a ndarray(.|\n)*as_tensor",
        ),
        ([[1, {"a": numpy.ones(3)}]], r"^x\[1\].a: expected a tensor or a plain constant"),
        ([{1, 2}], "^x: .* got a set"),
        ([{}.keys()], "^x: .* got a dict_keys"),
        ([Odd()], "^x: .* got a Odd"),
        ([{torch.ones(2): 1}], "^inputs: expected keys that are plain values, got a tensor"),
        ([torch.eye(2).to_sparse()], "^x: expected a dense tensor, got layout torch.sparse_coo"),
    ],
)
def test_what_is_no_constant(inputs: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        trtnn.compile(lambda x: torch.ones(2), inputs=inputs, backend="reference")
    with pytest.raises(InputError, match=text):  # at the first call
        trtnn.compile(lambda x: torch.ones(2), backend="reference")(*inputs)


def test_a_constant_is_of_its_type() -> None:
    model = trtnn.compile(
        lambda x, k: x * k, inputs=[Input((2,), torch.int64), 2.0], backend="reference"
    )
    with pytest.raises(InputError, match=r"^k: compiled for the constant 2\.0, got 2\n"):
        model(torch.ones(2, dtype=torch.int64), 2)


def test_the_first_call_of_each_type_compiles() -> None:
    model = trtnn.compile(lambda x, k: x * k, backend="reference")
    x = torch.ones(2, dtype=torch.int64)
    assert model(x, 2.0).dtype == torch.float32
    with pytest.warns(trtnn.RecompileWarning):
        assert model(x, 2).dtype == torch.int64
    assert model(x, 2.0).dtype == torch.float32


@pytest.mark.parametrize(
    "start", [trtnn.trace, lambda f, i: trtnn.compile(f, inputs=i, backend="reference")]
)
def test_a_builtin_without_a_signature(start: Any) -> None:
    with pytest.raises(InputError, match="does not say which parameters") as caught:
        start(torch.relu, [Input((2,))])
    assert "wrap it in a lambda, or in a Module" in str(caught.value)


X = torch.ones(2)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "text"),
    [
        (lambda x, /, k: x * k, [], {"x": X, "k": 2}, "^x: there is no such argument"),
        (lambda x, /, k: x * k, [], {"k": 2}, "^x: the argument is missing; forward takes x, k"),
        (lambda x=None, k=3: x * k, [], {}, "^x: the argument is missing; declared are x, k"),
        (lambda x, *, k: x * k, [], {}, "^x: the argument is missing; forward takes x, k"),
        (lambda x, k, *xs: x * k, [], {}, "^x: the argument is missing; forward takes x, k, xs"),
        (lambda x, k, *xs: x * k, [X, 2, X], {}, "^xs_0: an argument that inputs did not declare"),
        (lambda x, k, **more: x * k, [X, 2], {"y": 1}, "^y: an argument that inputs did not"),
    ],
)
def test_kinds_of_parameters(function: Any, args: Any, kwargs: Any, text: str) -> None:
    keyword = "*, k" in str(inspect.signature(function))
    inputs: Any = {"x": Input((2,)), "k": 2} if keyword else [Input((2,)), 2]
    model = trtnn.compile(function, inputs=inputs, backend="reference")
    with pytest.raises(InputError, match=text):
        model(*args, **kwargs)


def test_a_misspelt_name_is_guessed() -> None:
    model, _ = compiled("text", "reference")
    with pytest.raises(InputError, match=r"^atention_mask: there is no such argument") as caught:
        model(input_ids=torch.ones(2, 5), atention_mask=torch.ones(2, 5))
    assert "did you mean attention_mask?" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "inputs", "args", "kwargs"),
    [
        (lambda x, k: x * k, [X, 2.0], [X], {}),
        (lambda x, k: x * k, [X, 2.0], [], {"x": X}),
        (lambda x, *, k, f=None: x * k, {"x": X, "k": 2.0, "f": True}, [X], {"f": True}),
        (lambda x, k=3.0: x * k, [X, 2.0], [X], {}),
        (lambda x, pair, y: x * pair[1], {"x": X, "pair": (1, 2.0), "y": X}, [X], {"y": X}),
        (lambda x, *ks: x * ks[0], [X, 2.0], [X], {}),
        (lambda x, **ks: x * ks["k"], {"x": X, "k": 2.0}, [X], {}),
    ],
)
def test_a_declared_constant_need_not_be_given_again(
    function: Any, inputs: Any, args: Any, kwargs: Any
) -> None:
    model = trtnn.compile(function, inputs=inputs, backend="reference")
    for _ in range(2):
        assert torch.equal(model(*args, **kwargs), X * 2)
    on_a_double, runner = on_double("10", function, inputs)
    on_a_double(*args, **kwargs)
    assert executions(runner) == 1


def test_an_undeclared_default_says_to_leave_it_out() -> None:
    model = trtnn.compile(lambda x, mask=None: x * 2, inputs=[X], backend="reference")
    with pytest.raises(InputError, match=r"^mask: an argument that inputs did not") as caught:
        model(X, None)
    assert "leave it out: forward's default, None, was compiled" in str(caught.value)
    with pytest.raises(InputError, match="got a tensor") as caught:
        model(X, X)
    assert "leave it out, or declare it in inputs" in str(caught.value)
