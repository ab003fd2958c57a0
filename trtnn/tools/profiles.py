"""The time that each layer of an engine takes, summed by the modules that it is of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtnn.errors import OptionError
from trtnn.files import replacing
from trtnn.tools.attribution import ROOT, Attribution, Owners
from trtnn.tools.kernels import Kernel
from trtnn.tools.layers import table_of
from trtnn.tools.plots import bars

OTHER = "(sizes, copies)"
WIDTH = 120
MOST_ROWS = 40  # of layers, in the table; to_json has all
Told = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class ProfiledLayer:
    """One layer of an engine, the finest that TensorRT tells: a fused region is one.

    Attributes:
        microseconds: On the GPU, the mean of all calls.
        runs: How often it ran in a call; more than once in a loop.
        kernels: What it launched, in one further call; empty where that was not asked or not told.
    """

    name: str
    owners: Owners
    microseconds: float
    runs: float
    kernels: tuple[Kernel, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        return self.owners.modules


@dataclass(frozen=True)
class Profile:
    """What ``model.profile`` measured. ``print`` shows it by module and by layer.

    Attributes:
        layers: In order of execution.
        calls: How many calls the times are means of.
        notes: What is to be known of them.
    """

    layers: tuple[ProfiledLayer, ...]
    calls: int
    notes: tuple[str, ...] = ()

    @property
    def microseconds(self) -> float:
        """The sum of all layers: they are timed one after another, so a call can take less."""
        return sum(layer.microseconds for layer in self.layers)

    def by_module(self, depth: int | None = None) -> dict[tuple[str, ...], float]:
        """Return microseconds by module; a layer of several modules counts for them together.

        Args:
            depth: How many parts of a path are told apart: with 1 ``layer1.0`` and ``layer1.1``
                are both ``layer1``. None: all.

        Raises:
            OptionError: ``depth`` is no positive int.
        """
        if depth is not None and (type(depth) is not int or depth < 1):
            raise OptionError(f"depth: expected an int of 1 or more, or None, got {depth!r}")
        found: dict[tuple[str, ...], float] = {}
        for layer in self.layers:
            paths = (".".join(path.split(".")[:depth]) for path in layer.modules)
            key = tuple(dict.fromkeys(paths))
            found[key] = found.get(key, 0.0) + layer.microseconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        total = self.microseconds or 1.0
        modules = [
            (_title(paths), f"{time:.1f}", f"{time / total:.1%}")
            for paths, time in self.by_module().items()
        ]
        slowest = sorted(self.layers, key=lambda layer: -layer.microseconds)[:MOST_ROWS]
        layers = []
        for layer in slowest:
            time = layer.microseconds
            layers.append(
                (str(layer.owners) or OTHER, f"{time:.1f}", f"{time / total:.1%}", layer.name)
            )
            layers += [("", f"{k.microseconds:.1f}", "", f"  {k.name}") for k in layer.kernels]
        lines = [
            f"{self.microseconds:.1f} µs in {len(self.layers)} layers, mean of {self.calls} calls"
        ]
        lines += ["", *table_of(("module", "µs", ""), modules, WIDTH)]
        lines += ["", *table_of(("module", "µs", "", "layer"), layers, WIDTH)]
        if (more := len(self.layers) - len(slowest)) > 0:
            lines.append(f"and {more} layers more, which take less")
        return "\n".join([*lines, *self.notes])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "microseconds": self.microseconds,
            "calls": self.calls,
            "layers": [
                {
                    "name": layer.name,
                    "modules": list(layer.modules),
                    "modules_told": layer.owners.told,
                    "microseconds": layer.microseconds,
                    "runs": layer.runs,
                    "kernels": [
                        {"name": k.name, "microseconds": k.microseconds} for k in layer.kernels
                    ],
                }
                for layer in self.layers
            ],
            "by_module": [
                {"modules": list(paths), "microseconds": time}
                for paths, time in self.by_module().items()
            ],
            "notes": list(self.notes),
        }

    def save_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the layers, one after another, as a trace that Chrome and Perfetto show.

        Raises:
            OSError: The file cannot be written.
        """
        events, start = [], 0.0
        for layer in self.layers:
            about = {"modules": [p or ROOT for p in layer.modules], "runs": layer.runs}
            events.append(_event(layer.name, start, layer.microseconds, 0, about))
            inner = start
            for kernel in layer.kernels:
                events.append(_event(kernel.name, inner, kernel.microseconds, 1, {}))
                inner += kernel.microseconds
            start += layer.microseconds
        content = json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})
        with replacing(Path(path)) as file:
            file.write(content.encode())

    def plot(self, path: str | os.PathLike[str], *, depth: int | None = None) -> None:
        """Write a picture: a bar for each module, or set of modules that are fused.

        Args:
            path: Ends in ``.png``, ``.svg`` or ``.pdf``.
            depth: As ``by_module`` has it.

        Raises:
            OptionError: The ending is another one.
            UnsupportedError: matplotlib is not installed: ``pip install "trtnn[plot]"``.
            OSError: The file cannot be written.
        """
        times = {_title(paths): time for paths, time in self.by_module(depth).items()}
        bars(times, path, f"{self.microseconds:.1f} µs of the GPU, by module")


def _title(paths: Sequence[str]) -> str:
    return " + ".join(path or ROOT for path in paths) or OTHER


def _event(name: str, start: float, time: float, row: int, about: Any) -> dict[str, Any]:
    kind = "kernel" if row else "layer"
    head = {"name": name, "cat": kind, "ph": "X", "ts": start, "dur": time}
    return {**head, "pid": 0, "tid": row, "args": about}


def profile_of(
    calls: Sequence[Told],
    graph: Any,
    origins: Mapping[str, str],
    kernels: Mapping[str, Sequence[Kernel]],
    notes: Sequence[str] = (),
) -> Profile:
    """Return the profile of some calls.

    Args:
        calls: Of each what TensorRT told: layers and microseconds, in order.
        graph: As it was traced.
        origins: What the inspector says where a layer comes from, by name.
        kernels: What each layer launched, by name.
    """
    times: dict[str, list[float]] = {}
    for told in calls:
        for name, microseconds in told:
            times.setdefault(name, []).append(microseconds)
    owners = Attribution(graph).owners([origins.get(name) or name for name in times])
    layers = tuple(
        ProfiledLayer(
            name,
            own,
            sum(found) / len(calls),
            len(found) / len(calls),
            tuple(kernels.get(name, ())),
        )
        for (name, found), own in zip(times.items(), owners, strict=True)
    )
    return Profile(layers, len(calls), tuple(notes))
