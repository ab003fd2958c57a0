"""Every Python block of the README and of docs/ runs, and prints what the page says."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import double
from tests.docs import blocks
from tests.docs.blocks import ROOT, blocks_of, pages, run
from trtnn import errors
from trtnn.vocabulary import TABLE  # full, once it is imported

RAISED = [
    item
    for item in vars(errors).values()
    if isinstance(item, type) and issubclass(item, (errors.TrtnnError, UserWarning))
]
RTX = importlib.util.find_spec("tensorrt_rtx") is not None
PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let pages write their files, and keep these, their modules and what they register apart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "net", raising=False)
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def what_is_here(*, gpu: bool) -> set[str]:
    """Return the words of blocks that can run."""
    words = {"rtx"} if RTX else set()
    if not gpu:
        return words | {f"tensorrt={release}" for release in double.RELEASES}
    version = importlib.import_module("tensorrt").__version__
    release = "8.6" if version.startswith("8.6.") else version.partition(".")[0]
    return words | {"gpu", f"tensorrt={release}"}


def run_page(page: Path, here: set[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page.read_text(), page):
        if not block.runs(here):
            continue
        with pytest.MonkeyPatch.context() as patch:
            release = block.told("tensorrt")
            if release is not None and "gpu" not in here:
                patch.setitem(sys.modules, "tensorrt", double.load(release))
            run(block, names, gpu="gpu" in here)


@PAGES
@pytest.mark.filterwarnings("ignore:the reference backend is used:UserWarning")
def test_blocks_run(page: Path) -> None:
    run_page(page, what_is_here(gpu=False))


@PAGES
@pytest.mark.gpu
def test_blocks_run_on_a_gpu(page: Path) -> None:
    run_page(page, what_is_here(gpu=True))


def test_every_error_has_its_place() -> None:
    """Each error and warning of the package has a heading, and a cure below it."""
    text = (ROOT / "docs/reference/errors.md").read_text()
    parts = dict(re.findall(r"^##+ (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    found = {name for name, item in vars(errors).items() if item in RAISED}
    assert found == parts.keys() - {"Warnings"} | {"TrtnnError"}
    assert {name for name in found if "**Cure:**" not in parts.get(name, "")} == {
        "TrtnnError",  # the root of all
        "GraphError",  # a defect of trtnn
    }


@PAGES
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" in link or path.endswith(("reference/supported.md", "reference/commands.md")):
            continue  # a page that is made when the pages are built
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nassert False\n```\n", ""),
        ("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", ""),
        ("```python\nprint(1)\n```\n\n```text output\n2\n```\n", "page.md:2 prints\n1"),
        (
            "```python raises=ShapeError\nx = 1\n```\n",
            "page.md:2 raises nothing, and not ShapeError",
        ),
        ("```console run\n$ trtnn supported nothing\n```\n", "supported nothing exits with 1"),
        ('```python\nimport torch\nassert torch.ones(1, device="cuda").is_cuda\n```\n', ""),
    ],
)
def test_a_broken_block_fails(text: str, complaint: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError) as caught:
        run_page(page, what_is_here(gpu=False))
    assert complaint in str(caught.value)
    lines = [entry.lineno for entry in caught.traceback if entry.path == page]
    assert complaint or lines == [len(text.splitlines()) - 2]  # the page's own number


def test_a_block_for_a_release_meets_its_double(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    code = "import tensorrt as trt\ntrt.BuilderFlag.FP16\n"
    page.write_text(f"```python tensorrt=10\n{code}```\n")
    run_page(page, what_is_here(gpu=False))
    page.write_text(f"```python tensorrt=11\n{code}```\n")
    with pytest.raises(AttributeError, match="FP16"):
        run_page(page, what_is_here(gpu=False))


def test_a_block_for_a_gpu_waits_for_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python gpu\nassert False\n```\n")
    run_page(page, what_is_here(gpu=False))
    with pytest.raises(AssertionError):
        run_page(page, {"gpu"})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```\nx\n```\n", "expected one of python, "),
        ("```py\nx\n```\n", "page.md:1: ```py: expected one of"),
        ("```python slow\nx\n```\n", "a word behind python that nobody knows"),
        ("```console slow\n$ ls\n```\n", "a word behind console that nobody knows"),
        ("```text output\nx\n```\n", "the output of the block before it"),
    ],
)
def test_a_fence_that_nobody_reads_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        blocks_of(text)
    assert complaint in str(caught.value)


def test_examples() -> None:
    done = doctest.testmod(blocks)
    assert done.attempted and not done.failed
