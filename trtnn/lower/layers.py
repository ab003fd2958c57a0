"""TensorRT layers, one method each: what ``Op.lower`` may call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.program import Slot
from trtnn.ops.op import broadcast
from trtnn.sizes.dims import Size, bounds, product
from trtnn.trt.library import TensorRT


@dataclass(frozen=True, eq=False)
class ITensor:
    """A TensorRT tensor with the graph's own dtype and symbolic shape."""

    handle: Any
    dtype: torch.dtype
    shape: tuple[Size, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(frozen=True, eq=False)
class Handle:
    """A constant on its way into the network: as weights, or as a tensor.

    ``slot`` is its place in the network's program; None where the module's state has no part in it.
    """

    tensor: torch.Tensor
    slot: Slot | None = None

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[Size, ...]:
        return tuple(self.tensor.shape)

    @property
    def rank(self) -> int:
        return self.tensor.dim()


Operand: TypeAlias = ITensor | Handle
COMPARISONS = frozenset({"EQUAL", "GREATER", "LESS"})
PICKS = frozenset({"MAX", "MIN"})  # the result is an entry of the operands
DIVISIONS = frozenset({"DIV", "FLOOR_DIV"})
# TensorRT has these at the border of a network only, and there it only casts them (INT8 beside
# quantization too). Inside they are int32, and every entry is one that the type can hold: what
# comes in or is a constant is; layers that move, pick or compare entries keep it so; and what a
# layer computes, or converts from another type, goes through ``Layers.wrapped`` at once, in
# ``Net.done`` and in ``cast``. So no layer ever reads an entry that is out of range.
EIGHT_BITS = frozenset({torch.uint8, torch.int8})
DOUBLE = torch.float64  # float32 in TensorRT: it is there between the border and a cast alone


def bits(axes: Sequence[int]) -> int:
    """Return axes as TensorRT's bit mask."""
    return sum(1 << axis for axis in axes)


class Layers:
    """Adds layers to a network; ``Net`` gives constants, sizes and checks."""

    library: TensorRT
    network: Any

    def tensor(self, operand: Operand, rank: int | None = None) -> ITensor:
        raise NotImplementedError

    def weights(self, handle: Handle) -> Any:
        raise NotImplementedError

    def derive(self, function: Callable[..., Any], *arguments: Any) -> list[Handle]:
        raise NotImplementedError

    def size_vector(self, sizes: Sequence[Size]) -> Any:
        raise NotImplementedError

    def size_tensor(self, size: Size) -> ITensor:
        raise NotImplementedError

    def _where(self) -> Any:
        raise NotImplementedError

    def done(
        self, layer: Any, dtype: torch.dtype, shape: Sequence[Size], computes: torch.dtype | None
    ) -> ITensor:
        raise NotImplementedError

    # Pointwise ------------------------------------------------------------------------------

    def activation(self, x: Operand, kind: str, alpha: float = 0.0, beta: float = 0.0) -> ITensor:
        x = self.tensor(x)
        if x.rank == 0 and not self.library.target.scalars_in_unary:
            row = self.activation(self.shuffle(x, shape=(1,)), kind, alpha, beta)
            return self.shuffle(row, shape=())
        layer = self.network.add_activation(
            x.handle, getattr(self.library.trt.ActivationType, kind)
        )
        if layer is not None:
            layer.alpha, layer.beta = alpha, beta
        return self.done(layer, x.dtype, x.shape, x.dtype)

    def unary(self, x: Operand, kind: str) -> ITensor:
        x = self.tensor(x)
        if x.rank == 0 and not self.library.target.scalars_in_unary:
            return self.shuffle(self.unary(self.shuffle(x, shape=(1,)), kind), shape=())
        layer = self.network.add_unary(x.handle, getattr(self.library.trt.UnaryOperation, kind))
        asks = kind in ("ISINF", "ISNAN", "NOT")
        return self.done(layer, torch.bool if asks else x.dtype, x.shape, x.dtype)

    def parametric_relu(self, x: Operand, slopes: Operand) -> ITensor:
        x, slopes = self.tensor(x), self.tensor(slopes)
        if x.rank == 0 and not self.library.target.scalars_in_unary:
            row, slope = (self.shuffle(t, shape=(1,)) for t in (x, slopes))
            return self.shuffle(self.parametric_relu(row, slope), shape=())
        layer = self.network.add_parametric_relu(x.handle, slopes.handle)
        return self.done(layer, x.dtype, x.shape, x.dtype)

    def elementwise(self, a: Operand, b: Operand, kind: str) -> ITensor:
        rank = max(a.rank, b.rank)
        a, b = self.tensor(a, rank), self.tensor(b, rank)
        operation = getattr(self.library.trt.ElementWiseOperation, kind)
        layer = self.network.add_elementwise(a.handle, b.handle, operation)
        dtype = torch.bool if kind in COMPARISONS else a.dtype
        inside = kind in PICKS or (kind in DIVISIONS and a.dtype == torch.uint8)
        computes = picked(a.dtype) if inside else a.dtype
        return self.done(layer, dtype, broadcast(kind, a.shape, b.shape), computes)

    def counted(self, indices: ITensor) -> ITensor:
        """Return indices, as many as only an execution can tell, as what may be an output.

        Seen on 8.6.0: where the layer that counts gives an output itself, the second execution asks
        for as much memory as the first needed, and writes beyond. A maximum with 0 changes nothing.
        """
        if self.library.target.strongly_typed:
            return indices
        return self.elementwise(indices, Handle(torch.tensor(0, dtype=torch.int32)), "MAX")

    def select(self, condition: Operand, a: Operand, b: Operand) -> ITensor:
        rank = max(condition.rank, a.rank, b.rank)
        c, x, y = (self.tensor(t, rank) for t in (condition, a, b))
        layer = self.network.add_select(c.handle, x.handle, y.handle)
        return self.done(layer, x.dtype, broadcast("where", c.shape, x.shape, y.shape), None)

    def cast(self, x: Operand, dtype: torch.dtype) -> ITensor:
        if isinstance(x, Handle):  # when it is made: its own type may be one that TensorRT lacks
            return self.tensor(self.derive(torch.Tensor.to, x, dtype)[0])
        if dtype in EIGHT_BITS and x.dtype not in (dtype, torch.bool):
            whole = x if x.dtype == torch.int64 else self.cast(x, torch.int32)
            return self.wrapped(whole, dtype, large=x.dtype in (torch.int32, torch.int64))
        kind, wanted = self.kind(x.dtype), self.kind(dtype)
        if kind == wanted:
            return ITensor(x.handle, dtype, x.shape)
        return self.done(self.network.add_cast(x.handle, wanted), dtype, x.shape, None)

    def wrapped(self, x: ITensor, dtype: torch.dtype, *, large: bool = False) -> ITensor:
        """Return int32 or int64 as an 8-bit type, modulo 256 as PyTorch's arithmetic is.

        Args:
            large: Whether entries may be beyond 2**24. There 8.6.0 was seen to leave -256 to 511
                in a fused kernel, as a quotient in float32 would; a second turn is exact.
        """

        def reduced(x: ITensor, step: int) -> ITensor:
            number = [Handle(torch.tensor(n, dtype=x.dtype)) for n in (step, 256)]
            quotient = self.elementwise(x, number[0], "FLOOR_DIV")
            return self.elementwise(x, self.elementwise(quotient, number[1], "PROD"), "SUB")

        inside = reduced(x, 256)  # 0 to 255; no step overflows
        if large:
            inside = reduced(inside, 256)
        if dtype == torch.int8:
            inside = reduced(inside, 128)  # 128 to 255 become -128 to -1
        return ITensor(self.cast(inside, torch.int32).handle, dtype, x.shape)

    def entered(self, x: ITensor) -> ITensor:
        """Return an 8-bit input of the network as it is inside."""
        # TensorRT documents casts of UINT8 to and from floats only.
        kinds = (torch.float32, torch.int32) if x.dtype == torch.uint8 else (torch.int32,)
        return ITensor(self._through(x, *kinds).handle, x.dtype, x.shape)

    def left(self, x: ITensor) -> ITensor:
        """Return an 8-bit value as it leaves the network."""
        whole = ITensor(x.handle, torch.int32, x.shape)
        if x.dtype == torch.uint8:
            whole = self._through(whole, torch.float32)
        kind = self.library.dtype(str(x.dtype).removeprefix("torch."))
        return self.done(self.network.add_cast(whole.handle, kind), x.dtype, x.shape, None)

    def _through(self, x: ITensor, *dtypes: torch.dtype) -> ITensor:
        for dtype in dtypes:
            layer = self.network.add_cast(x.handle, self.kind(dtype))
            x = self.done(layer, dtype, x.shape, None)
        return x

    def identity(self, x: Operand) -> ITensor:
        x = self.tensor(x)
        return self.done(self.network.add_identity(x.handle), x.dtype, x.shape, None)

    def kind(self, dtype: torch.dtype) -> Any:
        """Return TensorRT's DataType of a torch dtype."""
        return self.library.dtype(str(dtype).removeprefix("torch."))

    # Matrices and reductions ----------------------------------------------------------------

    def matmul(
        self, a: Operand, b: Operand, transpose_a: bool = False, transpose_b: bool = False
    ) -> ITensor:
        rank = max(a.rank, b.rank)
        a, b = self.tensor(a, rank), self.tensor(b, rank)
        operation = self.library.trt.MatrixOperation
        choose = (operation.NONE, operation.TRANSPOSE)
        layer = self.network.add_matrix_multiply(
            a.handle, choose[transpose_a], b.handle, choose[transpose_b]
        )
        rows = a.shape[-1] if transpose_a else a.shape[-2]
        columns = b.shape[-2] if transpose_b else b.shape[-1]
        batch = broadcast("matmul", a.shape[:-2], b.shape[:-2]) if rank > 2 else ()
        return self.done(layer, a.dtype, (*batch, rows, columns), a.dtype)

    def reduce(self, x: Operand, kind: str, axes: Sequence[int], keep_dims: bool) -> ITensor:
        x = self.tensor(x)
        if kind == "PROD" and x.dtype in EIGHT_BITS:
            # Seen on 8.6.0: a product that leaves int32 is not one modulo 2**32, nor 256.
            raise UnsupportedError(
                f"prod in {x.dtype}: TensorRT multiplies in int32, which many factors leave",
                hint="leave out dtype=, which makes it int64, or multiply entries with *",
                where=self._where(),
            )
        operation = getattr(self.library.trt.ReduceOperation, kind)
        layer = self.network.add_reduce(x.handle, operation, bits(axes), keep_dims)
        shape = [1 if i in axes else s for i, s in enumerate(x.shape) if keep_dims or i not in axes]
        computes = picked(x.dtype) if kind in PICKS else x.dtype
        return self.done(layer, x.dtype, shape, computes)

    def softmax(self, x: Operand, axis: int) -> ITensor:
        x = self.tensor(x)
        if x.rank < 2:  # 8.6.0: "at least 2 dimensions are required for input"
            row = self.shuffle(x, shape=(1, product(x.shape)))
            return self.shuffle(self.softmax(row, 1), shape=x.shape)
        layer = self.network.add_softmax(x.handle)
        if layer is not None:
            layer.axes = bits((axis,))
        return self.done(layer, x.dtype, x.shape, x.dtype)

    def attention(
        self, q: Operand, k: Operand, v: Operand, mask: Operand | None, causal: bool
    ) -> ITensor:
        q, k, v = self.tensor(q), self.tensor(k), self.tensor(v)
        norm = self.library.trt.AttentionNormalizationOp.SOFTMAX
        layer = self.network.add_attention(q.handle, k.handle, v.handle, norm, causal)
        if layer is not None:
            layer.decomposable = True
            if mask is not None:
                layer.mask = self.tensor(mask, 4).handle
        return self.done(layer, q.dtype, (*q.shape[:-1], v.shape[-1]), q.dtype)

    # Movement -------------------------------------------------------------------------------

    def shuffle(
        self,
        x: Operand,
        first: Sequence[int] | None = None,
        shape: Sequence[Size] | None = None,
        second: Sequence[int] | None = None,
    ) -> ITensor:
        x = self.tensor(x)
        layer = self.network.add_shuffle(x.handle)
        moved = tuple(x.shape[i] for i in first) if first is not None else x.shape
        result = moved if shape is None else tuple(shape)
        if layer is not None:
            if first is not None:
                layer.first_transpose = tuple(first)
            if shape is not None:
                static = placeholders(result, moved if first is None else ())
                if static is not None:
                    layer.reshape_dims = static
                else:
                    # A size that is 0 at run time means 0 here, not "as in the input".
                    layer.zero_is_placeholder = False
                    layer.set_input(1, self.size_vector(result))
            if second is not None:
                layer.second_transpose = tuple(second)
        out = result if second is None else tuple(result[i] for i in second)
        return self.done(layer, x.dtype, out, None)

    def slice(
        self,
        x: Operand,
        start: Sequence[Size],
        size: Sequence[Size],
        stride: Sequence[Size],
        mode: str = "STRICT_BOUNDS",
        fill: Operand | None = None,
    ) -> ITensor:
        x = self.tensor(x)
        fields = [tuple(start), tuple(size), tuple(stride)]
        given = [f if is_static(f) else (1,) * len(f) for f in fields]
        layer = self.network.add_slice(x.handle, *given)
        if layer is not None:
            layer.mode = getattr(self.library.trt.SampleMode, mode)
            for index, values in enumerate(fields, start=1):
                if not is_static(values):
                    layer.set_input(index, self.size_vector(values))
            if fill is not None:
                layer.set_input(4, self.tensor(fill).handle)
        return self.done(layer, x.dtype, size, None)

    def expand(self, x: Operand, shape: Sequence[Size]) -> ITensor:
        """Repeat dims of size 1: a slice with stride 0."""
        x = self.tensor(x, len(shape))
        stride = [0 if a == 1 and b != 1 else 1 for a, b in zip(x.shape, shape, strict=True)]
        return self.slice(x, (0,) * len(shape), shape, stride)

    def concat(self, tensors: Sequence[Operand], axis: int) -> ITensor:
        parts = [self.tensor(t) for t in tensors]
        layer = self.network.add_concatenation([p.handle for p in parts])
        if layer is not None:
            layer.axis = axis
        total: Size = 0
        for part in parts:
            total = total + part.shape[axis]
        shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
        return self.done(layer, parts[0].dtype, shape, None)


def picked(dtype: torch.dtype) -> torch.dtype | None:
    """Return what a layer that picks entries computes in; integers stay what they are."""
    return dtype if dtype.is_floating_point else None


def is_static(sizes: Sequence[Size]) -> bool:
    return all(isinstance(s, int) for s in sizes)


def placeholders(shape: tuple[Size, ...], given: tuple[Size, ...]) -> tuple[int, ...] | None:
    """Return a reshape as ints, 0 (same as input) and at most one -1; None where that can't say it.

    >>> placeholders((2, 3), ())
    (2, 3)
    """
    if any(s == 0 for s in shape):
        return None
    result = [
        s if isinstance(s, int) else 0 if i < len(given) and given[i] == s else -1
        for i, s in enumerate(shape)
    ]
    others = [size for size, given_as in zip(shape, result, strict=True) if given_as != -1]
    # TensorRT cannot compute a -1 beside a size that is 0 at run time.
    sure = len(others) == len(shape) or bounds(product(others))[0] > 0
    return tuple(result) if result.count(-1) <= 1 and sure else None
