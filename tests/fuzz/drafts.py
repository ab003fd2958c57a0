"""Programs written statement by statement, each tried in eager as it is written.

A draft runs on two probes at once, the same program at other sizes of its Dims: what two axes are
in both is what they are, so a statement that runs on both runs at nearly all sizes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from hypothesis import strategies as st

from tests.fuzz.programs import CONTENTS, HEAD, Operand, Program, Statement, loaded

PROBES = ({"n": 5, "m": 7}, {"n": 6, "m": 9})
# The largest numbers up to which quarters, and their products, are held exactly.
EXACT = {torch.float32: 2.0**20, torch.float16: 2.0**8, torch.bfloat16: 2.0**5}
LARGEST = 1e4
HOLE = re.compile(r"\{(\w+)\}")
Draw = Callable[[st.SearchStrategy[Any]], Any]
Holes = Mapping[str, Callable[["Draft"], str]]
NAMES: dict[str, Any] = {}
exec(HEAD + "".join(CONTENTS.values()), NAMES)


def kind_of(dtype: torch.dtype) -> str:
    """Return how the tables of scalars name a dtype."""
    if dtype == torch.bool:
        return "bool"
    return "float" if dtype.is_floating_point else "integer"


class Unfit(Exception):
    """No operand of a draft fits a hole."""


class Draft:
    """A program that is being written, and what its variables are on each probe."""

    def __init__(self, draw: Draw, operands: Sequence[Operand], holes: Holes) -> None:
        self.draw, self.holes = draw, holes
        self.statements: list[Statement] = []
        self.tensors = [operand.name for operand in operands]
        self.has_edges = any(operand.content == "edges" for operand in operands)
        self.sizes: list[str] = []
        self.scale = 1.0
        self.inexact: set[int] = set()  # the memory of what was rounded
        self.first = ""  # the first tensor of the form that is being filled
        self.exact = False  # what the form asks of its tensors
        self.spaces: list[dict[str, Any]] = []
        with loaded(Program.of_all_state()) as source:
            for probe in PROBES:
                space = {**NAMES, **probe, "self": source.make().requires_grad_(False)}
                made = {o.name: eval(o.make(), space) for o in operands}
                self.spaces.append({**space, **made})

    # What variables are ----------------------------------------------------------------------

    def at(self, name: str) -> list[Any]:
        """Return a variable on each probe."""
        return [space[name] for space in self.spaces]

    def is_exact(self, name: str) -> bool:
        return not any(_memory(tensor) in self.inexact for tensor in self.at(name))

    def fitting(self, test: Callable[[torch.Tensor], bool]) -> list[str]:
        """Return the tensors that pass a test on each probe; exact ones where these are asked."""
        return [
            name
            for name in self.tensors
            if all(map(test, self.at(name))) and (not self.exact or self.is_exact(name))
        ]

    def fits_first(self, other: str) -> bool:
        """Say whether a tensor broadcasts with the first of the form."""
        return all(
            a == b or 1 in (a, b)
            for x, y in zip(self.at(self.first), self.at(other), strict=True)
            for a, b in zip(x.shape[::-1], y.shape[::-1], strict=False)
        )

    def pick(self, names: Sequence[str]) -> str:
        if not names:
            raise Unfit
        return str(self.draw(st.sampled_from(names)))

    # Statements ------------------------------------------------------------------------------

    def fill(self, form: str) -> str:
        """Return a form with every hole drawn: its first tensor before all others."""
        self.first = ""
        holes = list(HOLE.finditer(form))
        filled = {
            hole.start(): self.holes[hole[1]](self)
            for hole in sorted(holes, key=lambda hole: len(hole[1]) > 1)
        }
        return HOLE.sub(lambda hole: filled[hole.start()], form)

    def write(self, kind: str, form: str) -> None:
        """Draw a statement and try it; what a probe refuses is not written."""
        self.exact = kind in ("jumping", "edged")
        try:
            text = self.fill(form)
        except Unfit:
            return
        is_write = kind == "writing"
        name = "" if is_write else f"{kind[0] if kind == 'sizes' else 'v'}{len(self.statements)}"
        line = text if is_write else f"{name} = {text}"
        read = [x for x in self.tensors if re.search(rf"\b{x}\b", text)]
        rounds = kind in ("rounding", "edged") or not all(map(self.is_exact, read))
        if not self.runs(line, name):
            return
        self.statements.append(Statement(line, form))
        if kind == "sizes":
            self.sizes.append(name)
            return
        if not is_write:
            self.tensors = [*self.tensors, name]
            if not any(map(self.shares, [name] * len(read), read)):
                self.inexact.difference_update(map(_memory, self.at(name)))
        for changed in [name] if name else [self.first, *read][:1]:
            self.mark(changed, rounds=rounds)

    def runs(self, line: str, name: str) -> bool:
        """Say whether a line runs on each probe, and makes tensors of a moderate size."""
        code = compile(line, "draft", "exec")
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for space in self.spaces:
                    exec(code, space)
        except Exception:
            return False
        return all(
            x.numel() <= 4096 and x.ndim <= 5 if isinstance(x, torch.Tensor) else 0 <= x <= 4096
            for x in (self.at(name) if name else ())
        )

    def shares(self, one: str, other: str) -> bool:
        pairs = zip(self.at(one), self.at(other), strict=True)
        return any(_memory(a) == _memory(b) for a, b in pairs)

    def mark(self, name: str, *, rounds: bool) -> None:
        """Note whether what a tensor shares its memory with is exact, and how large it is."""
        for tensor in self.at(name):
            wide = tensor.double().abs()
            wide = wide[wide.isfinite()]
            largest = float(wide.max()) if wide.numel() else 0.0
            if rounds or largest > EXACT.get(tensor.dtype, 2.0**62):
                self.inexact.add(_memory(tensor))
                self.scale = max(self.scale, largest)


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr() or id(tensor)
