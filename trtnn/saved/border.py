"""What a manifest says of a model's inputs and outputs, once it agrees with itself; no torch.

``trtnn.saved.agreement`` then holds it against the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trtnn.errors import LoadError, TrtnnError
from trtnn.saved.notation import read_dims, read_size
from trtnn.saved.schema import require_form
from trtnn.sizes.dims import Dim, Expr, Size, symbols
from trtnn.sizes.profiles import count_profiles, profile_of
from trtnn.sizes.solutions import Given, integers_of, solve
from trtnn.tree import LEAF, Tree, argument_names, leaf_names

PLACES = ([str, int], [str, str])
"""What says where ``*args`` and ``**kwargs`` put an argument: the parameter, and index or key."""


@dataclass(frozen=True)
class Described:
    """An input or output: the dtype is that of a call; ``format`` is None where contiguous."""

    name: str
    dtype: str
    shape: tuple[Size, ...]
    format: str | None = None

    @property
    def counted(self) -> bool:
        """Whether a size is known only once the engine has run."""
        return any(map(depends_on_data, self.shape))

    def __str__(self) -> str:
        form = f" in {self.format}" if self.format else ""
        return f"{self.dtype} ({', '.join(map(str, self.shape))}){form}"


@dataclass(frozen=True)
class Border:
    """The inputs and outputs of an engine, in a call's order; ``dims`` are the declared ones."""

    inputs: tuple[Described, ...]
    outputs: tuple[Described, ...]
    hosts: Mapping[str, Dim]
    dims: tuple[Dim, ...]

    def integers(self) -> list[Given]:
        """Return the integers that a call gives: the inputs' sizes, then the host inputs."""
        return integers_of(((tensor.name, tensor.shape) for tensor in self.inputs), self.hosts)


def depends_on_data(size: Size) -> bool:
    """Say whether a size is known only once an engine has run."""
    return any(not symbol.declared for symbol in symbols(size))


def border_of(manifest: Mapping[str, Any], path: str) -> Border:
    """Return what a manifest says of inputs and outputs; all of it is looked at first.

    Raises:
        LoadError: It has another form than it may, or says two things that do not agree.
    """
    try:
        require_form(manifest)
        return _border(manifest)
    except TrtnnError as error:
        raise LoadError(
            f"{path}: {error.message}", hint="save the model again from its module"
        ) from error
    except RecursionError as error:
        raise LoadError(f"{path}: the manifest is too deep") from error


def _border(manifest: Mapping[str, Any]) -> Border:
    named, written = read_dims(manifest["dims"]), manifest["signature"]
    border = Border(
        inputs=tuple(_described(tensor, named) for tensor in manifest["inputs"]),
        outputs=tuple(_described(tensor, named) for tensor in manifest["outputs"]),
        hosts={host["name"]: _declared(host["dim"], named) for host in manifest["hosts"]},
        dims=tuple(_declared(name, named) for name in written["dims"]),
    )
    _require_names(manifest)
    _require_arguments(written, manifest)
    sizes = _require_result(manifest["result"], border, named)
    _require_dims(manifest, border, named, sizes)
    return border


def _described(written: Mapping[str, Any], named: Mapping[str, Expr]) -> Described:
    shape = tuple(read_size(size, named) for size in written["shape"])
    return Described(written["name"], written["dtype"], shape, written.get("memory_format"))


def _declared(name: str, named: Mapping[str, Expr]) -> Dim:
    found = named.get(name)
    if not isinstance(found, Dim):
        raise LoadError(f"the manifest has no declared Dim {name!r}")
    return found


def _require(what: str, found: Iterable[Any], expected: Iterable[Any]) -> None:
    """Raise LoadError unless two lists are equal."""
    found, expected = list(found), list(expected)
    if found != expected:
        raise LoadError(
            f"the manifest's {what}: expected {_shown(expected)}, found {_shown(found)}"
        )


def _shown(values: Sequence[Any]) -> str:
    return (", ".join(map(str, values)) or "none")[:200]


def _require_names(manifest: Mapping[str, Any]) -> None:
    """Raise LoadError unless each tensor has a name of its own, and outputs are numbered."""
    outputs = [tensor["name"] for tensor in manifest["outputs"]]
    _require("outputs", outputs, (f"output_{i}" for i in range(len(outputs))))
    names = [t["name"] for t in (*manifest["inputs"], *manifest["hosts"])] + outputs
    _require("names of tensors", names, dict.fromkeys(names))


