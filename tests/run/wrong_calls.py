"""Five models, a right call of each, and what a caller can get wrong about it."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trtnn import Dim, Input
from trtnn.ops.op import Spec
from trtnn.sizes.dims import bounds, evaluate, symbols
from trtnn.tracing.signature import Signature, declare
from trtnn.tree import flatten, unflatten

B, L, H, S = Dim("b", 1, 2, 6), Dim("l", 2, 5, 9), Dim("h", 4, 6, 8), Dim("s", 2, 3, 5)
N = Dim("n", 1, 3, 4)
LONG = torch.int64
UNFIT = ("should be", "is out of range", "does not fit")
SIZES = {"b": 2, "l": 5, "h": 6, "s": 3, "n": 3}


class Text(nn.Module):
    """A sentence encoder in small: two inputs that share both Dims."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(50, 8), nn.Linear(8, 4)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        shown = attention_mask.unsqueeze(-1).to(torch.float32)
        return self.head(torch.tanh(self.words(input_ids) * shown).sum(1))


def nested(batch: Any, state: Any) -> Any:
    return batch[0]["features"] + state, batch[0]["mask"] * 2, batch[1] * 3


def keywords(x: Any, *, bias: Any, scale: float = 1.0, mode: str = "sum") -> Any:
    return x.sum(1) * scale + bias if mode == "sum" else x.mean(1) * scale + bias


def sized(x: Any, pairs: Any, count: int) -> Any:
    return x[:, :1].expand(-1, count) * 2, pairs + 1


@dataclass(frozen=True)
class Model:
    """A callable and its declared inputs by name; ``keyword`` are given by keyword."""

    build: Callable[[], Any]
    inputs: dict[str, Any]
    keyword: tuple[str, ...] = ()

    def call(self) -> Call:
        """Return a call that fits."""
        signature = declare(self.build(), self.inputs)
        values = [_value(leaf) for leaf in signature.leaves]
        return Call(signature, unflatten(signature.tree, values), self.keyword)


MODELS = {
    "convolution": Model(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(),
        {"input": Input((B, 3, H, 7))},
    ),
    "text": Model(
        lambda: Text().eval(),
        {"input_ids": Input((B, L), LONG), "attention_mask": Input((B, L), LONG)},
    ),
    "nested": Model(
        lambda: nested,
        {
            "batch": [
                {"features": Input((B, 4)), "mask": Input((B,), torch.int32)},
                Input((3, 2)),
            ],
            "state": Input((1, 4)),
        },
    ),
    "keywords": Model(
        lambda: keywords,
        {"x": Input((4, B)), "bias": Input((4,)), "scale": 2.0, "mode": "sum"},
        ("bias", "scale", "mode"),
    ),
    "sized": Model(
        lambda: sized,
        {"x": Input((B, S)), "pairs": Input((2 * S + 1,)), "count": Input(N, host=True)},
    ),
}


