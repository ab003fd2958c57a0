"""A plan as a model of Triton Inference Server: a folder with ``config.pbtxt`` and ``model.plan``.

What the file says of tensors is asked of the engine, since the server holds one against the other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtnn.errors import InputError, UnsupportedError
from trtnn.files import replacing
from trtnn.graph.graph import Interface
from trtnn.run.rows import batch_of, gaps_of
from trtnn.sizes.dims import Dim
from trtnn.sizes.profiles import count_profiles
from trtnn.tracing.tracer import Output
from trtnn.tree import leaf_names
from trtnn.trt.memory_formats import LINEAR
from trtnn.trt.tensors import TensorFacts

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
DATA_TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "int8": "TYPE_INT8",
    "uint8": "TYPE_UINT8",
    "bool": "TYPE_BOOL",
}
"""The server's names of torch's dtypes."""


@dataclass(frozen=True)
class Batching:
    """How the server puts requests together: up to ``greatest``, and ``why`` if it does not.

    Attributes:
        unseen: Nobody could see whether rows depend on each other.
    """

    greatest: int
    why: str = ""
    preferred: tuple[int, ...] = ()
    unseen: bool = False


def batching_of(
    graph: Interface, facts: Mapping[str, TensorFacts], asked: int | None, mixed: str | None
) -> Batching:
    """Return how requests may be put together.

    Args:
        asked: The greatest batch, 0 for none; None: as great as the Dim, where that is right.
        mixed: What ``mixes_rows`` says.

    Raises:
        InputError: The model cannot be run in batches of 1 to ``asked``.
    """
    if asked is not None and (type(asked) is not int or asked < 0):
        raise InputError(f"max_batch_size: expected an int of 0 or more, or None, got {asked!r}")
    if asked == 0:
        return Batching(0, "max_batch_size=0 was asked for")
    batch = batch_of(graph)
    why = batch if isinstance(batch, str) else _why_not(batch, facts, asked or batch.max, mixed)
    if why is None:
        assert isinstance(batch, Dim)
        greatest = asked or batch.max
        opts = {opt for _, opt, _ in batch.profiles if 1 < opt <= greatest}
        # The server advises to prefer sizes only where an engine has several profiles.
        several = len(batch.profiles) > 1
        preferred = tuple(sorted(opts)) if several else ()
        return Batching(greatest, preferred=preferred, unseen=mixed is None)
    if asked:
        raise InputError(
            f"max_batch_size={asked}: the server would put requests together, and {why}",
            hint="give max_batch_size=0, and clients send whole batches",
        )
    return Batching(0, why)


def _why_not(
    batch: Dim, facts: Mapping[str, TensorFacts], greatest: int, mixed: str | None
) -> str | None:
    if greatest > batch.max:
        return f"{batch} is at most {batch.max}"
    if gaps := gaps_of(batch, greatest):
        return f"no profile of {batch} takes {gaps[0]}"
    if fixed := [name for name, found in facts.items() if found.shape[0] != -1]:
        return f"the plan has a fixed size first in {fixed[0]}"
    return None if not mixed else f"rows of {mixed} depend on each other"


def write_repository(
    repository: str | os.PathLike[str],
    name: Any,
    version: Any,
    plan: bytes,
    config: str,
) -> Path:
    """Write a model of the server; return its folder.

    Raises:
        InputError: ``name`` or ``version`` is none, or other versions have another config.
        OSError: The folder cannot be written.
    """
    if type(version) is not int or version < 1:
        raise InputError(f"version: expected an int of 1 or more, got {version!r}")
    folder = Path(repository) / require_name(name)
    written = folder / "config.pbtxt"
    others = [path.name for path in folder.glob("[0-9]*") if path.name != str(version)]
    if others and written.exists() and written.read_text(encoding="utf-8") != config:
        raise InputError(
            f"version: {written} serves version {others[0]} too, and would change",
            hint="give another name, or remove the other versions",
        )
    place = folder / str(version)
    place.mkdir(parents=True, exist_ok=True)
    for path, content in ((place / "model.plan", plan), (written, config.encode())):
        with replacing(path) as file:  # the config last: a server that looks finds a plan
            file.write(content)
    return folder


def require_name(name: Any) -> str:
    """Return a model's name, InputError where it can be none."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"name: expected letters, digits, '_', '-' and '.', as a folder is called, got {name!r}"
        )
    return name


