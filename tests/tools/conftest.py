"""What the tests of ``check`` and ``report`` share: a machine with wrong engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.answering import let_answer
from tests.cache.test_compiling import World
from tests.double.surface import VERSIONS


@pytest.fixture(params=VERSIONS)
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Any:
    """A machine whose engines answer with their graph, and ``fault`` in it."""
    world: Any = World(request.param, tmp_path / "cache", monkeypatch)
    world.answers = let_answer(monkeypatch, lambda graph: world.fault(graph))
    world.fault = lambda graph: graph
    return world
