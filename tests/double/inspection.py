"""What the double's inspector tells of an engine: one layer for each of the network's."""

from __future__ import annotations

import json
from typing import Any

from tests.double.facts import static
from tests.double.inference import facts
from tests.double.surface import Plain

WORDS = {"FLOAT": "FP32", "HALF": "FP16", "INT8": "Int8", "INT32": "Int32", "BOOL": "Bool"}


def shown(network: Any, config: Any) -> list[Any]:
    """Return what a plan holds for an inspector: nothing, names, or all of each layer."""
    kinds, verbosity = network._surface.ProfilingVerbosity, config.profiling_verbosity
    if verbosity == kinds.NONE:
        return []
    if verbosity != kinds.DETAILED:
        return [layer._name for layer in network._layers]
    return [_layer(layer) for layer in network._layers]


def _layer(layer: Any) -> dict[str, Any]:
    found = {
        "Name": layer._name,
        "LayerType": layer._kind.removeprefix("I").removesuffix("Layer"),
        "Inputs": [_tensor(tensor) for tensor in layer._inputs if tensor is not None],
        "Outputs": [_tensor(tensor) for tensor in layer._outputs],
        "TacticName": "double",
    }
    return found if layer._surface.major == 8 else {**found, "Metadata": ""}


def _tensor(tensor: Any) -> dict[str, Any]:
    known = facts(tensor)
    return {
        "Name": tensor._name,
        "Location": "Device",
        "Dimensions": list(static(known.shape)),
        "Format/Datatype": f"Row major linear {WORDS.get(known.dtype, known.dtype)} format",
    }


class EngineInspector(Plain):
    """Stand in for ``trt.EngineInspector``."""

    def _setup(self, layers: list[Any]) -> None:
        self._layers = layers

    def get_engine_information(self, form: Any) -> str:
        return json.dumps({"Layers": self._layers})

    def get_layer_information(self, index: int, form: Any) -> str:
        return json.dumps(self._layers[index])
