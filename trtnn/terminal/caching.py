"""``trtnn cache``: the engines that are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trtnn.cache.folder import Cache, open_cache
from trtnn.errors import OptionError

DAY = 24 * 3600.0
UNITS = ("bytes", "KiB", "MiB", "GiB")

commands = typer.Typer()
cache_commands = typer.Typer(no_args_is_help=True, help="The folder of engines built before.")
commands.add_typer(cache_commands, name="cache")


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


def _cache() -> Cache:
    try:
        cache = open_cache()
    except OptionError as error:
        typer.echo(f"trtnn: {error.message}", err=True)
        raise typer.Exit(1) from None
    if cache is None:  # and a warning has said why
        raise typer.Exit(1)
    return cache


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
