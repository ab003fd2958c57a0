"""What mkdocs makes of the pages: generated ones, and fences without the words for the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from typer.main import get_command
from typer.testing import CliRunner

from trtnn.commands import application

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^( *```\w+)[^\n`]*$", re.MULTILINE)
INCLUDED = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that commands print."""
    for name, content in (("supported", printed("supported", "--markdown")), ("commands", helps())):
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the files that a page names, and take off what a fence says to the tests."""
    return FENCE.sub(r"\1", INCLUDED.sub(_text, markdown))


def helps() -> str:
    """Return a page with the help of each command."""
    parts = ["# Commands", '`pip install "trtnn[cli]"`; `python -m trtnn` is the same.']
    for path, about in commands((), get_command(application)):
        name = " ".join(("trtnn", *path))
        parts += [f"## {name}", about, f"```text\n{printed(*path, '--help').strip()}\n```"]
    return "\n\n".join(parts)


def commands(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each command with what it is in one line, a group before its own."""
    yield path, (command.help or "").strip().split("\n")[0]
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from commands((*path, name), command.get_command(None, name))


def printed(*words: str) -> str:
    """Return what a command of trtnn prints.

    Raises:
        RuntimeError: It fails, which ends the build of the pages.
    """
    environment = {"COLUMNS": "96", "NO_COLOR": "1"}
    done = CliRunner().invoke(application, words, prog_name="trtnn", env=environment)
    if done.exit_code:
        raise RuntimeError(f"trtnn {' '.join(words)}: {done.output}")
    return done.stdout


def _text(match: re.Match[str]) -> str:
    """Return a file of the repository as a part of a page: one level lower, without links."""
    text = (ROOT / match[1]).read_text()
    return re.sub(r"^#", "##", text, flags=re.MULTILINE)
