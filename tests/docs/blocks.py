"""The code blocks of a Markdown page, and how the tests run them.

A block is run if its fence says ``python``, or ``console run``, whose lines that begin with
``$ trtnn`` are commands. Blocks of a page share a namespace, in order. The fence may say more:

* ``gpu``: it needs a GPU, and runs with ``pytest -m gpu`` alone, with all others of its page;
* ``ray``: it needs a cluster of Ray, which ``tests/serving`` starts for it;
* ``rtx``: it needs TensorRT for RTX, whose builder needs no GPU;
* ``tensorrt=8.6``, 10 or 11: it is written for that release of TensorRT. Without a GPU its double
  shows that names, signatures and types are right, and no numbers;
* ``raises=ShapeError``: it has to raise that error;
* ``file=net.py``: it is what that file holds, for blocks that follow.

A block that says ``text output`` is what the Python block before it prints, or how that begins.
Without a GPU, ``device="cuda"`` reads ``device="cpu"``, and ``.cuda()`` reads ``.cpu()``.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from trtnn.commands import application
from trtnn.errors import TrtnnError

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
# What a fence may say first. A block of another language is a mistake: nobody would run it.
LANGUAGES = ("python", "console", "text", "toml", "mermaid")
NEEDS = r"gpu|ray|rtx|tensorrt=(8\.6|10|11)"
WORDS = {
    "python": re.compile(rf"{NEEDS}|raises=\w+|file=\w+\.py"),
    "console": re.compile(rf"run|{NEEDS}"),
}
ON_CPU = (('device="cuda"', 'device="cpu"'), (".cuda()", ".cpu()"))


@dataclass(frozen=True)
class Block:
    """One block of a page that is run.

    Args:
        page: The file, and ``line``, where the code begins.
        words: What else the fence says.
        output: What it prints, where the page says so.
    """

    page: Path
    line: int
    code: str
    words: tuple[str, ...] = ()
    output: str | None = None

    @property
    def place(self) -> str:
        """Where it is, as editors read it."""
        return f"{self.page.name}:{self.line}"

    def told(self, what: str) -> str | None:
        """Return what the fence says behind ``raises=``, ``tensorrt=`` or ``file=``."""
        found = [word for word in self.words if word.startswith(f"{what}=")]
        return found[0].removeprefix(f"{what}=") if found else None

    def runs(self, here: Collection[str]) -> bool:
        """Say whether all that it needs is here: ``gpu``, ``rtx``, ``tensorrt=8.6``."""
        return all(word in here for word in self.words if re.fullmatch(NEEDS, word))


def pages() -> list[Path]:
    """Return the pages whose blocks are run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(text: str, page: Path = Path("page.md")) -> list[Block]:
    """Return the blocks of a page that are run.

    Raises:
        ValueError: A fence that says what no block may, or an output without a block.

    >>> [block.words for block in blocks_of("```python gpu\\nx = 1\\n```\\n")]
    [('gpu',)]
    """
    found: list[Block] = []
    for match in FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        line = text.count("\n", 0, match.start()) + 2
        where = f"{page.name}:{line - 1}: ```{match['info']}"
        code = "".join(_dedented(match["code"], len(match["indent"])))
        if language not in LANGUAGES:
            raise ValueError(f"{where}: expected one of {', '.join(LANGUAGES)} first")
        if language == "python" or (language == "console" and words):
            if not all(map(WORDS[language].fullmatch, words)):
                raise ValueError(f"{where}: a word behind {language} that nobody knows")
            found.append(Block(page, line, code, tuple(words)))
        elif words:
            if (language, words) != ("text", ["output"]) or not found or found[-1].output:
                raise ValueError(f"{where}: expected the output of the block before it")
            found[-1] = replace(found[-1], output=code)
    return found


def _dedented(code: str, indent: int) -> Iterator[str]:
    for line in code.splitlines(keepends=True):
        yield line[indent:] if line.strip() else "\n"


def run(block: Block, names: dict[str, Any], *, gpu: bool) -> None:
    """Run a block in a page's namespace, in the folder that is current.

    Raises:
        AssertionError: It prints something else, does not raise what it has to, or a command fails.
    """
    code, expected = block.code, block.told("raises")
    for given, meant in () if gpu else ON_CPU:
        code = code.replace(given, meant)
    if path := block.told("file"):
        Path(path).write_text(code)
        return
    if "run" in block.words:
        said = "".join(map(command, re.findall(r"^\$ trtnn (.+)$", code.replace("\\\n", ""), re.M)))
    elif expected is None:
        said = _printed(code, block, names)
    else:
        said = _raised(code, block, names, expected)
    if block.output is not None:
        assert said.rstrip().startswith(block.output.rstrip()), f"{block.place} prints\n{said}"


def command(line: str) -> str:
    """Run a command of trtnn, and return what it prints.

    >>> command("--version").split()[0]
    'trtnn'

    Raises:
        AssertionError: It does not exit with 0.
    """
    words, environment = shlex.split(line), {"NO_COLOR": "1"}
    done = CliRunner().invoke(application, words, prog_name="trtnn", env=environment)
    assert done.exit_code == 0, f"trtnn {line} exits with {done.exit_code}: {done.output}"
    return done.stdout


def _printed(code: str, block: Block, names: dict[str, Any]) -> str:
    """Run code whose lines are those of the page in every traceback; return what it prints."""
    tree = ast.increment_lineno(ast.parse(code), block.line - 1)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, str(block.page), "exec"), names)
    return printed.getvalue()


def _raised(code: str, block: Block, names: dict[str, Any], expected: str) -> str:
    try:
        _printed(code, block, names)
    except TrtnnError as error:
        assert type(error).__name__ == expected, f"{block.place} raises {error!r}"
        return str(error)
    raise AssertionError(f"{block.place} raises nothing, and not {expected}")
