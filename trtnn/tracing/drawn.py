"""Random numbers: a graph would freeze them, so whoever uses a drawn tensor is refused.

Drawing alone is no harm: models draw a number for each layer that only training looks at.
"""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import TraceError
from trtnn.graph.tensor import Tensor, family_of
from trtnn.ops.op import Spec, as_sizes, spec_of
from trtnn.source import SourceLine, find_user_line

LIKE = frozenset(("bernoulli", "poisson", "rand_like", "randn_like", "randint_like"))
"""What draws as many numbers as its first operand has, in its dtype."""


def random_error(name: str, where: SourceLine | None = None) -> TraceError:
    return TraceError(
        f"{name} in forward draws random numbers, which a graph would freeze",
        hint="draw them outside and give them as an input",
        where=where,
    )


def draw(recorder: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a call that draws numbers returns, where an operand or a size is symbolic.

    Raises:
        TraceError: Its shape would have to be computed.
    """
    drawn = (name, find_user_line())
    if name.endswith("_"):
        target = args[0] if args else next(iter(kwargs.values()))
        for tensor in family_of(target):
            tensor._trtnn_drawn = drawn
        return target
    result = Tensor(_spec(name, args, kwargs), recorder)
    result._trtnn_drawn = drawn
    return result


def _spec(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spec:
    dtype = kwargs.get("dtype")
    if name in LIKE and args:
        own = spec_of(args[0])
        return Spec(own.shape, dtype or own.dtype)
    if name in ("rand", "randn"):
        shape = as_sizes(args or kwargs["size"])
        return Spec(shape, dtype or torch.get_default_dtype())
    if name == "randint":
        sequences = [a for a in args if isinstance(a, (tuple, list))]
        return Spec(as_sizes(kwargs.get("size", *sequences)), dtype or torch.int64)
    if name == "randperm" and args:
        return Spec(as_sizes(args[0]), dtype or torch.int64)
    raise random_error(name)
