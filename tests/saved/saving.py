"""Saving and loading models of the double, which lives in this process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from trtnn.compiled import CompiledModule
from trtnn.options import BuildOptions
from trtnn.saved import file as saved
from trtnn.saved.description import describe

CPU = torch.device("cpu")


def manifest_of(model: CompiledModule, options: BuildOptions | None = None) -> dict[str, Any]:
    """Return the manifest of a model on the double."""
    assert model.engine is not None
    return describe(
        model.graph,
        model._signature,
        model._parameters,
        model.engine.library,
        device=CPU,
        precision="tf32",
        execution="sync",
        int64_checks="always",
        options=options or BuildOptions(),
        timing_digest=model.engine.timing_digest,
    )


def save(
    path: Path, model: CompiledModule, changes: Mapping[str, Any] | None = None, **options: Any
) -> Path:
    """Write a model; ``changes`` take the place of entries of the manifest."""
    assert model.engine is not None
    manifest = manifest_of(model, BuildOptions(**options))
    for key, value in (changes or {}).items():
        manifest[key] = {**manifest[key], **value} if isinstance(manifest[key], dict) else value
    saved.write(path, manifest, model.engine.plan)
    return path


def load(monkeypatch: pytest.MonkeyPatch, model: CompiledModule, path: Path, **more: Any) -> Any:
    """Load a file with the double that built the model."""
    assert model.engine is not None
    monkeypatch.setitem(sys.modules, "tensorrt", model.engine.library.trt)
    return trtnn.load(path, device="cpu", **more)
