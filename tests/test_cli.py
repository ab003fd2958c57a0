"""The command line: what it prints, and what it says where its packages are missing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import trtnn
from tests.layout import ROOT, run_python
from trtnn.cache.folder import Cache, Summary
from trtnn.commands import application

DAY = 24 * 3600.0
PLAN = b"a plan\n" * 400


def run(*words: str) -> tuple[int, str, str]:
    """Run ``trtnn`` and return its exit status, output and errors."""
    environment = {"COLUMNS": "200", "NO_COLOR": "1"}
    done = CliRunner().invoke(application, words, prog_name="trtnn", env=environment)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A folder of two engines, one of them used long ago, and one that is damaged."""
    made = Cache(tmp_path / "cache")
    made.folder.mkdir(0o700)
    about = Summary("ResNet[0]", "x (batch, 3) float32", "NVIDIA A", "8.6.0")
    for key, used in (("0123456789abcdef", 2e9), ("fedcba9876543210", 1e9)):
        made.write(key, PLAN, about)
        os.utime(made.folder / f"{key}.trtnn-engine", (used, used))
    (made.folder / "broken.trtnn-engine").write_bytes(b"?" * 2048)
    os.utime(made.folder / "broken.trtnn-engine", (1.5e9, 1.5e9))
    monkeypatch.setenv("TRTNN_CACHE_DIR", str(made.folder))
    return made


def day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def test_engines_are_listed_the_one_used_last_first(cache: Cache) -> None:
    status, said, errors = run("cache", "list")
    assert (status, errors) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines()]
    about = ["NVIDIA A", "8.6.0", "ResNet[0]", "x (batch, 3) float32"]
    assert [row for row in rows if row] == [
        ["0123456789ab", "3.0 KiB", day(2e9), *about],
        ["broken", "2.0 KiB", day(1.5e9), "damaged", "", "", ""],
        ["fedcba987654", "3.0 KiB", day(1e9), *about],
    ]
    assert f"3 engines, 8.0 KiB of 10.0 GiB: {cache.folder}" in said


def test_old_engines_are_cleared_then_all(cache: Cache) -> None:
    timings = cache.folder / "timing-8.6.0-A-132.cache"
    timings.write_bytes(b"")
    assert run("cache", "clear", "--older-than", "1")[:2] == (0, "removed 2 engines, 5.0 KiB\n")
    assert [entry.key for entry in cache.entries()] == ["0123456789abcdef"] and timings.exists()
    assert run("cache", "clear")[:2] == (0, "removed 1 engine, 3.0 KiB\n")
    assert list(cache.folder.iterdir()) == []
    _, said, _ = run("cache", "list")
    assert said == f"0 engines, 0 bytes of 10.0 GiB: {cache.folder}\n"


def test_the_age_is_days(cache: Cache) -> None:
    path = cache.folder / "fedcba9876543210.trtnn-engine"
    for age, count in ((1.9, "1 engine"), (2.1, "2 engines")):
        used = time.time() - age * DAY
        os.utime(path, (used, used))
        (cache.folder / "broken.trtnn-engine").write_bytes(b"?")
        os.utime(cache.folder / "broken.trtnn-engine", (0, 0))
        assert f"removed {count}, " in run("cache", "clear", "--older-than", "2")[1]


def test_the_path_is_printed(cache: Cache) -> None:
    assert run("cache", "path") == (0, f"{cache.folder}\n", "")


def test_the_version_is_printed() -> None:
    words = [sys.executable, "-m", "trtnn", "--version"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("trtnn 0.1.0\n", "")


@pytest.mark.parametrize("words", [("cache", "clear", "--older-than", "-1"), ("cache", "melt")])
def test_a_wrong_word_is_told(words: tuple[str, ...], cache: Cache) -> None:
    status, _, errors = run(*words)
    assert status == 2 and "Error" in errors
    assert len(cache.entries()) == 3


def test_a_folder_that_cannot_be_used_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    monkeypatch.setenv("TRTNN_CACHE_DIR", str(file))
    status, said, errors = run("cache", "list")
    assert (status, said) == (1, "")
    assert errors.startswith(f"trtnn: TRTNN_CACHE_DIR: {file} cannot be the cache: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("package", ["typer", "rich", "torch"])
def test_without_its_packages_it_says_what_to_install(package: str) -> None:
    done = run_python(
        f"import sys\nsys.modules[{package!r}] = None\n"
        "import trtnn.cli\nprint('imported')\ntrtnn.cli.main()"
    )
    assert done.returncode == 1 and done.stdout.startswith("imported\n")
    assert done.stderr == f'trtnn: the command line needs {package}: pip install "trtnn[cli]"\n'


def test_another_missing_module_is_not_hidden() -> None:
    done = run_python(
        "import sys\nsys.modules['trtnn.cache.folder'] = None\nimport trtnn.cli\n"
        "sys.argv = ['trtnn', 'cache', 'path']\ntrtnn.cli.main()"
    )
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr


def test_the_command_needs_neither_torch_nor_tensorrt(cache: Cache) -> None:
    done = run_python(
        "import sys\nsys.modules['torch'] = sys.modules['tensorrt'] = None\n"
        "from trtnn.commands import application\n"
        "application(['cache', 'path'], standalone_mode=False)"
    )
    assert (done.stdout, done.stderr) == (f"{cache.folder}\n", "")


def test_the_project_declares_the_command() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"trtnn": "trtnn.cli:main"}
    needed = {name.partition(">")[0] for name in project["optional-dependencies"]["cli"]}
    assert needed == {"typer", "rich"}


def test_what_is_supported_is_listed() -> None:
    status, said, errors = run("supported", "conv2?")
    assert (status, errors) == (0, "")
    assert "torch.nn.functional.conv2d" in said and "8.6, 10, 11, RTX" in said
    assert run("supported", "no_such*") == (
        *(1, ""),
        "trtnn: no torch callable that is supported matches 'no_such*'\n",
    )


def test_the_page_of_the_docs_lists_what_is_supported() -> None:
    status, said, _ = run("supported", "--markdown")
    rows = [line.split(" | ")[0] for line in said.splitlines() if line.startswith("| `")]
    assert status == 0 and rows == [f"| `{entry.name}`" for entry in trtnn.supported()]
