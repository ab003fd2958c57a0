"""``register``: torch callables that users give a meaning, custom operators among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from trtnn.errors import OptionError
from trtnn.ops.op import TABLE, F, torch_function


def register(*callables: Any, replace: bool = False) -> Callable[[F], F]:
    """Give torch callables a meaning: a function of torch functions, or of trtnn's.

    The function takes the arguments as they are called, and its torch calls are traced like those
    of ``forward``. An operator of ``torch.library`` is given as ``torch.ops.mine.scale``, with its
    overloads, or as the function that ``torch.library.custom_op`` returned.

    Args:
        callables: What ``forward`` calls.
        replace: Whether one that trtnn has a meaning for is to get another.

    Raises:
        OptionError: Something is not callable, or trtnn knows it already.

    >>> @torch.library.custom_op("mine::scale", mutates_args=())
    ... def scale(x: torch.Tensor, factor: float) -> torch.Tensor:
    ...     return x * factor
    >>> @register(scale)
    ... def scaled(x, factor):
    ...     return torch.mul(x, factor)
    >>> import trtnn
    >>> len(trtnn.trace(lambda x: scale(x, 2.0), [trtnn.Input((3,))]).nodes)
    1
    """
    if not callables:
        raise OptionError("register: expected torch callables, got none")
    spellings = [spelling for item in callables for spelling in spellings_of(item)]
    for spelling in spellings:
        if not callable(spelling):
            raise OptionError(
                f"register: expected a torch callable, got {spelling!r} of "
                f"{type(spelling).__name__}"
            )
        if spelling in TABLE and not replace:
            raise OptionError(
                f"register: {name_of(spelling)} has a meaning already", hint="give replace=True"
            )
    return torch_function(*spellings, replace=True)


def spellings_of(item: Any) -> Iterator[Any]:
    """Yield what a call of ``item`` may arrive as: itself, or an operator and its overloads."""
    item = getattr(item, "_opoverload", item)  # what torch.library.custom_op returned
    if isinstance(item, torch._ops.OpOverload):
        item = item.overloadpacket
    yield item
    if isinstance(item, torch._ops.OpOverloadPacket):
        packet: Any = item
        yield from (getattr(packet, name) for name in packet.overloads())


def name_of(item: Any) -> str:
    """Return how a user writes a torch callable: ``torch.nn.functional.relu``."""
    if isinstance(item, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return f"torch.ops.{item}"
    name: str | None = torch.overrides.resolve_name(item)
    return name or str(getattr(item, "__qualname__", item))
