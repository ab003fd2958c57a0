"""What can be a constant of a compilation, and what tells two of them apart."""

from __future__ import annotations

import enum
import functools
import types
from collections import deque
from collections.abc import Iterator
from numbers import Number
from typing import Any

import torch

from trtnn.errors import InputError
from trtnn.graph.tensor import Tensor
from trtnn.ops.op import Spec
from trtnn.sizes.dims import Expr

PLAIN = (type(None), bool, int, str, bytes, type, enum.Enum, Spec, Expr)
SEQUENCES = (tuple, list, deque)
SETS = (set, frozenset)
BOUND = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)


class Hidden(Exception):
    """A constant reaches what cannot be one, at a path."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, what)
        self.path, self.what = path, what


def constant_key(value: Any) -> Any:
    """Return what two constants must share to be one: also what an object holds at this moment.

    Raises:
        Hidden: It reaches a tensor, or something that cannot be compared, which only another
            trace would look at again.
    """
    return _key(value, "", ())


def _key(value: Any, path: str, above: tuple[int, ...]) -> Any:
    kind = type(value)
    if isinstance(value, Tensor):
        raise Hidden(path, "a traced tensor")
    if isinstance(value, torch.Tensor):
        raise Hidden(path, short(value))
    if isinstance(value, PLAIN):
        return kind, value
    if isinstance(value, Number):  # 0.0 and -0.0 are two, and each NaN is one
        return kind, repr(value)
    if isinstance(value, Iterator):
        raise Hidden(path, f"{short(value)}, which can be read only once")
    if id(value) in above:
        return kind, above.index(id(value))
    inner = (*above, id(value))
    if isinstance(value, SETS):
        return kind, frozenset(_key(item, f"{path}{{...}}", inner) for item in value)
    parts = tuple((name, _key(item, path + name, inner)) for name, item in _inside(value))
    if isinstance(value, (dict, *SEQUENCES)):
        return kind, parts
    if not is_plain(value):
        raise Hidden(path, short(value))
    return kind, value, parts


def _inside(value: Any) -> list[tuple[str, Any]]:
    """Return what an object holds, each with how one would write it."""
    found: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        found += [(f"[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, SEQUENCES):
        found += [(f"[{i}]", item) for i, item in enumerate(value)]
    elif isinstance(value, types.FunctionType):
        names = value.__code__.co_freevars
        cells = zip(names, value.__closure__ or (), strict=True)
        found += [(f".{name}", cell.cell_contents) for name, cell in cells if _is_filled(cell)]
        found += [(f".{n}", getattr(value, n)) for n in ("__defaults__", "__kwdefaults__")]
    elif isinstance(value, BOUND):
        return [(".__self__", value.__self__)]
    elif isinstance(value, functools.partial):
        found += [(".func", value.func), (".args", value.args), (".keywords", value.keywords)]
    elif isinstance(value, types.ModuleType):
        return []
    found += [(f".{name}", item) for name, item in getattr(value, "__dict__", {}).items()]
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    return found + [(f".{name}", getattr(value, name)) for name in slots if hasattr(value, name)]


def _slots(kind: type) -> tuple[str, ...]:
    """Return the names of a class's own slots, as instances have them."""
    is_slot = types.MemberDescriptorType
    # Those of classes written in C are no state of the user's.
    if kind.__module__ == "builtins" or "__slots__" not in vars(kind):
        return ()
    return tuple(name for name, item in vars(kind).items() if isinstance(item, is_slot))


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def key_of(name: str, value: Any) -> Any:
    """Return the key of a constant that is the argument ``name``.

    Raises:
        InputError: It can be none, and what to pass instead.
    """
    wrong = f"{name}: expected a tensor or a plain constant, got {short(value)}"
    try:
        key = constant_key(value)
    except Hidden as hidden:
        if not hidden.path:
            wrong = f"{name}: expected a tensor or a plain constant, got {hidden.what}"
            key = None
        else:
            raise _holds(name, wrong, hidden) from None
    if key is None or not is_plain(value):
        raise InputError(wrong, hint="give a tensor (torch.as_tensor), or compute it in forward")
    return key


def _holds(name: str, wrong: str, hidden: Hidden) -> InputError:
    return InputError(
        f"{wrong}, and in {name}{hidden.path} {hidden.what}: a compiled model would keep what "
        "it holds now",
        hint="pass the tensors themselves, or a tuple, list, dict or dataclass of them, as "
        "vars(...) of an object and dict(...) of a mapping are; or tell how to take it apart "
        "with torch.utils._pytree.register_pytree_node",
    )


def is_plain(value: Any) -> bool:
    """Say whether a value can be a constant, or a key: hashed, and compared with one answer."""
    try:
        hash(value)
        bool(value == value)
    except Exception:  # of the value's own, of whatever type
        return False
    return not isinstance(value, torch.Tensor)


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
