"""trtnn: compile PyTorch modules with NVIDIA TensorRT's own network API."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtnn import functional as functional
    from trtnn import nvinfer as nvinfer
    from trtnn import options as options
    from trtnn import serving as serving
    from trtnn.building import build as build
    from trtnn.checking import check as check
    from trtnn.compiled import CompiledModule as CompiledModule
    from trtnn.compiler import Input as Input
    from trtnn.compiler import compile as compile
    from trtnn.compiler import trace as trace
    from trtnn.engine.engine import Engine as Engine
    from trtnn.errors import AbsentError as AbsentError
    from trtnn.errors import AssumptionWarning as AssumptionWarning
    from trtnn.errors import BackendError as BackendError
    from trtnn.errors import BuildError as BuildError
    from trtnn.errors import CopyWarning as CopyWarning
    from trtnn.errors import CudaError as CudaError
    from trtnn.errors import DTypeError as DTypeError
    from trtnn.errors import GraphError as GraphError
    from trtnn.errors import InputError as InputError
    from trtnn.errors import LoadError as LoadError
    from trtnn.errors import OptionError as OptionError
    from trtnn.errors import PrecisionWarning as PrecisionWarning
    from trtnn.errors import RecompileWarning as RecompileWarning
    from trtnn.errors import ShapeError as ShapeError
    from trtnn.errors import StreamError as StreamError
    from trtnn.errors import TraceError as TraceError
    from trtnn.errors import TrtnnError as TrtnnError
    from trtnn.errors import UnsupportedError as UnsupportedError
    from trtnn.errors import VerifyWarning as VerifyWarning
    from trtnn.errors import WrongEngineError as WrongEngineError
    from trtnn.flow.conditional import cond as cond
    from trtnn.flow.loops import scan as scan
    from trtnn.flow.loops import while_loop as while_loop
    from trtnn.graph.graph import Graph as Graph
    from trtnn.kernels import triton_op as triton_op
    from trtnn.loading import load as load
    from trtnn.module import Module as Module
    from trtnn.ops.registering import register as register
    from trtnn.plugins import plugin as plugin
    from trtnn.precision.calibrators import calibration_data as calibration_data
    from trtnn.precision.policy import Precision as Precision
    from trtnn.precision.sparsity import sparsify as sparsify
    from trtnn.quantizing import QuantizedModel as QuantizedModel
    from trtnn.quantizing import quantize as quantize
    from trtnn.reporting import report as report
    from trtnn.sizes.dims import Dim as Dim
    from trtnn.tools.bundle import Report as Report
    from trtnn.tools.findings import CheckReport as CheckReport
    from trtnn.tools.layers import EngineLayers as EngineLayers
    from trtnn.tools.profiles import Profile as Profile
    from trtnn.tracing.regions import autocast as autocast
    from trtnn.trt.user_libraries import load_plugins as load_plugins
    from trtnn.vocabulary import supported as supported

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(("Input", "compile", "trace"), "compiler"),
    "CompiledModule": "compiled",
    "build": "building",
    "check": "checking",
    "CheckReport": "tools.findings",
    "report": "reporting",
    "Report": "tools.bundle",
    "EngineLayers": "tools.layers",
    "Profile": "tools.profiles",
    "cond": "flow.conditional",
    **dict.fromkeys(("scan", "while_loop"), "flow.loops"),
    "Dim": "sizes.dims",
    "Engine": "engine.engine",
    "Graph": "graph.graph",
    "Module": "module",
    "Precision": "precision.policy",
    "autocast": "tracing.regions",
    "load": "loading",
    "load_plugins": "trt.user_libraries",
    "plugin": "plugins",
    "triton_op": "kernels",
    "register": "ops.registering",
    "supported": "vocabulary",
    "calibration_data": "precision.calibrators",
    "sparsify": "precision.sparsity",
    **dict.fromkeys(("QuantizedModel", "quantize"), "quantizing"),
    **dict.fromkeys(
        (
            "AbsentError",
            "AssumptionWarning",
            "BackendError",
            "BuildError",
            "CopyWarning",
            "CudaError",
            "DTypeError",
            "GraphError",
            "InputError",
            "LoadError",
            "OptionError",
            "PrecisionWarning",
            "RecompileWarning",
            "ShapeError",
            "StreamError",
            "TraceError",
            "TrtnnError",
            "UnsupportedError",
            "VerifyWarning",
            "WrongEngineError",
        ),
        "errors",
    ),
}
__all__ = ["__version__", "functional", "nvinfer", "options", "serving", *_HOMES]


def __dir__() -> list[str]:
    """List what is imported lazily too."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import lazily, so that a saved engine runs without torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"trtnn.{_HOMES[name]}"), name)
    if name in ("functional", "nvinfer", "options", "serving"):
        return importlib.import_module(f"trtnn.{name}")
    raise AttributeError(f"module 'trtnn' has no attribute {name!r}")