def _require_arguments(written: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Raise LoadError unless the signature's arguments are the inputs and the host inputs."""
    tree = written["tree"] or {"kind": None, "keys": []}
    _require("signature.tree.kind", [tree["kind"]], ["dict"])
    keys = [tuple(k["tuple"]) if isinstance(k, dict) and "tuple" in k else k for k in tree["keys"]]
    for key in keys:
        plain = isinstance(key, str) or (isinstance(key, tuple) and [*map(type, key)] in PLACES)
        if not plain:
            raise LoadError(f"the manifest's signature.tree.keys: there is no argument {key!r}")
    _require("signature.declared", written["declared"], argument_names(keys))
    _require("signature.declared", written["declared"], dict.fromkeys(written["declared"]))
    keywords = written["keyword_only"]
    _require("signature.keyword_only", keywords, sorted({*keywords} & {*written["declared"]}))
    _require("signature.dims", written["dims"], dict.fromkeys(written["dims"]))
    places = list(leaf_names(replace(_tree(tree), keys=tuple(written["declared"])), ""))
    leaves, names = written["leaves"], written["names"]
    for what, parts in (("leaves", leaves), ("names", names)):
        if len(parts) != len(places):
            raise LoadError(
                f"the manifest's signature.{what}: a structure of {len(places)} leaves has "
                f"{len(parts)}"
            )
    for kind in ("input", "host"):
        given = [leaf[kind] for leaf in leaves if isinstance(leaf, dict) and kind in leaf]
        _require(f"{kind}s", given, (tensor["name"] for tensor in manifest[f"{kind}s"]))
    expected = [
        leaf.get("input", leaf.get("host", place)) if isinstance(leaf, dict) else place
        for leaf, place in zip(leaves, places, strict=True)
    ]
    _require("signature.names", names, expected)


def _tree(written: Any) -> Tree:
    """Return a structure without its classes."""
    if written is None:
        return LEAF
    keys = (key if isinstance(key, (int, str)) else str(key) for key in written["keys"])
    return Tree(object, tuple(keys), tuple(map(_tree, written["children"])))


def _require_result(
    written: Mapping[str, Any], border: Border, named: Mapping[str, Expr]
) -> list[Size]:
    """Return the sizes in a result; LoadError unless its leaves are the outputs, and sizes of them.

    Outputs are numbered as they come first, and each is in the result.
    """
    leaves, count = written["leaves"], sum(1 for _ in leaf_names(_tree(written["tree"]), ""))
    if count != len(leaves):
        raise LoadError(f"the manifest's result: a structure of {count} leaves has {len(leaves)}")
    tagged = [leaf for leaf in leaves if isinstance(leaf, dict)]
    outputs = dict.fromkeys(leaf["output"] for leaf in tagged if "output" in leaf)
    _require("outputs in the result", outputs, range(len(border.outputs)))
    parts = [leaf for leaf in tagged if "size" in leaf]
    parts += [part for leaf in tagged for part in leaf.get("sizes", ())]
    sizes = [read_size(p["size"] if isinstance(p, dict) else p, named) for p in parts]
    shown = {str(size) for tensor in border.outputs for size in tensor.shape}
    for size in sizes:
        hidden = [s.name for s in symbols(size) if not s.declared and s.name not in shown]
        if hidden:
            raise LoadError(f"the manifest's result: no output has the size {hidden[0]}")
    return sizes


def _require_dims(
    manifest: Mapping[str, Any], border: Border, named: Mapping[str, Expr], sizes: Sequence[Size]
) -> None:
    """Raise LoadError unless the inputs tell all Dims, and the profiles are theirs."""
    solved = [solution.symbol.name for solution in solve(border.integers())]
    _require("signature.dims", sorted(dim.name for dim in border.dims), sorted(solved))
    shapes = [size for tensor in (*border.inputs, *border.outputs) for size in tensor.shape]
    used = {s for size in (*shapes, *sizes) for s in symbols(size)}
    used |= {dim.sym for dim in border.dims}
    _require("dims", sorted(named), sorted(symbol.name for symbol in used))
    given = [tensor.name for tensor in border.inputs if tensor.counted]
    _require("inputs of sizes that depend on data", given, [])
    for symbol in used:
        if symbol.declared and symbol.name not in solved:
            raise LoadError(f"the manifest's dims: no input tells {symbol.name}")
    count = count_profiles(border.dims)
    expected = [{d.name: list(profile_of(d, i)) for d in border.dims} for i in range(count)]
    _require("profiles", manifest["profiles"], expected)
