"""Contenders: what competes on one network, entered one by one and timed in turn.

Imports PyTorch and nothing else that is installed, for an interpreter that has no more.
"""

from __future__ import annotations

import copy
import functools
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from benchmarks.instruments.timing import Call, Effort, captured, gpu_times, host_times

Tensors = tuple[torch.Tensor, ...]
Record = dict[str, Any]


@dataclass
class Contender:
    """One way to run a network.

    Args:
        host: What a caller calls, by memory layout.
        gpu: What may be queued on the GPU, by memory layout; none of a call that waits.
        outputs: Returns its results, whose error is recorded.
        facts: What else is known of it.
        alive: What its calls write to.
    """

    host: Mapping[str, Call] = field(default_factory=dict)
    gpu: Mapping[str, Call] = field(default_factory=dict)
    outputs: Call | None = None
    facts: Record = field(default_factory=dict)
    alive: Any = None


def enter(
    openers: Mapping[str, Callable[[], Contender]], wait: Call, *, on_gpu: bool
) -> tuple[dict[str, Contender], dict[str, Record]]:
    """Open contenders in turn, and say of each how much GPU memory it took.

    ``peak_bytes`` is how much more of the GPU is in use, what PyTorch's allocator keeps among it,
    once a contender has run than before it was opened.

    Returns:
        Those that run, and what is said of those that do not.
    """
    entered, failed = {}, {}
    for name, open_one in openers.items():
        before = _used() if on_gpu else 0
        try:
            contender = open_one()
            for call in contender.host.values():
                call()
            wait()
        except Exception as error:
            failed[name] = {"failed": f"{type(error).__name__}: {error.__context__ or error}"[:500]}
            continue
        if on_gpu:
            contender.facts["peak_bytes"] = _used() - before
        entered[name] = contender
    return entered, failed


def _used() -> int:
    """Return how many bytes of the GPU are in use, once what nobody uses is given back."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


def compete(
    contenders: Mapping[str, Contender], batch: int, effort: Effort, wait: Call, *, on_gpu: bool
) -> dict[str, Record]:
    """Time all in alternating rounds: calls on the host, and the GPU where calls can wait."""
    records = {name: dict(contender.facts) for name, contender in contenders.items()}
    host = best(host_times(_calls(contenders, "host"), effort, wait))
    for name, found in host.items():
        samples = round(batch / found["median"] * 1e6, 1)
        records[name] |= {"host_us": found, "samples_per_s": samples}
    if on_gpu:
        for name, found in best(gpu_times(_calls(contenders, "gpu"), effort)).items():
            records[name]["gpu_us"] = found
    return records


def _calls(contenders: Mapping[str, Contender], where: str) -> dict[tuple[str, str], Call]:
    return {
        (name, layout): call
        for name, contender in contenders.items()
        for layout, call in getattr(contender, where).items()
    }


def best(times: Mapping[tuple[str, str], Record]) -> dict[str, Record]:
    """Return the fastest layout of each kind of call, and name it.

    >>> best({("eager", "a"): {"median": 2.0}, ("eager", "b"): {"median": 1.0}})
    {'eager': {'median': 1.0, 'layout': 'b'}}
    """
    found: dict[str, Record] = {}
    for (kind, layout), time in times.items():
        if kind not in found or time["median"] < found[kind]["median"]:
            found[kind] = {**time, "layout": layout}
    return found


def eager_calls(net: nn.Module, inputs: Tensors) -> dict[str, Call]:
    """Return the calls of a network by memory layout: images in two, everything else in one."""
    calls: dict[str, Call] = {"contiguous": lambda: net(*inputs)}
    if len(inputs) == 1 and inputs[0].dim() == 4:
        turned: nn.Module = copy.deepcopy(net).to(memory_format=torch.channels_last)
        images = [x.to(memory_format=torch.channels_last) for x in inputs]
        calls["channels_last"] = lambda: turned(*images)
    return calls


def eager_openers(
    net: nn.Module, inputs: Tensors, *, on_gpu: bool
) -> dict[str, Callable[[], Contender]]:
    """Return how eager PyTorch enters, plainly and, on a GPU, in a CUDA graph."""
    opened = functools.cache(lambda: eager_calls(net, inputs))

    def plain() -> Contender:
        return Contender(opened(), outputs=opened()["contiguous"])

    def graph() -> Contender:
        found = {layout: captured(call) for layout, call in opened().items()}
        return Contender(found, found, alive=opened())  # the memory that a replay reads

    return {"eager": plain, "eager graph": graph} if on_gpu else {"eager": plain}
