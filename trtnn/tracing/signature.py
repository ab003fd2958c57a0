"""A model's arguments: declared as ``Input``s, matched with ``forward``, flattened per call."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch

from trtnn.errors import InputError, ShapeError, TraceError
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Dim, Expr, Size, replaced, symbols
from trtnn.sizes.profiles import count_profiles
from trtnn.sizes.solutions import integers_of, solve
from trtnn.tracing.constants import Hidden, constant_key, is_plain, key_of, short
from trtnn.tracing.forward import _parameters
from trtnn.tree import Tree, argument_names, flatten, leaf_names

RANKS = {torch.channels_last: 4, torch.channels_last_3d: 5}
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


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
        low: The least value of a call's entries; ``compile`` verifies a new engine with such. No
            call is refused for it.
        high: The greatest, in the same way.

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
    low: float | None = field(default=None, kw_only=True)
    high: float | None = field(default=None, kw_only=True)
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
        self._check_range()
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

    def _check_range(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            kinds = (int, float) if self.dtype.is_floating_point else (int,)
            if value is not None and (type(value) not in kinds or not math.isfinite(value)):
                raise InputError(
                    f"Input: expected {name} to be a finite number of {self.dtype}, got {value!r}"
                )
            if value is not None and self.host:
                raise InputError(f"Input: the range of a host input is its Dim, got {name}={value}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InputError(f"Input: low={self.low} is above high={self.high}")

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


Range = tuple[float | None, float | None]

Place = Any
"""Where an argument goes: the name of its parameter; of ``*args`` also its index, of ``**kwargs``
also its key, as a tuple of both."""


@dataclass(frozen=True)
class Signature:
    """What a compiled model takes: structure and leaves, with a name per leaf.

    A leaf is the Spec of a tensor, the Dim of a host input, or a constant. The keys of ``tree``
    are the arguments' places, in ``forward``'s order. ``formats`` has the memory format of each
    input that is not contiguous: ``"channels_last"``, by name.

    Attributes:
        by_keyword: The parameters that ``forward`` is called with by keyword.
        ranges: The low and high that were declared of an input's values, by name.
        keys: What tells constants apart, as they were when they were declared.
    """

    tree: Tree
    leaves: tuple[Any, ...]
    names: tuple[str, ...]
    dims: tuple[Dim, ...]
    by_keyword: frozenset[str]
    formats: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict, compare=False)
    keys: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        pairs = zip(self.names, self.leaves, strict=True)
        keys = tuple(x if isinstance(x, (Spec, Dim)) else key_of(name, x) for name, x in pairs)
        object.__setattr__(self, "keys", keys)

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

    @property
    def parameters(self) -> tuple[str, ...]:
        """The arguments as errors name them."""
        return tuple(argument_names(self.tree.keys))

    def arguments(self) -> tuple[Tree, tuple[Any, ...]]:
        """Return structure and leaves of ``(args, kwargs)`` as ``forward`` is called."""
        args: list[Tree] = []
        kwargs: dict[str, Tree] = {}
        for place, child in zip(self.tree.keys, self.tree.children, strict=True):
            key = place[1] if isinstance(place, tuple) else place
            if isinstance(key, str) and (place != key or key in self.by_keyword):
                kwargs[key] = child
            else:
                args.append(child)
        positional = Tree(tuple, tuple(range(len(args))), tuple(args))
        named = Tree(dict, tuple(kwargs), tuple(kwargs.values()))
        return Tree(tuple, (0, 1), (positional, named)), self.leaves


def require_unchanged(signature: Signature) -> None:
    """Raise TraceError where a trace has changed what a constant holds."""
    for name, leaf, key in zip(signature.names, signature.leaves, signature.keys, strict=True):
        if isinstance(leaf, (Spec, Dim)):
            continue
        try:
            what = None if constant_key(leaf) == key else "what it holds"
        except Hidden as hidden:
            what = f"{name}{hidden.path}"
        if what is not None:
            raise TraceError(
                f"forward changes the argument {name}, a {type(leaf).__name__}: {what}",
                hint="return it instead; a compiled model has no state",
                search=False,
            )


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
    if not isinstance(inputs, Iterable):
        raise InputError(
            f"inputs: expected a list or a dict, got {short(inputs)}", hint="write inputs=[...]"
        )
    by_name = dict(inputs) if isinstance(inputs, dict) else {}
    by_place = [] if isinstance(inputs, dict) else list(inputs)
    _require_no_shapes(by_name or dict(enumerate(by_place)))
    try:
        bound = signature.bind(*by_place, **by_name)
    except TypeError as error:
        raise InputError(
            f"inputs: {error}; forward takes {signature}", hint="give one entry per parameter"
        ) from None
    return from_arguments(bound, by_name)


def _require_no_shapes(entries: Mapping[Any, Any]) -> None:
    """Refuse a shape where an Input is meant: no tensor at all, and a tuple of sizes."""
    values = list(entries.values())
    if any(isinstance(x, (Input, torch.Tensor)) for x in flatten(values, "inputs")[0]):
        return
    shapes = {f"inputs[{key!r}]": entry for key, entry in entries.items() if _is_shape(entry)}
    if len(values) > 1 and _is_shape(values):
        shapes = {"inputs": values}
    for name, entry in shapes.items():
        text = f"({', '.join(map(str, entry))}{',' if len(entry) == 1 else ''})"
        raise InputError(
            f"{name}: expected an Input or a tensor, got the sizes {text}",
            hint=f"write trtnn.Input({text}) for a float32 tensor of this shape",
        )


def _is_shape(entry: Any) -> bool:
    is_list = isinstance(entry, (tuple, list)) and bool(entry)
    return is_list and all(
        type(size) is int or isinstance(size, Expr) or (len(entry) > 1 and _is_range(size))
        for size in entry
    )


def _is_range(size: Any) -> bool:
    return isinstance(size, tuple) and len(size) == 3 and all(type(x) is int for x in size)


def spread(bound: inspect.BoundArguments) -> dict[Place, Any]:
    """Return arguments by place, ``*args`` and ``**kwargs`` spread out."""
    found: dict[Place, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found.update({(name, i): v for i, v in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found.update({(name, key): v for key, v in value.items()})
        else:
            found[name] = value
    return found


def from_arguments(bound: inspect.BoundArguments, by_name: Iterable[str]) -> Signature:
    """Return the signature of arguments, of Inputs, tensors and plain values.

    Args:
        by_name: The keywords that were given.
    """
    given = spread(bound)
    leaves, parts = [], []
    names: list[str] = []
    for name, value in zip(argument_names(given), given.values(), strict=True):
        some, part = flatten(value, name)
        leaves += some
        parts.append(part)
        names += leaf_names(part, name)
    tree = Tree(dict, tuple(given), tuple(parts))
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
    ranges = {
        name: (leaf.low, leaf.high)
        for name, leaf in zip(names, leaves, strict=True)
        if isinstance(leaf, Input) and (leaf.low, leaf.high) != (None, None)
    }
    by_keyword = frozenset(name for name in by_name if _takes_keyword(bound.signature, name))
    result = Signature(tree, tuple(kept), tuple(names), (), by_keyword, formats, ranges)
    _require_names(result.given)
    count_profiles([dim for dim, _ in dims.values()])  # refuses numbers that differ
    shapes = ((name, spec.shape) for name, spec in result.specs.items())
    solved = solve(integers_of(shapes, result.hosts))  # refuses Dims that no input tells
    used = {solution.symbol.name for solution in solved}
    return replace(result, dims=tuple(dim for name, (dim, _) in dims.items() if name in used))


def _takes_keyword(signature: inspect.Signature, name: str) -> bool:
    parameter = signature.parameters.get(name)
    return parameter is not None and parameter.kind in KEYWORD


def _require_names(names: tuple[str, ...]) -> None:
    """Refuse names that an engine cannot tell apart."""
    if reserved := [n for n in names if re.fullmatch(r"output_\d+", n)]:
        raise InputError(f"inputs: {reserved[0]!r} is the name of a result in the engine")
    if len(set(names)) < len(names):
        raise InputError(f"inputs: names must differ, got {', '.join(names)}")


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
            hint=f"declare Input({leaf}, host=True) for an integer that decides shapes, "
            f"or Input(({leaf}, ...)) for a tensor of this size",
        )
    return leaf


def _require_plain_keys(tree: Tree) -> None:
    for key in tree.keys:
        if not is_plain(key):
            raise InputError(f"inputs: expected keys that are plain values, got {short(key)}")
    for child in tree.children:
        _require_plain_keys(child)


def require_dense(name: str, tensor: torch.Tensor) -> None:
    """Raise InputError unless a tensor has plain strided memory."""
    if tensor.layout is not torch.strided or tensor.is_nested:
        layout = "nested" if tensor.is_nested else f"layout {tensor.layout}"
        raise InputError(f"{name}: expected a dense tensor, got {layout}")


def _sizes(declared: Input, name: str, dims: Declared) -> tuple[Size, ...]:
    sizes: list[Size] = []
    for axis, entry in enumerate(declared.shape):
        if isinstance(entry, tuple):
            entry = Dim(f"{re.sub(r'[^0-9a-zA-Z_]', '_', name)}_{axis}", *entry)
        for symbol in symbols(entry):
            dim = entry if isinstance(entry, Dim) else Dim(symbol.name, profiles=symbol.profiles)
            _add_dim(name, dim, dims)
        sizes.append(replaced(entry, {s.name: s.low for s in symbols(entry) if s.low == s.high}))
    return tuple(sizes)


def _add_dim(name: str, dim: Dim, dims: Declared) -> None:
    known, first = dims.setdefault(dim.name, (dim, name))
    if known != dim:
        raise ShapeError(
            f"{name}: two Dims are named {dim.name!r}, with (min, opt, max) {known.profiles} in "
            f"input {first} and {dim.profiles} in input {name}",
            hint="use one Dim object, or two names",
        )
