"""``trtnn check`` and ``trtnn report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtnn.checking import check
from trtnn.reporting import report
from trtnn.terminal.targets import (
    Backend,
    Factory,
    Inputs,
    Option,
    Precision,
    Seed,
    build_options,
    called,
    say,
)

WRONG = 3  # the exit code of a check that found something
Tolerance = Annotated[
    float | None, typer.Option(help="The largest relative L2 of an output that is right.")
]

commands = typer.Typer()


@commands.command("check")
def check_module(
    factory: Factory,
    *,
    inputs: Inputs = None,
    precision: Precision = "tf32",
    backend: Backend = "auto",
    option: Option = None,
    tolerance: Tolerance = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Find the fewest modules to keep in float32.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Hold a model against its module in float32, and say where it goes wrong.

    \b
    trtnn check net:make -i "x:2,3,64,64" --precision fp16
    trtnn check net:make -i x=image.npy --precision fp16 --fix
    """
    module, arguments = called(factory, inputs, seed, backend)
    say(f"compiles and checks {factory}")
    found = check(
        module,
        named=arguments,
        precision=precision,
        backend=backend,
        options=build_options(option),
        tolerance=tolerance,
        fix=fix,
    )
    typer.echo(str(found))
    if not found:
        raise typer.Exit(WRONG)


@commands.command("report")
def report_module(
    factory: Factory,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip file to write.")],
    inputs: Inputs = None,
    precision: Precision = "tf32",
    backend: Backend = "auto",
    option: Option = None,
    tolerance: Tolerance = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Keep the weights, which are random else.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Write what is wrong with a model, or refused, to one zip file: its smallest part that fails.

    \b
    trtnn report net:make -i "x:2,3,64,64" --precision fp16 -o wrong.zip
    """
    module, arguments = called(factory, inputs, seed, backend)
    say(f"looks for what fails in {factory}")
    made = report(
        module,
        path=output,
        named=arguments,
        precision=precision,
        backend=backend,
        options=build_options(option),
        tolerance=tolerance,
        weights=weights,
    )
    typer.echo(str(made))