@dataclass
class Call:
    """The arguments of a call by parameter, and which of them go by keyword."""

    signature: Signature
    named: dict[str, Any]
    keyword: tuple[str, ...]

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments."""
        args = [v for k, v in self.named.items() if k not in self.keyword]
        return args, {k: v for k, v in self.named.items() if k in self.keyword}

    def with_leaf(self, name: str, value: Any) -> Call:
        """Return the call with another leaf."""
        leaves = flatten(self.named)[0]
        leaves[self.signature.names.index(name)] = value
        named = unflatten(self.signature.tree, leaves)
        return Call(self.signature, named, self.keyword)

    def leaf(self, name: str) -> Any:
        """Return a leaf."""
        return flatten(self.named)[0][self.signature.names.index(name)]


def _value(leaf: Any) -> Any:
    if isinstance(leaf, Spec):
        return torch.ones([evaluate(s, SIZES) for s in leaf.shape], dtype=leaf.dtype)
    return SIZES[leaf.name] if isinstance(leaf, Dim) else leaf


@dataclass(frozen=True)
class Wrong:
    """A call that does not fit, and what its error has to say in the first line.

    Any one of ``names`` is the right argument, and any one of ``expected`` the right text.
    """

    what: str
    args: list[Any]
    kwargs: dict[str, Any]
    names: tuple[str, ...]
    given: str
    expected: tuple[str, ...]


def wrong_calls(model: Model, seed: int) -> Iterator[Wrong]:
    """Yield random wrong calls without end."""
    draw = random.Random(seed)
    while True:
        call = model.call()
        found = draw.choice(MISTAKES)(call, draw)
        if found is not None:
            what, changed, names, given, expected = found
            texts = expected if isinstance(expected, tuple) else (expected,)
            args, kwargs = changed.arguments() if isinstance(changed, Call) else changed
            yield Wrong(what, args, kwargs, names, given, texts)


# What a mistake returns: what it is, the call, the argument's possible names, given, expected.
Found = tuple[str, Any, tuple[str, ...], str, str | tuple[str, ...]] | None


def _tensor(call: Call, draw: random.Random) -> tuple[str, Spec, torch.Tensor]:
    name = draw.choice(list(call.signature.specs))
    return name, call.signature.specs[name], call.leaf(name)


def rank(call: Call, draw: random.Random) -> Found:
    name, spec, tensor = _tensor(call, draw)
    wrong = draw.choice([tensor[None], tensor[..., None], tensor.reshape(-1), tensor.sum()])
    wrong = wrong.to(spec.dtype)
    if wrong.dim() == spec.rank:
        return None
    shape = tuple(wrong.shape)
    return "rank", call.with_leaf(name, wrong), (name,), str(shape), f"{spec.rank} dims {spec}"


def size(call: Call, draw: random.Random) -> Found:
    name, spec, tensor = _tensor(call, draw)
    axis = draw.randrange(spec.rank)
    declared, shape = spec.shape[axis], list(tensor.shape)
    low, high = bounds(declared)
    shape[axis] = draw.choice([n for n in (low - 1, low, high, high + 1) if n >= 0])
    everywhere = [d for spec in call.signature.specs.values() for d in spec.shape]
    told = sum(bool({*symbols(d)} & {*symbols(declared)}) for d in everywhere)
    if shape[axis] == tensor.shape[axis] or (low <= shape[axis] <= high and told < 2):
        return None  # right, as no other size says what it is
    changed = call.with_leaf(name, torch.ones(shape, dtype=tensor.dtype))
    return f"size {shape} for {spec}", changed, (name,), str(shape[axis]), UNFIT


def dtype(call: Call, draw: random.Random) -> Found:
    name, spec, tensor = _tensor(call, draw)
    kinds = [torch.float16, torch.float64, torch.bfloat16, torch.int16, torch.bool, torch.uint8]
    kind = draw.choice([*kinds, torch.float32, torch.int64, torch.complex64])
    if kind is spec.dtype:
        return None
    changed = call.with_leaf(name, tensor.to(kind))
    return "dtype", changed, (name,), str(kind), str(spec.dtype)


def device(call: Call, draw: random.Random) -> Found:
    name, _, tensor = _tensor(call, draw)
    return "device", call.with_leaf(name, tensor.to("meta")), (name,), "meta", "cpu"


def layout(call: Call, draw: random.Random) -> Found:
    name, _, tensor = _tensor(call, draw)
    if draw.random() < 0.5:
        return "sparse", call.with_leaf(name, tensor.to_sparse()), (name,), "sparse", "dense"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a prototype
        wrong = torch.nested.nested_tensor([tensor, tensor])
    return "nested tensor", call.with_leaf(name, wrong), (name,), "nested", "dense"


def no_tensor(call: Call, draw: random.Random) -> Found:
    name, spec, tensor = _tensor(call, draw)
    others = [3, 1.5, None, "text", tensor.numpy(), tensor.tolist(), (tensor,), {"a": tensor}, []]
    wrong = draw.choice([*others, tuple(tensor.shape), torch.float32, object()])
    changed = call.with_leaf(name, wrong)
    return f"a {type(wrong)}", changed, (name,), type(wrong).__name__, f"a tensor {spec}"


def integer(call: Call, draw: random.Random) -> Found:
    if not call.signature.hosts:
        return None
    ((name, dim),) = call.signature.hosts.items()
    wrong, given = draw.choice(
        [
            (2.0, "2.0"),
            (True, "True"),
            (None, "None"),
            ("3", "'3'"),
            ([3], "list"),
            (torch.tensor(3.0), "float32"),
            (torch.tensor([3, 3]), "(2,) int64"),
            (torch.ones((), dtype=LONG, device="meta"), "meta"),
            (dim.max + 1, str(dim.max + 1)),
            (0, "0"),
            (-3, "-3"),
            (torch.tensor(99), "99"),
        ]
    )
    return f"integer {wrong!r}", call.with_leaf(name, wrong), (name,), given, ""


def constant(call: Call, draw: random.Random) -> Found:
    pairs = zip(call.signature.names, call.signature.leaves, strict=True)
    constants = [(n, x) for n, x in pairs if not isinstance(x, (Spec, Dim))]
    if not constants:
        return None
    name, kept = draw.choice(constants)
    others: list[Any] = [2, True, 3.0, "mean", None, torch.ones(()), [kept], {"a": kept}]
    wrong = draw.choice([x for x in others if type(x) is not type(kept) or x != kept])
    shown = repr(wrong) if wrong is None or isinstance(wrong, (int, float, str)) else "a "
    changed = call.with_leaf(name, wrong)
    return f"constant {wrong!r}", changed, (name,), shown, f"constant {kept!r}"


def swapped(call: Call, draw: random.Random) -> Found:
    specs = call.signature.specs
    if len(specs) < 2:
        return None
    one, other = draw.sample(list(specs), 2)
    first, second = call.leaf(one), call.leaf(other)
    if first.dtype == second.dtype and first.shape == second.shape:
        return None  # which a call cannot reveal
    changed = call.with_leaf(one, second).with_leaf(other, first)
    return f"{one} and {other} swapped", changed, (one, other), "", ""


def transposed(call: Call, draw: random.Random) -> Found:
    name, spec, tensor = _tensor(call, draw)
    axes = [i for i, s in enumerate(spec.shape) if isinstance(s, int)]
    others = (
        [i for i in range(spec.rank) if tensor.shape[i] != tensor.shape[axes[0]]] if axes else []
    )
    if not others:
        return None
    other = draw.choice(others)
    wrong = tensor.transpose(axes[0], other)
    return "transposed", call.with_leaf(name, wrong), (name,), "size ", UNFIT


def missing(call: Call, draw: random.Random) -> Found:
    changed = copy.copy(call)
    changed.named = dict(call.named)
    # A constant need not be given.
    name = draw.choice([n for n, v in call.named.items() if not isinstance(v, (float, str))])
    del changed.named[name]
    left = list(changed.named)
    after = list(call.named)[list(call.named).index(name) :]
    if name not in call.keyword:  # what follows moves up: give it by name
        changed.keyword = tuple(n for n in left if n in after or n in call.keyword)
    return f"{name} missing", changed, (name,), "missing", ", ".join(list(call.named)[:1])


def part(call: Call, draw: random.Random) -> Found:
    """Change the structure of a nested argument."""
    if "batch" not in call.named:
        return None
    first, second = call.named["batch"]
    short = {"features": first["features"]}
    wrong, name, given, expected = draw.choice(
        [
            ([short, second], "batch[0].mask", "missing", "features, mask"),
            ([{**first, "extra": second}, second], "batch[0].extra", "surplus", "features, mask"),
            ([first], "batch[1]", "missing", "0, 1"),
            ([first, second, second], "batch[2]", "surplus", "0, 1"),
            ((first, second), "batch", "a tuple", "a list"),
            ([list(first.values()), second], "batch[0]", "a list", "a dict of features, mask"),
            ({"features": second}, "batch", "a dict", "a list"),
            (second, "batch", "a Tensor", "a list"),
            (None, "batch", "NoneType", "a list"),
        ]
    )
    changed = copy.copy(call)
    changed.named = {**call.named, "batch": wrong}
    return f"structure {given} {name}", changed, (name,), given, expected


def surplus(call: Call, draw: random.Random) -> Found:
    args, kwargs = call.arguments()
    if draw.random() < 0.5:
        more = [*args, *(call.named[n] for n in kwargs), draw.choice([torch.ones(2), None, 3])]
        places = (f"argument {len(args)}",)
        return "surplus by position", (more, {}), places, f"{len(more)} by position", "takes"
    name = draw.choice(["extra", "y", "outputs"])
    return "surplus keyword", (args, {**kwargs, name: torch.ones(2)}), (name,), name, "takes"


def misspelt(call: Call, draw: random.Random) -> Found:
    name = draw.choice(list(call.named))
    wrong = draw.choice([name + "s", name[:-1] + "_", name.upper()])
    kwargs = {(wrong if n == name else n): v for n, v in call.named.items()}
    return f"{wrong} for {name}", ([], kwargs), (wrong,), wrong, name


def twice(call: Call, draw: random.Random) -> Found:
    args, kwargs = call.arguments()
    name = draw.choice(list(call.named)[: len(args)])
    again = {**kwargs, name: call.named[name]}
    return f"{name} twice", (args, again), (name,), "by position and again by name", "takes"


MISTAKES: list[Callable[[Call, random.Random], Found]] = [
    rank,
    size,
    dtype,
    device,
    layout,
    no_tensor,
    integer,
    constant,
    swapped,
    transposed,
    missing,
    part,
    surplus,
    misspelt,
    twice,
]
