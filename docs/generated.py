"""What mkdocs makes of the pages: generated ones, and fences without the words for the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^( *```\w+)[^\n`]*$", re.MULTILINE)
INCLUDED = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
# Pages that a command prints.
PRINTED = {"reference/supported.md": ("supported", "--markdown")}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that commands print."""
    for path, arguments in PRINTED.items():
        files.append(File.generated(config, path, content=printed(*arguments)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the files that a page names, and take off what a fence says to the tests."""
    return FENCE.sub(r"\1", INCLUDED.sub(_text, markdown))


def printed(*arguments: str) -> str:
    """Return what a command of trtnn prints.

    Raises:
        CalledProcessError: It fails, which ends the build of the pages.
    """
    run = [sys.executable, "-m", "trtnn", *arguments]
    return subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _text(match: re.Match[str]) -> str:
    """Return a file of the repository as a part of a page: one level lower, without links."""
    text = (ROOT / match[1]).read_text()
    return re.sub(r"^#", "##", text, flags=re.MULTILINE)
