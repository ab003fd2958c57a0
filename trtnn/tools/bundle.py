"""``Report``: a failure in one zip file, to be sent to those who can mend it.

The entries: ``manifest.json``; ``reproduce.py``, a script of TensorRT's own calls, where there is a
TensorRT; ``graph.json``, as ``trtnn.saved.graphs`` writes it; ``arrays.npz``, the constants of both
by name, in one row; ``inputs.npz``, ``expected.npz`` (PyTorch's outputs in float32, or float64) and
``engine.npz`` (the engine's, none where it did not run); ``log.txt``, what TensorRT said during the
last build. bfloat16 and float8 stand in arrays as their bits. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from trtnn.errors import LoadError, OptionError
from trtnn.files import replacing
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.saved.graphs import describe_graph, restore_graph
from trtnn.tools.failing import NONE

FORMAT = 1
MANIFEST, GRAPH, SCRIPT, LOG = "manifest.json", "graph.json", "reproduce.py", "log.txt"
ARRAYS, INPUTS, EXPECTED, ENGINE = "arrays.npz", "inputs.npz", "expected.npz", "engine.npz"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_BITS = {torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8}
Arrays = dict[str, numpy.ndarray[Any, Any]]


@dataclass(frozen=True, eq=False)
class Report:
    """What ``trtnn.report`` wrote: the smallest part of a model that fails, and how.

    Attributes:
        path: The file.
        finding: What is wrong, in a sentence.
        manifest: All that is known: ``how`` it fails (``"refused"``, ``"engine"``, ``"types"`` or
            ``"none"``), whether the file's own content shows it (``seen``), ``measured`` errors,
            ``held`` nodes, ``constants`` that are random, versions.
        graph: The part as a graph; its result is a tuple of its outputs.
        inputs: What it was given: tensors, then ``hosts``.
        expected: PyTorch's outputs in float32, or float64 where the part computes in float32.
        found: The engine's; empty where none ran.
    """

    path: str
    finding: str
    manifest: Mapping[str, Any]
    graph: Graph
    inputs: tuple[torch.Tensor, ...]
    hosts: tuple[int, ...]
    expected: tuple[torch.Tensor, ...]
    found: tuple[torch.Tensor, ...] = ()

    def run(self, device: Any = "cpu") -> tuple[torch.Tensor, ...]:
        """Return what the reference, PyTorch, makes of the inputs in the graph's own types."""
        place = torch.device(device)
        inputs = [tensor.to(place) for tensor in self.inputs]
        constants = {v: c.tensor.to(place) for v, c in self.graph.constants.items()}
        return tuple(run(self.graph, inputs, constants, None, self.hosts, place)[0])

    def __str__(self) -> str:
        held, constants = self.manifest["held"], self.manifest["constants"]
        lines = [self.finding]
        lines.append(f"held: {held['nodes']} of {held['of']} nodes, in {held['trials']} trials")
        lines += [f"  {label}" for label in held["labels"][:8]]
        if constants["random"] and self.manifest["how"] != NONE:
            seen = "is seen" if self.manifest["seen"] else "is not seen: weights=True keeps them"
            lines.append(f"with {len(constants['random'])} random constants the failure {seen}")
        lines.append(f"written: {self.path}")
        return "\n".join(lines)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Report:
        """Return the report that a file holds; nothing of the file is run.

        Raises:
            LoadError: It is no report, or damaged.
            OSError: There is no such file.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                return _loaded(str(path), archive)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # zipfile and NumPy do not say what they raise
            why = error.message if isinstance(error, LoadError) else repr(error)
            raise LoadError(f"{path}: no report, or damaged: {why}") from error


class Kept:
    """Arrays by a name that says what they hold, so that equal ones are kept once."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}

    def tensor(self, tensor: torch.Tensor) -> str:
        """Keep a tensor in one row, and return its name."""
        array = as_array(tensor).reshape(-1)
        return self.content(array.tobytes(), str(tensor.dtype).removeprefix("torch."))

    def content(self, content: bytes, dtype: str) -> str:
        """Keep entries of a dtype, and return their name."""
        name = f"a{hashlib.sha256(dtype.encode() + content).hexdigest()[:16]}"
        kind = as_array(torch.empty(0, dtype=getattr(torch, dtype))).dtype
        self.arrays[name] = numpy.frombuffer(content, kind)
        return name


