"""Builds: a case's network compiled, with one timing cache for all of a run."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

import trtnn
from benchmarks.instruments.machine import Machine
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import prepared
from tests.zoo import Inputs
from trtnn.errors import BuildError
from trtnn.options import BuildOptions

Made = TypeVar("Made")
EMPTY = hashlib.sha256().hexdigest()
REFUSED = tuple(f"TensorRT {said} the timing cache" for said in ("refused", "could not read"))


@dataclass(frozen=True)
class Built:
    """A case's eager network, its inputs, the compiled model, and how it was built."""

    net: nn.Module
    inputs: Inputs
    model: Any
    facts: dict[str, Any]

    @property
    def named(self) -> dict[str, torch.Tensor]:
        """The inputs by the engine's names."""
        return dict(zip(self.model.input_specs, self.inputs, strict=True))


@dataclass(frozen=True)
class Builds:
    """Compiles cases one after another.

    Args:
        timings: The file of the timing cache, which every build reads and adds to.
    """

    machine: Machine
    timings: Path | None = None

    def compiled(self, case: Case) -> Built:
        """Return a case's network compiled for the shapes of its inputs."""
        net, inputs = prepared(case, self.machine.device)
        return Built(net, inputs, *self.compile(case.level, net, inputs))

    def compile(
        self, level: int, net: Callable[..., Any], declared: Sequence[Any], **how: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Return a network compiled by trtnn, and how it was built.

        Args:
            how: Further arguments of ``trtnn.compile``.
        """

        def make(options: BuildOptions) -> Any:
            place: dict[str, Any] = {"backend": self.machine.backend, "device": self.machine.device}
            # What is not built here would have no time, and other kernels, perhaps.
            place.update(inputs=list(declared), options=options, cache=False, **how)
            return trtnn.compile(net, **place)

        if self.machine.library is None:
            return make(BuildOptions()), {}
        return self.build(level, make, lambda model: model.engine)

    def build(
        self,
        level: int,
        make: Callable[[BuildOptions], Made],
        engine_of: Callable[[Made], Any],
        *,
        fresh: bool = False,
    ) -> tuple[Made, dict[str, Any]]:
        """Build with the timing cache, and say how long it took and what it started from.

        Level 0 times nothing, and a fresh build times everything anew: neither reads the cache or
        adds to it.
        """
        timings = self.timings if level and not fresh else False
        options = BuildOptions(builder_optimization_level=level, timing_cache=timings)
        start = time.perf_counter()
        try:
            made = make(options)
        except BuildError as error:
            if self.timings is None or not error.message.startswith(REFUSED):
                raise
            print(f"{self.timings} is deleted: {error}", file=sys.stderr)
            self.timings.unlink()
            made = make(options)
        seconds = time.perf_counter() - start
        facts = {"level": level, "timing_cache": _short(engine_of(made).timing_digest)}
        return made, {**facts, "build_s": round(seconds, 1)}


def _short(digest: str | None) -> str:
    """Return a short name of a timing cache's content.

    >>> _short(None), _short(EMPTY), _short("0123456789abcdef")
    ('unused', 'empty', '0123456789ab')
    """
    return "unused" if digest is None else "empty" if digest == EMPTY else digest[:12]
