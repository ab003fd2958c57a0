"""Inputs as they are written on a command line, and the values that a call is given for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from trtnn.errors import InputError, LoadError
from trtnn.ops.op import Spec
from trtnn.saved.notation import read_size
from trtnn.sizes.dims import Dim, Expr, Size, evaluate, symbols
from trtnn.tracing.signature import Input

FORM = "NAME:SIZES[:TYPE], such as x:batch=1..8..32,3,224,224 or ids:batch,128:int64[0..30521]"
RANDOM = "random"
_RANGE = re.compile(r"(?:([A-Za-z_]\w*)=)?(\d+)\.\.(\d+)\.\.(\d+)")
_TYPE = re.compile(r"(\w+)(?:\[([^\]]+)\.\.([^\]]+)\])?")


@dataclass
class Written:
    """What a command line says of inputs.

    Attributes:
        inputs: The declaration of each, by name.
        values: The file of each, or ``"random"``, by name.
    """

    inputs: dict[str, Input] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)


def read_inputs(texts: Iterable[str]) -> Written:
    """Return what texts say of inputs: ``NAME:SIZES[:TYPE]`` declares, ``NAME=FILE`` gives.

    A size is an int, ``NAME=MIN..OPT..MAX`` for a Dim, the name of one that stands before, or an
    expression of such. A type is one of PyTorch's names, with the range of made-up entries in
    brackets; ``host`` makes the one Dim a host input.

    Raises:
        InputError: A text is none of these.

    >>> written = read_inputs(["x:n=1..2..8,3", "ids:2*n:int64[0..9]", "x=image.npy"])
    >>> written.inputs["ids"].shape, written.inputs["ids"].high, written.values
    ((2*n,), 9, {'x': 'image.npy'})
    """
    found, dims = Written(), dict[str, Expr]()
    for text in texts:
        name, sign, rest = _parted(text)
        if sign == "=":
            found.values[name] = rest
            continue
        if name in found.inputs:
            raise InputError(f"--input {text}: {name} is declared twice", search=False)
        found.inputs[name] = _declared(text, rest, dims)
    return found


def _parted(text: str) -> tuple[str, str, str]:
    match = re.match(r"([A-Za-z_]\w*)([:=])(.*)", text, re.S)
    if match is None or (match[2] == "=" and not match[3]):
        raise _refused(text, f"expected {FORM}, or NAME=FILE.npy, or NAME=random")
    return match[1], match[2], match[3]


def _declared(text: str, rest: str, dims: dict[str, Expr]) -> Input:
    sizes, _, kind = rest.partition(":")
    shape = tuple(_size(text, part.strip(), dims) for part in sizes.split(",") if sizes.strip())
    if kind == "host":
        if len(shape) != 1:
            raise _refused(text, "a host input has one Dim, as count=1..8..32")
        return Input(shape[0], host=True)
    match = _TYPE.fullmatch(kind or "float32")
    dtype = getattr(torch, match[1], None) if match is not None else None
    if match is None or not isinstance(dtype, torch.dtype):
        raise _refused(text, f"{kind!r} is no type of PyTorch's, such as float16 or int64[0..9]")
    ends = [_number(text, end, dtype) for end in match.groups()[1:]]
    return Input(shape, dtype, low=ends[0], high=ends[1])


def _size(text: str, part: str, dims: dict[str, Expr]) -> Size:
    match = _RANGE.fullmatch(part)
    try:
        if match is None:
            return int(part) if part.isdecimal() else read_size(part, dims)
        name = match[1] or f"size_{len(dims)}"
        if name in dims:
            raise _refused(text, f"{name} has its range already: write {name} alone")
        dims[name] = dim = Dim(name, *(int(end) for end in match.groups()[1:]))
    except LoadError as error:
        known = ", ".join(dims) or "none"
        why = f"{part!r} is no size: {error.message}; Dims declared before: {known}"
        raise _refused(text, why) from None
    return dim


def _number(text: str, end: str | None, dtype: torch.dtype) -> Any:
    if end is None:
        return None
    try:
        return float(end) if dtype.is_floating_point else int(end)
    except ValueError:
        raise _refused(text, f"{end!r} is no number of {dtype}") from None


def _refused(text: str, why: str) -> InputError:
    return InputError(f"--input {text}: {why}", search=False)


def values_of(
    specs: Mapping[str, Spec | Input],
    values: Mapping[str, str],
    hosts: Mapping[str, Dim],
    seed: int,
    device: Any,
) -> dict[str, Any]:
    """Return the arguments of a call by name: what files hold, else random entries.

    Random floats are normal, or even within the range of their declaration; integers lie in that,
    or are 0 and 1. Sizes are those that each Dim is tuned for.

    Raises:
        InputError: There is no such input, or a file holds no array.
        OSError: A file cannot be read.
    """
    if unknown := values.keys() - {*specs, *hosts}:
        known = ", ".join([*specs, *hosts])
        raise InputError(f"--input {unknown.pop()}: there is no such input: {known}", search=False)
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Any] = {}
    for name, spec in specs.items():
        text = values.get(name, RANDOM)
        tensor = _random(spec, generator) if text == RANDOM else read_array(text)
        found[name] = tensor.to(device)
    for name, dim in hosts.items():
        found[name] = _integer(name, values.get(name, RANDOM), dim)
    return found


def _integer(name: str, text: str, dim: Dim) -> int:
    if text == RANDOM:
        return dim.opt
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--input {name}={text}: expected an integer", search=False) from None


def read_array(path: str) -> torch.Tensor:
    """Return the array of a file of NumPy's.

    Raises:
        InputError: It holds none, or objects.
        OSError: It cannot be read.
    """
    try:
        array = numpy.load(Path(path), allow_pickle=False)
        return torch.from_numpy(numpy.array(array, order="C"))
    except (ValueError, TypeError, EOFError) as error:
        raise InputError(f"{path}: expected an array, as numpy.save writes it: {error}") from error


def _random(spec: Spec | Input, generator: torch.Generator) -> torch.Tensor:
    shape = [_tuned(size) for size in spec.shape]
    low, high = getattr(spec, "low", None), getattr(spec, "high", None)
    if not spec.dtype.is_floating_point:
        first = 0 if low is None else int(low)
        last = first + 1 if high is None else int(high)
        return torch.randint(first, last + 1, shape, generator=generator).to(spec.dtype)
    if low is None and high is None:
        return torch.randn(shape, generator=generator).to(spec.dtype)
    least = low if low is not None else (high or 0.0) - 1
    most = high if high is not None else least + 1
    return torch.empty(shape).uniform_(least, most, generator=generator).to(spec.dtype)


def _tuned(size: Size) -> int:
    """Return the size that Dims are tuned for."""
    return evaluate(size, {symbol.name: symbol.profiles[0][1] for symbol in symbols(size)})
