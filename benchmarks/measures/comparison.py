"""Eager PyTorch, eager in a CUDA graph, and trtnn: times of the host and the GPU, and errors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.instruments.bound import Bound, inference
from benchmarks.instruments.builds import Builds, Built
from benchmarks.instruments.timing import Call, Effort, captured, gpu_times, host_times
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import exact
from tests.compare import leaves, worst_error
from tests.zoo import Inputs

FACTOR = {"tf32": 2, "half": 3}  # the bar: so many times eager's own error, and SLACK
SLACK = 1e-3


@torch.no_grad()
def compare(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Measure one model in one dtype and batch size."""
    built = builds.compiled(case)
    eager = eager_calls(built.net, built.inputs)

    def ours() -> Any:
        return built.model(*built.inputs)

    reference = exact(case, builds.machine.device)
    verdict = judge(case.dtype, reference, {"eager": eager["contiguous"](), "trtnn": ours()})
    calls = {("eager", layout): call for layout, call in eager.items()}
    replays, failed = _replays(eager) if builds.machine.library is not None else ({}, {})
    calls.update(replays)
    calls["trtnn", "contiguous"] = ours
    host = best(host_times(calls, effort, builds.machine.wait))
    row = {**built.facts, **verdict, **failed, "host_us": host}
    if builds.machine.library is not None:
        row["gpu_us"] = _gpu(built, replays, effort)
    return row


@torch.no_grad()
def compare_errors(case: Case, builds: Builds, _: Effort) -> dict[str, Any]:
    """Compare the errors of one model in one dtype, without any time."""
    built = builds.compiled(case)
    reference = exact(case, builds.machine.device)
    outputs = {"eager": built.net(*built.inputs), "trtnn": built.model(*built.inputs)}
    return {**built.facts, **judge(case.dtype, reference, outputs)}


def eager_calls(net: nn.Module, inputs: Inputs) -> dict[str, Call]:
    """Return the calls of a network by memory layout: images in two, everything else in one."""
    calls: dict[str, Call] = {"contiguous": lambda: net(*inputs)}
    if inputs[0].dim() == 4:
        turned: nn.Module = copy.deepcopy(net).to(memory_format=torch.channels_last)
        images = [x.to(memory_format=torch.channels_last) for x in inputs]
        calls["channels_last"] = lambda: turned(*images)
    return calls


def best(times: Mapping[tuple[str, str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the fastest layout of each kind of call, and name it.

    >>> best({("eager", "a"): {"median": 2.0}, ("eager", "b"): {"median": 1.0}})
    {'eager': {'median': 1.0, 'layout': 'b'}}
    """
    found: dict[str, dict[str, Any]] = {}
    for (kind, layout), time in times.items():
        if kind not in found or time["median"] < found[kind]["median"]:
            found[kind] = {**time, "layout": layout}
    return found


def judge(dtype: str, reference: list[torch.Tensor], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all errors, the bar that eager's sets, and whether the others meet it.

    An output that is not finite has no error. That fails the row, unless eager has none either:
    then there is nothing to compare with, and ``met`` is None.
    """
    errors = {kind: finite_error(given, reference) for kind, given in outputs.items()}
    theirs = errors["eager"]
    if theirs is None:
        return {"error": errors, "bar": None, "met": None}
    bar = FACTOR[dtype] * theirs + SLACK
    met = all(mine is not None and mine <= bar for kind, mine in errors.items() if kind != "eager")
    return {"error": errors, "bar": bar, "met": met}


def all_met(verdicts: Iterable[bool | None]) -> bool | None:
    """Return one verdict for several: no if one is no, none if one is none.

    >>> all_met([True, True]), all_met([True, None]), all_met([None, False])
    (True, None, False)
    """
    found = set(verdicts)
    return False if False in found else None if None in found else True


def finite_error(outputs: Any, reference: list[torch.Tensor]) -> float | None:
    """Return the worst relative error, None if a tensor of either is not finite."""
    found = list(leaves(outputs))
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (*found, *reference)):
        return None
    return worst_error(found, reference)


def difference(bound: Bound, outputs: Any) -> float | None:
    """Return how far what was timed is from what a call returns, None if it is not finite."""
    return finite_error(bound.outputs, list(leaves(outputs)))


def _replays(eager: Mapping[str, Call]) -> tuple[dict[tuple[str, str], Call], dict[str, str]]:
    """Capture eager PyTorch in each layout, or say why it cannot be."""
    try:
        return {("eager graph", layout): captured(call) for layout, call in eager.items()}, {}
    except RuntimeError as error:
        # What the call itself raised says more than the end of the capture that it broke.
        return {}, {"eager_graph_failed": str(error.__context__ or error)}


def _gpu(
    built: Built, replays: Mapping[tuple[str, str], Call], effort: Effort
) -> dict[str, dict[str, Any]]:
    """Time the engine on the GPU, beside eager's CUDA graphs."""
    bound, call, method = inference(built.model.engine, built.named)
    times = best(gpu_times({**replays, ("trtnn", "contiguous"): call}, effort))
    for kind, time in times.items():
        time["method"] = method if kind == "trtnn" else "replays"
    # What was timed is what was compared: None here says that nothing was computed.
    times["trtnn"]["difference_from_call"] = difference(bound, built.model(*built.inputs))
    return times
