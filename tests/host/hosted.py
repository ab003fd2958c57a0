"""A model saved for a double of TensorRT and loaded without torch, on a double of CUDA."""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests import double
from tests.host import cuda_double
from tests.host.cuda_double import CudaDouble
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.host import HostModel
from trtnn.host.session import view
from trtnn.ops.op import Spec
from trtnn.options import BuildOptions
from trtnn.saved import file as saved
from trtnn.saved.description import describe
from trtnn.tracing.signature import _parameters, declare
from trtnn.tree import flatten, unflatten
from trtnn.trt.library import TensorRT

GPU = {"name": "Double GPU", "compute_capability": [9, 0], "sm_count": 132}
KINDS = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8", "INT8": "i1", "BOOL": "?"}


class Hosted:
    """A function as a file, with what stands in for its engine: PyTorch, on the engine's memory.

    Attributes:
        integers: The host inputs of the next call by name; the engine must get the same.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        path: Path,
        version: str,
        function: Any,
        inputs: Any,
    ) -> None:
        self.function, self.signature = function, declare(function, inputs)
        self.path, self.trt = path, double.load(version)
        library = TensorRT(self.trt)
        traced = trtnn.trace(function, inputs)
        engine = build(optimize(traced, library), library, BuildOptions())
        manifest = describe(
            traced,
            self.signature,
            _parameters(function),
            library,
            device=torch.device("cpu"),
            precision="tf32",
            execution="sync",
            int64_checks="always",
            options=BuildOptions(),
        )
        saved.write(path, {**manifest, "gpu": GPU}, engine.plan)
        double.on_execute(self.trt, self.compute)
        self.cuda = CudaDouble()
        patch.setitem(sys.modules, "tensorrt", self.trt)
        patch.setitem(sys.modules, "cuda.bindings.runtime", cuda_double.load(self.cuda))
        self.integers: dict[str, int] = {}
        self.contexts: list[Any] = []
        self.devices: set[int] = set()
        self.threads: set[int] = set()

    def open(self, **options: Any) -> HostModel:
        return HostModel(self.path, **options)

    def call(self, model: HostModel, arguments: Sequence[Any]) -> Any:
        """Call with leaves in the order of ``forward``: arrays, and ints."""
        named = dict(zip(model._interface.given, arguments, strict=True))
        self.integers = {name: named[name] for name in self.signature.hosts}
        return model(*arguments)

    def compute(self, context: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Stand in for the engine."""
        asynchronously = bool(context.calls["execute_async_v3"])
        for stream, waiting in self.cuda.streams.items():
            if asynchronously:
                self.cuda.run(stream)
            assert not waiting, "execute_v2 does not wait for other streams"
        self.contexts.append(context)
        self.devices.add(self.cuda.current)
        self.threads.add(threading.get_ident())
        leaves = [
            self.leaf(context, name, leaf, tensors)
            for name, leaf in zip(self.signature.names, self.signature.leaves, strict=True)
        ]
        named = unflatten(self.signature.tree, leaves)
        results = [y for y in flatten(self.function(*named.values()))[0] if tensor(y)]
        for i in range(len(results)):
            pointer, shape, dtype = tensors[f"output_{i}"]
            if -1 not in shape:
                size = math.prod(shape) * numpy.dtype(KINDS[dtype.name]).itemsize
                self.cuda.find(pointer, size, on_device=True)
        return {
            f"output_{i}": y.numpy().astype(KINDS[tensors[f"output_{i}"][2].name])
            for i, y in enumerate(results)
        }

    def leaf(self, context: Any, name: str, leaf: Any, tensors: dict[str, Any]) -> Any:
        """Return an argument as the engine finds it in its memory."""
        if name not in tensors:
            return self.integers.get(name, leaf)
        pointer, shape, dtype = tensors[name]
        kind = numpy.dtype(KINDS[dtype.name])
        location = context.engine.get_tensor_location(name)
        self.cuda.find(
            pointer,
            max(math.prod(shape) * kind.itemsize, 1),
            on_device=location is not self.trt.TensorLocation.HOST,
        )
        shape = tuple(shape)
        last = context.engine.get_tensor_format(name).name != "LINEAR"
        found = view(pointer, (shape[0], *shape[2:], shape[1]) if last else shape, kind)
        found = numpy.moveaxis(found, -1, 1) if last else found
        if name in self.integers:
            assert found.tolist() == [self.integers[name]]
            return self.integers[name]
        assert isinstance(leaf, Spec)
        return torch.from_numpy(found.copy()).to(leaf.dtype)


def tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def plain(value: Any) -> Any:
    """Return a result as a model without torch gives it."""
    if tensor(value):
        return value.numpy()
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return type(value)((key, plain(part)) for key, part in value.items())
    if isinstance(value, (tuple, list)):
        return (list if type(value) is list else tuple)(map(plain, value))
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def assert_same(given: Any, wanted: Any) -> None:
    """Compare two results, exactly."""
    assert type(given) is type(wanted)
    if isinstance(wanted, numpy.ndarray):
        assert given.dtype == wanted.dtype and given.shape == wanted.shape
        assert numpy.array_equal(given, wanted, equal_nan=wanted.dtype.kind == "f")
    elif isinstance(wanted, dict):
        assert list(given) == list(wanted)
        for key in wanted:
            assert_same(given[key], wanted[key])
    elif isinstance(wanted, (tuple, list)):
        assert len(given) == len(wanted)
        for one, other in zip(given, wanted, strict=True):
            assert_same(one, other)
    else:
        assert given == wanted


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def make(version: str, function: Any, inputs: Any) -> Hosted:
        return Hosted(monkeypatch, tmp_path / "net.trtnn", version, function, inputs)

    return make
