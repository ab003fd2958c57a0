"""A model's arguments: declared as ``Input``s, matched with ``forward``, flattened per call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from trtnn.errors import InputError, ShapeError
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Dim, Expr, Size, symbols
from trtnn.sizes.profiles import count_profiles
from trtnn.sizes.solutions import integers_of, solve
from trtnn.tree import Tree, flatten, paths, unflatten

RANKS = {torch.channels_last: 4, torch.channels_last_3d: 5}
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Input:
    """The declaration of one argument: a tensor, or with ``host`` an integer.

    Args:
        shape: Per dim an int, a Dim, an expression of Dims (``2 * batch``), or a
            ``(min, opt, max)`` tuple, which stands for a Dim of its own. Of a host input the Dim
            that it is.
        dtype: The dtype that calls will give: float32, or of a host input int64, if omitted.
        name: Used in errors and as the TensorRT tensor's name; the parameter's name if omitted.
        host: The argument is an integer that decides shapes. ``forward`` receives it as one;
            calls give a Python int, or a CPU tensor of one integer.
        memory_format: How calls lay the tensor out in memory, which TensorRT then reads as it is:
            ``torch.channels_last`` of a tensor (N, C, H, W), ``torch.channels_last_3d`` of one
            (N, C, D, H, W). The dtype is float32, or float16 or bfloat16 with a multiple of 8
            channels; TensorRT refuses another at compile. ``shape`` stays in PyTorch's order.

    Raises:
        ShapeError: An entry of ``shape`` is none of these.
        InputError: A host input that is no Dim, or no integer; a memory format that does not fit.

    >>> Input((Dim("batch", 1, 8, 32), 3, 224, 224)).dtype
    torch.float32
    >>> Input(Dim("count", 1, 8, 32), host=True).dtype
    torch.int64
    >>> Input((1, 3, 8, 8), memory_format=torch.channels_last).memory_format
    torch.channels_last
    """

    shape: Any
    dtype: torch.dtype = None  # type: ignore[assignment]  # told below
    name: str | None = None
    host: bool = field(default=False, kw_only=True)
    memory_format: torch.memory_format = field(default=torch.contiguous_format, kw_only=True)
    _trtnn_leaf: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.dtype is None:
            object.__setattr__(self, "dtype", torch.int64 if self.host else torch.float32)
        if not isinstance(self.dtype, torch.dtype):
            raise InputError(f"Input: expected a torch.dtype, got {self.dtype!r}")
        if self.memory_format not in (torch.contiguous_format, *RANKS):
            raise InputError(
                "Input: expected a memory_format of torch.contiguous_format, torch.channels_last "
                f"or torch.channels_last_3d, got {self.memory_format!r}"
            )
        if self.host:
            self._check_host()
            return
        if isinstance(self.shape, (int, Expr)) or not isinstance(self.shape, Iterable):
            raise ShapeError(
                f"Input: expected a tuple of sizes, got {self.shape!r}",
                hint=f"write ({self.shape!r},), or host=True for an integer that decides shapes",
            )
        object.__setattr__(self, "shape", tuple(self.shape))
        for entry in self.shape:
            is_range = isinstance(entry, tuple) and len(entry) == 3
            is_size = isinstance(entry, Expr) or (type(entry) is int and entry >= 0)
            if not (is_size or is_range):
                raise ShapeError(
                    f"Input: expected sizes that are ints, Dims or (min, opt, max), got {entry!r}"
                )

        self._check_format()

    def _check_format(self) -> None:
        rank = RANKS.get(self.memory_format, len(self.shape))
        if (given := len(self.shape)) != rank:
            raise InputError(
                f"Input: {self.memory_format} is of {rank} dims, got {given}: {self.shape}"
            )

    def _check_host(self) -> None:
        if not isinstance(self.shape, Dim):
            raise InputError(
                f"Input: a host input is a Dim, the range of the integer, got {self.shape!r}",
                hint="give the Dim itself, and compute with the integer in forward",
            )
        if self.dtype not in (torch.int64, torch.int32):
            raise InputError(f"Input: a host input is an int64 or an int32, got {self.dtype}")
        if self.memory_format is not torch.contiguous_format:
            raise InputError(f"Input: a host input has no memory_format, got {self.memory_format}")


Declared = dict[str, tuple[Dim, str]]
"""The Dims of a declaration by name, each with the first input that has it."""


@dataclass(frozen=True)
class Signature:
    """What a compiled model takes: structure and leaves, with a name per leaf.

    A leaf is the Spec of a tensor, the Dim of a host input, or a constant. ``formats`` has the
    memory format of each input that is not contiguous: ``"channels_last"``, by name.
    """

    parameters: tuple[str, ...]
    tree: Tree
    leaves: tuple[Any, ...]
    names: tuple[str, ...]
    dims: tuple[Dim, ...]
    keyword_only: frozenset[str]
    formats: Mapping[str, str] = field(default_factory=dict)

    @property
    def specs(self) -> dict[str, Spec]:
        """The spec of each input tensor, by name."""
        pairs = zip(self.names, self.leaves, strict=True)
        return {name: leaf for name, leaf in pairs if isinstance(leaf, Spec)}

    @property
    def hosts(self) -> dict[str, Dim]:
        """The Dim of each host input, by name."""
        pairs = zip(self.names, self.leaves, strict=True)
        return {name: leaf for name, leaf in pairs if isinstance(leaf, Dim)}

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the input tensors and host inputs, in order of the leaves."""
        pairs = zip(self.names, self.leaves, strict=True)
        return tuple(name for name, leaf in pairs if isinstance(leaf, (Spec, Dim)))

    def arguments(self) -> tuple[Tree, tuple[Any, ...]]:
        """Return structure and leaves of ``(args, kwargs)`` as ``forward`` is called."""
        named = unflatten(self.tree, range(len(self.leaves)))
        args = tuple(v for k, v in named.items() if k not in self.keyword_only)
        kwargs = {k: v for k, v in named.items() if k in self.keyword_only}
        order, tree = flatten((args, kwargs))
        return tree, tuple(self.leaves[i] for i in order)


