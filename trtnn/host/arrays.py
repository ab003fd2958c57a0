"""A saved model's interface in NumPy's terms: what a call gives, what it must be, what it gets."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Any, TypeAlias

import numpy

from trtnn.errors import InputError, LoadError, TrtnnError, UnsupportedError
from trtnn.saved.notation import read_dims, read_size
from trtnn.sizes.dims import Dim, Expr, Size, evaluate, symbols
from trtnn.sizes.profiles import count_profiles, fitting_profiles
from trtnn.sizes.solutions import Given, bind_dims, integers_of
from trtnn.tree import FACTORIES

Array: TypeAlias = numpy.ndarray[Any, Any]
Shape: TypeAlias = tuple[int, ...]
Leaf: TypeAlias = Callable[[Sequence[Array], Mapping[str, int]], Any]

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool")
INT32 = numpy.iinfo(numpy.int32)
REMEMBERED = 1024  # combinations of shapes and host inputs


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of an input or an output, and whether its channels lie last."""

    name: str
    shape: tuple[Size, ...]
    dtype: numpy.dtype[Any]
    channels_last: bool = False

    @property
    def counted(self) -> bool:
        """Whether a size is known only once the engine has run."""
        return any(not symbol.declared for size in self.shape for symbol in symbols(size))

    def laid_out(self, array: Array) -> Array:
        """Return an array with its axes in the order in which TensorRT reads the memory."""
        return numpy.moveaxis(array, 1, -1) if self.channels_last else array

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.shape)) + ("," if len(self.shape) == 1 else "")
        return f"({sizes}) {self.dtype}"


@dataclass(frozen=True)
class Bound:
    """What follows from a call's shapes and host inputs: sizes, profiles, outputs' shapes.

    ``shapes`` has None for an output whose sizes depend on data.
    """

    sizes: Mapping[str, int]
    fitting: Sequence[int]
    shapes: Sequence[Shape | None]


class ArrayInterface:
    """What a manifest says of a model's arguments and results.

    Attributes:
        given: The names of a call's arguments, in the order of ``forward``; constants of the
            compilation are none.
    """

    def __init__(self, manifest: Mapping[str, Any], profile: int | None) -> None:
        named = read_dims(manifest["dims"])
        self.inputs = tuple(_spec(tensor, named) for tensor in manifest["inputs"])
        self.outputs = tuple(_spec(tensor, named) for tensor in manifest["outputs"])
        self.hosts = {host["name"]: _declared(named[host["dim"]]) for host in manifest["hosts"]}
        signature = manifest["signature"]
        self.dims = tuple(_declared(named[name]) for name in signature["dims"])
        self.given = tuple(
            name
            for name, leaf in zip(signature["names"], signature["leaves"], strict=True)
            if isinstance(leaf, dict) and leaf.keys() <= {"input", "host"}
        )
        self.profile = self._require_profile(profile)
        self._tree = manifest["result"]["tree"]
        self._leaves = [_leaf(leaf, named) for leaf in manifest["result"]["leaves"]]
        self.bind = lru_cache(REMEMBERED)(self._bound)

    def integers(self) -> list[Given]:
        """Return the integers that a call gives: the inputs' sizes, then the host inputs."""
        return integers_of(((spec.name, spec.shape) for spec in self.inputs), self.hosts)

    def arguments(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Array], tuple[int, ...]]:
        """Return a call's arrays and host inputs, in the order of ``inputs`` and ``hosts``.

        Raises:
            InputError: One is missing, surplus, or not what was declared.
        """
        takes = f"the model takes {', '.join(self.given) or 'none'}"
        if len(args) > len(self.given):
            raise InputError(f"argument {len(self.given)}: got {len(args)} by position; {takes}")
        found = dict(zip(self.given, args, strict=False))
        for name, value in kwargs.items():
            if name in found:
                raise InputError(f"{name}: given by position and again by name; {takes}")
            if name not in self.given:
                raise InputError(f"{name}: there is no such argument; {takes}")
            found[name] = value
        for name in self.given:
            if name not in found:
                raise InputError(f"{name}: the argument is missing; {takes}")
        arrays = [_array(spec, found[spec.name]) for spec in self.inputs]
        return arrays, tuple(_integer(name, d, found[name]) for name, d in self.hosts.items())

    def result(self, outputs: Sequence[Array], sizes: Mapping[str, int]) -> Any:
        """Return the outputs in the structure that ``forward`` returned."""
        return _filled(self._tree, iter([leaf(outputs, sizes) for leaf in self._leaves]))

    def measured(self, bound: Bound, shapes: Sequence[Shape]) -> Mapping[str, int]:
        """Return all sizes once the outputs' shapes are known, those that depend on data too."""
        sizes = dict(bound.sizes)
        for spec, shape in zip(self.outputs, shapes, strict=True):
            for size, number in zip(spec.shape, shape, strict=True):
                if spec.counted and isinstance(size, Expr):
                    sizes[str(size)] = number
        return sizes

    def _bound(self, shapes: tuple[Shape, ...], hosts: tuple[int, ...]) -> Bound:
        """Return what follows from a call's shapes; InputError where they do not fit."""
        sizes = bind_dims(self, shapes, self.profile, hosts)
        fitting = fitting_profiles(self.dims, sizes)
        return Bound(
            sizes,
            fitting if self.profile is None else [self.profile],
            [
                None if spec.counted else tuple(evaluate(size, sizes) for size in spec.shape)
                for spec in self.outputs
            ],
        )

    def _require_profile(self, profile: int | None) -> int | None:
        count = count_profiles(self.dims)
        if profile is None or (type(profile) is int and 0 <= profile < count):
            return profile
        raise InputError(f"profile: expected an int from 0 to {count - 1}, got {profile!r}")


