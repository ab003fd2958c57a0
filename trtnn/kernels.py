"""``triton_op``: a Triton kernel as a layer, compiled into the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.errors import OptionError, ShapeError, UnsupportedError
from trtnn.flow.bodies import filled, recorder_for
from trtnn.ops.op import Spec, as_size, has_sizes
from trtnn.ops.plugins import Plugin, name_of
from trtnn.plugins import computed, inferred, specs_given
from trtnn.sizes.dims import Size, bounds, symbols
from trtnn.trt.plugins import Key
from trtnn.trt.tensors import DTYPES
from trtnn.trt.written import OURS, Written

INT32 = torch.iinfo(torch.int32)
# What Triton calls the types of tensors.
POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
}
Grid = Sequence[Any] | Callable[[dict[str, Any]], Sequence[Any]]


@dataclass(frozen=True)
class TritonFunction:
    """A Triton kernel as a function of tensors; ``triton_op`` makes it."""

    kernel: Any
    grid: Any
    infer: Callable[..., Any]
    reference: Callable[..., Any] | None
    options: tuple[tuple[str, int], ...]

    @property
    def __name__(self) -> str:
        return str(self.kernel.__name__)

    @property
    def title(self) -> str:
        """What errors call it."""
        return f"triton_op {self.__name__}"

    def __call__(self, *inputs: torch.Tensor, **arguments: Any) -> Any:
        """Return what the kernel gives.

        Args:
            arguments: The kernel's other parameters by name: constants (``tl.constexpr``) and ints
                of 32 bits, which may be sizes.

        Raises:
            OptionError: A parameter that is missing, unknown or of another type or order.
            DTypeError: An input is no tensor, or of a type that kernels do not take.
            UnsupportedError: It is called on tensors themselves, and has no reference.
        """
        specs = specs_given(self.title, inputs)
        constants, numbers = self._told(len(inputs), arguments)
        recorder = recorder_for(inputs)
        if recorder is None:
            return computed(self.title, self.infer, self.reference, inputs)
        given = dict(zip(self.kernel.arg_names, inputs, strict=False)) | arguments
        grid = self._blocks(self.grid(given) if callable(self.grid) else self.grid)
        body = inferred(recorder, self.title, self.infer, specs)
        outputs = [value.spec for value in body.graph.outputs]
        written = self._written(specs, outputs, constants, numbers, grid)
        made = recorder.record(self._op(specs, outputs, written), inputs)
        return filled(body, made)

    # What is checked when it is traced ------------------------------------------------------

    def _told(
        self, inputs: int, arguments: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Size]]:
        """Return the constants and the numbers of a call."""
        parameters = {p.name: bool(p.is_constexpr) for p in self.kernel.params}
        if strange := [name for name in arguments if name not in parameters]:
            listed = ", ".join(parameters)
            raise OptionError(
                f"{self.title}: there is no parameter {strange[0]!r}; it has {listed}"
            )
        missing = [n for n, constant in parameters.items() if constant and n not in arguments]
        if missing:
            raise OptionError(f"{self.title}: the constant {missing[0]!r} is not given")
        constants = {n: self._constant(n, v) for n, v in arguments.items() if parameters[n]}
        numbers = {n: self._number(n, v) for n, v in arguments.items() if not parameters[n]}
        return constants, numbers

    def _constant(self, name: str, value: Any) -> Any:
        if type(value) not in (bool, int, float, str):
            raise OptionError(
                f"{self.title}: the constant {name!r} is {value!r}; expected a number or a str",
                hint="a tl.constexpr is fixed when the kernel is compiled: no size of a Dim is",
            )
        return value

    def _number(self, name: str, value: Any) -> Size:
        if isinstance(value, (bool, float, torch.Tensor)) or not isinstance(
            value, (int, torch.SymInt)
        ):
            raise OptionError(
                f"{self.title}: the number {name!r} is {value!r}; expected an int, or a size",
                hint="TensorRT gives kernels ints alone: let others be tl.constexpr, or tensors",
            )
        size = as_size(value)
        low, high = bounds(size)
        if low < INT32.min or high > INT32.max:
            raise OptionError(f"{self.title}: the number {name!r} may be {high}, beyond 32 bits")
        return size

    def _blocks(self, given: Any) -> tuple[Size, Size, Size]:
        """Return how many blocks there are, in three dimensions."""
        if not isinstance(given, (tuple, list)) or not 1 <= len(given) <= 3:
            raise OptionError(f"{self.title}: expected a grid of one to three ints, got {given!r}")
        sizes = [self._number(f"grid[{axis}]", size) for axis, size in enumerate(given)]
        for axis, size in enumerate(sizes):
            if bounds(size)[0] < 1:
                raise ShapeError(
                    f"{self.title}: grid[{axis}] is {size}, which may be {bounds(size)[0]}",
                    sizes=(size,),
                )
        first, second, third = [*sizes, 1, 1][:3]
        return first, second, third

    def _written(
        self,
        inputs: list[Spec],
        outputs: list[Spec],
        constants: dict[str, Any],
        numbers: dict[str, Size],
        grid: tuple[Size, Size, Size],
    ) -> Written:
        names = [p.name for p in self.kernel.params if not p.is_constexpr]
        order = names[len(inputs) : len(names) - len(outputs)]
        if order != [name for name in names if name in numbers]:
            raise OptionError(
                f"{self.title}: its parameters are {', '.join(names)}; expected {len(inputs)} "
                f"inputs, then the numbers {', '.join(numbers) or '(none)'}, then {len(outputs)} "
                "results, as TensorRT gives them",
            )
        pointers = [POINTERS[spec.dtype] for spec in (*inputs, *outputs)]
        types = [*pointers[: len(inputs)], *["i32"] * len(order), *pointers[len(inputs) :]]
        sizes = [*grid, *numbers.values(), *(s for spec in outputs for s in spec.shape)]
        return Written(
            self.kernel,
            dict(zip(names, types, strict=True)),
            constants,
            dict(self.options),
            len(inputs),
            tuple((DTYPES[name_of(spec.dtype)], spec.shape) for spec in outputs),
            tuple(numbers[name] for name in order),
            grid,
            self._places(inputs, sizes),
        )

    def _places(self, inputs: list[Spec], sizes: list[Size]) -> dict[str, tuple[int, int]]:
        """Return which size of which input each Dim is."""
        known = {
            str(size): (index, axis)
            for index, spec in reversed(list(enumerate(inputs)))
            for axis, size in enumerate(spec.shape)
            if has_sizes((size,))
        }
        needed = {symbol.name for size in sizes for symbol in symbols(size)}
        if strange := sorted(needed - known.keys()):
            raise UnsupportedError(
                f"{self.title}: no input has the size {strange[0]}, which it is launched by",
                hint="give it a tensor of that size",
            )
        return {name: known[name] for name in needed}

    def _op(self, inputs: list[Spec], outputs: list[Spec], written: Written) -> Plugin:
        parts = [
            *(self.kernel.cache_key, written.signature, written.constants, written.options),
            *(inputs, outputs, written.numbers, written.grid, sorted(written.places.items())),
        ]
        digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
        return Plugin(
            *Key(f"{self.__name__}_{digest[:16]}", "1", OURS),
            (),
            tuple(spec.dtype for spec in inputs),
            tuple(spec.shape for spec in outputs),
            tuple(spec.dtype for spec in outputs),
            self.reference,
            written,
        )


def triton_op(
    kernel: Any,
    grid: Grid,
    *,
    infer: Callable[..., Any],
    reference: Callable[..., Any] | None = None,
    num_warps: int = 4,
    num_stages: int = 3,
) -> TritonFunction:
    """Return a Triton kernel as a function of tensors, for ``forward`` to call.

    On TensorRT 10 and later it becomes a layer whose compiled kernel is in the plan: whoever loads
    that needs neither Triton nor Python. The kernel's parameters are its inputs, then ints of 32
    bits, then its results, in this order, as TensorRT gives them; constants stand anywhere.

    Args:
        kernel: A function under ``triton.jit``.
        grid: One to three ints or sizes, or a function of the arguments by name that returns them,
            as Triton has it.
        infer: A function of the inputs that returns tensors of the shapes and dtypes of the
            results; what is in them does not count.
        reference: A function of the inputs that computes the same with PyTorch; it may launch the
            kernel itself. Without one an engine that holds it cannot be verified.
        num_warps: Triton's.
        num_stages: Triton's.

    Raises:
        OptionError: ``kernel`` is no such function, or another argument is none of these.

    With Triton installed::

        @triton.jit
        def double(x, n, y, BLOCK: tl.constexpr):
            at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
            tl.store(y + at, 2 * tl.load(x + at, mask=at < n), mask=at < n)

        op = trtnn.triton_op(double, lambda a: (triton.cdiv(a["n"], a["BLOCK"]),),
                             infer=torch.empty_like, reference=lambda x: 2 * x)
        y = op(x, n=x.numel(), BLOCK=128)  # in forward
    """
    if not all(hasattr(kernel, name) for name in ("arg_names", "params", "cache_key")):
        kind = type(kernel).__name__
        raise OptionError(f"triton_op: expected a function under triton.jit, got {kind}")
    title = f"triton_op {kernel.__name__}"
    for what, function in (("infer", infer), ("reference", reference)):
        if not callable(function) and (what == "infer" or function is not None):
            raise OptionError(f"{title}: expected a function as {what}, got {function!r}")
    for what, number in (("num_warps", num_warps), ("num_stages", num_stages)):
        if type(number) is not int or number < 1:
            raise OptionError(f"{title}: expected an int of 1 or more as {what}, got {number!r}")
    options = (("num_warps", num_warps), ("num_stages", num_stages))
    return TritonFunction(kernel, grid, infer, reference, options)
