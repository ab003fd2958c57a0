"""The form of a manifest: which keys it has, and values of which types stand where.

A file is written by anybody, so nothing of it is used before its form is known. ``MANIFEST`` is
the table; what the entries say of each other is looked at in ``trtnn.saved.border``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from trtnn.errors import LoadError
from trtnn.saved.notation import GREATEST
from trtnn.trt.identity import RTX, TENSORRT
from trtnn.trt.memory_formats import FORMATS
from trtnn.trt.tensors import DTYPES

Check = Callable[[Any, str], None]
"""Looks at a value that stands at a place, and raises LoadError."""

MAX_TREE = 100  # structures within each other


def _fail(where: str, expected: str, value: Any) -> LoadError:
    plain = value is None or isinstance(value, (bool, int, float, str))
    found = repr(value)[:60] if plain else f"a {type(value).__name__}"
    return LoadError(f"the manifest's {where}: expected {expected}, found {found}")


def _typed(kind: type, expected: str, accept: Callable[[Any], bool] = lambda value: True) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not kind or not accept(value):
            raise _fail(where, expected, value)

    return check


def _text_like(pattern: str, expected: str) -> Check:
    return _typed(str, expected, lambda text: bool(re.fullmatch(pattern, text)))


def _one_of(*allowed: str) -> Check:
    return _typed(str, f"one of {', '.join(allowed)}", allowed.__contains__)


def _optional(inner: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def _listed(inner: Check, count: int | None = None) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not list or (count is not None and len(value) != count):
            raise _fail(where, "a list" if count is None else f"a list of {count}", value)
        for i, part in enumerate(value):
            inner(part, f"{where}[{i}]")

    return check


def _named(inner: Check, name: Callable[[str], bool] = bool) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not dict:
            raise _fail(where, "values by name", value)
        for key, part in value.items():
            if not name(key):
                raise _fail(where, "a name", key)
            inner(part, f"{where}.{key}")

    return check


def _record(fields: Mapping[str, Check], **optional: Check) -> Check:
    def check(value: Any, where: str) -> None:
        if type(value) is not dict:
            raise _fail(where, f"the keys {', '.join(fields)}", value)
        known = {**fields, **optional}
        for key in (*value, *fields):
            if key not in known or key not in value:
                what = "an unknown" if key in value else "no"
                raise LoadError(f"the manifest's {where} has {what} key {key[:60]!r}")
            known[key](value[key], f"{where}.{key}")

    return check


def _anything(value: Any, where: str) -> None:
    """Take any JSON: it is shown, and nothing follows from it."""


TEXT = _typed(str, "a text")
NAME = _typed(str, "a name", bool)
NUMBER = _typed(float, "a number of 0 or more", lambda value: 0 <= value < math.inf)
FLAG = _typed(bool, "true or false")
COUNT = _typed(int, "an int of 0 or more", lambda value: 0 <= value <= GREATEST)
IDENTIFIER = _typed(str, "an identifier", str.isidentifier)
VERSION = _text_like(r"[0-9A-Za-z.+_-]{1,64}", "a version")
DIGEST = _text_like("[0-9a-f]{64}", "a SHA-256")


def _range(value: Any, where: str) -> None:
    _listed(COUNT, 3)(value, where)
    if value != sorted(value):
        raise _fail(where, "min <= opt <= max", str(value))


def _size(value: Any, where: str) -> None:
    (TEXT if isinstance(value, str) else COUNT)(value, where)


# Leaves and structures, as ``trtnn.saved.leaves`` writes them ------------------------------------


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _constant(value: Any, where: str) -> None:
    """Take a leaf that holds neither an output nor a size."""
    if type(value) is dict:
        _tagged(CONSTANTS, value, where)
    elif not (value is None or type(value) in (bool, int, str)):
        _typed(float, "a plain value", math.isfinite)(value, where)


def _tagged(tags: Mapping[str, Check], value: dict[str, Any], where: str) -> None:
    if len(value) != 1 or next(iter(value)) not in tags:
        raise _fail(where, f"one of the tags {', '.join(tags)}", ", ".join(value))
    ((tag, content),) = value.items()
    tags[tag](content, f"{where}.{tag}")


def _part(value: Any, where: str) -> None:
    if type(value) is dict:
        _record({"float": CONSTANTS["float"]})(value, where)
    else:
        _typed(float, "a float", math.isfinite)(value, where)


CONSTANTS: Mapping[str, Check] = {
    "float": _typed(str, "a number", _is_number),
    "complex": _listed(_part, 2),
    "dtype": IDENTIFIER,
    "device": _text_like("[a-z]+(:[0-9]{1,4})?", "a device"),
    "slice": _listed(_constant, 3),
    "tuple": _listed(_constant),
    "torch.Size": _listed(COUNT),
    "other": TEXT,
}


def _leaf(**tags: Check) -> Check:
    known = {**CONSTANTS, **tags}

    def check(value: Any, where: str) -> None:
        (_tagged(known, value, where) if type(value) is dict else _constant(value, where))

    return check


def _size_part(value: Any, where: str) -> None:
    (_record({"size": _size}) if type(value) is dict else COUNT)(value, where)


TREE = {"kind": NAME, "keys": _listed(_constant), "children": _listed(_anything)}
SHAPES = ("mapping", "sequence", "fields")


def _tree(value: Any, where: str, depth: int = 0) -> None:
    if value is None:
        return
    if depth == MAX_TREE:
        raise LoadError(f"the manifest's {where[:60]}: more than {MAX_TREE} within each other")
    _record(TREE, form=_optional(_one_of(*SHAPES)), context=_constant)(value, where)
    keys = [repr(key) for key in value["keys"]]
    if len(value["children"]) != len(keys) or len({*keys}) != len(keys):
        raise LoadError(f"the manifest's {where}: expected one child for each key, once")
    if value["kind"] in ("tuple", "list") and value["keys"] != list(range(len(keys))):
        raise LoadError(f"the manifest's {where}: a {value['kind']} has its places as keys")
    for i, child in enumerate(value["children"]):
        _tree(child, f"{where}.children[{i}]", depth + 1)


# The table ---------------------------------------------------------------------------------------

TENSOR = {"name": NAME, "dtype": _one_of(*DTYPES, "float64"), "shape": _listed(_size)}
KINDS = "POSITIONAL_ONLY POSITIONAL_OR_KEYWORD VAR_POSITIONAL KEYWORD_ONLY VAR_KEYWORD".split()
PARAMETER = {"name": IDENTIFIER, "kind": _one_of(*KINDS)}
FORMAT_NAMES = sorted({form for form, _ in FORMATS})
MEASURED = {"output": COUNT, "norm": TEXT, "error": NUMBER, "rounding": NUMBER, "bar": NUMBER}
LATER = ("verified", "plugins")  # keys that the first files had not
MANIFEST: Mapping[str, Check] = {
    "format": COUNT,
    "versions": _named(_optional(VERSION)),
    "platform": _record({"system": TEXT, "machine": TEXT}),
    "gpu": _optional(
        _record({"name": TEXT, "compute_capability": _listed(COUNT, 2), "sm_count": COUNT})
    ),
    "precision": TEXT,
    "execution": _one_of("sync", "async", "graph"),
    "checks": _one_of("always", "first"),
    "options": _named(_anything),
    "engine": _record(
        {
            "version_compatible": FLAG,
            "host_code": FLAG,
            "hardware_compatibility_level": TEXT,
            "refit": _optional(TEXT),
            "timing_digest": _optional(DIGEST),
        },
        # The first files knew one package, and no list of GPUs.
        package=_one_of(TENSORRT, RTX),
        compute_capabilities=_listed(VERSION),
    ),
    "verified": _optional(
        _record(
            {
                "why": TEXT,
                "measured": _listed(_record(MEASURED)),
                "sizes": _listed(TEXT),
                "notes": _listed(TEXT),
                "seconds": NUMBER,
            }
        )
    ),
    "plugins": _listed(
        _record(
            {
                "name": NAME,
                "version": TEXT,
                "namespace": TEXT,
                "library": _optional(_record({"name": NAME, "sha256": DIGEST})),
                "needed": FLAG,
            }
        )
    ),
    "plan": _record({"sha256": DIGEST, "bytes": COUNT}),
    "dims": _named(
        _record({"profiles": _listed(_range), "depends_on_data": FLAG}), str.isidentifier
    ),
    "profiles": _listed(_named(_range)),
    "inputs": _listed(_record(TENSOR, memory_format=_one_of(*FORMAT_NAMES))),
    "outputs": _listed(_record(TENSOR)),
    "hosts": _listed(_record({"name": NAME, "dim": IDENTIFIER})),
    "signature": _record(
        {
            "parameters": _listed(_record(PARAMETER, default=_constant)),
            "declared": _listed(NAME),
            "keyword_only": _listed(NAME),
            "dims": _listed(IDENTIFIER),
            "names": _listed(TEXT),
            "tree": _tree,
            "leaves": _listed(_leaf(input=NAME, host=NAME)),
        }
    ),
    "result": _record(
        {
            "tree": _tree,
            "leaves": _listed(_leaf(output=COUNT, size=_size, sizes=_listed(_size_part))),
        }
    ),
    "graph": TEXT,
}


def require_form(manifest: Mapping[str, Any]) -> None:
    """Raise LoadError where a manifest has other keys, or values of another form, than it may."""
    for key in (*manifest, *MANIFEST):
        if key in LATER and key not in manifest:
            continue
        if key not in MANIFEST or key not in manifest:
            what = "an unknown" if key in manifest else "no"
            raise LoadError(f"the manifest has {what} key {key[:60]!r}")
        MANIFEST[key](manifest[key], key)
