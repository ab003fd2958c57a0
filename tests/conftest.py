"""What every test relies on: torchvision's operators, seeds, no network, and the gpu marker."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Read by huggingface_hub when it is first imported, so it is set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"

# The signatures that torchvision's _meta_registrations.py expects to exist when it is imported.
OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def declare_missing_operators() -> torch.library.Library | None:
    """Declare those of torchvision's operators that no binary provides; return their owner.

    PyPI's torchvision is built for CUDA: beside a CPU build of PyTorch its binary does not load,
    and importing the package then fails because it describes operators that nobody declared.
    The declarations last as long as the returned library, so the caller keeps it.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return None
    for binary in Path(found.submodule_search_locations[0]).glob("_C*.so"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(binary)
    missing = [name for name in OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in missing:
        library.define(name + OPERATORS[name])
    return library


TORCHVISION = declare_missing_operators()
FOLDERS = itertools.count()


def why_no_gpu() -> str | None:
    """Return what the tests marked ``gpu`` lack here, or None where they can run."""
    if not torch.cuda.is_available():
        return "needs a CUDA device: torch.cuda.is_available() is False"
    try:
        importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        return f"needs the tensorrt package: {error}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``gpu`` where they cannot run, and say why."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = why_no_gpu() if marked else None
    if reason is None:
        return
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the garbage collector what was collected: it would walk all tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seed() -> None:
    """Give each test the same random numbers, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the engines of tests out of the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "engines"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRTNN_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def own_engines(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find what another has built."""
    monkeypatch.setenv("TRTNN_CACHE_DIR", f"{engines}-{next(FOLDERS)}")