def _parameters(function: Callable[..., Any]) -> inspect.Signature:
    forward = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        return inspect.signature(forward)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{forward!r} does not say which parameters it has: {error}",
            hint="wrap it in a lambda, or in a Module",
        ) from None


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
    return from_arguments(signature, spread(bound))


def constant_key(value: Any) -> Any:
    """Return what two constants must share to be one: 0.0 and -0.0 are two, each NaN is one."""
    if isinstance(value, Spec):
        return value
    by_text = isinstance(value, (float, complex, frozenset))
    return type(value), repr(value) if by_text else value


def spread(bound: inspect.BoundArguments) -> dict[str, Any]:
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
    names = paths(named, "")
    dims: Declared = {}
    kept = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Input):
            names[i] = leaf.name or names[i]
        kept.append(_leaf(names[i], leaf, dims))
    _require_plain_keys(tree)
    formats = {
        name: str(leaf.memory_format).removeprefix("torch.")
        for name, leaf in zip(names, leaves, strict=True)
        if isinstance(leaf, Input) and leaf.memory_format in RANKS
    }
    by_keyword = _by_keyword(signature, named)
    result = Signature(tuple(named), tree, tuple(kept), tuple(names), (), by_keyword, formats)
    if reserved := [n for n in result.given if re.fullmatch(r"output_\d+", n)]:
        raise InputError(f"inputs: {reserved[0]!r} is the name of a result in the engine")
    if len(set(result.given)) < len(result.given):
        raise InputError(f"inputs: names must differ, got {', '.join(result.given)}")
    count_profiles([dim for dim, _ in dims.values()])  # refuses numbers that differ
    shapes = ((name, spec.shape) for name, spec in result.specs.items())
    solved = solve(integers_of(shapes, result.hosts))  # refuses Dims that no input tells
    used = {solution.symbol.name for solution in solved}
    return replace(result, dims=tuple(dim for name, (dim, _) in dims.items() if name in used))


