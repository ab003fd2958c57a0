"""The command ``trtnn``: finds what was asked for, and tells errors in a sentence."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trtnn.errors import TrtnnError

# The file of each command, imported when it is asked for: ``cache`` needs no PyTorch.
PLACES = {
    "info": "telling",
    "build": "making",
    "run": "making",
    "inspect": "looking",
    "profile": "looking",
    "check": "judging",
    "report": "judging",
    "bench": "timing",
    "supported": "telling",
    "demo": "timing",
    "cache": "caching",
}
EXITS = (
    "Exit codes: 0, done. 1, it cannot be done: stderr says why. 2, a wrong word. "
    "3, check found the model to be wrong. 130, interrupted."
)


class Commands(TyperGroup):
    """The commands by name; what a user did wrong is said without a traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, in the order of the help."""
        return list(PLACES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None where there is none of the name."""
        if cmd_name not in PLACES:
            return None
        file = importlib.import_module(f"trtnn.terminal.{PLACES[cmd_name]}")
        return typer.main.get_group(file.commands).get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except (TrtnnError, OSError) as error:
            if ctx.params.get("traceback") or isinstance(error, BrokenPipeError):
                raise
            if isinstance(error, TrtnnError) and _is_ours(error):
                error.where = None
            typer.echo(f"trtnn: {error}", err=True)
            raise typer.Exit(1) from None


def _is_ours(error: TrtnnError) -> bool:
    """Say whether an error names a line of the command line's own as the user's."""
    return error.where is not None and Path(error.where.file).parent.name == "typer"


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"trtnn: warning: {message}", err=True)


application = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=EXITS,
)


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
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in Python an error arose.")
    ] = False,
) -> None:
    """Compile PyTorch-style modules with TensorRT's own network API."""
