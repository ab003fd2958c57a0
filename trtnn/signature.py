"""A model's arguments: declared as ``Input``s, matched with ``forward``, flattened per call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from trtnn.dims import Dim, Expr, Size, symbols
from trtnn.errors import InputError, ShapeError
from trtnn.op import Spec
from trtnn.tree import Tree, flatten, paths, unflatten


@dataclass(frozen=True)
class Input:
    """The declaration of one tensor argument.

    Args:
        shape: Per dim an int, a Dim, an expression of Dims (``2 * batch``), or a
            ``(min, opt, max)`` tuple, which stands for a Dim of its own.
        dtype: The dtype that calls will give.
        name: Used in errors and as the TensorRT tensor's name; the parameter's name if omitted.

    Raises:
        ShapeError: An entry of ``shape`` is none of these.

    >>> Input((Dim("batch", 1, 8, 32), 3, 224, 224)).dtype
    torch.float32
    """

    shape: tuple[Any, ...]
    dtype: torch.dtype = torch.float32
    name: str | None = None
    _trtnn_leaf: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        for entry in self.shape:
            is_range = isinstance(entry, tuple) and len(entry) == 3
            is_size = isinstance(entry, Expr) or (type(entry) is int and entry >= 0)
            if not (is_size or is_range):
                raise ShapeError(
                    f"Input: expected sizes that are ints, Dims or (min, opt, max), got {entry!r}"
                )
        if not isinstance(self.dtype, torch.dtype):
            raise InputError(f"Input: expected a torch.dtype, got {self.dtype!r}")


@dataclass(frozen=True)
class Signature:
    """What a compiled model takes: structure, specs and constants, with a name per leaf."""

    parameters: tuple[str, ...]
    tree: Tree
    leaves: tuple[Any, ...]
    names: tuple[str, ...]
    dims: tuple[Dim, ...]
    keyword_only: frozenset[str]

    @property
    def specs(self) -> dict[str, Spec]:
        """The spec of each input tensor, by name."""
        pairs = zip(self.names, self.leaves, strict=True)
        return {name: leaf for name, leaf in pairs if isinstance(leaf, Spec)}

    def arguments(self) -> tuple[Tree, tuple[Any, ...]]:
        """Return structure and leaves of ``(args, kwargs)`` as ``forward`` is called."""
        named = unflatten(self.tree, range(len(self.leaves)))
        args = tuple(v for k, v in named.items() if k not in self.keyword_only)
        kwargs = {k: v for k, v in named.items() if k in self.keyword_only}
        order, tree = flatten((args, kwargs))
        return tree, tuple(self.leaves[i] for i in order)


def _parameters(function: Callable[..., Any]) -> inspect.Signature:
    forward = function.forward if isinstance(function, torch.nn.Module) else function
    return inspect.signature(forward)


def declare(function: Callable[..., Any], inputs: Any) -> Signature:
    """Match declared inputs with ``forward``'s parameters.

    Args:
        inputs: A list in ``forward``'s positional order, or a dict by parameter name.

    Raises:
        InputError: An input has no parameter, or a required parameter has no input.
    """
    signature = _parameters(function)
    if isinstance(inputs, (Input, torch.Tensor)):
        inputs = [inputs]
    try:
        by_name = isinstance(inputs, dict)
        bound = signature.bind(**inputs) if by_name else signature.bind(*inputs)
    except TypeError as error:
        raise InputError(
            f"inputs: {error}; forward takes {signature}", hint="give one entry per parameter"
        ) from None
    return from_arguments(signature, _spread(bound))


def _spread(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Return arguments by name, ``*args`` and ``**kwargs`` spread out."""
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named.update({f"{name}_{i}": v for i, v in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        else:
            named[name] = value
    return named


def from_arguments(signature: inspect.Signature, named: dict[str, Any]) -> Signature:
    """Return the signature of named arguments, of Inputs, tensors and plain values."""
    leaves, tree = flatten(named)
    names = [n.removeprefix(".") for n in paths(named, "")]
    dims: dict[str, Dim] = {}
    specs = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Input):
            names[i] = leaf.name or names[i]
            specs.append(Spec(_sizes(leaf, names[i], dims), leaf.dtype))
        elif isinstance(leaf, torch.Tensor):
            specs.append(Spec(tuple(leaf.shape), leaf.dtype))
        else:
            specs.append(leaf)
    tensors = [n for n, s in zip(names, specs, strict=True) if isinstance(s, Spec)]
    if len(set(tensors)) < len(tensors):
        raise InputError(f"inputs: names must differ, got {', '.join(tensors)}")
    used = {s.name for x in specs if isinstance(x, Spec) for d in x.shape for s in symbols(d)}
    kinds = signature.parameters
    keyword = frozenset(
        n
        for n in named
        if (n not in kinds and any(p.kind is p.VAR_KEYWORD for p in kinds.values()))
        or (n in kinds and kinds[n].kind is inspect.Parameter.KEYWORD_ONLY)
    ) | _after_gap(kinds, named)
    return Signature(
        tuple(named),
        tree,
        tuple(specs),
        tuple(names),
        tuple(d for n, d in dims.items() if n in used),
        keyword,
    )


def _after_gap(kinds: Any, named: dict[str, Any]) -> frozenset[str]:
    """Return the parameters that follow one left at its default: they need their name."""
    positional = [n for n, p in kinds.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    gap = next((i for i, n in enumerate(positional) if n not in named), len(positional))
    return frozenset(n for n in positional[gap:] if n in named)


def _sizes(declared: Input, name: str, dims: dict[str, Dim]) -> tuple[Size, ...]:
    sizes: list[Size] = []
    for axis, entry in enumerate(declared.shape):
        if isinstance(entry, tuple):
            entry = Dim(f"{re.sub(r'[^0-9a-zA-Z_]', '_', name)}_{axis}", *entry)
        for symbol in symbols(entry):
            known = dims.get(symbol.name)
            if isinstance(entry, Dim):
                dim = entry
            else:
                dim = (
                    known
                    if known is not None
                    else Dim(symbol.name, symbol.low, symbol.opt, symbol.high)
                )
            if known is not None and (known.min, known.opt, known.max) != (
                dim.min,
                dim.opt,
                dim.max,
            ):
                raise ShapeError(
                    f"{name}: two Dims are named {symbol.name!r}, with ranges {known.min} to "
                    f"{known.max} and {dim.min} to {dim.max}",
                    hint="use one Dim object, or two names",
                )
            dims[symbol.name] = dim
        sizes.append(entry)
    return tuple(sizes)


def call_leaves(
    signature: Signature, parameters: inspect.Signature, args: Sequence[Any], kwargs: dict[str, Any]
) -> list[torch.Tensor]:
    """Return the tensors of a call in the order of the graph's inputs.

    Raises:
        InputError: The call does not have the declared structure, naming the argument.
    """
    try:
        named = _spread(parameters.bind(*args, **kwargs))
    except TypeError as error:
        raise InputError(f"call: {error}") from None
    for name in named:
        if name not in signature.parameters:
            raise InputError(
                f"{name}: an argument that inputs did not declare",
                hint="declare it in inputs, as an Input or as the constant it is",
            )
    for name in signature.parameters:
        if name not in named:
            raise InputError(f"{name}: the argument is missing")
    ordered = {name: named[name] for name in signature.parameters}
    leaves, tree = flatten(ordered)
    if tree != signature.tree:
        raise InputError(
            f"call: the arguments' structure is {paths(ordered, '')}, declared was "
            f"{list(signature.names)}"
        )
    tensors: list[torch.Tensor] = []
    for name, leaf, declared in zip(signature.names, leaves, signature.leaves, strict=True):
        if isinstance(declared, Spec):
            if not isinstance(leaf, torch.Tensor):
                raise InputError(f"{name}: expected a tensor {declared}, got {leaf!r}")
            tensors.append(leaf)
        elif isinstance(leaf, torch.Tensor) or leaf != declared:
            raise InputError(
                f"{name}: compiled for the constant {declared!r}, got {leaf!r}",
                hint="compile again for another value, or declare an Input",
            )
    return tensors