def as_array(tensor: torch.Tensor) -> numpy.ndarray[Any, Any]:
    """Return a tensor as NumPy holds it: of types that it lacks the bits."""
    tensor = tensor.detach().cpu().contiguous()
    array: numpy.ndarray[Any, Any] = tensor.view(_BITS.get(tensor.dtype, tensor.dtype)).numpy()
    return array


def as_tensor(array: numpy.ndarray[Any, Any], dtype: torch.dtype) -> torch.Tensor:
    """Return the tensor of an array that ``as_array`` gave."""
    return torch.from_numpy(array.copy()).view(dtype)


def new_file(path: Any) -> Path:
    """Return the path of a file that is not there yet, in a folder that is.

    Raises:
        OptionError: It is none.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(f"path: expected the path of a new zip file, got {path!r}")
    place = Path(path)
    if place.exists():
        raise OptionError(f"path: {place} is there already", hint="remove it, or give another path")
    if not place.parent.is_dir():
        raise OptionError(f"path: there is no folder {place.parent}")
    return place


def write(report: Report, kept: Kept, script: str | None, log: Sequence[str]) -> None:
    """Write a report's file; it is there whole or not at all.

    Args:
        kept: The arrays that ``script`` names; those of the graph join them.
        script: None where there is no TensorRT.

    Raises:
        UnsupportedError: The graph holds a number that a file cannot hold.
        OSError: The folder cannot be written.
    """
    graph = describe_graph(report.graph, kept.tensor)
    names = [value.name for value in report.graph.inputs]
    inputs = {n: as_array(t) for n, t in zip(names, report.inputs, strict=True)}
    integers = zip(report.graph.hosts, report.hosts, strict=True)
    inputs |= {name: numpy.array([number]) for name, number in integers}
    texts = {MANIFEST: _json(report.manifest), GRAPH: _json(graph), LOG: "\n".join(log)}
    if script is not None:
        texts[SCRIPT] = script
    arrays = {ARRAYS: kept.arrays, INPUTS: inputs, EXPECTED: _outputs(report.expected)}
    if report.found:
        arrays[ENGINE] = _outputs(report.found)
    with (
        replacing(Path(report.path)) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, text in texts.items():
            archive.writestr(_entry(name), text.encode(), zipfile.ZIP_DEFLATED)
        for name, named in arrays.items():
            archive.writestr(_entry(name), _npz(named), zipfile.ZIP_DEFLATED)


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, _EPOCH)


def _npz(arrays: Arrays) -> bytes:
    """Return arrays as NumPy's own file of several; equal arrays make equal files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            numpy.lib.format.write_array(entry, array, allow_pickle=False)
            archive.writestr(_entry(f"{name}.npy"), entry.getvalue())
    return content.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False)


def _outputs(tensors: Sequence[torch.Tensor]) -> Arrays:
    return {f"output_{i}": as_array(tensor) for i, tensor in enumerate(tensors)}


def _loaded(path: str, archive: zipfile.ZipFile) -> Report:
    manifest = json.loads(archive.read(MANIFEST))
    if manifest.get("format") != FORMAT:
        raise LoadError(f"its format is {manifest.get('format')}, expected {FORMAT}")
    arrays, inputs, expected = (_arrays(archive, n) for n in (ARRAYS, INPUTS, EXPECTED))
    written = json.loads(archive.read(GRAPH))
    kinds = {c["array"]: c["dtype"] for c in written["constants"]}
    graph = restore_graph(written, lambda name: as_tensor(arrays[name], _dtype(kinds[name])))
    results = [value.spec.dtype for value in graph.outputs]
    found = _arrays(archive, ENGINE) if ENGINE in archive.namelist() else {}
    return Report(
        path,
        str(manifest["finding"]),
        manifest,
        graph,
        tuple(as_tensor(inputs[v.name], v.spec.dtype) for v in graph.inputs),
        tuple(int(inputs[name][0]) for name in graph.hosts),
        tuple(torch.from_numpy(expected[f"output_{i}"]) for i in range(len(results))),
        tuple(as_tensor(found[f"output_{i}"], dtype) for i, dtype in enumerate(results) if found),
    )


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


def _arrays(archive: zipfile.ZipFile, name: str) -> Arrays:
    with numpy.load(io.BytesIO(archive.read(name)), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
