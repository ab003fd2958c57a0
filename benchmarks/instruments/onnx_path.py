"""What a user has without trtnn: PyTorch's ONNX exporter, TensorRT's parser, raw bindings."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.instruments.contest import Tensors
from tests.compare import leaves
from trtnn.errors import BuildError
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT
from trtnn.trt.timing import begin, keep, load

OPSET = 17  # the newest that the parser of 8.6 reads, and the first with LayerNormalization


class Flat(nn.Module):
    """A network whose result is a tuple of tensors, as files of networks want it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors of the network's result."""
        return tuple(leaves(self.net(*inputs)))


@contextlib.contextmanager
def exportable() -> Iterator[None]:
    """Leave out PyTorch's fused attention of eager inference, which no exporter knows."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def export(net: nn.Module, inputs: Tensors, path: Path) -> None:
    """Write a network as ONNX; its inputs and outputs are named by their places."""
    names = [f"input_{index}" for index in range(len(inputs))]
    with exportable(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of an exporter that is deprecated, about each constant
        results = Flat(net)(*inputs)
        torch.onnx.export(
            Flat(net).eval(),
            inputs,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[f"output_{index}" for index in range(len(results))],
        )


def build(
    net: nn.Module,
    inputs: Tensors,
    library: TensorRT,
    options: BuildOptions,
    *,
    tf32: bool = True,
    half: bool = False,
    half_border: bool = False,
    capabilities: tuple[str, ...] = (),
) -> bytes:
    """Return the plan that the ONNX parser's network gives.

    Args:
        tf32: Let it round the operands of products in float32.
        half: Let TensorRT 8.6 compute in half, which is how a float32 network gets there.
        half_border: Have the inputs and outputs of that network in half, too.

    Raises:
        BuildError: The parser or the builder refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(net, inputs, path)
        builder = library.builder()
        network = library.network(builder)
        parser = parsed(library, network, path)
        config = library.config(builder, options, tf32=tf32, half=False, capabilities=capabilities)
        if half:
            config.set_flag(library.trt.BuilderFlag.FP16)
        for tensor in border(network) if half_border else ():
            if tensor.dtype == library.trt.DataType.FLOAT:
                tensor.dtype = library.trt.DataType.HALF
        timings = load(options) if library.times_kernels else None
        if timings is not None:
            timings = timings.start(partial(begin, config, library.log))
        plan, measured = library.build(builder, network, config, progress=False)
        del parser  # whose weights the network refers to
    if timings is not None and measured is not None:
        keep(timings, measured, config, library.log)
    return bytes(plan)


def border(network: Any) -> list[Any]:
    """Return the inputs and outputs of a network."""
    return [network.get_input(index) for index in range(network.num_inputs)] + [
        network.get_output(index) for index in range(network.num_outputs)
    ]


def parsed(library: TensorRT, network: Any, path: Path) -> Any:
    """Fill a network from a file; return the parser, which has to outlive the build."""
    parser = library.trt.OnnxParser(network, library.log.handle)
    if not parser.parse_from_file(str(path)):
        said = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise BuildError(f"the ONNX parser refused the network: {said}", search=False)
    return parser
