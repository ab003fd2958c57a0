"""What one call's signature has that another's has not, and how one engine could serve both."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any

from trtnn.ops.op import Spec
from trtnn.tracing.constants import short
from trtnn.tracing.signature import Signature


def nearest(signature: Signature, others: Sequence[Signature]) -> Signature:
    """Return the one that differs least, the last of several."""

    def distance(other: Signature) -> int:
        if other.tree != signature.tree:
            return len(signature.leaves) + len(other.leaves) + 1
        return len(_changed(signature, other))

    return min(reversed(others), key=distance)


def _changed(signature: Signature, other: Signature) -> list[int]:
    return [i for i, key in enumerate(signature.keys) if key != other.keys[i]]


def change_of(signature: Signature, other: Signature) -> tuple[str, str]:
    """Return what changed from ``other``, and what to do for one engine to serve both."""
    if other.tree != signature.tree:
        given, before = (", ".join(s.names) or "nothing" for s in (signature, other))
        same = f"the structure of {given}"
        what = f"given are {given}, and before {before}" if given != before else f"{same} changed"
        return what, "give the same arguments, in the same structure, in each call"
    texts: list[str] = []
    advice: dict[str, None] = {}
    for i in _changed(signature, other):
        name, now, before = signature.names[i], signature.leaves[i], other.leaves[i]
        texts.append(f"{name} was {_text(before)} and is {_text(now)}")
        advice[_advice(name, now, before)] = None
    return ", ".join(texts), ", and ".join(advice)


def _text(leaf: Any) -> str:
    return str(leaf) if isinstance(leaf, Spec) else short(leaf)


def _advice(name: str, now: Any, before: Any) -> str:
    if isinstance(now, Spec) and isinstance(before, Spec):
        if now.dtype != before.dtype:
            return f"give {name} in one dtype ({name}.to({before.dtype}))"
        if now.rank != before.rank:
            return f"give {name} with {before.rank} dims"
        return (
            'declare what changes, as inputs=[trtnn.Input((trtnn.Dim("batch", min, opt, max), '
            "...))], or give compile dynamic=True"
        )
    if _is_number(now) and _is_number(before):
        host = f'trtnn.Input(trtnn.Dim("{name}", min, opt, max), host=True)'
        whole = isinstance(now, int) and isinstance(before, int)
        count = f"; or, if it decides sizes, declare {host} in inputs=" if whole else ""
        return f"give {name} as a tensor, torch.tensor({now!r}){count}"
    return f"compile a model for each {name}"


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, Number) and not isinstance(leaf, bool)
