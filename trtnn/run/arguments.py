"""A call's arguments, matched with what was declared: tensors, host inputs and constants."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from itertools import islice
from numbers import Integral
from typing import Any

import torch

from trtnn.errors import InputError
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Dim
from trtnn.tracing.constants import key_of, short
from trtnn.tracing.signature import (
    POSITIONAL,
    Place,
    Signature,
    require_dense,
    spread,
)
from trtnn.tree import argument_names, flatten_as, leaf_names


def call_leaves(
    signature: Signature, parameters: inspect.Signature, args: Sequence[Any], kwargs: dict[str, Any]
) -> list[Any]:
    """Return what a call gives for each input of the graph, then its host inputs as ints.

    A declared constant need not be given.

    Raises:
        InputError: The call does not have the declared structure, or a constant or a host input
            does not fit, naming the argument.
    """
    try:
        given = spread(parameters.bind_partial(*args, **kwargs))
    except TypeError:
        raise _misfit(parameters, args, kwargs) from None
    tree = signature.tree
    _require_declared(signature, parameters, given)
    kept = zip(signature.names, signature.leaves, signature.keys, strict=True)
    tensors: list[Any] = []
    hosts: list[int] = []
    for place, name, child in zip(tree.keys, signature.parameters, tree.children, strict=True):
        own = list(islice(kept, sum(1 for _ in leaf_names(child, ""))))
        if place not in given:
            if any(isinstance(leaf, (Spec, Dim)) for _, leaf, _ in own):
                raise _missing(signature, parameters, place, name)
            continue
        leaves = flatten_as(given[place], child, name)
        for leaf, (path, expected, key) in zip(leaves, own, strict=True):
            if isinstance(expected, Spec):
                tensors.append(leaf)
            elif isinstance(expected, Dim):
                hosts.append(_integer(path, expected, leaf))
            else:
                _require_same(path, expected, key, leaf)
    return tensors + hosts


def _require_declared(
    signature: Signature, parameters: inspect.Signature, given: dict[Place, Any]
) -> None:
    """Raise InputError where a call gives what was not declared."""
    places = dict.fromkeys(signature.tree.keys)
    surplus = [place for place in given if place not in places]
    if not surplus:
        return
    place, names = surplus[0], list(argument_names([*places, *surplus]))
    default = parameters.parameters[place].default if isinstance(place, str) else None
    declare = "declare it in inputs, as an Input or as the constant it is"
    is_default = isinstance(place, str) and type(default) is type(given[place])
    if is_default and not isinstance(default, torch.Tensor) and given[place] is default:
        hint = f"leave it out: forward's default, {default!r}, was compiled; or {declare}"
    else:
        hint = f"leave it out, or {declare}"
    raise InputError(
        f"{names[len(places)]}: an argument that inputs did not declare; "
        f"declared are {', '.join(signature.parameters)}; got {short(given[place])}",
        hint=hint,
    )


def _missing(
    signature: Signature, parameters: inspect.Signature, place: Place, name: str
) -> InputError:
    found = parameters.parameters.get(place) if isinstance(place, str) else None
    required = found is not None and found.default is inspect.Parameter.empty
    takes = f"forward takes {', '.join(parameters.parameters)}"
    declared = f"declared are {', '.join(signature.parameters)}"
    return InputError(f"{name}: the argument is missing; {takes if required else declared}")


def _require_same(name: str, kept: Any, key: Any, given: Any) -> None:
    """Raise InputError unless a constant is the one that was declared, and as it was then."""
    try:
        if key_of(name, given) == key:
            return
    except InputError:
        if given is kept:  # else the error below says more
            raise
    if given is kept:
        raise InputError(
            f"{name}: the {type(kept).__name__} holds something else than when it was compiled for",
            hint="compile again, or pass what changes as tensors",
        )
    raise InputError(
        f"{name}: compiled for the constant {kept!r}, got {short(given)}",
        hint="compile again for another value, or declare an Input",
    )


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
    return InputError(f"call: the arguments do not fit; {takes}")


def check_tensor(name: str, spec: Any, tensor: Any, device: torch.device) -> None:
    """Raise InputError unless a tensor fits its spec and device; int32 is taken for int64."""
    if not isinstance(tensor, torch.Tensor):
        raise InputError(f"{name}: expected a tensor {spec}, got {type(tensor).__name__}")
    require_dense(name, tensor)
    if tensor.dim() != spec.rank:
        raise InputError(f"{name}: expected {spec.rank} dims {spec}, got {tuple(tensor.shape)}")
    narrow = spec.dtype is torch.int64 and tensor.dtype is torch.int32
    if tensor.dtype is not spec.dtype and not narrow:
        raise InputError(
            f"{name}: expected {spec.dtype}, got {tensor.dtype}",
            hint=f"convert it with .to({spec.dtype})",
        )
    if tensor.device != device:
        raise InputError(
            f"{name}: expected a tensor on {device}, got one on {tensor.device}",
            hint=f'move it with .to("{device}")',
        )
