"""The GPUs that a builder is told, by compute capability: TensorRT for RTX needs none at hand.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from trtnn.errors import BackendError, OptionError
from trtnn.trt.identity import title_of

# Since which compute capability TensorRT for RTX builds for values of a type: its own refusals of
# 1.7.1, "Cannot compile for target(s) sm75, because the model contains HW-specific datatypes".
_SINCE = {"bfloat16": (8, 0), "float8_e4m3fn": (8, 9), "float4_e2m1fn_x2": (12, 0)}
# What it builds for where nobody says. Turing (7.5) is slower beside others: it is built alone.
_ALONE = ("7.5",)


def capabilities_of(trt: ModuleType) -> tuple[str, ...]:
    """Return the compute capabilities that a builder can be told: ``"8.9"`` for SM89."""
    members = getattr(trt, "ComputeCapability", None)
    numbers = (int(n[2:]) for n in getattr(members, "__members__", ()) if n.startswith("SM"))
    return tuple(f"{number // 10}.{number % 10}" for number in sorted(numbers))


def require_gpu(trt: ModuleType, name: str, capability: Sequence[int]) -> None:
    """Raise BackendError where a TensorRT is known not to run on a GPU."""
    known, own = capabilities_of(trt), ".".join(map(str, capability))
    if known and own not in known:
        raise BackendError(
            f"{title_of(trt)} runs on GPUs of compute capability {', '.join(known)}, "
            f"and {name} has {own}",
            hint='use backend="tensorrt"',
        )


def capabilities_for(
    trt: ModuleType, dtypes: Iterable[str], given: Sequence[str]
) -> tuple[str, ...]:
    """Return the GPUs to build for: those of ``given``, or all but those that are built alone.

    Raises:
        OptionError: One that was asked for is not known, or cannot run a dtype.
    """
    known = capabilities_of(trt)
    _require_known(trt, given)
    needs = sorted((_SINCE[d], d) for d in set(dtypes) if d in _SINCE)
    found = []
    for name in given or tuple(name for name in known if name not in _ALONE):
        own = tuple(map(int, name.split(".")))
        unfit = next((dtype for since, dtype in needs if own < since), None)
        if unfit is None:
            found.append(name)
        elif given:
            since = ".".join(map(str, _SINCE[unfit]))
            raise OptionError(
                f"compute_capabilities: {name} cannot run {unfit}, which the network holds; "
                f"{title_of(trt)} builds it for {since} and later"
            )
    return tuple(found)


def build_for(trt: ModuleType, config: Any, given: Sequence[str]) -> None:
    """Tell a builder's configuration the GPUs; none: TensorRT's default.

    Raises:
        OptionError: This TensorRT does not build for one, or keeps others.
    """
    if not given:
        return
    _require_known(trt, given)
    members = [getattr(trt.ComputeCapability, "SM" + name.replace(".", "")) for name in given]
    config.num_compute_capabilities = len(members)
    for index, member in enumerate(members):
        config.set_compute_capability(member, index)
    held = [config.get_compute_capability(i) for i in range(config.num_compute_capabilities)]
    if held != members:
        names = ", ".join(member.name for member in held)
        raise OptionError(f"compute_capabilities: {title_of(trt)} took {names} instead")


def _require_known(trt: ModuleType, given: Sequence[str]) -> None:
    known = capabilities_of(trt)
    if strange := [name for name in given if name not in known]:
        raise OptionError(
            f"compute_capabilities: {title_of(trt)} does not build for {', '.join(strange)}; "
            f"expected some of {', '.join(known) or 'none'}"
        )
