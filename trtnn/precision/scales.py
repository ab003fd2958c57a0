"""Files of scales: ours, in JSON, and the calibration tables that TensorRT wrote."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trtnn.errors import InputError
from trtnn.files import replacing

FORM = "trtnn scales 1"


@dataclass(frozen=True)
class Scales:
    """The scale of each activation by name, and what they were found with.

    Attributes:
        facts: The dtype and the method, and the digest of the weights; none of a TensorRT table.
    """

    scales: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def require(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Raise InputError where scales were found with something else."""
        for name, held in self.facts.items():
            if facts[name] is not None and facts[name] != held:
                text = "other weights" if name == "weights" else f"{name}={held!r}"
                raise InputError(
                    f"calibration_cache: {path} was written for {text}",
                    hint="give another path, or remove the file to calibrate anew",
                )


def read(path: Path) -> Scales:
    """Return the scales of a file.

    Raises:
        InputError: It is no file of scales, or one of them is no number above 0.
        OSError: It cannot be read.
    """
    content = path.read_bytes()
    if content.startswith(b"TRT-"):
        return Scales(_table(path, content.decode(errors="replace")))
    try:
        held = json.loads(content)
        scales = {str(name): float(scale) for name, scale in held["scales"].items()}
        facts = {name: held[name] for name in ("dtype", "method", "weights")}
        if held["form"] != FORM:
            raise ValueError(f"its form is {held['form']!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"calibration_cache: {path} holds no scales: {error!r}",
            hint="expected what quantize wrote, or a calibration table of TensorRT",
        ) from None
    return Scales(_checked(path, scales), facts)


def _table(path: Path, text: str) -> dict[str, float]:
    """Read ``name: hexadecimal float32`` by line, as TensorRT's calibrators write them."""
    scales = {}
    for number, line in enumerate(text.splitlines()[1:], start=2):
        if not line.strip():
            continue
        name, _, digits = line.rpartition(":")
        try:
            (scales[name],) = struct.unpack(">f", bytes.fromhex(digits.strip()))
        except (ValueError, struct.error):
            raise InputError(
                f"calibration_cache: {path}:{number} is no scale: {line!r}",
                hint="expected a name, a colon and eight hexadecimal digits",
            ) from None
    return _checked(path, scales)


def _checked(path: Path, scales: dict[str, float]) -> dict[str, float]:
    for name, scale in scales.items():
        if not (scale > 0 and math.isfinite(scale)):
            raise InputError(f"calibration_cache: {path}: the scale of {name} is {scale}")
    return scales


def write(path: Path, scales: Scales) -> None:
    """Write scales to a file, which is there whole or not at all."""
    text = json.dumps({"form": FORM, **scales.facts, "scales": dict(scales.scales)}, indent=1)
    with replacing(path) as file:
        file.write(text.encode() + b"\n")


def digest_of(module: torch.nn.Module | None) -> str:
    """Return the SHA-256 of a module's state, which scales were found with."""
    digest = hashlib.sha256()
    for name, value in (module.state_dict() if module is not None else {}).items():
        if isinstance(value, torch.Tensor):
            host = value.detach().cpu().contiguous()
            digest.update(f"{name} {host.dtype} {tuple(host.shape)}".encode())
            digest.update(host.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
