"""What ``check`` found, and how it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trtnn.engine.verified import Measured
from trtnn.graph.graph import Node, Origin
from trtnn.precision.limits import HALF, SMALL
from trtnn.precision.policy import Precision

UNDEFINED = {
    "LOG": "the logarithm of 0 is -inf, of less NaN: clamp what it takes, as x.clamp(min=1e-12)",
    "SQRT": "the root of less than 0 is NaN: clamp what it takes, as x.clamp(min=0)",
    "RECIP": "it divides by 0: add an epsilon, or clamp what it takes",
    "DIV": "it divides by 0: add an epsilon, or clamp the divisor",
    "Softmax": "a softmax over nothing but -inf is NaN: let a mask show one entry at least",
    "EXP": "it leaves float32, from 88.7 on: take off the maximum first",
}


@dataclass(frozen=True)
class Row:
    """One operand, constant or result of a node.

    Attributes:
        dtype: In the types of the precision.
        ends: The least and greatest finite entry in float32.
        nans: Entries in the types of the precision that are NaN; ``infinities`` those infinite.
        error: How far it is off, as relative L2; of integers the share that differs.
    """

    role: str
    dtype: torch.dtype
    ends: tuple[float, float]
    nans: int
    infinities: int
    error: float

    @property
    def most(self) -> float:
        """The greatest finite absolute entry in float32."""
        return max(map(abs, self.ends))

    def cells(self) -> tuple[str, ...]:
        """Return what the table shows."""
        name = str(self.dtype).removeprefix("torch.")
        ends = f"{self.ends[0]:.3g} to {self.ends[1]:.3g}"
        return self.role, name, ends, str(self.nans), str(self.infinities), f"{self.error:.2g}"


HEAD = ("", "type", "range in float32", "NaN", "Inf", "off by")


@dataclass(frozen=True)
class NodeFinding:
    """A node where results go wrong.

    Attributes:
        label: ``module.path/op``, with the op's kind.
        origin: Module path and class, and the user's line.
        advice: What to try.
    """

    label: str
    origin: Origin
    rows: tuple[Row, ...]
    advice: str

    @property
    def path(self) -> str:
        """The module's path; empty for the root's own."""
        return self.origin.path

    def lines(self) -> list[str]:
        """Return what is known of it, line by line."""
        origin = self.origin
        lines = [f"module {origin.path or '(root)'}, {origin.module_class or 'a function'}"]
        if origin.source is not None:
            lines += f"at {origin.source}".splitlines()
        table = [HEAD, *(row.cells() for row in self.rows)]
        widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
        lines += [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in table
        ]
        return [*lines, self.advice]


@dataclass(frozen=True)
class CheckReport:
    """What ``trtnn.check`` found; true where every output is within the tolerance.

    Attributes:
        finding: In one sentence.
        measured: How far off each output is, and what it may be.
        node: The first node that leaves the tolerance; None where there is none to name.
        reproduced: Whether the graph shows it, run by PyTorch in the model's own types; where it
            does not, it is the engine's.
        modules: Module paths that are to stay in float32: with ``fix`` the fewest that bring the
            result within the tolerance, else the first one that it takes.
        precision: With ``fix``, what to give to ``compile``; None where no precision repairs it.
        notes: What else was seen.
        trials: How many precisions were tried; on an engine's own fault each is a build.
    """

    finding: str
    measured: tuple[Measured, ...] = ()
    node: NodeFinding | None = None
    reproduced: bool = True
    modules: tuple[str, ...] = ()
    precision: Precision | None = None
    notes: tuple[str, ...] = ()
    trials: int = 0
    passed: bool = False

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        lines = [self.finding]
        if self.node is not None:
            lines += self.node.lines()
        if self.modules:
            names = ", ".join(path or "(root)" for path in self.modules)
            enough = "to be right" if self.precision is not None else "at least"
            lines.append(f"it takes in float32, {enough}: {names} (tried: {self.trials})")
        if self.precision is not None:
            lines.append(f"precision: {self.precision}")
        return "\n  ".join([*lines, *map(str, self.measured), *self.notes])


def advice_of(node: Node, rows: Sequence[Row], half: bool | None) -> str:  # noqa: FBT001
    """Return what to try about a node.

    Args:
        half: Whether its results have 16 bits; None: they are not finite in float32 already.
    """
    keep = f'modules={{"{node.origin.path}": "fp32"}} keeps them in float32'
    if half is None:
        kind = getattr(node.op, "kind", "")
        known = UNDEFINED.get(kind, UNDEFINED.get(node.op.name))
        return f"in float32 it is not finite either: {known or 'no precision changes that'}"
    result, name = rows[-1], str(rows[-1].dtype).removeprefix("torch.")
    given = max((row.error for row in rows if row.role == "operand"), default=0.0)
    if not half or given > result.error / 2:
        return (
            f"what it is given is off by {given:.2g} already: no node alone makes the error; "
            "fix=True finds the modules to keep in float32"
        )
    large, small = max(row.most for row in rows), min(row.most for row in rows)
    if node.op.name == "Cast":
        keep = f"forward itself casts to {name} here: leave the cast out"
    if result.dtype == torch.float16 and large > HALF.max:
        told = f"values up to {large:.3g} are beyond float16, which ends at {HALF.max:.0f}"
        return f"{told}, and within bfloat16: {keep}"
    if result.dtype == torch.float16 and 0 < small < SMALL:
        told = f"no value above {small:.3g}, and float16 loses what is below {SMALL:.2g}"
        return f"{told}, which bfloat16 does not: {keep}"
    if result.infinities or result.nans:
        return f"what it adds up on the way leaves {name}: {keep}"
    return f"its rounding to {name} is too coarse here: {keep}"
