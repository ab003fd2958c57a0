"""Optimization profiles: the ranges of all Dims that one set of kernels is built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trtnn.errors import ShapeError
from trtnn.sizes.dims import Dim, Range, Size, bounds, product


def count_profiles(dims: Sequence[Dim]) -> int:
    """Return how many optimization profiles Dims ask for.

    Raises:
        ShapeError: Two of them have different numbers of profiles, and neither has one.
    """
    several = [d for d in dims if len(d.profiles) > 1]
    for dim in several[1:]:
        if len(dim.profiles) != len(several[0].profiles):
            raise ShapeError(
                f"Dim {several[0].name!r} has {len(several[0].profiles)} profiles, "
                f"Dim {dim.name!r} has {len(dim.profiles)}",
                hint="give every Dim as many, or one, which then counts for all",
            )
    return len(several[0].profiles) if several else 1


def profile_of(dim: Dim, index: int) -> Range:
    """Return a Dim's (min, opt, max) in one profile."""
    return dim.profiles[index if len(dim.profiles) > 1 else 0]


def fitting_profiles(dims: Sequence[Dim], bindings: Mapping[str, int]) -> list[int]:
    """Return the profiles that hold all Dims' values, the tightest first.

    >>> s = Dim("s", profiles=[(1, 64, 128), (1, 16, 32)])
    >>> fitting_profiles([s], {"s": 20}), fitting_profiles([s], {"s": 100})
    ([1, 0], [0])
    """

    def fits(index: int) -> bool:
        ranges = ((bindings[d.name], profile_of(d, index)) for d in dims)
        return all(low <= value <= high for value, (low, _, high) in ranges)

    def room(index: int) -> int:
        greatest: Size = product([profile_of(d, index)[2] for d in dims])
        return bounds(greatest)[1]

    return sorted(filter(fits, range(count_profiles(dims))), key=room)
