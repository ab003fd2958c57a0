"""Memory formats of inputs and outputs: which types and ranks each is for."""

from __future__ import annotations

from typing import Any

from tests.double.facts import RuleError, Violation
from tests.double.inference import facts

EVERY = 0x1FFF
# By name: the types that a format is bound to, and the least rank.
RULES: dict[str, tuple[frozenset[str], int]] = {
    "CHW2": (frozenset({"HALF", "BF16"}), 3),
    "HWC8": (frozenset({"HALF", "BF16"}), 3),
    "CHW4": (frozenset({"HALF", "INT8"}), 3),
    "CHW16": (frozenset({"HALF"}), 3),
    "CHW32": (frozenset({"FLOAT", "HALF", "INT8"}), 3),
    "DHWC8": (frozenset({"HALF", "BF16"}), 4),
    "CDHW32": (frozenset({"HALF", "INT8"}), 4),
    "HWC": (frozenset({"FLOAT"}), 3),
    "HWC16": (frozenset({"HALF"}), 3),
    "DHWC": (frozenset({"FLOAT"}), 4),
}


def format_of(tensor: Any) -> str:
    """Return the format of an input or output, the first that is allowed and possible."""
    mask, spec = tensor.allowed_formats, facts(tensor)
    members = tensor._surface.TensorFormat.__members__
    if mask <= 0 or mask & ~sum(1 << int(member) for member in members.values()):
        raise Violation(f"{tensor._name}: allowed_formats {mask:#x} are no formats of this version")
    for name, member in sorted(members.items(), key=lambda item: int(item[1])):
        if not mask >> int(member) & 1:
            continue
        dtypes, rank = RULES.get(name, (frozenset(), 99))
        if name == "LINEAR" or (spec.dtype in dtypes and spec.rank >= rank):
            return name
    raise RuleError(f"{tensor._name}: no supported formats for {spec.dtype} of rank {spec.rank}")


def check_formats(network: Any) -> None:
    """Refuse formats that do not fit their tensors, or that tensors inside are given."""
    for tensor in [*network._inputs, *network._outputs]:
        format_of(tensor)
    for layer in network._layers:
        for tensor in layer._outputs:
            if tensor.allowed_formats != EVERY and not tensor._is_output:
                raise Violation(f"{tensor._name}: allowed_formats of a tensor inside the network")
