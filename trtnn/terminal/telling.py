"""``trtnn info`` and ``trtnn supported``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trtnn.terminal.targets import AsJson, print_json
from trtnn.tools.machine import Machine, machine
from trtnn.vocabulary import Supported, supported

commands = typer.Typer()


@commands.command("info")
def show_machine(*, as_json: AsJson = False) -> None:
    """Show versions, GPUs, and which backends work here, or why not."""
    found = machine()
    if as_json:
        print_json(found.described())
    else:
        _print(found)


def _print(found: Machine) -> None:
    typer.echo(f"Python {found.python}, {found.system}")
    typer.echo(", ".join(f"{name} {version}" for name, version in found.packages.items()))
    for index, gpu in enumerate(found.gpus):
        capability = ".".join(map(str, gpu["compute_capability"]))
        typer.echo(f"GPU {index}: {gpu['name']}, compute capability {capability}")
    if not found.gpus:
        typer.echo("GPU: none that PyTorch sees")
    table = Table("backend", "version", "works here", "")
    for one in found.backends:
        table.add_row(one.name, one.version, "yes" if one.works else "no", escape(one.why))
    Console().print(table)


@commands.command("supported")
def show_supported(
    pattern: Annotated[str, typer.Argument(help="What a name or an alias matches.")] = "*",
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page of the docs.")] = False,
) -> None:
    """List the torch callables that forward may call.

    \b
    trtnn supported "conv*"
    """
    found = supported(pattern)
    if not found:
        typer.echo(f"trtnn: no torch callable that is supported matches {pattern!r}", err=True)
        raise typer.Exit(1)
    if markdown:
        typer.echo(page_of(found))
        return
    table = Table("function", "TensorRT", "also as")
    for entry in found:
        table.add_row(entry.name, ", ".join(entry.versions), ", ".join(entry.aliases))
    Console().print(table)


def page_of(entries: Iterable[Supported]) -> str:
    """Return a page of the documentation that lists entries.

    >>> print(page_of(supported("frac")).splitlines()[-1])
    | `torch.frac` | `Tensor.frac`, `Tensor.frac_` | 8.6, 10, 11, RTX |
    """
    lines = [
        "# Supported functions",
        "",
        "What `forward` may call, with the versions of TensorRT, and TensorRT for RTX, that each",
        "works on. An argument may still be refused, with an `UnsupportedError` that says why;",
        "`trtnn.register` gives a meaning to what is not here. Written by",
        "`trtnn supported --markdown`.",
        "",
        "| function | also as | TensorRT |",
        "|---|---|---|",
    ]
    for entry in entries:
        others = ", ".join(f"`{name.replace('torch.Tensor', 'Tensor')}`" for name in entry.aliases)
        lines.append(f"| `{entry.name}` | {others} | {', '.join(entry.versions)} |")
    return "\n".join(lines)
