"""What is said of an engine's inputs and outputs, asked of TensorRT where it may be wrong.

A file may lie, and so may ``infer=`` of a plugin: TensorRT writes what it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trtnn.engine.engine import Engine
from trtnn.errors import LoadError, ShapeError
from trtnn.graph.graph import Graph
from trtnn.ops.op import Spec
from trtnn.run.prepared import Prepared
from trtnn.run.runner import Runner, Verify
from trtnn.saved.agreement import require_agreement, require_shapes
from trtnn.saved.border import Border, Described


def border_of_graph(graph: Graph) -> Border:
    """Return what the engine of a graph takes and gives."""

    def described(name: str, spec: Spec) -> Described:
        dtype = str(spec.dtype).removeprefix("torch.")
        return Described(name, dtype, spec.shape, graph.formats.get(name))

    inputs = tuple(described(value.name, value.spec) for value in graph.inputs)
    outputs = (described(f"output_{i}", value.spec) for i, value in enumerate(graph.outputs))
    return Border(inputs, tuple(outputs), graph.hosts, graph.dims)


def sizes_asked(border: Border, where: str) -> Verify:
    """Return what asks TensorRT, once for each combination of sizes, what it will write.

    Args:
        where: What describes the outputs, for the LoadError where TensorRT says others.
    """
    fixed = [tensor for tensor in border.outputs if not tensor.counted]

    def verify(runner: Runner, prepared: Prepared) -> None:
        with runner.on_device():
            context = runner.take(prepared)
            try:
                expected = [shape for shape, _ in prepared.outputs]
                require_shapes(fixed, expected, where, context.handle.get_tensor_shape)
            finally:
                runner.pool.put(context)

    return verify


def require_inferred(graph: Graph, engine: Engine) -> None:
    """Raise ShapeError unless an engine's outputs are what the ``infer=`` of its plugins says."""
    with _of_infer():
        require_agreement(border_of_graph(graph), "an output", engine.library, engine.handle)


def inferred_asked(graph: Graph) -> Callable[[Runner, Prepared], None]:
    """Return what raises ShapeError where it is not so at the sizes of a call."""
    ask = sizes_asked(border_of_graph(graph), "an output")

    def verify(runner: Runner, prepared: Prepared) -> None:
        with _of_infer():
            ask(runner, prepared)

    return verify


@contextmanager
def _of_infer() -> Iterator[None]:
    try:
        yield
    except LoadError as error:
        raise ShapeError(
            f"a plugin gives others than its infer= says: {error.message}",
            hint="let infer= return tensors of the shapes and dtypes that the plugin gives",
        ) from None
