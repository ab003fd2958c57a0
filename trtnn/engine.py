"""Network and options to plan: build, serialize, deserialize."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

from trtnn._trt import TensorRT
from trtnn.dims import evaluate
from trtnn.errors import BuildError, UnsupportedError
from trtnn.graph import Graph, Value
from trtnn.network import Net, lower
from trtnn.options import BuildOptions


class Engine:
    """A TensorRT engine, ready to make contexts, and the plan it came from."""

    def __init__(self, plan: bytes, library: TensorRT | None = None) -> None:
        self.library = library if library is not None else TensorRT()
        self.plan = plan
        self.runtime, self.handle = self.library.deserialize(plan)
        self.tensors = self.library.tensors(self.handle)

    @staticmethod
    def deserialize(plan: bytes, library: TensorRT | None = None) -> Engine:
        """Return the engine of a plan made by ``serialize`` on this GPU and TensorRT.

        Raises:
            BuildError: The plan is damaged, or from another TensorRT or GPU.
        """
        if not isinstance(plan, bytes) or not plan:
            raise BuildError(
                f"deserialize: expected the bytes of a plan, got {type(plan).__name__}"
            )
        return Engine(plan, library)

    def serialize(self) -> bytes:
        """Return the plan, as TensorRT's own tools (trtexec, Triton) read it."""
        return self.plan

    def __repr__(self) -> str:
        names = ", ".join(name for name, _, _ in self.tensors)
        return f"Engine({len(self.plan)} bytes, TensorRT {self.library.target.version}: {names})"


def profile_shapes(graph: Graph) -> dict[str, Sequence[Any]]:
    """Return (min, opt, max) shapes of each dynamic input."""
    ends = ("min", "opt", "max")
    bindings = [{d.name: getattr(d, end) for d in graph.dims} for end in ends]

    def at(value: Value, end: dict[str, int]) -> tuple[int, ...]:
        return tuple(evaluate(size, end) for size in value.spec.shape)

    return {
        value.name: tuple(at(value, end) for end in bindings)
        for value in graph.inputs
        if any(not isinstance(size, int) for size in value.spec.shape)
    }


def build(graph: Graph, library: TensorRT, options: BuildOptions, *, tf32: bool = True) -> Engine:
    """Lower ``graph`` and build its engine.

    Raises:
        UnsupportedError: This TensorRT cannot express a node.
        BuildError: TensorRT refused a layer or the build; carries its log lines.
    """
    _refuse_data_dependent(graph)
    library.log.take()
    builder = library.builder()
    network = library.network(builder)
    net = lower(graph, library, network)
    config = library.config(builder, options, tf32=tf32, half=net.half)
    shapes = profile_shapes(graph)
    if shapes:
        library.profile(builder, config, shapes)
    try:
        plan = library.build(builder, network, config)
    except BuildError as error:
        raise _explain(error, net) from None
    del net
    gc.collect(0)
    return Engine(plan, library)


def _refuse_data_dependent(graph: Graph) -> None:
    for node in graph.nodes:
        if hasattr(node.op, "bind_sizes"):
            raise UnsupportedError(
                f"{node.op.name}: a result whose size depends on data is not compiled yet",
                hint='use backend="reference"',
                where=node.origin.source,
            )


def _explain(error: BuildError, net: Net) -> BuildError:
    """Add the module path and source line of the layer that TensorRT's message names."""
    named: list[Any] = [node for name, node in net.nodes.items() if name in error.message]
    if not named:
        return error
    node = max(named, key=lambda n: len(n.label))
    return BuildError(f"{error.message}\n    layer: {node.label}", where=node.origin.source)
