"""``Net``: lowers a graph to TensorRT layer calls, one node after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from trtnn.errors import BuildError, GraphError, UnsupportedError
from trtnn.graph.graph import Graph, Node, Value, all_nodes
from trtnn.graph.program import ProgramBuilder
from trtnn.lower.border import add_input, mark_debug, mark_output
from trtnn.lower.layers import DOUBLE, EIGHT_BITS, Handle, ITensor, Operand
from trtnn.lower.naming import shortened, value_names
from trtnn.lower.particular import Particular
from trtnn.lower.picking import Picking
from trtnn.lower.plugins import Plugins
from trtnn.lower.quantization import Quantization, loose_nodes
from trtnn.lower.recipes import Stored, named, stored
from trtnn.lower.scopes import Enter, Scopes, require_silence, used_values
from trtnn.lower.windows import Windows
from trtnn.ops.quantization import QuantizeDequantize
from trtnn.sizes.dims import Dim, Expr, Size, bounds
from trtnn.sizes.expressions import fold, parts_of
from trtnn.sizes.solutions import Given, Solution, solve
from trtnn.trt.library import TensorRT

__all__ = ["ITensor", "Net", "lower"]

INT32 = torch.iinfo(torch.int32)


class Net(Windows, Picking, Quantization, Particular, Plugins, Scopes):
    """A TensorRT network under construction, with everything that must live until it is built."""

    def __init__(self, library: TensorRT, network: Any, graph: Graph) -> None:
        self.library, self.network, self.graph = library, network, graph
        self.target = library.target
        self.index_dtype: torch.dtype = getattr(torch, self.target.index_dtype)
        nodes = list(all_nodes(graph))
        self.used = used_values(graph)
        values = (*graph.values(), *(v for n in nodes for v in n.outputs))
        self.half = any(v.spec.dtype in (torch.float16, torch.bfloat16) for v in values)
        self.dequantized = {v for n in nodes if is_quantized(n) for v in n.outputs}
        self.quantized = bool(self.dequantized)
        self.loose = loose_nodes(graph, self.dequantized)
        self.node: Node | None = None
        self.nodes: dict[str, Node] = {}
        self.names: dict[str, int] = {}
        self.named: dict[int, Any] = {}
        self.held: list[Any] = []
        self.program = ProgramBuilder(graph.program)
        self.arrays: dict[tuple[Any, ...], Stored] = {}
        self.starts: dict[int, tuple[int, int, torch.dtype]] = {}
        self.constants: dict[tuple[Any, ...], ITensor] = {}
        self.sizes: dict[Any, ITensor] = {}
        self.sources: dict[str, tuple[ITensor | None, Given, Solution]] = {}
        self.around: list[tuple[dict[Any, ITensor], Enter]] = []
        self.hosts: dict[str, Any] = {}
        self.debug: tuple[str, ...] = ()

    # Constants ------------------------------------------------------------------------------

    def tensor(self, operand: Operand, rank: int | None = None) -> ITensor:
        """Return an operand as a tensor of at least ``rank`` dims, ones put in front."""
        rank = max(operand.rank, rank or 0)
        padded = (*(1,) * (rank - operand.rank), *operand.shape)
        if isinstance(operand, ITensor):
            return operand if rank == operand.rank else self.shuffle(operand, shape=padded)
        tensor = operand.tensor
        key = (*_identity(operand), rank)
        if key not in self.constants and tensor.numel() == 0:
            # A constant holds one entry at least: none of it is taken.
            one = self.tensor(Handle(torch.zeros((1,) * rank, dtype=tensor.dtype)))
            self.constants[key] = self.slice(one, (0,) * rank, padded, (0,) * rank)
        if key not in self.constants:
            handle = self.weights(operand)
            layer = self.network.add_constant(padded, handle)
            self.constants[key] = ITensor(self._named(layer), tensor.dtype, padded)
        return self.constants[key]

    def weights(self, handle: Handle) -> Any:
        """Return a constant as weights, held here until the engine is built."""
        key = _identity(handle)
        if key not in self.arrays:
            made = stored(handle.tensor, handle.slot, self.target, self._where())
            # TensorRT names weights by where they start, and would mix up two of different sizes.
            if self.starts.setdefault(made.place[0], made.place) != made.place:
                made = made.elsewhere()
            self.arrays[key] = made
            self.held.append(handle.tensor)  # the key holds its address
        return self.library.weights(*self.arrays[key].content)

    def derive(self, function: Callable[..., Any], *arguments: Any) -> list[Handle]:
        """Return what a function makes of constants; a refit calls it again with the new ones."""
        made = self.program.compute(function, arguments, Handle)
        return [Handle(tensor, slot) for tensor, slot in made]

    def scalar(self, value: float, like: ITensor) -> ITensor:
        """Return a one-element constant of the dtype and rank of ``like``."""
        tensor = torch.tensor(value, dtype=like.dtype)
        key = ("scalar", value, like.dtype, like.rank)
        if key not in self.constants:
            self.constants[key] = self.tensor(Handle(tensor), like.rank)
        return self.constants[key]

    def kind(self, dtype: torch.dtype) -> Any:
        """Return TensorRT's DataType of a torch dtype, as it is inside a network.

        Raises:
            UnsupportedError: This TensorRT has none.
        """
        dtype = torch.int32 if dtype in EIGHT_BITS else dtype
        name = str(dtype).removeprefix("torch.")
        if not self.target.has_dtype(name) and dtype != DOUBLE:
            raise UnsupportedError(f"{self.target.name} has no {name}", where=self._where())
        return super().kind(dtype)

    def name_weights(self, refit: str) -> dict[str, Stored]:
        """Name the weights of layers for a refit, and return them by name."""
        found = named(self.arrays.values(), self.program.finish())
        for name, constant in found.items():
            weights = self.library.weights(*constant.content)
            mark = refit == "individual" and constant.slot is not None
            self.library.name_weights(self.network, weights, name, mark=mark)
        return found

    # Sizes ----------------------------------------------------------------------------------

    def size(self, size: Size) -> int | ITensor:
        """Return an int if static, else one shape tensor of one element, shared."""
        return size if isinstance(size, int) else self._size(size)

    def _size(self, size: Size) -> ITensor:
        key = size.sym if isinstance(size, Expr) else size
        if key not in self.sizes:
            self.sizes[key] = self._compute(size)
        return self.sizes[key]

    def _compute(self, size: Size) -> ITensor:
        if isinstance(size, int):
            return self.tensor(Handle(torch.tensor([size], dtype=self.index_dtype)))
        low, high = bounds(size)
        if self.target.index_dtype == "int32" and max(abs(low), abs(high)) > INT32.max:
            raise UnsupportedError(
                f"the size {size} may reach {high}, beyond int32 on {self.target.name}",
                where=self._where(),
            )
        if size.sym.is_Symbol:
            return self._symbol(size.sym)

        def operation(kind: str) -> Any:
            return lambda a, b: self.elementwise(a, b, kind)

        def modulo(a: ITensor, n: ITensor) -> ITensor:
            quotient = self.elementwise(a, n, "FLOOR_DIV")
            return self.elementwise(a, self.elementwise(quotient, n, "PROD"), "SUB")

        table = {
            "add": operation("SUM"),
            "mul": operation("PROD"),
            "floor_div": operation("FLOOR_DIV"),
            "max": operation("MAX"),
            "min": operation("MIN"),
            "mod": modulo,
        }
        parts = {part: self._size(Expr(part)) for part in parts_of(size.sym) if part != size.sym}
        result: ITensor = fold(
            size.sym,
            lambda x: self._size(Expr(x) if x.is_Symbol else int(x)),
            table,
            parts.get,
        )
        return result

    def _symbol(self, symbol: Any) -> ITensor:
        if self.around:
            return self.size_around(Expr(symbol))
        if symbol.name not in self.sources:
            raise GraphError(f"no input or output gives the size {symbol.name}")
        tensor, given, solution = self.sources[symbol.name]
        if tensor is None or given.axis is None:
            return self._host_input(given.name)
        shape = self.done(
            self.network.add_shape(tensor.handle), self.index_dtype, (tensor.rank,), None
        )
        part = self.slice(shape, (given.axis,), (1,), (1,))
        if solution.rest != 0:
            part = self.elementwise(part, self._size(solution.rest), "SUB")
        if solution.slope != 1:
            part = self.elementwise(part, self._size(solution.slope), "FLOOR_DIV")
        return part

    def _host_input(self, name: str) -> ITensor:
        """Add a host input, now that something needs it: TensorRT drops one without a use."""
        handle = self.network.add_input(name, self.kind(self.index_dtype), (1,))
        if handle is None:
            raise BuildError(f"TensorRT refused input {name}: {self.library.log.take()}")
        self.hosts[name] = handle
        return ITensor(handle, self.index_dtype, (1,))

    def shape_inputs(self) -> dict[str, Dim]:
        """Return the Dims of the host inputs whose values shapes need, by name."""
        dims = self.graph.hosts
        return {name: dims[name] for name, x in self.hosts.items() if x.is_shape_tensor}

    def size_vector(self, sizes: Sequence[Size]) -> Any:
        """Return the TensorRT tensor of several sizes, shared by equal ones."""
        key = tuple(s.sym if isinstance(s, Expr) else s for s in sizes)
        if key not in self.sizes:
            parts: list[Operand] = []
            run: list[int] = []
            for size in (*sizes, None):
                if isinstance(size, int):
                    run.append(size)
                    continue
                if run:
                    parts.append(Handle(torch.tensor(run, dtype=self.index_dtype)))
                    run = []
                if size is not None:
                    parts.append(self._size(size))
            one = self.tensor(parts[0]) if len(parts) == 1 else self.concat(parts, 0)
            self.sizes[key] = one
        return self.sizes[key].handle

    def size_tensor(self, size: Size) -> ITensor:
        """Return a size as a scalar int64 tensor."""
        return self.cast(self.shuffle(self._size(size), shape=()), torch.int64)

    def fill(self, shape: Sequence[Size], number: torch.Tensor) -> ITensor:
        """Return a tensor whose entries all are the scalar ``number``."""
        # Seen on 8.6.0: of two repeated halves, 0 and 1, both came out as 1.
        wide = shape and number.dtype == torch.float16 and not self.target.strongly_typed
        value = self.tensor(Handle(number.float() if wide else number), len(shape))
        return self.cast(self.expand(value, shape) if shape else value, number.dtype)

    # Layers ---------------------------------------------------------------------------------

    def checked(self, node: Node, value: Value, result: Operand) -> ITensor:
        return _check(self, node, value, self.tensor(result))

    def done(
        self, layer: Any, dtype: torch.dtype, shape: Sequence[Size], computes: torch.dtype | None
    ) -> ITensor:
        """Check, name and type a new layer, and return its output.

        Args:
            computes: The type that it computes in; None for one that only moves entries: those
                of 8 bits then stay in their range.
        """
        output = self._named(layer)
        if self.half and not self.target.strongly_typed and not self._is_free():
            # Seen on 8.6.0: beside half values, a float32 tensor that only moves travels as half.
            kind = dtype if computes is None and dtype is torch.float32 else computes
            loose = kind is torch.float16 and self.node in self.loose
            if kind is not None and kind.is_floating_point and not loose:
                name = str(kind).removeprefix("torch.")
                self.library.constrain(layer, name, output=dtype == kind)
        if dtype in EIGHT_BITS and computes is not None:
            return self.wrapped(ITensor(output, torch.int32, tuple(shape)), dtype)
        return ITensor(output, dtype, tuple(shape))

    def _is_free(self) -> bool:
        """Say whether a layer takes what Dequantize gives: its precision is that of 8 bits then.

        8.6 has no output type of Dequantize: a precision after it would be a cast between them.
        """
        node = self.node
        return node is not None and (
            is_quantized(node) or not self.dequantized.isdisjoint(node.inputs)
        )

    def _named(self, layer: Any) -> Any:
        """Check and name a new layer, and return its output."""
        self.no_output(layer)
        return layer.get_output(0)

    def no_output(self, layer: Any) -> None:
        """Check and name a new layer."""
        if layer is None:
            lines = self.library.log.take()
            raise BuildError(
                f"TensorRT refused a layer of {self._label()}: {lines}", where=self._where()
            )
        layer.name = self._name()
        if self.target.strongly_typed:  # which names what it fuses by words of its own
            layer.metadata = layer.name

    def name_tensor(self, tensor: ITensor, name: str) -> None:
        """Name a tensor after the first value that it stands for; an input has its name."""
        handle = tensor.handle
        if not handle.is_network_input and id(handle) not in self.named:
            self.named[id(handle)] = handle
            handle.name = name

    def _label(self) -> str:
        return self.node.label if self.node is not None else "sizes"

    def _where(self) -> Any:
        return self.node.origin.source if self.node is not None else None

    def _name(self) -> str:
        label = shortened(self._label())
        count = self.names[label] = self.names.get(label, -1) + 1
        name = f"{label}#{count}" if count else label
        if self.node is not None:
            self.nodes[name] = self.node
        return name


def is_quantized(node: Node) -> bool:
    """Say whether a node is rounded to 8 bits."""
    return isinstance(node.op, QuantizeDequantize)


def _identity(handle: Handle) -> tuple[Any, ...]:
    """Return what equal constants have in common, also where the module's state is another."""
    tensor = handle.tensor
    if tensor.numel() <= 16 and handle.slot is None:
        return (tensor.dtype, tuple(tensor.shape), str(tensor.tolist()))
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def lower(graph: Graph, library: TensorRT, network: Any, *, debug: int = 0) -> Net:
    """Write ``graph`` into ``network``; the result must live until the engine is built.

    Args:
        debug: How many of the last outputs the network does not give: the engine tells of them.

    Raises:
        UnsupportedError: This TensorRT cannot express a node; the error has the user's line.
        BuildError: TensorRT refused a layer.
    """
    net = Net(library, network, graph)
    library.log.take()
    tensors: dict[Value, Operand] = {
        value: Handle(constant.tensor, constant.slot) for value, constant in graph.constants.items()
    }
    inputs = {v.name: add_input(net, v, graph.formats.get(v.name)) for v in graph.inputs}
    tensors.update(zip(graph.inputs, inputs.values(), strict=True))
    integers = graph.integers()
    for solution in solve(integers):
        given = integers[solution.index]
        net.sources[solution.symbol.name] = (inputs.get(given.name), given, solution)
    names = value_names(graph)
    for node in graph.nodes:
        net.lower_node(node, tensors)
        for value in (v for v in node.outputs if v in tensors):
            tensor = net.tensor(tensors[value])
            net.name_tensor(tensor, names[value])
            for axis, size in enumerate(value.spec.shape):
                if isinstance(size, Expr) and size.sym.is_Symbol:
                    source = tensors[value], Given(value.name, axis, size), Solution(size.sym, 0)
                    net.sources.setdefault(size.sym.name, source)  # type: ignore[arg-type]
    net.node = None
    shown = len(graph.outputs) - debug
    for index, value in enumerate(graph.outputs):
        tensor = net.tensor(tensors[value])
        constant = any(tensor.handle is made.handle for made in net.constants.values())
        if index < shown:
            mark_output(net, index, tensor, constant=constant)
        else:
            name = mark_debug(net, index - shown, tensor, constant=constant)
            net.debug = (*net.debug, name)
    require_silence(net)
    return net


def _check(net: Net, node: Node, value: Value, result: ITensor) -> ITensor:
    """Compare what the lowering made with what the graph says."""
    spec = value.spec
    shape: tuple[int, ...] | None
    try:
        shape = tuple(result.handle.shape)
    except (ValueError, RuntimeError):  # TensorRT cannot infer it: 8.6 and 10, and 11
        shape = None
    fits = (
        shape is not None
        and len(shape) == spec.rank
        and all(
            given == -1 or not isinstance(size, int) or given == size
            for given, size in zip(shape, spec.shape, strict=True)
        )
    )
    told = not net.target.tells_types_at_once or result.handle.dtype == net.kind(spec.dtype)
    if not fits or not told or result.dtype != spec.dtype:
        lines = net.library.log.take()
        found = result.dtype if told else result.handle.dtype
        raise BuildError(
            f"{node.label}: TensorRT has {shape} {found}, the graph {spec} {lines}",
            where=node.origin.source,
        )
    return ITensor(result.handle, spec.dtype, spec.shape)
