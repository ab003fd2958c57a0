"""Layers of plugins: made by their creators, and held to what the graph says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn.errors import BuildError, DTypeError, ShapeError, UnsupportedError
from trtnn.graph.graph import Graph, all_nodes
from trtnn.lower.layers import ITensor, Layers, Operand
from trtnn.ops.op import Spec
from trtnn.ops.plugins import Plugin, name_of
from trtnn.trt.plugins import Key


def keys_of(graph: Graph) -> tuple[Key, ...]:
    """Return the creators of a graph's plugins, each once."""
    ops = [node.op for node in all_nodes(graph) if isinstance(node.op, Plugin)]
    return tuple(dict.fromkeys(Key(op.creator, op.version, op.namespace) for op in ops))


class Plugins(Layers):
    """What a network has beside TensorRT's own layers."""

    half: bool

    def no_output(self, layer: Any) -> None:
        raise NotImplementedError

    def plugin(self, op: Plugin, given: Sequence[Operand]) -> tuple[ITensor, ...]:
        """Return what a plugin gives.

        Raises:
            OptionError: There is no such creator, or it has other fields.
            UnsupportedError: This TensorRT has no plugins.
            ShapeError, DTypeError: TensorRT says other shapes and types of it than the graph.
        """
        target, where = self.library.target, self._where()
        if "plugin_v2" not in target.layers:
            raise UnsupportedError(
                f"{op.title}: {target.name} has no plugins",
                hint='TensorRT itself has: backend="tensorrt"; or compute it with torch functions',
                where=where,
            )
        tensors = [self.tensor(x) for x in given]
        key = Key(op.creator, op.version, op.namespace)
        if op.written is not None:
            if not self.library.plugins.takes_kernels:
                raise UnsupportedError(
                    f"{op.title}: {target.name} takes no kernel as a plugin; 10 and later do",
                    where=where,
                )
            self.library.plugins.define(key, op.written)
        handles = [x.handle for x in tensors]
        layer = self.library.plugins.add(self.network, key, op.fields, handles, where)
        self.no_output(layer)
        if layer.num_outputs != len(op.shapes):
            raise ShapeError(
                f"{op.title}: it gives {layer.num_outputs} results, infer= {len(op.shapes)}",
                where=where,
            )
        results = tuple(
            ITensor(layer.get_output(index), dtype, shape)
            for index, (dtype, shape) in enumerate(zip(op.dtypes, op.shapes, strict=True))
        )
        if self.half and not target.strongly_typed:
            self._constrain(layer, [*tensors, *results], len(tensors))
        for index, result in enumerate(results):
            self._require_same(op, index, result)
        return results

    def _constrain(self, layer: Any, values: Sequence[ITensor], inputs: int) -> None:
        """Tell 8.6 the types: beside half values it would choose them by what is fast."""
        floats = [x.dtype for x in values if x.dtype.is_floating_point]
        for dtype in floats[:1]:
            self.library.constrain(layer, name_of(dtype), output=False)
        for index, x in enumerate(values[inputs:]):
            if x.dtype.is_floating_point:
                layer.set_output_type(index, self.kind(x.dtype))

    def _require_same(self, op: Plugin, index: int, result: ITensor) -> None:
        """Raise ShapeError or DTypeError where TensorRT knows better of a result."""
        where, declared = self._where(), Spec(result.shape, result.dtype)
        try:
            shape = tuple(result.handle.shape)
        except (ValueError, RuntimeError):
            lines = self.library.log.take()
            raise BuildError(f"{op.title}: it refuses its inputs: {lines}", where=where) from None
        same = len(shape) == len(result.shape) and all(
            -1 in (size, own) or not isinstance(own, int) or size == own
            for size, own in zip(shape, result.shape, strict=True)
        )
        if not same:
            raise ShapeError(
                f"{op.title}: result {index} is {declared} as infer= says, and TensorRT says "
                f"{shape}",
                where=where,
            )
        told = self.library.target.strongly_typed  # before the build 8.6 says FLOAT of halves
        if told and result.handle.dtype != self.kind(result.dtype):
            raise DTypeError(
                f"{op.title}: result {index} is {declared} as infer= says, and TensorRT says "
                f"{result.handle.dtype.name}",
                where=where,
            )
