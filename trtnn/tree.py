"""Nested arguments and results as flat lists: the one file that knows about structure."""

from __future__ import annotations

import dataclasses
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from trtnn.errors import InputError, UnsupportedError

Parts = tuple[tuple[Any, ...], tuple[Any, ...], Any]
"""Keys and children of a container, and what else it takes to make it again."""

REGISTRY = "torch.utils._pytree"
"""Where PyTorch keeps the classes that users and libraries register as containers."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """A structure without its leaves: ``kind`` with one subtree per key; a leaf has no kind.

    ``context`` is what beside keys and children makes the container again: the factory of a
    ``defaultdict``.
    """

    kind: type | None = None
    keys: tuple[Any, ...] = ()
    children: tuple[Tree, ...] = ()
    context: Any = dataclasses.field(default=None, hash=False)


LEAF = Tree()
PLAIN = (int, float, str)


@dataclasses.dataclass(frozen=True)
class Form:
    """How containers of one kind are taken apart, and made again.

    Attributes:
        shape: What it is without its class: ``"mapping"``, ``"sequence"`` or ``"fields"``; None
            where only the class itself knows.
        checked: Whether each is made again, to see that nothing else was in it.
    """

    shape: str | None
    parts: Callable[[Any], Parts]
    make: Callable[[Any, dict[Any, Any], Any], Any]
    checked: bool = False


def _listed(value: Any, context: Any = None) -> Parts:
    return tuple(range(len(value))), tuple(value), context


def _mapped(value: Any, context: Any = None) -> Parts:
    return tuple(value), tuple(value.values()), context


def _make_mapping(kind: Any, named: dict[Any, Any], _: Any) -> Any:
    make: Any = kind
    return make(**named) if dataclasses.is_dataclass(kind) else make(named)


def _make_sequence(kind: Any, named: dict[Any, Any], _: Any) -> Any:
    values = named.values()
    return kind._make(values) if hasattr(kind, "_fields") else kind(values)


def _attributes(value: Any) -> Parts:
    """Return the fields of a dataclass that are set, and what it was given beside."""
    own = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
    names = tuple(dict.fromkeys([*own, *getattr(value, "__dict__", ())]))
    return names, tuple(getattr(value, name) for name in names), None


def _make_dataclass(kind: Any, named: dict[Any, Any], _: Any) -> Any:
    # As copy does: what __init__ and __post_init__ computed is among the fields already.
    made = kind.__new__(kind)
    for name, value in named.items():
        object.__setattr__(made, name, value)
    return made


# A cache of transformers is its layers, and a layer its keys and values, with what else decides
# how it goes on: the window of a sliding one, and how far it has come.
DERIVED = ("is_initialized", "device", "dtype", "_sliding_window_tensor")


def _layer(value: Any) -> Parts:
    kept = {name: item for name, item in vars(value).items() if name not in DERIVED}
    return tuple(kept), tuple(kept.values()), None


def _make_layer(kind: Any, named: dict[Any, Any], _: Any) -> Any:
    made = kind(**{k: v for k, v in named.items() if k == "sliding_window"})
    vars(made).update(named)
    made.is_initialized = named["keys"] is not None
    if made.is_initialized:
        made.device, made.dtype = (getattr(made.keys, n, None) for n in ("device", "dtype"))
    return made


def _make_cache(kind: Any, named: dict[Any, Any], _: Any) -> Any:
    made = kind()
    made.layers = list(named.values())
    return made


CACHES = ("self_attention_cache", "cross_attention_cache")
MAPPING = Form("mapping", _mapped, _make_mapping)
SEQUENCE = Form("sequence", _listed, _make_sequence)
DATACLASS = Form("fields", _attributes, _make_dataclass, checked=True)
LAYER = Form("fields", _layer, _make_layer)
FORMS: dict[str, Form] = {
    **dict.fromkeys(("builtins:dict", "collections:OrderedDict", "collections:Counter"), MAPPING),
    **dict.fromkeys(("builtins:list", "builtins:tuple"), SEQUENCE),
    "collections:defaultdict": Form(
        "mapping",
        lambda value: _mapped(value, value.default_factory),
        lambda kind, named, factory: kind(factory, named),
    ),
    "collections:deque": Form(
        "sequence",
        lambda value: _listed(value, value.maxlen),
        lambda kind, named, longest: kind(named.values(), longest),
    ),
    "transformers.cache_utils:DynamicCache": Form(
        "sequence", lambda value: _listed(value.layers), _make_cache
    ),
    "transformers.cache_utils:EncoderDecoderCache": Form(
        "fields",
        lambda value: (CACHES, tuple(getattr(value, name) for name in CACHES), None),
        lambda kind, named, _: kind(*named.values()),
    ),
    "transformers.cache_utils:DynamicLayer": LAYER,
    "transformers.cache_utils:DynamicSlidingWindowLayer": LAYER,
}
"""Containers by the name of their class, which need not be imported."""


FACTORIES: dict[str, Callable[[], Any]] = {
    kind.__name__: kind for kind in (list, dict, tuple, set, int, float, str, bool, OrderedDict)
}
"""What a ``defaultdict`` may be made with by a file, which names no other code."""


def form_of(kind: type) -> Form | None:
    """Return how containers of a class are taken apart; None where the class is that of a leaf."""
    known = FORMS.get(f"{kind.__module__}:{kind.__qualname__}")
    if known is not None:
        return known
    if kind.__module__ == "torch" and kind.__name__ == "Size":
        return None
    if issubclass(kind, dict):
        return dataclasses.replace(MAPPING, checked=True)
    if issubclass(kind, (tuple, list)):
        return dataclasses.replace(SEQUENCE, checked=True)
    # Our own frozen dataclasses (sizes, specs, declarations) are leaves and say so.
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "_trtnn_leaf"):
        return DATACLASS
    registered = getattr(sys.modules.get(REGISTRY), "SUPPORTED_NODES", {}).get(kind)
    if registered is None:
        return None
    return Form(
        None,
        lambda value: _listed(*registered.flatten_fn(value)),
        lambda _, named, context: registered.unflatten_fn(named.values(), context),
    )


def _parts(value: Any) -> Parts | None:
    """Return what a container is made of, None for a leaf."""
    form = form_of(type(value))
    return None if form is None else form.parts(value)


def flatten(value: Any, name: str = "") -> tuple[list[Any], Tree]:
    """Return the leaves, in order, and the structure.

    Raises:
        UnsupportedError: A container that cannot be made again; the error says where in ``name``.

    >>> leaves, tree = flatten({"a": 1, "b": (2, 3)})
    >>> leaves
    [1, 2, 3]
    >>> unflatten(tree, [4, 5, 6])
    {'a': 4, 'b': (5, 6)}
    """
    form = form_of(type(value))
    if form is None:
        return [value], LEAF
    keys, children, context = form.parts(value)
    if form.checked:
        _require_made_again(form, value, name)
    flat = [flatten(child, _part(name, key)) for key, child in zip(keys, children, strict=True)]
    leaves = [leaf for some, _ in flat for leaf in some]
    return leaves, Tree(type(value), keys, tuple(tree for _, tree in flat), context)


def _require_made_again(form: Form, value: Any, name: str) -> None:
    """Raise UnsupportedError unless a container can be made again with all that is in it."""
    keys, children, context = form.parts(value)
    try:
        made = form.make(type(value), dict(zip(keys, children, strict=True)), context)
        again, others, _ = form.parts(made)
        same = type(made) is type(value) and keys == again
        same = same and all(a is b for a, b in zip(children, others, strict=True))
        same = same and _same_state(value, made)
    except Exception:  # of the class's own, of whatever type
        same = False
    if not same:
        raise UnsupportedError(
            f"{name or 'the value'}: a {type(value).__name__} cannot be made again from its parts",
            hint="give it as a dict, tuple, list or dataclass, or tell how it is made with "
            f"{REGISTRY}.register_pytree_node",
        )


def _same_state(one: Any, other: Any) -> bool:
    left, right = (getattr(value, "__dict__", {}) for value in (one, other))
    return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)


def _same(one: Any, other: Any) -> bool:
    """Say whether two attributes are one: traced tensors are not asked whether they are equal."""
    return one is other or (type(one) is type(other) and type(one) in PLAIN and one == other)


def unflatten(tree: Tree, leaves: Iterable[Any]) -> Any:
    """Put ``leaves`` into the structure."""
    return _fill(tree, iter(leaves))


def _fill(tree: Tree, leaves: Iterator[Any]) -> Any:
    form = None if tree.kind is None else form_of(tree.kind)
    if form is None:
        return next(leaves)
    values = [_fill(child, leaves) for child in tree.children]
    return form.make(tree.kind, dict(zip(tree.keys, values, strict=True)), tree.context)


def flatten_as(value: Any, tree: Tree, name: str) -> Iterator[Any]:
    """Yield the leaves of ``value`` in the order of ``tree``; the keys of a dict have no order.

    Raises:
        InputError: The structure is another one; the error names the part that differs.
    """
    if tree.kind is None:
        yield value
        return
    parts = _parts(value)
    if parts is None or type(value) is not tree.kind:
        raise InputError(
            f"{name}: expected a {tree.kind.__name__} of {_text(tree.keys)}, "
            f"got a {type(value).__name__}"
        )
    keys, children, context = parts
    given = dict(zip(keys, children, strict=True))
    wrong = [k for k in (*tree.keys, *given) if (k in given) is not (k in tree.keys)]
    if wrong:
        what = "surplus" if wrong[0] in given else "missing"
        raise InputError(
            f"{_part(name, wrong[0])}: {what}; expected {_text(tree.keys)}, got {_text(given)}"
        )
    if context != tree.context:
        raise InputError(
            f"{name}: expected a {tree.kind.__name__} with {tree.context!r}, got {context!r}"
        )
    for key, child in zip(tree.keys, tree.children, strict=True):
        yield from flatten_as(given[key], child, _part(name, key))


def leaf_names(tree: Tree, prefix: str) -> Iterator[str]:
    """Yield a readable name per leaf: ``prefix``, ``prefix[0]``, ``prefix.key``."""
    if tree.kind is None:
        yield prefix
    for key, child in zip(tree.keys, tree.children, strict=True):
        yield from leaf_names(child, _part(prefix, key))


def _part(name: str, key: Any) -> str:
    return f"{name}[{key}]" if isinstance(key, int) else f"{name}.{key}".removeprefix(".")


def _text(keys: Iterable[Any]) -> str:
    return ", ".join(map(str, keys)) or "nothing"


def argument_names(places: Iterable[Any]) -> Iterator[str]:
    """Yield what errors call arguments, and the engine its tensors: ``x``, ``args_0``.

    A place is the name of a parameter, or that of ``*args`` with an index, of ``**kwargs`` with a
    key.
    """
    places = list(places)
    taken = {place for place in places if isinstance(place, str)}
    for place in places:
        if isinstance(place, str):
            yield place
            continue
        parameter, key = place
        name = f"{parameter}_{key}" if isinstance(key, int) else key
        plain = f"{parameter}[{key}]" if isinstance(key, int) else f"{parameter}.{key}"
        yield plain if name in taken else name
        taken.add(name)
