"""A program as data, and the plain Python that it is: what is printed is what runs."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

HEAD = """\
import numpy as np
import torch
import torch.nn.functional as F

import trtnn


def numbers(seed, shape, dtype):
    picks = torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed))
    return picks > 0 if dtype == torch.bool else (picks / 4).to(dtype) if dtype.is_floating_point \\
        else picks.to(dtype)


"""
# What an operand may hold beside numbers; a function is printed where a program calls it.
CONTENTS = {
    "indices": """\
def indices(seed, shape, dtype):
    picks = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed))
    return picks.to(dtype)


""",
    "edges": """\
def edges(seed, shape, dtype):
    values = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.5, 1e4, torch.inf, -torch.inf, torch.nan])
    picks = torch.randint(0, 9, shape, generator=torch.Generator().manual_seed(seed))
    return values[picks].to(dtype)


""",
}
STATE = {
    "weight": "torch.nn.Parameter(numbers(90, (3, 4), torch.float32))",
    "gain": "torch.nn.Parameter(numbers(91, (), torch.float32))",
    "bias": "torch.nn.Parameter(numbers(92, (4,), torch.float32))",
    "table": "torch.nn.Buffer(numbers(93, (4,), torch.int64))",
    "mask": "torch.nn.Buffer(numbers(94, (3, 1), torch.bool))",
    "linear": "torch.nn.Linear(4, 3)",
    "norm": "torch.nn.LayerNorm(4)",
    "embedding": "torch.nn.Embedding(2, 4)",
}
"""What a module may hold, all of it known while tracing."""

DATA = (
    "{x}[{index}]",
    "{n}[{index}] = {scalar}",
    "{x}[{cond}]",
    "torch.nonzero({x})",
    "self.embedding({index_tensor})",
)


class Range(NamedTuple):
    """A Dim: its name and the sizes that it takes."""

    name: str
    min: int
    opt: int
    max: int


@dataclass(frozen=True)
class Operand:
    """An argument of ``forward``; a size that is a name is a Dim."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    content: str = "numbers"

    @property
    def sizes(self) -> str:
        return f"({', '.join(map(str, self.shape))}{',' * (len(self.shape) == 1)})"

    def make(self) -> str:
        return f"{self.content}({ord(self.name)}, {self.sizes}, torch.{self.dtype})"


@dataclass(frozen=True)
class Statement:
    """A line of ``forward``, and the form that it was made from."""

    text: str
    form: str


@dataclass(frozen=True)
class Program:
    """A small ``forward``, what it is called with, and what it returns.

    ``scale`` is the largest finite number that it met: rounding is measured against it.
    """

    dims: tuple[Range, ...]
    operands: tuple[Operand, ...]
    statements: tuple[Statement, ...]
    results: tuple[str, ...]
    scale: float = 1.0

    @property
    def depends_on_data(self) -> bool:
        """Whether numbers in tensors decide what is an error: as indices, or as a mask."""
        return any(form in DATA for form in (statement.form for statement in self.statements))

    def returning_all(self) -> Program:
        """Return the program that leaves nothing unused."""
        names = [s.text.split(" = ")[0] for s in self.statements if re.match(r"[vs]\d+ = ", s.text)]
        return replace(self, results=(*names, *(operand.name for operand in self.operands)))

    @classmethod
    def of_all_state(cls) -> Program:
        """Return a program whose module holds everything that one may hold."""
        return cls((), (), tuple(Statement(f"self.{name}", "") for name in STATE), ("None",))

    def source(self) -> str:
        """Return the program as Python: a module, its Dims, its inputs and its operands."""
        lines = [statement.text for statement in self.statements]
        body = "\n".join(lines)
        state = [f"        self.{k} = {v}\n" for k, v in STATE.items() if f"self.{k}" in body]
        names = "".join(f", {operand.name}" for operand in self.operands)
        dims = [f"{d.name} = trtnn.Dim({d.name!r}, {d.min}, {d.opt}, {d.max})\n" for d in self.dims]
        declared = [f"trtnn.Input({o.sizes}, torch.{o.dtype})" for o in self.operands]
        made = [operand.make() for operand in self.operands]
        contents = {operand.content for operand in self.operands}
        return "".join(
            [
                HEAD,
                *(text for name, text in CONTENTS.items() if name in contents),
                "class Net(torch.nn.Module):\n",
                *(
                    ["    def __init__(self):\n", "        super().__init__()\n", *state, "\n"]
                    * bool(state)
                ),
                f"    def forward(self{names}):\n",
                *(f"        {line}\n" for line in lines),
                f"        return {', '.join(self.results)},\n\n\n",
                f"def operands({', '.join(d.name for d in self.dims)}):\n",
                f"    return [{', '.join(made)}]\n\n\n",
                *dims,
                f"inputs = [{', '.join(declared)}]\n",
            ]
        )

    def script(self, sizes: dict[str, int]) -> str:
        """Return the source with a call of both: what a person can paste."""
        given = ", ".join(f"{name}={size}" for name, size in sizes.items())
        return self.source() + (
            "torch.manual_seed(0)\n"
            "net = Net()\n"
            "with torch.no_grad():\n"
            f"    print(net(*operands({given})))\n"
            'model = trtnn.compile(net, inputs=inputs, backend="reference")\n'
            f"print(model(*operands({given})))\n"
        )

    def places(self) -> list[dict[str, int]]:
        """Return the sizes of the Dims at which it runs: what is usual, both ends, 0, 1 and 2."""
        found = [{d.name: (d.min, d.opt, d.max)[i] for d in self.dims} for i in (1, 0, 2)]
        for size in (0, 1, 2, 3):
            found.append({d.name: max(d.min, min(d.max, size)) for d in self.dims})
        return [place for i, place in enumerate(found) if place not in found[:i]]


class Loaded(NamedTuple):
    """What the source of a program defines."""

    make: Callable[[], torch.nn.Module]
    inputs: list[Any]
    operands: Callable[..., list[torch.Tensor]]
    file: str


@contextmanager
def loaded(program: Program) -> Iterator[Loaded]:
    """Run the source, such that errors can quote its lines."""
    source, file = program.source(), "program.py"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": "program"}
    try:
        exec(compile(source, file, "exec"), names)

        def make() -> torch.nn.Module:
            torch.default_generator.manual_seed(0)  # of the CPU alone, and so without its cost
            module: torch.nn.Module = names["Net"]()
            return module

        yield Loaded(make, names["inputs"], names["operands"], file)
    finally:
        linecache.cache.pop(file, None)
