"""A saved model: one zip file with the plan and a manifest that says everything about it.

The entries are stored, not compressed: ``manifest.json`` and ``plan``, which other tools of
TensorRT read as it is (``unzip -p net.trtnn plan``). The manifest gives the SHA-256 of the plan,
and the zip's comment, which ends the file, the number of the format and the SHA-256 of every other
byte. Nothing is pickled, and nothing of a file is run to read it.

Whoever writes a file can make these digests: ``trtnn.saved.schema`` says which form a manifest
has, ``border`` whether it agrees with itself, and ``agreement`` whether TensorRT's engine is the
one that it describes.

The manifest, as JSON with sorted keys; a *shape* is a list of ints and of expressions of Dims as
text (``"2*batch + 1"``), which ``trtnn.saved.notation`` reads; a dtype is PyTorch's name without
``torch.``:

- ``format``: the number of this layout.
- ``versions``: ``trtnn``, ``tensorrt`` or ``tensorrt_rtx``, whichever made the plan (with its
  build number where the library tells it), ``torch``, ``cuda``, ``python``; null where there was
  none.
- ``platform``: ``system`` and ``machine``.
- ``gpu``: ``name``, ``compute_capability`` [major, minor], ``sm_count``; null without a GPU, and
  for TensorRT for RTX.
- ``precision``, ``execution``: as ``compile`` was given them; ``checks``: its ``int64_checks``.
- ``options``: the build options that were not at their default.
- ``engine``: ``package``, the name of the library's module; ``compute_capabilities`` of the GPUs
  that a plan of TensorRT for RTX is for (``"8.9"``), on any platform; ``version_compatible``;
  ``host_code`` (the plan holds code for the host); ``hardware_compatibility_level``; ``refit``;
  ``timing_digest`` (the SHA-256 of the timing cache that the build started from).
- ``verified``: what was found when the new engine ran beside its graph, as
  ``trtnn.engine.verified.Verified`` has it: ``why`` it is not verified (empty where it is),
  ``measured`` (``output``, ``norm``, ``error``, ``rounding``, ``bar``), ``sizes``, ``notes`` and
  ``seconds``; null where nobody looked. The first files have none.
- ``plan``: ``sha256`` and ``bytes``.
- ``dims``: by name, ``profiles`` [[min, opt, max], ...] and ``depends_on_data``: known only once
  the engine has run, and then at most its max.
- ``profiles``: per optimization profile, [min, opt, max] of each declared Dim by name.
- ``inputs``, ``outputs``: ``{"name", "dtype", "shape"}`` per tensor, in the order in which a call
  gives and gets them; the names are the engine's, the dtypes those of the call: TensorRT takes and
  gives float32 where they say float64, and 8.6 int32 where they say int64. An input whose memory
  is not contiguous has a ``memory_format``, ``channels_last`` or ``channels_last_3d``; its shape is
  in PyTorch's order.
- ``hosts``: ``{"name", "dim"}`` per host input, an integer that decides shapes.
- ``signature``: ``parameters`` of ``forward`` (name, kind, default), ``declared`` (what errors call
  the arguments), ``keyword_only`` (the parameters that ``forward`` was called with by keyword),
  ``tree`` and ``leaves`` with a name each. The tree's keys are parameters; for what ``*args`` and
  ``**kwargs`` took, parameter and index, or name.
- ``result``: ``tree`` and ``leaves``; trees and leaves are read by ``trtnn.saved.description``.
- ``graph``: the source graph as text, with its assumptions and notes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trtnn.errors import LoadError, UnsupportedError
from trtnn.files import replacing

FORMAT = 1
MANIFEST, PLAN = "manifest.json", "plan"
KEYS: Mapping[str, type | tuple[type, ...]] = {
    "format": int,
    "versions": dict,
    "platform": dict,
    "gpu": (dict, type(None)),
    "precision": str,
    "execution": str,
    "checks": str,
    "options": dict,
    "engine": dict,
    "plan": dict,
    "dims": dict,
    "profiles": list,
    "inputs": list,
    "outputs": list,
    "hosts": list,
    "signature": dict,
    "result": dict,
    "graph": str,
}
DIGITS = 64
MAX_MANIFEST = 64 * 2**20  # bytes: JSON can take twenty times as many in memory
_COMMENT = re.compile(rb"trtnn saved model, format (\d+), sha256 without plan ([0-9a-f]{64})")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal models write equal files


@dataclass(frozen=True)
class Saved:
    """What a file holds: the manifest, and the plan as TensorRT made it."""

    manifest: dict[str, Any]
    plan: bytes


def write(path: str | os.PathLike[str], manifest: Mapping[str, Any], plan: bytes) -> None:
    """Write a saved model; the file is there whole or not at all, whenever the process ends.

    Any number of processes may write to one path at once: the last one stays. A process that is
    killed meanwhile may leave a hidden file beside it, ``.trtnn-*.partial``, which nobody reads.

    Args:
        manifest: As the head of this file lists it; ``format`` and ``plan`` are set here.

    Raises:
        UnsupportedError: The manifest is longer than one that is read.
        OSError: The folder is missing, or cannot be written.
    """
    size = {"sha256": hashlib.sha256(plan).hexdigest(), "bytes": len(plan)}
    complete = {**manifest, "format": FORMAT, "plan": size}
    text = json.dumps(complete, sort_keys=True, indent=1, allow_nan=False).encode("ascii")
    if len(text) > MAX_MANIFEST:
        raise UnsupportedError(f"save: the manifest has {len(text)} bytes, at most {MAX_MANIFEST}")
    with replacing(Path(path)) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            head = f"trtnn saved model, format {FORMAT}, sha256 without plan "
            archive.comment = head.encode() + b"0" * DIGITS
            archive.writestr(zipfile.ZipInfo(MANIFEST, _EPOCH), text)
            archive.writestr(zipfile.ZipInfo(PLAN, _EPOCH), plan)
        digest = _digest_without_plan(file, archive.getinfo(PLAN))
        file.seek(-DIGITS, os.SEEK_END)
        file.write(digest.encode())


def _digest_without_plan(file: IO[bytes], entry: zipfile.ZipInfo) -> str:
    """Return the SHA-256 of a file's bytes but those of the plan and of this digest itself."""
    if not 0 <= entry.header_offset < file.seek(0, os.SEEK_END):
        raise ValueError(f"the entry {entry.filename} lies outside the file")
    file.seek(entry.header_offset + 26)  # of the entry's own header: where its lengths stand
    start = file.tell() + 4 + sum(struct.unpack("<HH", file.read(4)))
    file.seek(0)
    digest = hashlib.sha256(file.read(start))
    file.seek(start + entry.file_size)
    digest.update(file.read()[:-DIGITS])
    return digest.hexdigest()


