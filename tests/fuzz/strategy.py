"""The strategy that Hypothesis draws programs from, and shrinks them by."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.drafts import Draft, Draw
from tests.fuzz.holes import HOLES
from tests.fuzz.language import DTYPES, KINDS
from tests.fuzz.programs import Operand, Program, Range

LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14)
WEIGHED = [kind for kind, (weight, _) in KINDS.items() for _ in range(weight)]
# Mins at which broadcasting and emptiness are special, and above them; 5 to 9 are the probes'.
MINS = {"n": (2, 1, 0), "m": (4, 2, 1)}


@st.composite
def programs(draw: Draw) -> Program:
    """Draw a program: static, or with one or two Dims."""
    dims = tuple(
        Range(name, draw(st.sampled_from(MINS[name])), 5 + i, 9)
        for i, name in enumerate(draw(st.sampled_from(((), ("n",), ("n", "m")))))
    )
    operands = draw_operands(draw, [d.name for d in dims])
    draft = Draft(draw, operands, HOLES)
    for _ in range(draw(st.sampled_from(LENGTHS))):
        kind = draw(st.sampled_from(WEIGHED))
        draft.write(kind, draw(st.sampled_from(KINDS[kind][1])))
    names = [*draft.sizes, *draft.tensors][::-1]
    results = [names[0]] if draw(st.booleans()) else names[: LENGTHS[-1]]
    results += draw(st.lists(st.sampled_from(names), max_size=3))  # inputs, and one twice
    return Program(dims, operands, tuple(draft.statements), tuple(results), draft.scale)


def draw_operands(draw: Draw, dims: list[str]) -> tuple[Operand, ...]:
    """Draw arguments whose shapes broadcast, most of them, with one that is drawn first."""
    pool: list[Any] = [4, 3, 2, 1, *dims * 3]
    base = draw(st.lists(st.sampled_from(pool), min_size=len(dims) and 1, max_size=3))
    operands = []
    for name in "abcd"[: draw(st.integers(1, 4))]:
        start = draw(st.integers(0, len(base)))
        ones = draw(st.sampled_from((None, None, None, *range(len(base)))))
        shape = tuple(1 if i == ones else size for i, size in enumerate(base))[start:]
        dtype = draw(st.sampled_from(("float32", "float32", *DTYPES)))
        content = draw(st.sampled_from(contents_of(dtype)))
        operands.append(Operand(name, tuple(base) if name == "a" else shape, dtype, content))
    return tuple(operands)


def contents_of(dtype: str) -> tuple[str, ...]:
    if "float" in dtype:
        return "numbers", "numbers", "numbers", "edges"
    return ("numbers",) if dtype == "bool" else ("indices", "numbers")
