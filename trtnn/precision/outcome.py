"""What a precision came to: the type of each module's values, and why."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trtnn.ops.arithmetic import HALVES
from trtnn.precision.policy import Precision
from trtnn.precision.shown import Shown
from trtnn.precision.typing import Typed
from trtnn.precision.unasked import unasked

SMALLEST = torch.finfo(torch.float16).smallest_normal


@dataclass(frozen=True)
class Line:
    """One op of one module: what it was asked to be computed in, and why.

    ``dtype`` is None where it is as the module was typed.
    """

    path: str
    op: str
    dtype: torch.dtype | None
    reason: str


@dataclass(frozen=True)
class PrecisionReport:
    """What the float values of a compiled model are computed in.

    Attributes:
        lines: One for each op that has floats, in order; none where nothing was asked.
        subnormal: Of each weight in float16, how many entries are below its normal numbers, and
            so have lost bits; by ``state_dict`` key, where there are any.
        notes: What is not as the precision's own word says.
        shown: What the engine says of its types; None on the reference.

    ``print`` shows a line for each module and type.

    >>> import trtnn
    >>> x = trtnn.Input((1, 4))
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Softmax(-1))
    >>> model = trtnn.compile(net, inputs=[x], precision="fp16", backend="reference")
    >>> print(model.precision_report)
    0  float16  MatrixMultiply, Elementwise  PyTorch's list, the type of its operands
    1  float32  Softmax                      PyTorch's list
    """

    lines: tuple[Line, ...] = ()
    subnormal: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    shown: Shown | None = None

    def __str__(self) -> str:
        groups: dict[tuple[str, str], list[Line]] = {}
        for line in self.lines:
            groups.setdefault((line.path or "(root)", _name(line.dtype)), []).append(line)
        rows = [
            (path, dtype, _listed(x.op for x in found), _listed(x.reason for x in found))
            for (path, dtype), found in groups.items()
        ]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
        text = [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
        ]
        text += [f"{key}: {n} entries below {SMALLEST:.2g} in float16" for key, n in self.subnormal]
        text = [*(text or ["as the module is typed"]), *self.notes]
        return "\n".join(text if self.shown is None else [*text, str(self.shown)])


def report_of(typed: Typed, precision: Precision) -> PrecisionReport:
    """Return the report of what was chosen for a graph."""
    notes = unasked(typed, precision)
    lines = tuple(
        Line(c.node.origin.path, c.node.op.name, c.dtype, c.reason) for c in typed.choices
    )
    if not any(line.dtype in HALVES for line in lines):
        return PrecisionReport(lines, notes=notes)
    program, counts = typed.graph.program, {}
    keys = program.first_keys()
    for constant in typed.graph.constants.values():
        if constant.slot is not None and constant.tensor.dtype == torch.float16:
            size = constant.tensor.detach().abs()
            few = int(((size > 0) & (size < SMALLEST)).sum())
            if few:
                counts[keys[program.memory[constant.slot]]] = few
    return PrecisionReport(lines, tuple(counts.items()), notes)


def _name(dtype: torch.dtype | None) -> str:
    return "as typed" if dtype is None else str(dtype).removeprefix("torch.")


def _listed(words: object) -> str:
    return ", ".join(dict.fromkeys(words))  # type: ignore[call-overload]
