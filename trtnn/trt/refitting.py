"""Giving a refitter its weights: all that TensorRT lists, and none that it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trtnn.errors import BuildError


def give_weights(
    refitter: Any, weights: Mapping[str, Any], needed: Iterable[str], said: Callable[[], str]
) -> None:
    """Give weights by name to a refitter.

    Args:
        weights: Those that TensorRT does not list are left out.
        needed: The names that it has to list.
        said: Returns TensorRT's own lines, for the error.

    Raises:
        BuildError: TensorRT lists or takes others.
    """
    listed = refitter.get_all_weights()
    if lost := sorted(set(needed) - set(listed)):
        names = ", ".join(map(repr, lost))
        raise BuildError(f"TensorRT cannot refit {names}" + said(), search=False)
    for name in listed:
        if name in weights and not refitter.set_named_weights(name, weights[name]):
            raise BuildError(f"TensorRT could not take the weights {name!r}" + said(), search=False)
    if missing := refitter.get_missing_weights():
        names = ", ".join(map(repr, missing))
        raise BuildError(f"TensorRT misses the weights {names}" + said(), search=False)
