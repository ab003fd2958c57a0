"""A kernel of a user's as a plugin of its own, which ``tensorrt.plugin`` is told of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtnn.sizes.dims import Size
from trtnn.sizes.expressions import fold
from trtnn.trt.triton_kernels import compiled

OURS = "trtnn"
"""The namespace of these plugins, whose names say all that they are made of."""


@dataclass(frozen=True, eq=False)
class Written:
    """What a kernel is compiled with, launched with, and gives.

    Attributes:
        signature: The types of its parameters: inputs, numbers, results.
        constants: Its other parameters.
        inputs: How many there are.
        results: Dtypes, by TensorRT's names, and shapes.
        numbers: What it is given beside tensors.
        grid: How many blocks there are.
        places: Which size of which input a symbol is.
    """

    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    options: Mapping[str, Any]
    inputs: int
    results: tuple[tuple[str, tuple[Size, ...]], ...]
    numbers: tuple[Size, ...]
    grid: tuple[Size, Size, Size]
    places: Mapping[str, tuple[int, int]]


def register(trt: Any, module: Any, plugin_id: str, written: Written) -> None:
    """Register a kernel with ``tensorrt.plugin``.

    Args:
        module: ``tensorrt.plugin``.
    """
    names = [f"x{index}" for index in range(written.inputs)]

    def describe(*tensors: Any) -> Any:
        size = _sizes(module, written, tensors)
        return tuple(
            module.from_shape_expr(tuple(map(size, shape)), getattr(trt.DataType, dtype))
            for dtype, shape in written.results
        )

    def compile_ahead(*given: Any, **named: Any) -> Any:
        size = _sizes(module, written, given[: written.inputs])
        made = compiled(written.kernel, written.signature, written.constants, written.options)
        launch = module.KernelLaunchParams()
        launch.grid_x, launch.grid_y, launch.grid_z = map(size, written.grid)
        launch.block_x, launch.shared_mem = made.threads, made.shared
        numbers = module.SymIntExprs(len(written.numbers))
        for index, number in enumerate(written.numbers):
            numbers[index] = module.SymInt32(size(number))
        return made.name, made.ptx, launch, numbers

    kind, kinds = module.TensorDesc, module.KernelLaunchParams
    several = tuple[(kind,) * len(written.results)]  # type: ignore[valid-type,misc]
    _sign(describe, dict.fromkeys(names, kind), several)
    empty = inspect.Parameter.empty
    wanted = dict.fromkeys([*names, "outputs", "tactic"], empty)
    _sign(compile_ahead, wanted, tuple[str, str, kinds, module.SymIntExprs])  # type: ignore[valid-type]
    module.register(plugin_id)(describe)
    module.aot_impl(plugin_id)(compile_ahead)


def _sign(function: Callable[..., Any], parameters: Mapping[str, Any], returned: Any) -> None:
    """Give a function the signature that ``tensorrt.plugin`` reads."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    made = [inspect.Parameter(n, kind, annotation=a) for n, a in parameters.items()]
    function.__signature__ = inspect.Signature(made, return_annotation=returned)  # type: ignore[attr-defined]


def _sizes(module: Any, written: Written, tensors: Sequence[Any]) -> Callable[[Size], Any]:
    """Return what writes a size as TensorRT computes it: of the sizes of the inputs."""
    table: dict[str, Callable[[Any, Any], Any]] = {
        "add": lambda a, b: a + b,
        "mul": lambda a, b: a * b,
        "floor_div": lambda a, b: a // b,
        "mod": lambda a, b: a - (a // b) * b,
        "max": module.max,
        "min": module.min,
    }

    def leaf(x: Any) -> Any:
        if not x.is_Symbol:
            return module.ShapeExpr(int(x))
        index, axis = written.places[x.name]
        return tensors[index].shape_expr[axis]

    def size(given: Size) -> Any:
        return given if isinstance(given, int) else fold(given.sym, leaf, table)

    return size
