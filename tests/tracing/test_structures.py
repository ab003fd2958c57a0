"""Containers as arguments and results: taken apart, and made again with all that is in them."""

from __future__ import annotations

import copy
import dataclasses
import importlib
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils import _pytree
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

import trtnn
from trtnn import Input, InputError, TraceError, UnsupportedError
from trtnn.tree import flatten

X = Input((2, 3))
x = torch.arange(6.0).reshape(2, 3)
Pair = namedtuple("Pair", "first second")


def compiled(function: Any, inputs: Any) -> Any:
    return trtnn.compile(function, inputs=inputs, backend="reference")


@dataclasses.dataclass
class Scaled:
    """Computes a field that it is not given, and changes one that it is."""

    value: Any
    twice: Any = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.value = self.value * 3
        self.twice = self.value * 2
        self.extra = self.value + 1


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    value: Any


class Attributes(dict[str, Any]):
    """A dict whose keys are attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__ = self


class Checked(Pair):
    """A named tuple that is made in another way."""

    def __new__(cls, both: Any) -> Checked:
        return super().__new__(cls, both, both)  # type: ignore[return-value]


class Titled(dict[str, Any]):
    def __init__(self, title: str, entries: Any) -> None:
        super().__init__(entries)
        self.title = title


class Loud(list[Any]):
    """A list that holds something beside."""

    volume = 0


class Boxed:
    def __init__(self, item: Any) -> None:
        self.item = item


_pytree.register_pytree_node(Boxed, lambda b: ([b.item], None), lambda some, _: Boxed(*some))

MADE: dict[str, Callable[[Any], Any]] = {
    "default dict": lambda a: defaultdict(list, b=a, a=[a + 1]),
    "default dict of nothing": lambda a: defaultdict(None, {0: a}),
    "counter": lambda a: Counter({"a": a, 3: a + 1}),
    "ordered": lambda a: OrderedDict(b=a, a=a + 1),
    "attributes": lambda a: Attributes(a=a, b=2),
    "deque": lambda a: deque([a, a + 1], maxlen=2),
    "a computed field": lambda a: Scaled(a),
    "frozen": lambda a: Frozen((a, None)),
    "a named tuple of another kind": lambda a: Checked(a),
    "model output": lambda a: BaseModelOutput(last_hidden_state=a, hidden_states=(a, a + 1)),
    "a cache": lambda a: DynamicCache([(a[None, None], a[None, None] + 1)] * 2),
    "an empty cache": lambda a: (DynamicCache(), a),
    "two caches": lambda a: EncoderDecoderCache(
        DynamicCache([(a[None, None], a[None, None])]), DynamicCache()
    ),
    "registered": lambda a: Boxed((a, 3)),
}


def contents(value: Any) -> tuple[list[Any], Any]:
    leaves, tree = flatten(value)
    return [leaf.tolist() if torch.is_tensor(leaf) else leaf for leaf in leaves], tree


@pytest.mark.parametrize("name", MADE)
def test_a_structure_is_made_again(name: str) -> None:
    make = MADE[name]
    given, wanted = compiled(lambda a: make(a * 2), [X])(x), make(x * 2)
    assert type(given) is type(wanted) and contents(given) == contents(wanted)
    assert getattr(given, "default_factory", 0) is getattr(wanted, "default_factory", 0)
    assert getattr(given, "maxlen", 0) == getattr(wanted, "maxlen", 0)


@pytest.mark.parametrize("name", MADE)
def test_a_structure_is_an_argument(name: str) -> None:
    whole, other = MADE[name](x), MADE[name](x + 7)
    same = lambda a: a  # noqa: E731
    for model in (compiled(same, [whole]), compiled(same, None)):
        model(whole)
        assert contents(model(other)) == contents(other)
    assert contents(whole) == contents(MADE[name](x))


def loud(a: Any) -> Any:
    made = Loud([a])
    made.volume = 3
    return made


@pytest.mark.parametrize("make", [lambda a: Titled("t", {"a": a}), loud])
def test_a_structure_that_cannot_be_made_again_is_refused(make: Callable[[Any], Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"the result: a .* cannot be made again") as caught:
        compiled(make, [X])
    assert "register_pytree_node" in str(caught.value)
    with pytest.raises(UnsupportedError, match=r"^inputs\[0\]: a .* cannot be made again"):
        compiled(lambda a: 1, [make(x)])


def test_an_object_in_a_result_is_refused() -> None:
    with pytest.raises(TraceError, match="returns a UserDict, in which tensors are not found"):
        compiled(lambda a: UserDict(a=a), [X])


def test_another_factory_is_another_structure() -> None:
    model = compiled(lambda d: d["a"] * len(d["b"]), [defaultdict(list, a=x, b=[1])])
    with pytest.raises(InputError, match="with <class 'list'>, got <class 'dict'>"):
        model(defaultdict(dict, a=x, b=[1]))


SMALL = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {
    **SMALL,
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2},
}
MODELS = {
    "Llama": LLAMA,
    "GPT2": {**SMALL, "n_embd": 32, "n_layer": 2, "n_head": 4},
    # Its layers slide over the last tokens.
    "Mistral": {**LLAMA, "sliding_window": 3},
}


def language_model(name: str) -> Any:
    home = importlib.import_module(f"transformers.models.{name.lower()}")
    kind = f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    return getattr(home, kind)(getattr(home, f"{name}Config")(**MODELS[name])).eval()


def alike(given: Any, wanted: Any) -> None:
    assert type(given) is type(wanted)
    torch.testing.assert_close(given.logits, wanted.logits)
    ours, theirs = flatten(given), flatten(wanted)
    assert ours[1] == theirs[1]
    torch.testing.assert_close(ours[0], theirs[0])


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.past_key_values. is deprecated")
@pytest.mark.parametrize("name", MODELS)
def test_a_language_model_returns_its_cache_and_goes_on_from_it(name: str) -> None:
    net = language_model(name)
    length = trtnn.Dim("length", 2, 5, 9)
    first, then = torch.randint(50, (2, 5)), torch.randint(50, (2, 1))
    inputs = {"input_ids": Input((2, length), torch.int64), "use_cache": True}
    start = compiled(net, inputs)
    given, wanted = start(input_ids=first), net(first, use_cache=True)
    alike(given, wanted)
    cache, same = given.past_key_values, copy.deepcopy(wanted.past_key_values)
    step = compiled(net, {"input_ids": then, "past_key_values": cache, "use_cache": True})
    alike(
        step(input_ids=then, past_key_values=cache),
        net(then, past_key_values=same, use_cache=True),
    )
    assert cache.get_seq_length() == 5  # a compiled model leaves what it is given as it was
