"""The smallest set, of modules or of nodes, with which something holds, in few trials."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


class SpentError(Exception):
    """No further trial is allowed."""


def limited(holds: Callable[[Sequence[T]], bool], most: int) -> Callable[[Sequence[T]], bool]:
    """Return ``holds``, which tries each set once, and ``most`` sets in all.

    Raises:
        SpentError: In the one after.
    """
    known: dict[frozenset[T], bool] = {frozenset(): False}

    def asked(kept: Sequence[T]) -> bool:
        key = frozenset(kept)
        if key not in known:
            if len(known) > most:
                raise SpentError
            known[key] = holds(kept)
        return known[key]

    return asked


def smallest(
    candidates: Sequence[T], holds: Callable[[Sequence[T]], bool], *, first: bool = False
) -> list[T] | None:
    """Return the fewest candidates, in order, with which ``holds`` is true; none does without.

    Each costs a binary search for the shortest end of the list that holds, which it begins. Where
    trials run out, it is the best known set.

    Args:
        first: Return the first of the candidates that matter alone, in one search; it may not do.

    Returns:
        None where not even all candidates do.

    >>> smallest("abcdef", lambda kept: {"b", "e"} <= set(kept))
    ['b', 'e']
    """
    candidates = list(candidates)
    best, kept = candidates, list[T]()
    try:
        if not candidates or not holds(candidates):
            return None
        while not kept or not holds(kept):
            low, high = 0, len(candidates)
            while high - low > 1:
                middle = (low + high) // 2
                if holds([*kept, *candidates[middle:]]):
                    low, best = middle, [*kept, *candidates[middle:]]
                else:
                    high = middle
            kept.append(candidates[low])
            if first:
                return kept
        best = kept
        for one in tuple(kept):
            rest = [other for other in best if other != one]
            if rest and holds(rest):
                best = rest
    except SpentError:
        pass
    return [one for one in candidates if one in best]


def collapsed(kept: Sequence[str], candidates: Sequence[str]) -> list[str]:
    """Return paths with a module in the place of all that is in it.

    >>> collapsed(["a.0", "a.1", "b.0"], ["a.0", "a.1", "b.0", "b.1"])
    ['a', 'b.0']
    """
    found = {path: path for path in kept}
    for path in kept:
        parts = path.split(".")
        for count in range(1, len(parts)):
            around = ".".join(parts[:count])
            inside = [c for c in candidates if f"{c}.".startswith(f"{around}.")]
            if len(inside) > 1 and set(inside) <= set(kept):
                found[path] = around
                break
    return list(dict.fromkeys(found.values()))