def read(path: str | os.PathLike[str]) -> Saved:
    """Read a saved model, and verify that it is the one that was written.

    Raises:
        LoadError: The file is no saved model, or is truncated or altered.
        OSError: There is no such file, or it cannot be opened.
    """
    with open(path, "rb") as file:
        if not file.read(1):
            raise LoadError(f"{path}: the file is empty")
        try:
            with zipfile.ZipFile(file) as archive:
                return _verified(str(path), file, archive)
        except (LoadError, MemoryError):
            raise
        except Exception as error:  # zipfile does not say what it raises on a damaged file
            raise LoadError(
                f"{path}: not a saved model, or truncated or altered: {error}",
                hint="save the model again",
            ) from error


def _verified(path: str, file: IO[bytes], archive: zipfile.ZipFile) -> Saved:
    """Return what an archive holds, if it is what its digests say."""
    comment = _COMMENT.fullmatch(archive.comment)
    if comment is None:
        raise LoadError(f"{path}: a zip file that is no saved model: its comment is not trtnn's")
    number = int(comment[1])
    if number != FORMAT:
        raise LoadError(
            f"{path}: saved in format {number}, and this trtnn reads format {FORMAT}",
            hint="load it with the trtnn that saved it, or save it again with this one",
        )
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if names != [MANIFEST, PLAN]:
        raise LoadError(f"{path}: expected the entries {MANIFEST} and {PLAN}, found {names}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise LoadError(f"{path}: expected stored entries, found compressed ones")
    length = file.seek(0, os.SEEK_END)
    if entries[0].file_size > min(length, MAX_MANIFEST) or entries[1].file_size > length:
        raise LoadError(f"{path}: {entries[0].file_size} bytes of manifest are more than it may be")
    if _digest_without_plan(file, entries[1]) != comment[2].decode():
        raise LoadError(f"{path}: altered after it was saved", hint="save the model again")
    manifest = _manifest(path, archive.read(entries[0]))
    plan = archive.read(entries[1])
    digest = hashlib.sha256(plan).hexdigest()
    if {"sha256": digest, "bytes": len(plan)} != manifest["plan"]:
        raise LoadError(
            f"{path}: the plan is not the one that was saved: {len(plan)} bytes with the SHA-256 "
            f"{digest}, the manifest says {manifest['plan']}"
        )
    return Saved(manifest, plan)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; ValueError where a key stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key stands twice among {', '.join(key for key, _ in pairs)[:200]}")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:60]} is no number of JSON")
    return value


def _manifest(path: str, text: bytes) -> dict[str, Any]:
    """Return the manifest, with the keys and the types that one of this format has."""
    try:
        manifest = json.loads(
            text.decode("ascii"),
            object_pairs_hook=_distinct,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path}: the manifest is no JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise LoadError(f"{path}: expected a manifest by name, found a {type(manifest).__name__}")
    for key, kind in KEYS.items():
        if key not in manifest:
            raise LoadError(f"{path}: the manifest has no {key!r}")
        if not isinstance(manifest[key], kind) or isinstance(manifest[key], bool):
            found = type(manifest[key]).__name__
            raise LoadError(f"{path}: the manifest's {key!r} is a {found}")
    if manifest["format"] != FORMAT:
        raise LoadError(f"{path}: the manifest is of format {manifest['format']}, not {FORMAT}")
    return manifest