def _leaf(name: str, leaf: Any, dims: Declared) -> Any:
    """Return a declared leaf as a signature keeps it; add its Dims to ``dims``."""
    if isinstance(leaf, Input) and leaf.host:
        _add_dim(name, leaf.shape, dims)
        return leaf.shape
    if isinstance(leaf, Input):
        return Spec(_sizes(leaf, name, dims), leaf.dtype)
    if isinstance(leaf, torch.Tensor):
        require_dense(name, leaf)
        return Spec(tuple(leaf.shape), leaf.dtype)
    if isinstance(leaf, Expr):
        raise InputError(
            f"{name}: expected an Input, a tensor or a constant, got the size {leaf}",
            hint=f"declare Input({leaf}, host=True) for an integer that decides shapes",
        )
    if not is_plain(leaf):
        raise InputError(
            f"{name}: expected a tensor or a plain constant, got {short(leaf)}",
            hint="give a tensor (torch.as_tensor), or compute it in forward",
        )
    return leaf


def _require_plain_keys(tree: Tree) -> None:
    for key in tree.keys:
        if not is_plain(key):
            raise InputError(f"inputs: expected keys that are plain values, got {short(key)}")
    for child in tree.children:
        _require_plain_keys(child)


def is_plain(value: Any) -> bool:
    """Say whether a value can be a constant, or a key: hashed, and compared with one answer."""
    try:
        hash(value)
        bool(value == value)
    except Exception:  # of the value's own, of whatever type
        return False
    return not isinstance(value, torch.Tensor)


def require_dense(name: str, tensor: torch.Tensor) -> None:
    """Raise InputError unless a tensor has plain strided memory."""
    if tensor.layout is not torch.strided or tensor.is_nested:
        layout = "nested" if tensor.is_nested else f"layout {tensor.layout}"
        raise InputError(f"{name}: expected a dense tensor, got {layout}")


def short(value: Any) -> str:
    """Return a value for an error's text, long ones by their type."""
    if isinstance(value, torch.Tensor):
        sizes = "" if value.is_nested else f"{Spec(tuple(value.shape), value.dtype)} "
        return f"a tensor {sizes}on {value.device}"
    if value is None or isinstance(value, (bool, int, float, complex, torch.dtype)):
        return repr(value)
    if isinstance(value, str) and len(value) <= 60:
        return repr(value)
    return f"a {type(value).__name__}"


def _by_keyword(signature: inspect.Signature, named: dict[str, Any]) -> frozenset[str]:
    """Return the arguments that ``forward`` takes by keyword."""
    kinds = signature.parameters
    return frozenset(
        n
        for n in named
        if (n not in kinds and any(p.kind is p.VAR_KEYWORD for p in kinds.values()))
        or (n in kinds and kinds[n].kind is inspect.Parameter.KEYWORD_ONLY)
    ) | _after_gap(kinds, named)


def _after_gap(kinds: Any, named: dict[str, Any]) -> frozenset[str]:
    """Return the parameters that follow one left at its default: they need their name."""
    positional = [n for n, p in kinds.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    gap = next((i for i, n in enumerate(positional) if n not in named), len(positional))
    return frozenset(n for n in positional[gap:] if n in named)


def _sizes(declared: Input, name: str, dims: Declared) -> tuple[Size, ...]:
    sizes: list[Size] = []
    for axis, entry in enumerate(declared.shape):
        if isinstance(entry, tuple):
            entry = Dim(f"{re.sub(r'[^0-9a-zA-Z_]', '_', name)}_{axis}", *entry)
        for symbol in symbols(entry):
            dim = entry if isinstance(entry, Dim) else Dim(symbol.name, profiles=symbol.profiles)
            _add_dim(name, dim, dims)
        sizes.append(entry)
    return tuple(sizes)


def _add_dim(name: str, dim: Dim, dims: Declared) -> None:
    known, first = dims.setdefault(dim.name, (dim, name))
    if known != dim:
        raise ShapeError(
            f"{name}: two Dims are named {dim.name!r}, with (min, opt, max) {known.profiles} in "
            f"input {first} and {dim.profiles} in input {name}",
            hint="use one Dim object, or two names",
        )
