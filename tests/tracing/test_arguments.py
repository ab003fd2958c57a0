"""How models are called: what is positional stays so, wrappers, and what cannot be an argument."""

from __future__ import annotations

import functools
import re
import warnings
from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from trtnn import Input, InputError, TraceError, UnsupportedError

X = Input((2, 3))
x, y = torch.ones(2, 3), torch.full((2, 3), 5.0)
LINEAR = nn.Linear(3, 2)


def compiled(function: Any, inputs: Any = None) -> Any:
    return trtnn.compile(function, inputs=inputs, backend="reference")


class Wrapper(nn.Module):
    """An adapter: hands on what it gets."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Scale by what was given by keyword, as decorators of transformers look at it."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) * (1 + len(kwargs)) + len(args)

    return call


WAYS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {
    "any number": (lambda *xs, **kw: sum(xs), (x, y), {}),
    "any number and names": (lambda *xs, **kw: sum(xs) - kw["z"], (x, y), {"z": y * 3}),
    "a made-up name": (lambda args_0, *args: args_0 - args[0], (x, y), {}),
    "made-up names twice": (lambda a, *xs, **more: a - xs[0] * more["xs_0"], (x, y), {"xs_0": y}),
    "a name twice": (lambda a, /, **e: a - e["a"], (x,), {"a": y}),
    "a wrapper": (Wrapper(LINEAR), (x,), {}),
    "a wrapper by keyword": (Wrapper(LINEAR), (), {"input": x}),
    "a wrapper of both": (Wrapper(lambda a, *, b: a - b), (x,), {"b": y}),
    "wrappers in wrappers": (Wrapper(Wrapper(LINEAR)), (x,), {}),
    "data parallel": (nn.DataParallel(LINEAR), (x,), {}),
    "data parallel by keyword": (nn.DataParallel(LINEAR), (), {"input": x}),
    "a decorator": (decorated(lambda a, b: a - b), (x,), {"b": y}),
    "a partial function": (functools.partial(lambda a, b: a - b, b=2.0), (x,), {}),
    "a bound method": (LINEAR.forward, (x,), {}),
}


@pytest.mark.parametrize("name", WAYS)
def test_positional_stays_positional_and_keyword_keyword(name: str) -> None:
    function, args, kwargs = WAYS[name]
    wanted = function(*args, **kwargs)
    lazy = compiled(function)
    for _ in range(2):
        torch.testing.assert_close(lazy(*args, **kwargs), wanted, check_stride=False)
    if not (args and kwargs):
        declared = compiled(function, kwargs or list(args))
        torch.testing.assert_close(declared(*args, **kwargs), wanted, check_stride=False)


def test_made_up_names_call_nothing() -> None:
    model = compiled(lambda *args: args[0] * 2, [X])
    with pytest.raises(InputError, match=r"^args_0: there is no such argument; forward takes args"):
        model(args_0=x)
    with pytest.raises(InputError, match=r"^args_1: an argument that inputs did not declare"):
        model(x, x)
    with pytest.raises(InputError, match=r"^args_0: the argument is missing"):
        model()


def test_what_is_by_place_only_is_not_taken_by_name() -> None:
    model = compiled(lambda a, /: a * 2, [X])
    with pytest.raises(InputError, match=r"^a: there is no such argument"):
        model(a=x)


def test_what_torch_compile_was_given_is_compiled() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.compile's own
        whole = torch.compile(LINEAR)
        inside = nn.Sequential(torch.compile(nn.Linear(3, 3)), nn.ReLU())
        twice = torch.compile(lambda a: a * 2)
        pairs = (
            (whole, LINEAR),
            (Wrapper(whole), LINEAR),
            (twice, lambda a: a * 2),
            (lambda a: twice(a) + 1, lambda a: a * 2 + 1),
            (inside, nn.Sequential(inside[0]._orig_mod, nn.ReLU())),
        )
        for function, wanted in pairs:
            torch.testing.assert_close(compiled(function, [X])(x), wanted(x))
    assert list(compiled(whole, [X]).input_specs) == ["input"]


def test_a_wrapper_keeps_the_names_of_its_state() -> None:
    parallel = nn.DataParallel(nn.Linear(3, 2))
    model = compiled(parallel, [X])
    with torch.no_grad():
        parallel.module.weight.mul_(3)
    model.refit(parallel.state_dict())
    torch.testing.assert_close(model(x), parallel(x).detach())


class Bag:
    """An object that holds something."""

    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)


class Slots:
    __slots__ = ("t",)


def slots() -> Slots:
    made = Slots()
    made.t = x
    return made


HOLDERS: dict[str, tuple[Callable[[], Any], str]] = {
    "an attribute": (lambda: Bag(t=x), "b.t"),
    "a namespace": (lambda: SimpleNamespace(deep=[{"t": x}]), r"b.deep\[0\]\['t'\]"),
    "a slot": (slots, "b.t"),
    "a mapping": (lambda: UserDict(t=x), r"b.data\['t'\]"),
    "a module": (lambda: LINEAR, r"b._parameters\['weight'\]"),
    "a closure": (lambda: (lambda t: lambda: t)(x), "b.t"),
    "a partial": (lambda: functools.partial(torch.add, x), r"b.args\[0\]"),
    "a method": (lambda: x.add, "b.__self__"),
    "a frozen set": (lambda: frozenset([x]), "a tensor"),
    "in a list": (lambda: [Bag(t=x)], r"b\[0\].t"),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_an_object_in_which_tensors_are_reached_says_what_to_pass(name: str) -> None:
    make, text = HOLDERS[name]
    for inputs in ([X, make()], None):
        with pytest.raises(InputError, match=text) as caught:
            model = compiled(lambda a, b: a * 2, inputs)
            model(x, make())
        assert "pass the tensors themselves" in str(caught.value)


def test_an_iterator_is_no_constant() -> None:
    with pytest.raises(InputError, match="got a list_iterator, which can be read only once"):
        compiled(lambda a, b: a * next(b), [X, iter([1, 2])])


def test_an_object_that_has_changed_is_not_what_was_compiled_for() -> None:
    bag = Bag(scale=2.0, one=1)
    model = compiled(lambda a, b: a * b.scale, [X, bag])
    assert torch.equal(model(x, bag), x * 2) and torch.equal(model(x), x * 2)
    bag.scale = 1.0
    with pytest.raises(InputError, match=r"^b: the Bag holds something else than when"):
        model(x, bag)
    lazy = compiled(lambda a, b: a * b.scale)
    assert torch.equal(lazy(x, bag), x)
    bag.scale = 4.0
    with pytest.warns(trtnn.RecompileWarning, match="b was a Bag and is a Bag"):
        assert torch.equal(lazy(x, bag), x * 4)
    bag.t = x
    with pytest.raises(InputError, match=r"in b\.t a tensor"):
        lazy(x, bag)


def test_an_object_is_left_as_it_was() -> None:
    def keeps(a: Any, b: Any) -> Any:
        b.kept = a * 2
        return a

    def counts(a: Any, b: Any) -> Any:
        b.n += 1
        return a

    for function, text in ((keeps, r"the argument b, a Bag: b\.kept"), (counts, "what it holds")):
        bag = Bag(n=0)
        with pytest.raises(TraceError, match=text):
            compiled(function, [X, bag])
        assert vars(bag) == {"n": 0}


def test_functions_and_plain_objects_are_constants() -> None:
    model = compiled(lambda a, f, d: f(a).to(d), [X, torch.relu, torch.float16])
    assert torch.equal(model(-x, torch.relu, torch.float16), torch.zeros(2, 3).half())
    with pytest.raises(InputError, match=r"^f: compiled for the constant"):
        model(x, torch.sigmoid, torch.float16)


def test_a_compiled_model_inside_another() -> None:
    inner, lazy = compiled(LINEAR, [X]), compiled(LINEAR)
    for function in (lambda a: inner(a), lambda a: lazy(a), lambda a: compiled(LINEAR, [X])(a)):
        with pytest.raises(UnsupportedError, match="calls a compiled model") as caught:
            compiled(function, [X])
        assert "call the module there that it was made from" in str(caught.value)
    with pytest.raises(InputError, match="got a compiled model"):
        compiled(inner, [X])
    assert inner(x).shape == (2, 2)


class Net(nn.Module):
    def forward(self, a: Any) -> Any:
        return a


def test_what_is_no_module_is_named() -> None:
    for start in (trtnn.trace, compiled):
        with pytest.raises(InputError, match="got the class Net") as caught:
            start(Net, [X])
        assert "Net(...)" in str(caught.value)
        with pytest.raises(InputError, match="got a int"):
            start(3, [X])


BATCH = trtnn.Dim("batch", 1, 2, 4)
SHAPES: dict[str, tuple[Any, str]] = {
    "a tuple": ([(4, 8)], r"Input\(\(4, 8\)\)"),
    "a list": ([[4, 8]], r"Input\(\(4, 8\)\)"),
    "by name": ({"a": (4,)}, r"Input\(\(4,\)\)"),
    "the sizes alone": ((4, 8), r"Input\(\(4, 8\)\)"),
    "with a Dim": ([(BATCH, 8)], r"Input\(\(batch, 8\)\)"),
    "with a range": ([((1, 2, 4), 8)], r"Input\(\(\(1, 2, 4\), 8\)\)"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_no_input(name: str) -> None:
    inputs, text = SHAPES[name]
    with pytest.raises(InputError, match="expected an Input or a tensor, got the sizes") as caught:
        compiled(Net(), inputs)
    assert re.search(text, str(caught.value))


def test_sizes_beside_a_tensor_are_constants() -> None:
    model = compiled(lambda a, size: a.reshape(size), [X, (3, 2)])
    assert model(x, (3, 2)).shape == (3, 2)


def test_inputs_by_position_are_written_out() -> None:
    net, image, pair = Net(), torch.ones(2), [torch.ones(2)]
    for call, text in (
        (lambda: trtnn.compile(net, image), "inputs=[image]"),  # type: ignore[misc]
        (lambda: trtnn.compile(net, image[:1], backend="reference"), "inputs=[image[:1]]"),  # type: ignore[misc]
        (lambda: trtnn.compile(net, pair), "inputs=pair"),  # type: ignore[misc]
        (lambda: trtnn.compile(net, *pair), "inputs=[*pair]"),  # type: ignore[misc]
    ):
        with pytest.raises(InputError, match="the module alone by position") as caught:
            call()
        assert f"write {text}" in str(caught.value)
    with pytest.raises(InputError) as caught:
        exec("trtnn.compile(net, image)", {"trtnn": trtnn, "net": net, "image": image})
    assert "write inputs=[a]" in str(caught.value)
