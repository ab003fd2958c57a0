"""Who competes, and how each enters a race on one case."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

import trtnn
from benchmarks.instruments.bound import inference
from benchmarks.instruments.contest import Contender, Tensors, eager_openers
from benchmarks.instruments.machine import Machine
from benchmarks.race.building import compiled, eager_dtype
from benchmarks.race.plans import AGAIN, BUILDS, Shelf
from benchmarks.subjects.networks import KINDS, prepared
from trtnn.engine.engine import Engine

OURS = ("sync", "async", "graph", "bound")
EAGER = ("eager", "eager graph")
COMPILED = ("compile", "compile max-autotune")  # of another interpreter, with eager beside them
# "raw" is trtnn's plan without trtnn; "free" is its graph, whose types TensorRT 8.6 may change.
CONTENDERS = (*OURS, *EAGER, *COMPILED, "onnx", "raw", "free")
USUAL = tuple(name for name in CONTENDERS if name != "free")
ON_CPU = ("sync", "eager", "compile")

Openers = dict[str, Callable[[], Contender]]


def openers(shelf: Shelf, machine: Machine, asked: set[str]) -> Openers:
    """Return how each contender of this interpreter enters that was asked for and was built."""
    case, on_gpu = shelf.case, machine.library is not None
    _, inputs = prepared(case, machine.device)

    @functools.cache
    def model() -> Any:
        if machine.library is None:
            how = {"precision": KINDS[case.dtype][1], "inputs": list(inputs)}
            return compiled(prepared(case, machine.device)[0], machine, **how)
        return trtnn.load(shelf.path("trtnn"))

    def called(execution: str) -> Contender:
        view = model().with_execution(execution)
        call = {"contiguous": lambda: view(*inputs)}
        facts = shelf.facts("trtnn") if execution == "sync" else {}
        return Contender(call, {} if execution == "sync" else call, call["contiguous"], facts)

    def bound() -> Contender:
        # Memory as the engine reads it: 8.6 has no int64.
        dtypes = {name: getattr(torch, dtype) for name, _, dtype in model().engine.tensors}
        given = [t.to(dtypes[n]) for n, t in zip(model().input_specs, inputs, strict=True)]
        call = model().with_execution("graph").bind(*given)
        return Contender({"contiguous": call}, {"contiguous": call}, call)

    found: Openers = {}
    if asked & set(EAGER):
        net, given = prepared(case, machine.device, eager_dtype(case))
        found |= eager_openers(net, given, on_gpu=on_gpu)
    if shelf.has("trtnn"):
        found |= {way: functools.partial(called, way) for way in OURS[:3]}
        found["bound"] = bound
    if on_gpu:
        found |= _plans(shelf, machine, model, inputs)
    allowed = asked & set(CONTENDERS if on_gpu else ON_CPU)
    return {name: opener for name, opener in found.items() if name.removesuffix(AGAIN) in allowed}


def _plans(shelf: Shelf, machine: Machine, model: Callable[[], Any], inputs: Tensors) -> Openers:
    """Return how plans enter, each on bindings of its own: what TensorRT itself takes."""

    def entered(name: str, engine: Engine, names: Sequence[str]) -> Contender:
        present = {tensor for tensor, is_input, _ in engine.tensors if is_input}
        given = {n: t for n, t in zip(names, inputs, strict=True) if n in present}
        memory, call, method = inference(engine, given)
        facts = {**shelf.facts(name), "method": method} if name in BUILDS else {"method": method}
        # Of what is built again the GPU's time is wanted, beside the first build's.
        host = {} if name.endswith(AGAIN) else {"contiguous": memory.execute}
        return Contender(host, {"contiguous": call}, lambda: memory.outputs, facts, memory)

    def raw() -> Contender:
        return entered("raw", model().engine, list(model().input_specs))

    def raw_again() -> Contender:
        other = trtnn.load(shelf.path(f"trtnn{AGAIN}"))
        return entered(f"raw{AGAIN}", other.engine, list(other.input_specs))

    def read(name: str) -> Contender:
        engine = Engine(shelf.path(name).read_bytes(), machine.gpu)
        names = shelf.facts(name).get("inputs", [f"input_{i}" for i in range(len(inputs))])
        return entered(name, engine, names)

    found: Openers = {"raw": raw} if shelf.has("trtnn") else {}
    if shelf.has(f"trtnn{AGAIN}"):
        found[f"raw{AGAIN}"] = raw_again
    plans = [name for name in ("onnx", "free", f"onnx{AGAIN}") if shelf.has(name)]
    return {**found, **{name: functools.partial(read, name) for name in plans}}
