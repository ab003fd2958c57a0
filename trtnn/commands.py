"""The commands of ``trtnn``, on typer and rich."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import trtnn
from trtnn.cache.folder import Cache, open_cache
from trtnn.errors import OptionError

if TYPE_CHECKING:
    from trtnn.vocabulary import Supported

DAY = 24 * 3600.0
UNITS = ("bytes", "KiB", "MiB", "GiB")

application = typer.Typer(no_args_is_help=True, add_completion=False)
cache_commands = typer.Typer(no_args_is_help=True, help="The folder of engines built before.")
application.add_typer(cache_commands, name="cache")


def _tell_version(asked: bool) -> None:  # noqa: FBT001 - typer's own signature
    if asked:
        typer.echo(f"trtnn {importlib.metadata.version('trtnn')}")
        raise typer.Exit


@application.callback()
def start(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Its number.")
    ] = False,
) -> None:
    """Compile PyTorch-style modules with TensorRT's own network API."""


@cache_commands.command("path")
def show_path() -> None:
    """Print the folder."""
    typer.echo(_cache().folder)


@cache_commands.command("list")
def show_entries() -> None:
    """List the engines, the one used last first."""
    cache = _cache()
    entries = cache.entries()
    if entries:
        table = Table("key", "size", "last used", "GPU", "TensorRT", "module", "inputs")
        for entry in entries:
            used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
            row = [entry.key[:12], size_text(entry.size), used]
            if entry.summary is None:
                row.append("damaged")
            else:
                facts = entry.summary
                row += [facts.gpu, facts.tensorrt, facts.module, facts.inputs]
            table.add_row(*(escape(text) for text in row))
        Console().print(table)
    total = size_text(sum(entry.size for entry in entries))
    typer.echo(f"{count_text(len(entries))}, {total} of {size_text(cache.limit)}: {cache.folder}")


@cache_commands.command("clear")
def clear(
    older_than: Annotated[
        float | None,
        typer.Option(metavar="DAYS", min=0.0, help="Only engines not used for so many days."),
    ] = None,
) -> None:
    """Remove the engines; all of them with the timings of kernels."""
    count, size = _cache().clear(None if older_than is None else older_than * DAY)
    typer.echo(f"removed {count_text(count)}, {size_text(size)}")


@application.command("supported")
def show_supported(
    pattern: Annotated[str, typer.Argument(help="What a name or an alias matches.")] = "*",
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a page of the docs.")] = False,
) -> None:
    """List the torch callables that forward may call, such as: trtnn supported 'conv*'."""
    found = trtnn.supported(pattern)
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


def _cache() -> Cache:
    try:
        cache = open_cache()
    except OptionError as error:
        typer.echo(f"trtnn: {error.message}", err=True)
        raise typer.Exit(1) from None
    if cache is None:  # and a warning has said why
        raise typer.Exit(1)
    return cache


def page_of(entries: Iterable[Supported]) -> str:
    """Return a page of the documentation that lists entries.

    >>> print(page_of(trtnn.supported("frac")).splitlines()[-1])
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


def count_text(count: int) -> str:
    """Return a number of engines in words.

    >>> count_text(1), count_text(2)
    ('1 engine', '2 engines')
    """
    return f"{count} engine{'' if count == 1 else 's'}"


def size_text(size: int) -> str:
    """Return a number of bytes as people read it.

    >>> size_text(1023), size_text(1024), size_text(10 * 2**30)
    ('1023 bytes', '1.0 KiB', '10.0 GiB')
    """
    number, unit = float(size), 0
    while number >= 1024 and unit < len(UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {UNITS[unit]}" if unit else f"{size} bytes"
