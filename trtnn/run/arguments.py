"""A call's arguments, matched with what was declared: tensors, host inputs and constants."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch

from trtnn.errors import InputError
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Dim
from trtnn.tracing.signature import (
    POSITIONAL,
    Signature,
    constant_key,
    require_dense,
    short,
    spread,
)
from trtnn.tree import flatten_as


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(constant_key(one) == constant_key(other))


def call_leaves(
    signature: Signature, parameters: inspect.Signature, args: Sequence[Any], kwargs: dict[str, Any]
) -> list[Any]:
    """Return what a call gives for each input of the graph, then its host inputs as ints.

    Raises:
        InputError: The call does not have the declared structure, or a constant or a host input
            does not fit, naming the argument.
    """
    try:
        named = spread(parameters.bind(*args, **kwargs))
    except TypeError:
        raise _misfit(parameters, args, kwargs) from None
    declared = ", ".join(signature.parameters)
    for name in named:
        if name not in signature.parameters:
            raise InputError(
                f"{name}: an argument that inputs did not declare; declared are {declared}",
                hint="declare it in inputs, as an Input or as the constant it is",
            )
    for name in signature.parameters:
        if name not in named:
            raise InputError(f"{name}: the argument is missing; declared are {declared}")
    leaves = flatten_as(named, signature.tree, "")
    tensors: list[Any] = []
    hosts: list[int] = []
    for name, leaf, kept in zip(signature.names, leaves, signature.leaves, strict=True):
        if isinstance(kept, Spec):
            tensors.append(leaf)
        elif isinstance(kept, Dim):
            hosts.append(_integer(name, kept, leaf))
        elif leaf is not kept and not _same(leaf, kept):
            raise InputError(
                f"{name}: compiled for the constant {kept!r}, got {short(leaf)}",
                hint="compile again for another value, or declare an Input",
            )
    return tensors + hosts


def _integer(name: str, dim: Dim, value: Any) -> int:
    """Return the value of a host input."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, torch.Tensor):
        require_dense(name, value)
        if value.device.type != "cpu":
            raise InputError(
                f"{name}: a host input is given as a Python int or a CPU tensor: no device round "
                f"trip; got a tensor on {value.device}"
            )
        kind = value.dtype
        integral = not (kind.is_floating_point or kind.is_complex or kind is torch.bool)
        if integral and value.dim() <= 1 and value.numel() == 1:
            return int(value)
    raise InputError(
        f"{name}: expected an int, {dim} from {dim.min} to {dim.max}, got {short(value)}"
    )


def _misfit(
    parameters: inspect.Signature, args: Sequence[Any], kwargs: dict[str, Any]
) -> InputError:
    """Return the error of a call that ``forward`` could not take."""
    kinds = parameters.parameters
    takes = f"forward takes {', '.join(kinds) or 'none'}"
    places = [name for name, p in kinds.items() if p.kind in POSITIONAL]
    by_name = [n for n, p in kinds.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    variable = {p.kind for p in kinds.values()}
    if len(args) > len(places) and inspect.Parameter.VAR_POSITIONAL not in variable:
        surplus = short(args[len(places)])
        return InputError(
            f"argument {len(places)}: got {len(args)} by position; {takes}: {surplus}"
        )
    for name in kwargs:
        if name in places[: len(args)]:
            return InputError(f"{name}: given by position and again by name; {takes}")
        if name not in by_name and inspect.Parameter.VAR_KEYWORD not in variable:
            meant = difflib.get_close_matches(name, by_name, 1)
            hint = f"did you mean {meant[0]}?" if meant else None
            return InputError(f"{name}: there is no such argument; {takes}", hint=hint)
    given = {*places[: len(args)], *kwargs}
    needed = (
        n for n in dict.fromkeys([*places, *by_name]) if kinds[n].default is inspect.Parameter.empty
    )
    missing = next(n for n in needed if n not in given)
    return InputError(f"{missing}: the argument is missing; {takes}")
