"""The three ways to run an engine: at once, on PyTorch's current stream, or as a CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from trtnn.errors import BuildError, StreamError
from trtnn.run.contexts import Context
from trtnn.run.cuda_graphs import Captured
from trtnn.run.prepared import Prepared, make_room
from trtnn.run.streams import Streams, make_detour, refuse_capture

if TYPE_CHECKING:
    from trtnn.run.runner import Runner

MAX_GRAPHS = 8  # CUDA graphs of a model; the least recently used goes
Tensors = Sequence[torch.Tensor]
Launch = Callable[["Runner", Prepared, Tensors, Tensors], None]


def run_at_once(runner: Runner, prepared: Prepared, inputs: Tensors, results: Tensors) -> None:
    """Run by ``execute_v2``: the outputs are complete on return."""
    addresses = runner.addresses(prepared, inputs, results)
    runner.streams.wait_for_inputs()
    context = runner.take(prepared)
    try:
        done = context.execute(addresses * runner.blocks)
    except BaseException:  # Ctrl-C too: a context out of its home would be lost
        runner.pool.drop(context)
        raise
    runner.give_back(context, done=done)


def run_on_stream(runner: Runner, prepared: Prepared, inputs: Tensors, results: Tensors) -> None:
    """Run by ``execute_async_v3``, ordered with the current stream as PyTorch's own calls are."""
    if runner.on_cuda:
        refuse_capture()
    stream = runner.streams.number()
    context = runner.take(prepared, on=stream)
    try:
        place(runner, context, runner.addresses(prepared, inputs, results))
        done = enqueue(runner, context, stream)
    except BaseException:
        runner.pool.drop(context)
        raise
    runner.give_back(context, done=done)
    for tensor in (*inputs, *results):  # an output may be the caller's
        runner.streams.keep(tensor, stream)


def place(runner: Runner, context: Context, addresses: Sequence[int]) -> None:
    """Tell a context where its tensors are, unless it knows."""
    where = tuple(addresses)
    if context.where == where:
        return
    for (name, _, _), address in zip(runner.engine.tensors, addresses, strict=True):
        if not context.locate(name, address):
            lines = runner.engine.library.log.take()
            raise BuildError(f"TensorRT refused the address of {name}: {lines}")
    context.where = where


def enqueue(runner: Runner, context: Context, stream: int) -> bool:
    """Give a context's work to a stream; the legacy default stream gets it by a detour."""
    if stream or not runner.on_cuda:
        return context.enqueue(stream)
    return take_detour(runner.streams, context)


def take_detour(streams: Streams, context: Context) -> bool:
    """Give a context's work to the legacy default stream, which is current."""
    detour = context.detour
    if detour is None:
        detour = context.detour = make_detour(context.enqueue, streams.object(0))
    return detour()


def replay(runner: Runner, prepared: Prepared, inputs: Tensors, results: Tensors) -> None:
    """Replay a CUDA graph on copies of the inputs; capture it for the first call of the shapes."""
    if runner.on_cuda:
        refuse_capture()
    while True:
        captured = graph_of(runner, prepared, inputs)
        if captured is None:
            run_on_stream(runner, prepared, inputs, results)
            return
        if captured.run(inputs, results):
            return


def graph_of(runner: Runner, prepared: Prepared, inputs: Tensors) -> Captured | None:
    """Return the CUDA graph of a call's shapes; None where the engine cannot be captured."""
    key, graphs = prepared.graph_key, runner.graphs
    runner.pool.require_own_process()
    with runner.capturing, runner.pool.lending():
        if key in runner.uncaptured:
            return None
        captured = graphs.get(key)
        if captured is not None and captured.replay is not None:
            return captured
        graphs.pop(key, None)
        while len(graphs) >= MAX_GRAPHS:
            graphs.pop(min(graphs, key=lambda other: graphs[other].used))
        with torch.inference_mode(mode=False):  # later calls write there in any mode
            own = [torch.empty_like(t).copy_(t.detach()) for t in inputs]
            captured = capture(runner, prepared, own, runner.allocate(prepared))
        if captured is None:
            make_room(runner.uncaptured)
            runner.uncaptured[key] = None
        else:
            runner.pool.holders.add(captured)
            graphs[key] = captured
    return captured


def capture(
    runner: Runner, prepared: Prepared, inputs: Tensors, results: Tensors
) -> Captured | None:
    """Return the CUDA graph of a call on this memory; None, with one warning, if refused."""
    context = runner.lend(prepared)
    place(runner, context, runner.addresses(prepared, inputs, results))
    try:
        return Captured(context, runner.streams, inputs, results)
    except StreamError as error:
        lines = runner.engine.library.log.take()
        if not runner.refused:
            runner.refused.append(f"{error.message} {lines}".strip())
            warnings.warn(
                f'execution="graph": {runner.refused[0]}; such calls run as execution="async" does',
                stacklevel=2,
            )
        return None


LAUNCHES: dict[str, Launch] = {"sync": run_at_once, "async": run_on_stream, "graph": replay}
