"""``trtnn build`` and ``trtnn run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy
import torch
import typer
from rich.console import Console
from rich.table import Table

from trtnn.building import build
from trtnn.errors import InputError
from trtnn.terminal.targets import (
    Backend,
    Factory,
    Inputs,
    Option,
    Precision,
    Seed,
    Target,
    build_options,
    declared,
    opened,
    say,
)
from trtnn.tools.factories import module_of
from trtnn.tools.spelling import read_inputs
from trtnn.tree import flatten

commands = typer.Typer()


@commands.command("build")
def build_file(
    factory: Factory,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    inputs: Inputs = None,
    precision: Precision = "tf32",
    backend: Annotated[str, typer.Option(help="tensorrt or tensorrt_rtx.")] = "tensorrt",
    compute_capabilities: Annotated[
        str, typer.Option(help="The GPUs that tensorrt_rtx builds for, as 8.9,12.0.")
    ] = "",
    option: Option = None,
    execution: Annotated[str, typer.Option(help="sync, async or graph.")] = "sync",
) -> None:
    """Compile a module into a file.

    \b
    trtnn build net:make -i "x:batch=1..8..32,3,224,224" -o net.trtnn
    trtnn build net:make -i "ids:n=1..4..8,128:int64[0..999]" -o net.trtnn
    trtnn build net:make -i "x:1,3,64,64" -o net.trtnn \\
        --backend tensorrt_rtx --compute-capabilities 8.9,12.0
    """
    specs = declared(read_inputs(inputs or ()))
    module = module_of(factory)
    say(f"builds {factory} with {backend}")
    build(
        module,
        output,
        inputs=specs,
        precision=precision,
        backend=backend,
        compute_capabilities=tuple(filter(None, compute_capabilities.split(","))),
        options=build_options(option),
        execution=execution,
    )
    typer.echo(f"{output}: {output.stat().st_size / 2**20:.1f} MiB")


@commands.command("run")
def run_once(
    target: Target,
    *,
    inputs: Inputs = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="An .npz file for the outputs.")
    ] = None,
    seed: Seed = 0,
    precision: Precision = "tf32",
    backend: Backend = "auto",
    option: Option = None,
) -> None:
    """Call a model once, and show what it gives.

    Inputs that nobody gives are random: floats are normal, integers 0 and 1, or within the range
    of their declaration.

    \b
    trtnn run net.trtnn -i x=image.npy -o scores.npz
    trtnn run net:make -i "x:1,3,224,224" --backend reference
    """
    how: dict[str, Any] = {"precision": precision, "backend": backend, "options": option}
    found = opened(target, inputs, seed, **how)
    result = found.model(**found.arguments)
    tensors = [leaf for leaf in flatten(result)[0] if isinstance(leaf, torch.Tensor)]
    table = Table("output", "shape", "type", "least", "mean", "most")
    for index, tensor in enumerate(tensors):
        table.add_row(f"output_{index}", *_cells(tensor))
    Console().print(table)
    if output is not None:
        _write(output, tensors)
        typer.echo(str(output))


def _cells(tensor: torch.Tensor) -> tuple[str, ...]:
    shape = str(tuple(tensor.shape))
    kind = str(tensor.dtype).removeprefix("torch.")
    if not tensor.numel():
        return shape, kind, "", "", ""
    wide = tensor.double()
    return shape, kind, *(f"{float(x):.4g}" for x in (wide.min(), wide.mean(), wide.max()))


def _write(path: Path, tensors: list[torch.Tensor]) -> None:
    if path.suffix != ".npz":
        raise InputError(f"--output {path}: expected a file that ends in .npz", search=False)
    arrays: dict[str, Any] = {}
    for index, tensor in enumerate(tensors):
        try:
            arrays[f"output_{index}"] = tensor.cpu().numpy()
        except TypeError as error:
            raise InputError(
                f"--output {path}: NumPy has no {tensor.dtype}, the type of output_{index}",
                search=False,
            ) from error
    numpy.savez(path, **arrays)
