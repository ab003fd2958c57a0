"""Sizes as text, which ``saved.notation`` reads again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import sympy

from trtnn.sizes.expressions import OPERATIONS, FloorDiv, Part, parts_of, remaindered


def as_python(value: Any) -> str:
    """Write an expression as Python would, its parts at the end: ``_1//7 where _1 = n + 3``."""
    taken = {str(symbol.name) for symbol in value.free_symbols}
    free = (f"_{i}" for i in itertools.count(1) if f"_{i}" not in taken)
    names = dict(zip(parts_of(value), free, strict=False))
    parts = "; ".join(f"{name} = {_written(p.definition, names, 0)}" for p, name in names.items())
    return _written(value, names, 0) + (f" where {parts}" if parts else "")


def _written(value: Any, names: Mapping[Part, str], level: int) -> str:
    """Write an expression; ``level`` is the binding strength around it.

    A part without a name is a digest, which sorts the same wherever it stands.
    """

    def text(x: Any, around: int = 0) -> str:
        return _written(x, names, around)

    def order(x: Any) -> tuple[bool, bool, str]:
        own = _written(x, {}, 0)
        return x.is_number, own.startswith("-"), own

    if isinstance(value, Part):
        return names.get(value, value.text)
    if value.is_Symbol or value.is_number:
        return f"({value})" if level and str(value).startswith("-") else str(value)
    if value.func in (sympy.Max, sympy.Min):
        inside = ", ".join(text(a) for a in sorted(value.args, key=order))
        return f"{OPERATIONS[value.func]}({inside})"
    if value.is_Add:
        total = remaindered(value)
        if not total.is_Add:
            return text(total, level)
        terms = sorted(total.args, key=order)
        written, own = " + ".join(map(text, terms)).replace("+ -", "- "), 1
    elif value.is_Pow:
        written, own = f"{text(value.base, 4)}**{value.exp}", 4
    elif value.is_Mul:
        factor, rest = value.as_coeff_Mul()
        sign = "-" if factor == -1 else "" if factor == 1 else f"{factor}*"
        written, own = sign + "*".join(text(a, 3) for a in sympy.Mul.make_args(rest)), 3
    else:
        sign = "//" if value.func is FloorDiv else "%"
        left = text(value.args[0], 3)
        if left.startswith("-"):  # in a sum, "+ -a//2" becomes "- a//2", which is another size
            left = f"({left})"
        written, own = f"{left}{sign}{text(value.args[1], 4)}", 2
    return f"({written})" if own < level else written