def read_interface(manifest: Mapping[str, Any], profile: int | None = None) -> ArrayInterface:
    """Return the interface that a manifest describes.

    Args:
        profile: The one optimization profile that calls use; any that fits, if omitted.

    Raises:
        LoadError: It describes none.
        UnsupportedError: NumPy lacks a dtype of the model.
        InputError: There is no such profile.
    """
    try:
        return ArrayInterface(manifest, profile)
    except TrtnnError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise LoadError(f"the manifest describes no model: {what}") from error


def require_int32(name: str, array: Array, library: str) -> None:
    """Raise InputError unless an array's values fit the int32 that TensorRT takes for int64."""
    if array.size and (array.min() < INT32.min or array.max() > INT32.max):
        raise InputError(
            f"{name}: int64 values beyond {INT32.min} to {INT32.max}, and {library} has no int64"
        )


def _spec(written: Mapping[str, Any], named: Mapping[str, Expr]) -> TensorSpec:
    name, dtype = written["name"], written["dtype"]
    if dtype not in DTYPES:
        raise UnsupportedError(
            f"{name}: NumPy has no {dtype}",
            hint="convert it within forward, to float32 say, and compile again",
        )
    shape = tuple(read_size(size, named) for size in written["shape"])
    return TensorSpec(name, shape, numpy.dtype(dtype), "memory_format" in written)


def _declared(dim: Expr) -> Dim:
    if not isinstance(dim, Dim):
        raise LoadError(f"{dim}: expected a declared Dim")
    return dim


def _array(spec: TensorSpec, value: Any) -> Array:
    """Return an argument as the array it must be; int32 is taken for int64."""
    if not isinstance(value, (numpy.ndarray, numpy.generic)):
        raise InputError(f"{spec.name}: expected an array {spec}, got {_shown(value)}")
    if isinstance(value, numpy.ma.MaskedArray):
        raise InputError(f"{spec.name}: expected a plain array {spec}, got a masked one")
    if value.ndim != len(spec.shape):
        raise InputError(
            f"{spec.name}: expected {len(spec.shape)} dims {spec}, got {tuple(value.shape)}"
        )
    narrow = spec.dtype == numpy.int64 and value.dtype == numpy.int32
    if value.dtype != spec.dtype and not narrow:
        raise InputError(
            f"{spec.name}: expected {spec.dtype}, got {value.dtype}",
            hint=f'convert it with .astype("{spec.dtype}")',
        )
    return numpy.asarray(value)


def _integer(name: str, dim: Dim, value: Any) -> int:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    raise InputError(
        f"{name}: expected an int, {dim} from {dim.min} to {dim.max}, got {_shown(value)}"
    )


def _shown(value: Any) -> str:
    plain = value is None or isinstance(value, (bool, int, float, complex))
    return repr(value) if plain else f"a {type(value).__name__}"


# The result's structure -------------------------------------------------------------------------

_SEQUENCES: Mapping[str, Callable[..., Any]] = {"tuple": tuple, "list": list}
_WHOLE: Mapping[str, Callable[[Any], Any]] = {"float": float, "dtype": str, "device": str}
_PARTS: Mapping[str, Callable[[list[Any]], Any]] = {
    **dict.fromkeys(("tuple", "sizes", "torch.Size"), tuple),
    "slice": lambda parts: slice(*parts),
    "complex": lambda parts: complex(*parts),
}


def _leaf(written: Any, named: Mapping[str, Expr]) -> Leaf:
    """Return what gives a leaf of the result, from a call's outputs and sizes."""
    if not isinstance(written, dict):
        return lambda outputs, sizes: written
    ((tag, content),) = written.items()
    if tag == "output":
        return lambda outputs, sizes: outputs[content]
    if tag == "size":
        size = read_size(content, named)
        return lambda outputs, sizes: evaluate(size, sizes)
    if tag in _WHOLE:
        value = _WHOLE[tag](content)
        return lambda outputs, sizes: value
    make = _PARTS[tag]
    parts = [_leaf(part, named) for part in content]
    return lambda outputs, sizes: make([part(outputs, sizes) for part in parts])


def _key(written: Any) -> Any:
    return _leaf(written, {})((), {})


def _filled(tree: Any, leaves: Iterator[Any]) -> Any:
    """Put leaves into a structure; one of another class than Python's own is a dict, or a tuple.

    No class is looked for by its name: a dataclass is a dict of its fields, a named tuple a tuple.
    """
    if tree is None:
        return next(leaves)
    values = [_filled(child, leaves) for child in tree["children"]]
    keys = [_key(key) for key in tree["keys"]]
    if tree.get("form", "sequence" if keys == list(range(len(keys))) else "") == "sequence":
        made = _SEQUENCES.get(tree["kind"], tuple)(values)
        return deque(made, tree.get("context")) if tree["kind"] == "deque" else made
    named = dict(zip(keys, values, strict=True))
    if tree["kind"] == "defaultdict":
        return defaultdict(FACTORIES.get(tree.get("context", "")), named)
    return OrderedDict(named) if tree["kind"] == "OrderedDict" else named
