"""What an engine's inspector tells of its layers: the types of what they take and give.

The functions take the ``tensorrt`` module as an argument, and ask it for facts by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from trtnn.errors import BuildError

UNKNOWN = "unknown"
# The words for types in "Row major linear FP16 format", and what torch calls them.
_WORDS = {
    "fp32": "float32",
    "float": "float32",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp8": "float8_e4m3fn",
    "int8": "int8",
    "uint8": "uint8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}
_PROFILE = re.compile(r" \[profile \d+\]$")  # what names have where there are several


@dataclass(frozen=True)
class LayerFacts:
    """One layer of an engine, which may be many of the network's.

    Attributes:
        inputs: The type of each tensor that it takes, by name; ``UNKNOWN`` where that is not told.
        outputs: The same of what it gives.
        kind: TensorRT's own, such as CaskConvolution; empty where only names are told.
        tactic: The name of the kernels, or the tactic's number.
        formats: How each of its tensors lies in memory, by name, in TensorRT's words.
        origin: What the network's layers said of where they come from.
    """

    name: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    kind: str = ""
    tactic: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""


def layers_of(trt: ModuleType, engine: Any) -> tuple[LayerFacts, ...] | None:
    """Return what an engine tells of its layers; None where its plan holds their names at most.

    Raises:
        BuildError: What TensorRT says is not what it is documented to be.
    """
    layers = all_layers(trt, engine)
    told = tuple(layer for layer in layers if layer.kind)
    return None if layers and not told else told


def all_layers(trt: ModuleType, engine: Any) -> tuple[LayerFacts, ...]:
    """Return the layers of an engine, of which a plan may hold the names alone, or nothing.

    Raises:
        BuildError: What TensorRT says is not what it is documented to be.
    """
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return tuple(map(_facts, json.loads(text)["Layers"]))
    except (ValueError, LookupError, TypeError) as error:
        raise BuildError(
            f"the inspector of the engine gives no description of layers: {error!r}", search=False
        ) from error


def _facts(layer: Any) -> LayerFacts:
    if not isinstance(layer, Mapping):
        return LayerFacts(plain(str(layer)), {}, {})
    tensors = (*layer.get("Inputs", ()), *layer.get("Outputs", ()))
    return LayerFacts(
        plain(layer["Name"]),
        _types(layer, "Inputs"),
        _types(layer, "Outputs"),
        kind=str(layer.get("LayerType") or UNKNOWN),
        tactic=str(layer.get("TacticName") or layer.get("TacticValue") or ""),
        formats={plain(x["Name"]): str(x.get("Format/Datatype", "")) for x in tensors},
        origin=str(layer.get("Metadata") or ""),
    )


def _types(layer: Mapping[str, Any], side: str) -> dict[str, str]:
    tensors: Sequence[Mapping[str, Any]] = layer.get(side, ())
    return {plain(x["Name"]): type_in(str(x.get("Format/Datatype", ""))) for x in tensors}


def plain(name: str) -> str:
    """Return a name without the profile that TensorRT adds where there are several."""
    return _PROFILE.sub("", name)


def type_in(text: str) -> str:
    """Return torch's name of the type that a description of a tensor's format names.

    >>> type_in("Two wide channel vectorized row major FP16 format"), type_in("Half")
    ('float16', 'float16')
    >>> type_in("N/A due to dynamic shapes")
    'unknown'
    """
    found = set(_known(text))
    return found.pop() if len(found) == 1 else UNKNOWN


def _known(text: str) -> Iterator[str]:
    for word in re.findall(r"[A-Za-z]+[0-9]*", text):
        if word.lower() in _WORDS:
            yield _WORDS[word.lower()]
