"""``Precision``: what the float values of a graph are computed in, as users say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

import torch

from trtnn.errors import OptionError, UnsupportedError
from trtnn.graph.graph import Graph, Node, all_nodes
from trtnn.tracing.regions import DTYPES

__all__ = ["Precision"]

WORDS = ("tf32", "fp32", "fp16", "bf16")
QUANTIZED = ("int8", "fp8")


@dataclass(frozen=True)
class Precision:
    """What the float values of a module are computed in; the same on every TensorRT.

    ``"fp16"`` and ``"bf16"`` do to a float32 module what ``torch.autocast`` does, by PyTorch's
    CUDA lists: convolutions, matrix products and attention are computed in 16 bits, exponentials,
    logarithms, powers and sums in float32, all else in the type that it is given. Normalizations
    take and give 16 bits, and compute in float32; so does a softmax between two matrix products.
    A norm that the module composes itself is one island of float32.

    Args:
        dtype: ``"tf32"``: as the module is typed, float32 by tensor cores that read 10 bits of the
            operands' 23; ``"fp32"``: without these; ``"fp16"`` and ``"bf16"``: see above. Half
            modules stay as they are typed with each of the four: where a word asks for something
            else, a warning and ``precision_report`` say so.
        keep: Ops that stay in float32, by the name of the op (``"Softmax"``) or of the torch
            function (``"softmax"``).
        modules: A precision by module path, with ``*`` and ``?``:
            ``{"encoder.layer.0.*": "fp32"}``. The first pattern that fits counts, before what a
            module says of itself and what ``autocast`` says in ``forward``.
        classes: A precision by class of module, or its name: ``{torch.nn.LayerNorm: "fp32"}``.
        inputs: ``"keep"``: float32 inputs stay so; ``"low"``: they are given in ``dtype``.
        outputs: The same of outputs.
        ranges: Whether ranges decide, seen in one run on made-up inputs: in
            float16, what exceeds 32768, or all of what is below 6.1e-5, stays float32.
        tf32: Whether float32 beside 16 bits may be tf32.
        float64: What is computed in float64, which no TensorRT has. ``"error"``: it is refused, at
            its line. ``"float32"``: it is computed in float32, by the reference too, and never in
            16 bits; what is known while tracing is computed in float64, and rounded once. Inputs
            and outputs of float64 stay so, and each call casts them to float32 and back, as it
            casts int64 on TensorRT 8.6.
        accumulate: In what linear layers of 16 bits add up, which PyTorch does in float32, and
            TensorRT may do in float16. None: in float32 where it costs nothing (TensorRT 10.12 and
            later), else as TensorRT chooses (8.6, RTX), and ``precision_report`` says which.
            ``"fp32"``: in float32; 8.6 computes these layers in float32 for that, two to three
            times as long. ``"any"``: as TensorRT chooses.

    Raises:
        OptionError: A value that is none of these.

    >>> Precision("fp16", modules={"head.*": "fp32"}).dtype
    'fp16'
    """

    dtype: str = "tf32"
    keep: tuple[str, ...] = ()
    modules: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[Any, str] = field(default_factory=dict)
    inputs: str = "keep"
    outputs: str = "keep"
    ranges: bool = True
    tf32: bool = True
    float64: str = "error"
    accumulate: str | None = None

    def __post_init__(self) -> None:
        _require("dtype", self.dtype, WORDS)
        for name in ("inputs", "outputs"):
            _require(name, getattr(self, name), ("keep", "low"))
        _require("float64", self.float64, ("error", "float32"))
        if self.accumulate is not None:
            _require("accumulate", self.accumulate, ("fp32", "any"))
        for name in ("modules", "classes"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise OptionError(f"precision.{name}: expected a dict, got {given!r}")
            for key, word in given.items():
                _require(f"{name}[{key!r}]", word, tuple(DTYPES))
        for kind in self.classes:
            if not isinstance(kind, (str, type)):
                raise OptionError(f"precision.classes: expected classes or names, got {kind!r}")
        names = () if isinstance(self.keep, str) or self.keep is None else self.keep
        if names is not self.keep or not all(isinstance(k, str) for k in names):
            raise OptionError(f"precision.keep: expected names of ops, got {self.keep!r}")

    @property
    def low(self) -> torch.dtype | None:
        """The type of 16 bits, None where there is none."""
        return DTYPES[self.dtype] if self.dtype in ("fp16", "bf16") else None

    @property
    def uses_tf32(self) -> bool:
        return self.dtype == "tf32" or (self.low is not None and self.tf32)

    @property
    def words(self) -> set[str]:
        """Every precision that is named."""
        return {self.dtype, *self.modules.values(), *self.classes.values()}

    def word(self, node: Node) -> str | None:
        """Return what a node is computed in: a precision, ``"typed"``, or None: as ``dtype`` says.

        What is said of its module's path comes first, then of its class, then by ``forward``.
        """
        origin = node.origin
        for pattern, word in self.modules.items():
            if fits(origin.path, pattern):
                return word
        for kind, word in self.classes.items():
            if origin.module_class == (kind if isinstance(kind, str) else kind.__name__):
                return word
        if {node.op.name, origin.scope} & set(self.keep):
            return "fp32"
        return origin.region

    def require_fit(self, graph: Graph) -> None:
        """Raise OptionError for a pattern, class or op that the graph does not have."""
        nodes = list(all_nodes(graph))
        origins = [node.origin for node in nodes]
        paths = sorted({o.path for o in origins})
        for pattern in self.modules:
            if not any(fits(path, pattern) for path in paths):
                _refuse("modules", pattern, paths)
        classes = sorted({o.module_class for o in origins} - {""})
        for kind in self.classes:
            name = kind if isinstance(kind, str) else kind.__name__
            if name not in classes:
                _refuse("classes", name, classes)
        ops = sorted({n.op.name for n in nodes} | {o.scope for o in origins})
        for name in self.keep:
            if name not in ops:
                _refuse("keep", name, ops)

    def require_types(self, target: Any) -> None:
        """Raise UnsupportedError where a TensorRT lacks a type that this asks for."""
        if "bf16" in self.words and not target.has_dtype("bfloat16"):
            raise UnsupportedError(
                f"precision: {target.name} has no bfloat16",
                hint="use 'fp16', or TensorRT 10.12 or later",
            )

    def __str__(self) -> str:
        plain = Precision(self.dtype)
        parts = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)
            if f.name != "dtype" and getattr(self, f.name) != getattr(plain, f.name)
        ]
        return f"{self.dtype} ({', '.join(parts)})" if parts else self.dtype


def fits(path: str, pattern: str) -> bool:
    """Say whether a module's path, or that of a module around it, is what a pattern names.

    >>> fits("encoder.layer.0.attention", "encoder.layer.0"), fits("encoder.layer.0", "encoder.?")
    (True, False)
    """
    parts = path.split(".")
    return any(fnmatchcase(".".join(parts[:n]), pattern) for n in range(1, len(parts) + 1))


def precision_of(given: Any) -> Precision:
    """Return what ``compile(precision=...)`` was given as a ``Precision``.

    Raises:
        OptionError: It is none.
    """
    if isinstance(given, Precision):
        return given
    if given in QUANTIZED:
        raise OptionError(
            f"precision: {given!r} needs scales, which a plain module does not have",
            hint="compile(trtnn.quantize(module, data)), or give 'fp16'",
        )
    _require("", given, WORDS)
    return Precision(given)


def _require(name: str, given: Any, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        where = f"precision.{name}" if name else "precision"
        known = ", ".join(allowed)
        raise OptionError(f"{where}: expected one of {known}, got {given!r}")


def _refuse(name: str, given: str, known: list[str]) -> None:
    shown = ", ".join(k for k in known if k)
    shown = shown if len(shown) < 300 else shown[:297] + "..."
    raise OptionError(f"precision.{name}: nothing is called {given!r}; there are {shown}")
