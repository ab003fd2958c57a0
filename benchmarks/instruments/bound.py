"""An engine with memory of its own: what it costs without a line of trtnn in the call."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from benchmarks.instruments.timing import Call, captured
from trtnn.engine.engine import Engine
from trtnn.errors import BuildError


class Bound:
    """A context of an engine for one shape of its inputs, on memory that stays.

    Args:
        given: The inputs by name; int64 is narrowed where the engine reads int32.
        profile: The optimization profile that the shapes fit.
    """

    def __init__(self, engine: Engine, given: Mapping[str, torch.Tensor], profile: int = 0) -> None:
        self.engine = engine
        self.context = engine.library.context(engine.handle)
        if self.context.active_optimization_profile != profile:
            # On the legacy default stream, which every later stream here waits for.
            engine.library.select_profile(self.context, profile, 0)
        dtypes = {name: getattr(torch, dtype) for name, _, dtype in engine.tensors}
        memory = {name: t.to(dtypes[name]).contiguous() for name, t in given.items()}
        for name, tensor in memory.items():
            if not self.context.set_input_shape(name, tuple(tensor.shape)):
                raise BuildError(f"{name}: {tuple(tensor.shape)}: {engine.library.log.take()}")
        device = next(iter(given.values())).device
        for name in dtypes.keys() - memory.keys():
            shape, dtype = tuple(self.context.get_tensor_shape(name)), dtypes[name]
            # NaN shows that nobody wrote there.
            unset = float("nan") if dtype.is_floating_point else 0
            memory[name] = torch.full(shape, unset, dtype=dtype, device=device)
        self.memory = {name: memory[name] for name in dtypes}
        self.addresses = [tensor.data_ptr() for tensor in self.memory.values()]
        self.addresses *= engine.library.binding_blocks(engine.handle)
        for name, tensor in self.memory.items():
            if not self.context.set_tensor_address(name, tensor.data_ptr()):
                raise BuildError(f"{name}: TensorRT refused the address")

    @property
    def outputs(self) -> list[torch.Tensor]:
        """The outputs in the order of the graph."""
        count = sum(not is_input for _, is_input, _ in self.engine.tensors)
        return [self.memory[f"output_{index}"] for index in range(count)]

    def execute(self) -> None:
        """Run the engine and wait, as a raw loop over ``execute_v2`` does."""
        if not self.context.execute_v2(self.addresses):
            raise BuildError(f"execute_v2 failed: {self.engine.library.log.take()}")

    def enqueue(self) -> None:
        """Give one inference to the current stream."""
        if not self.context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise BuildError(f"execute_async_v3 failed: {self.engine.library.log.take()}")


def inference(
    engine: Engine, given: Mapping[str, torch.Tensor], profile: int = 0
) -> tuple[Bound, Call, str]:
    """Return memory, a call that starts one inference, and how it does: by replay or queued."""
    bound = Bound(engine, given, profile)
    bound.execute()  # an engine that cannot run says so here, and is not taken for a refusal
    try:
        return bound, captured(bound.enqueue), "replays"
    except RuntimeError:
        # A refusal breaks the capture, which PyTorch says as it ends.
        engine.library.log.take()
    bound = Bound(engine, given, profile)  # nothing of the capture is left in a new context
    return bound, bound.enqueue, "queued"
