"""Triton kernels that are compiled ahead, as TensorRT launches them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtnn.errors import AbsentError, UnsupportedError


@dataclass(frozen=True)
class Compiled:
    """A kernel as PTX.

    Attributes:
        threads: Of a block.
        shared: Bytes of shared memory.
    """

    name: str
    ptx: str
    threads: int
    shared: int


def compiled(
    kernel: Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    options: Mapping[str, Any],
    target: Any = None,
) -> Compiled:
    """Compile a kernel for the GPU at hand.

    Args:
        kernel: A function under ``triton.jit``.
        signature: The types of its parameters, constants left out.
        options: Triton's, such as ``num_warps``.
        target: Triton's ``GPUTarget``, for where no GPU is at hand.

    Raises:
        AbsentError: Triton is not installed.
        UnsupportedError: The kernel needs memory of its own.
    """
    try:
        triton = importlib.import_module("triton.compiler")
    except ImportError as error:
        raise AbsentError(
            f"Triton cannot be imported: {error}", hint="pip install triton"
        ) from error
    typed = {**signature, **dict.fromkeys(constants, "constexpr")}
    ordered = {name: typed[name] for name in kernel.arg_names}
    source = triton.ASTSource(fn=kernel, signature=ordered, constexprs=dict(constants))
    made = triton.compile(source, target=target, options=dict(options))
    name = made.metadata.name
    ptx = with_parameters(made.asm["ptx"], name, len(signature))
    return Compiled(name, ptx, made.metadata.num_warps * 32, made.metadata.shared)


def with_parameters(ptx: str, name: str, count: int) -> str:
    """Return PTX whose kernel has its own parameters alone.

    Triton adds pointers to scratch memory, which its own launcher gives and TensorRT does not.

    Raises:
        UnsupportedError: The kernel reads them.

    >>> with_parameters(".entry k(.param .u32 k_0, .param .u64 k_1) { ld k_0 }", "k", 1)
    '.entry k(.param .u32 k_0) { ld k_0 }'
    """
    found = re.search(rf"\.entry\s+{re.escape(name)}\s*\(([^)]*)\)", ptx)
    parameters = found[1].split(",") if found is not None else []
    if found is None or len(parameters) < count:
        raise UnsupportedError(f"triton_op {name}: its PTX has {len(parameters)} parameters")
    rest = ptx[: found.start(1)] + ptx[found.end(1) :]
    for parameter in parameters[count:]:
        own = parameter.split()[-1]
        if re.search(rf"(?<![\w$]){re.escape(own)}(?![\w$])", rest):
            raise UnsupportedError(
                f"triton_op {name}: the kernel needs scratch memory, which TensorRT does not give",
                hint="leave out tensor descriptors that it makes, and profiling",
            )
    kept = ",".join(parameters[:count])
    end = "\n" if kept.startswith("\n") and count < len(parameters) else ""
    if count == len(parameters):
        return ptx
    return ptx[: found.start(1)] + kept + end + ptx[found.end(1) :]
