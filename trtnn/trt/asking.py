"""What TensorRT says of a plugin's results, asked with a network of nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.errors import BuildError, OptionError
from trtnn.trt.fields import Fields
from trtnn.trt.library import TensorRT
from trtnn.trt.plugins import Key
from trtnn.trt.tensors import dtype_name

Described = tuple[str, tuple[int, ...]]
"""A dtype's name, and a shape."""


def results_of(
    library: TensorRT, key: Key, fields: Fields, inputs: Sequence[Described]
) -> list[Described]:
    """Return the types and shapes of what a plugin gives.

    Raises:
        OptionError: There is no such creator, or it has other fields; or this TensorRT tells no
            types before a build.
        BuildError: It refuses the inputs.
    """
    if not library.target.strongly_typed:
        raise OptionError(
            f"plugin {key}: {library.target.name} does not tell what types it gives",
            hint="give a function of its inputs that returns tensors like its results: infer=",
        )
    library.log.take()
    network = library.network(library.builder())
    tensors = [
        network.add_input(f"x{index}", library.dtype(dtype), shape)
        for index, (dtype, shape) in enumerate(inputs)
    ]
    layer = library.plugins.add(network, key, fields, tensors)
    if layer is None:
        raise BuildError(f"plugin {key}: it refuses its inputs" + library.log.said())
    found = [layer.get_output(index) for index in range(layer.num_outputs)]
    try:
        described = [(dtype_name(x.dtype), tuple(x.shape)) for x in found]
    except (ValueError, RuntimeError):
        described = []
    if not described or library.log.complained:
        raise BuildError(f"plugin {key}: it refuses its inputs" + library.log.said())
    if any(size < 0 for _, shape in described for size in shape):
        raise OptionError(f"plugin {key}: what sizes it gives depends on data: no engine can")
    return described
