"""An engine from the cache, or built: what decides which plan is right, and so is its key."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from trtnn.cache.folder import Cache, Entry, Summary
from trtnn.engine.engine import Engine
from trtnn.engine.refit import make_refittable
from trtnn.engine.verified import Verified
from trtnn.graph.graph import Graph, Node, all_nodes
from trtnn.lower.plugins import keys_of
from trtnn.options import BuildOptions
from trtnn.run.subject import Subject
from trtnn.run.verification import verify
from trtnn.saved.agreement import require_agreement
from trtnn.saved.description import gpu_of
from trtnn.saved.fit import platform_of
from trtnn.saved.promises import border_of_graph
from trtnn.sizes.dims import symbols
from trtnn.sizes.expressions import SizeSymbol
from trtnn.source import PACKAGE
from trtnn.trt.library import TensorRT
from trtnn.trt.timing import timing_cache_file

# What a wheel of TensorRT may be named; their versions tell builds apart, and CUDA's versions.
_WHEELS = [
    f"tensorrt{cuda}{part}"
    for cuda in ("", "_cu11", "_cu12", "_cu13")
    for part in ("", "_libs", "_bindings")
]
# What TensorRT itself reads: 0 turns TF32 off, whatever the flags say.
_READ = "NVIDIA_TF32_OVERRIDE"


def find_or_build(
    cache: Cache | None,
    graph: Graph,
    library: TensorRT,
    options: BuildOptions,
    build: Callable[..., Engine],
    *,
    tf32: bool,
    device: torch.device,
    module: str = "",
    subject: Subject | None = None,
) -> Engine:
    """Return the engine of a lowered graph: a hit asks TensorRT for a runtime, never a builder.

    Args:
        build: Builds it, given the cache's file of timings, if any, as ``timings_file``.
        module: What ``trtnn cache list`` calls it.
        subject: What an engine is held against that nobody verified yet; ``build`` verifies its
            own.
    """
    gpu = gpu_facts(device)
    if cache is None or gpu is None:
        return build()
    timings = timing_cache_file(cache.folder, library.target, gpu["name"], gpu["sm_count"])
    key = engine_key(graph, library, options, tf32=tf32, gpu=gpu)
    if key is None:
        return build(timings_file=timings)
    inputs = ", ".join(f"{value.name} {value.spec}" for value in graph.inputs)
    summary = partial(Summary, module, inputs, gpu["name"], library.target.version)

    def use(entry: Entry) -> Engine:
        engine = Engine(entry.plan, library, host_code=bool(options.version_compatible))
        require_agreement(border_of_graph(graph), "the plan in the cache", library, engine.handle)
        engine.timing_digest = entry.summary.timing_digest
        make_refittable(engine, graph, options)
        if entry.summary.verified is not None:
            engine.verified = Verified.of(json.loads(entry.summary.verified))
        if subject is not None and _is_open(engine, subject):
            engine.verified = verify(engine, subject)
            with suppress(OSError):  # then the next one verifies it too
                cache.write(key, entry.plan, about(engine))
        return engine

    def about(engine: Engine) -> Summary:
        found = None if engine.verified is None else json.dumps(engine.verified.described())
        return summary(engine.timing_digest, found)

    def make() -> tuple[Engine, bytes, Summary]:
        engine = build(timings_file=timings)
        return engine, engine.whole_plan, about(engine)

    return cache.obtain(key, use, make)


def _is_open(engine: Engine, subject: Subject) -> bool:
    """Say whether nobody verified an engine, or could not, and other inputs are given now."""
    found = engine.verified
    return found is None or (not found and subject.given is not None)


def gpu_facts(device: torch.device) -> dict[str, Any] | None:
    """Return what a plan depends on of a GPU: name, compute capability, multiprocessors, memory."""
    facts = gpu_of(device)
    if facts is None:
        return None
    return {**facts, "memory_bytes": torch.cuda.get_device_properties(device).total_memory}


def engine_key(
    graph: Graph, library: TensorRT, options: BuildOptions, *, tf32: bool, gpu: dict[str, Any]
) -> str | None:
    """Return the SHA-256 of all that decides which plan is right.

    That is the graph with the content of its constants and the names of its layers, the options,
    trtnn's own source, TensorRT, the GPU and the platform. Which flags and preview features are set
    follows from these. Where the driver, paths, threads or the log differ, the key is equal.

    Args:
        graph: As it is lowered.
        gpu: What ``gpu_facts`` says. Without a part in the key at a hardware compatibility level.

    Returns:
        None where a part cannot be told: an algorithm selector, an op that is not trtnn's own, a
        plugin library that cannot be read, a plugin that neither TensorRT itself brought when it
        was asked to nor ``load_plugins``. Such a plan belongs in no cache.
    """
    if options.algorithm_selector is not None or any(map(_is_foreign, all_nodes(graph))):
        return None
    keys = keys_of(graph)
    if not all(library.plugins.is_told(key) for key in keys):
        return None
    try:
        libraries = map(Path, options.plugins_to_serialize or ())
        plugins = [_digest({path.name: path}) for path in libraries]
        source = source_digest()
    except OSError:
        return None
    sizes = {size for value in graph.values() for size in value.spec.shape}
    compatible = options.hardware_compatibility_level not in (None, "NONE")
    facts = {
        "graph": graph.hash(),
        "layers": [node.label for node in all_nodes(graph)],
        "sizes": sorted({_range(s) for size in sizes for s in symbols(size)}),
        "weights": _sources(graph) if options.refit is not None else None,
        "options": options.describe(keyed=True),
        "tf32": tf32,
        _READ: os.environ.get(_READ),
        "source": source,
        "tensorrt": [library.target.version, *_wheels()],
        "plugins": plugins,
        "creators": [library.plugins.described(key) for key in keys],
        "gpu": None if compatible else gpu,
        "platform": platform_of(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _is_foreign(node: Node) -> bool:
    """Say whether the source of a node's op, or of what it inherits, is not a part of trtnn."""
    kinds = type(node.op).__mro__[:-1]
    return any(kind.__module__.partition(".")[0] != "trtnn" for kind in kinds)


def _sources(graph: Graph) -> list[tuple[str | None, int]]:
    """Return, by constant, what names its weights: the state behind it, and which share memory."""
    places: dict[tuple[Any, ...], int] = {}
    keys, memory = graph.program.first_keys(), graph.program.memory
    found = []
    for constant in graph.constants.values():
        tensor, slot = constant.tensor, constant.slot
        place = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
        key = None if slot is None else keys.get(memory[slot])
        found.append((key, places.setdefault(place, len(places))))
    return found


def _range(symbol: SizeSymbol) -> tuple[str, int, int, Any]:
    return str(symbol.name), symbol.low, symbol.high, symbol.profiles


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Return the SHA-256 of trtnn's own source, FileNotFoundError where there is none."""
    package = Path(PACKAGE)
    return _digest({str(p.relative_to(package)): p for p in package.rglob("*.py")})


def _digest(paths: dict[str, Path]) -> str:
    if not paths:
        raise FileNotFoundError("trtnn was installed without its source")
    parts = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def _wheels() -> tuple[tuple[str, str], ...]:
    """Return name and version of each installed wheel of TensorRT."""
    found = []
    for name in _WHEELS:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return tuple(found)