def config_text(
    name: str,
    graph: Interface,
    facts: Mapping[str, TensorFacts],
    batching: Batching,
    notes: Sequence[str],
) -> str:
    """Return ``config.pbtxt``, in the text form of the server's ``ModelConfig``.

    Raises:
        UnsupportedError: The server has no name for a dtype.
    """
    lines = [f"# {' '.join(note.split())}" for note in notes]
    lines += [
        f"name: {_quoted(name)}",
        'backend: "tensorrt"',
        'default_model_filename: "model.plan"',
    ]
    lines.append(f"max_batch_size: {batching.greatest}")
    for kind in ("input", "output"):
        for tensor in facts.values():
            if tensor.is_input is (kind == "input"):
                lines += [f"{kind} {{", *_tensor(tensor, batching.greatest > 0), "}"]
    count = count_profiles(graph.dims)
    if count > 1:
        profiles = ", ".join(f'"{index}"' for index in range(count))
        lines.append(f"instance_group {{ count: 1 kind: KIND_GPU profile: [ {profiles} ] }}")
    if batching.greatest > 1:
        sizes = ", ".join(map(str, batching.preferred))
        preferred = f" preferred_batch_size: [ {sizes} ]" if sizes else ""
        lines.append(f"dynamic_batching {{{preferred} }}")
    return "\n".join(lines) + "\n"


def _tensor(tensor: TensorFacts, batched: bool) -> Iterator[str]:  # noqa: FBT001
    if tensor.dtype not in DATA_TYPES:
        raise UnsupportedError(
            f"export_triton: {tensor.name} is {tensor.dtype}, for which Triton has no name",
            hint="convert it within forward, and compile again",
        )
    dims = tensor.shape[1:] if batched else tensor.shape
    yield f"  name: {_quoted(tensor.name)}"
    yield f"  data_type: {DATA_TYPES[tensor.dtype]}"
    # The server takes no empty dims: a request gives one entry more, which is taken off again.
    yield f"  dims: [ {', '.join(map(str, dims or (1,)))} ]"
    if not dims:
        yield "  reshape { shape: [ ] }"
    if tensor.on_host:
        yield "  is_shape_tensor: true"
    if tensor.format != LINEAR:
        yield "  is_non_linear_format_io: true"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def notes_of(
    graph: Interface,
    manifest: Mapping[str, Any],
    facts: Mapping[str, TensorFacts],
    batching: Batching,
) -> list[str]:
    """Return what whoever runs the server has to know, a line each.

    Args:
        manifest: As ``saved.file`` describes it.
    """
    engine, versions = manifest["engine"], manifest["versions"]
    package = engine["package"]
    built = f"{package} {versions[package]}"
    gpu = manifest["gpu"]["name"] if manifest["gpu"] else "no GPU at hand"
    level = engine["hardware_compatibility_level"]
    where = "this GPU" if level == "NONE" else f"a GPU of the level {level}"
    notes = [f"Written by trtnn {versions['trtnn']}. Built by {built} for {gpu}."]
    if engine["version_compatible"]:
        notes.append(f"It needs {where}, and tritonserver --backend-config=")
        notes[-1] += f"tensorrt,version-compatible=true where TensorRT is not {versions[package]}."
    else:
        notes.append(f"It needs this TensorRT, and {where}.")
    if engine["host_code"]:
        notes.append("The plan holds code for the CPU, which the server runs: trust its source.")
    notes += [_plugin(plugin) for plugin in manifest["plugins"] if plugin["needed"]]
    places = zip(graph.leaves, leaf_names(graph.result, "the result"), strict=True)
    notes += [
        f"output_{int(leaf)} is {name} of forward."
        for leaf, name in places
        if isinstance(leaf, Output)
    ]
    for tensor in (*manifest["inputs"], *manifest["outputs"]):
        if tensor["dtype"] != (held := facts[tensor["name"]].dtype):
            notes.append(f"{tensor['name']} is {held}: this TensorRT has no {tensor['dtype']}.")
    for name, form in graph.formats.items():
        notes.append(f"{name} is sent as {form} memory, with the shape that PyTorch says.")
    if batching.why:
        notes.append(f"No batching by the server: {batching.why}.")
    if batching.unseen:
        notes.append("Whether rows depend on each other was not seen: there they may not.")
    return notes


def _plugin(plugin: Mapping[str, Any]) -> str:
    library = plugin["library"]
    where = (
        f"{library['name']}: --backend-config=tensorrt,plugins=PATH" if library else "TensorRT's"
    )
    return f"It needs the plugin {plugin['name']} {plugin['version']}, of {where}."
