"""What HostModel is called with: functions with their inputs, and arrays for them."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from tests.host.hosted import plain
from tests.run.test_data_dependent import positive
from trtnn import Dim, Input
from trtnn.sizes.dims import evaluate, symbols
from trtnn.tree import flatten, unflatten

VERSIONS = ["8.6", "10", "11"]
B = Dim("batch", 1, 2, 8)
S = Dim("s", profiles=[(1, 4, 8), (1, 2, 3), (16, 16, 16)])
Z = Dim("z", 0, 2, 4)
X = Input((B, 3), name="x")
BOTH = [X, Input((2 * B,), torch.int64, name="y")]


Pair = namedtuple("Pair", "first second")


@dataclass
class Parts:
    """A structure of a user's own."""

    left: Any
    right: Any = None


def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def nested(x: torch.Tensor, scale: float) -> Any:
    first, rows = x * scale, x.shape[0]
    return {
        "a": (first, [x + 1, None, "text"]),
        3: {0: rows * 2 + 1},
        "shape": x.shape,
        "scale": scale,
    }


@dataclass(frozen=True)
class Row:
    """A function, its inputs by declaration, and the values of its Dims to call it with."""

    function: Callable[..., Any]
    inputs: list[Any]
    sizes: tuple[int, ...] = (1, 2, 8, 2)
    counted: bool = False


ROWS = {
    "one": Row(twice, [X]),
    "static": Row(lambda x: x + 1, [Input((2, 3))]),
    "scalar": Row(lambda x: x + 1, [Input(())]),
    "half": Row(twice, [Input((B, 3), torch.float16)]),
    "float64": Row(lambda x: (x.float() * 2).double(), [Input((B, 3), torch.float64)]),
    "int64": Row(lambda x: (x + 1, x == 2), [Input((B,), torch.int64)]),
    "int32": Row(lambda x: x + 1, [Input((B,), torch.int32)]),
    "bool": Row(lambda x: torch.logical_not(x), [Input((B,), torch.bool)]),
    "two": Row(lambda x, y: (x * 2, y + 1), BOTH),
    "empty": Row(lambda x: x + 1, [Input((Z, 3))], (0, 4, 0)),
    "profiles": Row(lambda x: x + 1, [Input((S,))], (5, 2, 16, 3, 16)),
    "nested": Row(nested, [X, 2.5]),
    "ordered": Row(lambda x: OrderedDict(b=x + 1, a=x * 2), [X]),
    "dataclass": Row(lambda x: Parts(x + 1, Parts(x * 2)), [X]),
    "named tuple": Row(lambda x: Pair(x + 1, (x.dtype, float("inf"))), [X]),
    "in a structure": Row(
        lambda xs: xs["a"] + xs["b"][0], [{"a": Input((B, 3)), "b": [Input((B, 3))]}]
    ),
    "counted": Row(positive, [X], counted=True),
    "wide": Row(lambda x, y: (x * 2, y + 1), [Input((B, 300)), Input((40 * B,), torch.int64)]),
    "wide counted": Row(positive, [Input((B, 300))], counted=True),
    "channels last": Row(
        lambda x: x + 1,
        [Input((B, 8, 4, 6), torch.float16, memory_format=torch.channels_last)],
    ),
}


def arguments(row: Row, size: int) -> list[Any]:
    """Return a call's arrays at one value of the only Dim, strided ones among them."""
    found = []
    for declared in (leaf for leaf in flatten(row.inputs)[0] if isinstance(leaf, Input)):
        named = {s.name: size for entry in declared.shape for s in symbols(entry)}
        shape = [evaluate(entry, named) for entry in declared.shape]
        made = torch.randint(-9, 9, shape).to(declared.dtype).numpy()
        found.append(numpy.asfortranarray(made) if made.ndim else made)
    return found


def reference(row: Row, given: list[Any]) -> Any:
    leaves, tree = flatten(row.inputs)
    tensors = iter(torch.from_numpy(numpy.ascontiguousarray(x).reshape(x.shape)) for x in given)
    full = [next(tensors) if isinstance(leaf, Input) else leaf for leaf in leaves]
    return plain(row.function(*unflatten(tree, full)))
