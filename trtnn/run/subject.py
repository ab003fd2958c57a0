"""What a new engine is held against: its graph, and the inputs of one call or none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from trtnn.errors import InputError, OptionError
from trtnn.graph.graph import Graph
from trtnn.run.arguments import call_leaves, check_tensor
from trtnn.run.samples import Ranges
from trtnn.sizes.solutions import bind_dims
from trtnn.tracing.forward import _parameters, module_of
from trtnn.tracing.signature import Signature

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Subject:
    """What an engine is held against.

    Attributes:
        source: The graph as it was traced: the reference, so that passes are checked too.
        lowered: The graph that was built: its own rounding says how far off an engine may be.
        tf32: Whether products of float32 are computed in TF32.
        ranges: What was declared of inputs' values, by name.
        given: A call's tensors and host inputs; None: they are made up.
        state: Gives the module's, from which a refittable engine's weights were computed.
    """

    source: Graph
    lowered: Graph
    device: torch.device
    tf32: bool
    ranges: Ranges = field(default_factory=dict)
    given: Sequence[Any] | None = None
    state: Callable[[], Mapping[str, torch.Tensor]] = dict


def require_verify(given: Any, *, lazy: bool) -> Any:
    """Return what ``verify`` was given, OptionError where it is nothing that it takes."""
    if given is True or given is False:
        return given
    if isinstance(given, torch.Tensor):
        return (given,)
    if not isinstance(given, (tuple, list, dict)):
        raise OptionError(
            f"verify: expected True, False, or the inputs of a call, got {given!r}",
            hint="give inputs as a tuple or list in forward's order, or as a dict by parameter",
        )
    if lazy:
        raise OptionError(
            "verify: the first call's own inputs are used where inputs= is not given",
            hint="leave verify out, or declare inputs=",
        )
    return given


def subject_of(
    module: Callable[..., Any],
    source: Graph,
    lowered: Graph,
    device: torch.device,
    signature: Signature,
    call: Call | None,
    *,
    tf32: bool,
    verify: Any,
) -> Subject | None:
    """Return what the engine of a module is held against; None where nobody is to look.

    Args:
        call: The arguments of the call that a lazy model is compiled for.
        verify: What ``require_verify`` gave.

    Raises:
        InputError: ``verify`` holds inputs that do not fit; it names the argument.
    """
    if verify is False:
        return None
    given = None
    if call is not None:
        given = call_leaves(signature, _parameters(module), *call)
    elif verify is not True:
        given = _given_inputs(verify, source, signature, _parameters(module), device)
    owner = module_of(module)
    state = owner.state_dict if owner is not None else dict
    return Subject(source, lowered, device, tf32, signature.ranges, given, state)


def _given_inputs(
    given: Any,
    graph: Graph,
    signature: Signature,
    parameters: inspect.Signature,
    device: torch.device,
) -> list[Any]:
    """Return the tensors and host inputs of a call that ``verify`` was given.

    Raises:
        InputError: They do not fit the declared inputs; it names the argument.
    """
    args, named = ((), given) if isinstance(given, dict) else (tuple(given), {})
    try:
        found = call_leaves(signature, parameters, args, named)
        count = len(graph.inputs)
        tensors = [t.to(device) if isinstance(t, torch.Tensor) else t for t in found[:count]]
        for value, tensor in zip(graph.inputs, tensors, strict=True):
            check_tensor(value.name, value.spec, tensor, device)
        bind_dims(graph, [tensor.shape for tensor in tensors], None, found[count:])
    except InputError as error:
        raise InputError(f"verify: {error.message}", hint=error.hint) from None
    return [*tensors, *found[count:]]
