"""Weights of an engine by name, and how a refit replaces them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any

from tests.double.facts import Violation
from tests.double.surface import Plain
from tests.double.weights import identity, is_alive

FLAGS = ("REFIT", "REFIT_IDENTICAL", "REFIT_INDIVIDUAL")


@dataclass(frozen=True)
class Named:
    """Weights with a name: type, count, and their bytes; None in a plan built without any."""

    dtype: str
    count: int
    content: bytes | None


def refit_flag(config: Any) -> str:
    """Return which refit a build allows, "" for none."""
    members = config._surface.BuilderFlag.__members__
    return next((flag for flag in FLAGS if flag in members and config._has(flag)), "")


def named_weights(network: Any, config: Any) -> dict[str, Named]:
    """Return the weights that a refit of the engine may replace, by name."""
    flag = refit_flag(config)
    found = {
        identity(value): value
        for layer in network._layers
        for value in layer._attributes.values()
        if isinstance(value, network._surface.Weights)
    }
    return {
        name: Named(found[key]._dtype, found[key].size, read(found[key]))
        for key, name in network._weight_names.items()
        if flag in FLAGS[:2] or (flag and name in network._marked)
    }


def stripped(weights: dict[str, Named]) -> dict[str, Named]:
    """Return weights as a plan has them that was built without any."""
    return {name: replace(held, content=None) for name, held in weights.items()}


def read(weights: Any) -> bytes:
    """Return the bytes of weights, whose memory must still be there."""
    if not is_alive(weights):
        raise Violation("weights freed before TensorRT read them; the frontend has to hold them")
    return ctypes.string_at(weights._pointer, weights.nbytes)


class Refitter(Plain):
    """Stand in for ``trt.Refitter``: replaces named weights, and needs all as soon as one is given.

    TensorRT itself needs those that it merged with a given one, which may be any.
    """

    def _init(self, engine: Any, logger: Any) -> None:
        self._engine, self._logger = engine, logger
        if not engine._plan.refit:
            # The real binding gives an object around a null pointer.
            raise Violation("Refitter: the engine is not refittable; its first use would crash")
        self._given: dict[str, Any] = {}

    def _fail(self, message: str) -> bool:
        self._logger.log(self._surface.Severity.ERROR, f"Refitter: {message}")
        return False

    @property
    def _weights(self) -> dict[str, Named]:
        held: dict[str, Named] = self._engine._weights
        return held

    @property
    def logger(self) -> Any:
        return self._logger

    def get_all_weights(self) -> list[str]:
        return list(self._weights)

    def get_missing_weights(self) -> list[str]:
        return [
            name
            for name, held in self._weights.items()
            if name not in self._given and (self._given or held.content is None)
        ]

    def set_named_weights(self, name: str, weights: Any, *location: Any) -> bool:
        held = self._weights.get(name)
        if held is None:
            return self._fail(f"no weights are named {name}")
        if (weights._dtype, weights.size) != (held.dtype, held.count):
            wanted, given = f"{held.count} {held.dtype}", f"{weights.size} {weights._dtype}"
            return self._fail(f"{name}: expected {wanted}, got {given}")
        self._given[name] = weights
        return True

    def refit_cuda_engine(self) -> bool:
        if missing := self.get_missing_weights():
            return self._fail(f"missing weights: {', '.join(missing)}")
        if self._engine._running:
            raise Violation("refit_cuda_engine: the engine is running; its results are undefined")
        for name, weights in self._given.items():
            held, content = self._weights[name], read(weights)
            same = held.content in (None, content)
            if self._engine._plan.refit == "REFIT_IDENTICAL" and not same:
                raise Violation(f"{name}: other values in an engine built with REFIT_IDENTICAL")
            self._weights[name] = replace(held, content=content)
            if self._engine._breaks:
                return self._fail("out of memory")
        return True

    def refit_cuda_engine_async(self, stream: int) -> bool:
        return self.refit_cuda_engine()
