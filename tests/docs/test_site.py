"""The documentation builds, in mkdocs' strict mode, and asks nothing of the network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import trtnn
from tests.docs.blocks import ROOT

pytest.importorskip("mkdocs", reason="needs trtnn[docs]")
pytest.importorskip("mkdocstrings", reason="needs trtnn[docs]")
FETCHED = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^\"> ]+")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    run = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_no_page_fetches_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15 and FETCHED.search('<script src="https://a.b/c.js">')
    assert [found for page in pages for found in FETCHED.findall(page.read_text())] == []


def test_what_is_generated_is_there(site: Path) -> None:
    supported = (site / "reference/supported/index.html").read_text()
    assert "torch.nn.functional.conv2d" in supported
    commands = (site / "reference/commands/index.html").read_text()
    assert 'id="trtnn-cache-clear"' in commands and "--compute-capabilities" in commands
    design = (site / "design/index.html").read_text()
    assert 'id="where-do-i-put' in design and "--8&lt;--" not in design


def test_the_tests_words_are_not_shown(site: Path) -> None:
    assert not [p for p in site.rglob("*.html") if re.search(r"```|raises=", p.read_text())]


def test_the_api_has_all_that_is_public(site: Path) -> None:
    text = (site / "reference/api/index.html").read_text()
    shown = set(re.findall(r'id="trtnn\.(\w+)', text))
    assert "&gt;&gt;&gt; " not in re.sub("<pre>.*?</pre>", "", text, flags=re.DOTALL)
    errors = {n for n in trtnn.__all__ if n.endswith(("Error", "Warning"))}  # have their own page
    assert set(trtnn.__all__) - errors - {"__version__", "functional"} <= shown
