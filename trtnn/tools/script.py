"""The script of a report: TensorRT's calls, and what builds and runs them, on NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

HEAD = '''"""{title}

Recorded by trtnn {trtnn} with {tensorrt}. It needs the files beside it, and no more than
NumPy and TensorRT: python {name} [tensorrt | tensorrt_rtx]
"""

import ctypes
import importlib
import pathlib
import sys

import numpy

PACKAGE = sys.argv[1] if len(sys.argv) > 1 else "{package}"
trt = importlib.import_module(PACKAGE)
held = []  # TensorRT reads weights while it builds


def arrays_in(name):
    """Return the arrays of a file beside this one, by name."""
    path = pathlib.Path(__file__).resolve().parent / name
    with numpy.load(path, allow_pickle=False) as file:
        return dict(file)


ARRAYS = arrays_in("arrays.npz")


def weights(entries, dtype):
    """Return weights: those of arrays.npz by name, or a few numbers."""
    bits = numpy.uint16 if dtype == "bfloat16" else dtype
    named = isinstance(entries, str)
    array = ARRAYS[entries].view(bits).copy() if named else numpy.array(entries, bits)
    held.append(array)
    if dtype == "bfloat16":
        return trt.Weights(trt.DataType.BF16, array.ctypes.data, array.size)
    return trt.Weights(array)


def made(thing):
    """Return what TensorRT made, and end where it made nothing."""
    if thing is None:
        sys.exit("TensorRT refused this call; its own words are above")
    return thing


logger = trt.Logger(trt.Logger.WARNING)
builder = made(trt.Builder(logger))


# The calls, as they were made -----------------------------------------------------------------

'''

CUT_SHORT = """

sys.exit("the calls end here: TensorRT refused the last one, or a value in it")
"""

TAIL = '''

# The build, and a run where there is a GPU ----------------------------------------------------

plan = builder.build_serialized_network(network, config)
if plan is None:
    sys.exit("TensorRT could not build the engine; its own words are above")
print(f"TensorRT {trt.__version__} built the engine: {plan.nbytes:,} bytes")
KINDS = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "uint16", "INT64": "int64", "INT32": "int32",
    "INT8": "int8", "UINT8": "uint8", "BOOL": "bool", "FP8": "uint8",
}


def driver_of():
    """Return CUDA's driver, with a context on the first GPU; None where there is no GPU."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    count, device, context = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    calls = (
        (cuda.cuDeviceGet, ctypes.byref(device), 0),
        (cuda.cuDevicePrimaryCtxRetain, ctypes.byref(context), device),
        (cuda.cuCtxSetCurrent, context),
    )
    for call, *arguments in calls:
        require(call(*arguments))
    return cuda


def require(status):
    if status:
        sys.exit(f"CUDA failed with error {status}")


def as_floats(array, kind):
    """Return an array as float64; bfloat16 travels as its bits."""
    if kind == "BF16":
        array = (array.astype(numpy.uint32) << 16).view(numpy.float32)
    return array.astype(numpy.float64)


def run(cuda):
    """Run the engine on the saved inputs; return its outputs, flat, by name."""
    runtime = trt.Runtime(logger)
    engine = made(runtime.deserialize_cuda_engine(plan))
    context = made(engine.create_execution_context())
    inputs = arrays_in("inputs.npz")
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    given = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
    memory, hosts = {}, []
    for name in given:
        kind = KINDS[engine.get_tensor_dtype(name).name]
        array = numpy.ascontiguousarray(inputs[name].astype(kind, copy=False))
        if engine.get_tensor_location(name) == trt.TensorLocation.HOST:
            hosts.append(array)
            context.set_tensor_address(name, array.ctypes.data)
            continue
        context.set_input_shape(name, array.shape)
        memory[name] = allocated(cuda, array.nbytes)
        require(cuda.cuMemcpyHtoD_v2(memory[name], array.ctypes.data_as(ctypes.c_void_p),
                                     ctypes.c_size_t(array.nbytes)))
    outputs = [name for name in names if name not in given]
    kinds = {name: numpy.dtype(KINDS[engine.get_tensor_dtype(name).name]) for name in outputs}
    for name in outputs:
        entries = max(EXPECTED[name].size, 1) * kinds[name].itemsize
        memory[name] = allocated(cuda, max(entries, context.get_max_output_size(name)))
    for name, pointer in memory.items():
        context.set_tensor_address(name, pointer.value)
    if not context.execute_async_v3(0):
        sys.exit("TensorRT could not run the engine; its own words are above")
    require(cuda.cuCtxSynchronize())
    found = {}
    for name in outputs:
        array = numpy.empty(EXPECTED[name].size, kinds[name])
        require(cuda.cuMemcpyDtoH_v2(array.ctypes.data_as(ctypes.c_void_p), memory[name],
                                     ctypes.c_size_t(array.nbytes)))
        found[name] = as_floats(array, engine.get_tensor_dtype(name).name)
    return found


def allocated(cuda, size):
    pointer = ctypes.c_uint64()
    require(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(max(size, 256))))
    return pointer


EXPECTED = arrays_in("expected.npz")
driver = driver_of()
if driver is None:
    print("no GPU here: nothing ran")
    sys.exit()
for name, array in sorted(run(driver).items()):
    exact = EXPECTED[name].reshape(-1).astype(numpy.float64)
    asked = numpy.isfinite(exact)
    lost = int((asked & ~numpy.isfinite(array)).sum())
    asked &= numpy.isfinite(array)
    difference = numpy.where(asked, array, 0) - numpy.where(asked, exact, 0)
    size = numpy.linalg.norm(numpy.where(asked, exact, 0)) or 1.0
    print(f"{name}: relative error {numpy.linalg.norm(difference) / size:.3g}, largest "
          f"{numpy.abs(difference).max(initial=0):.3g}, not finite in the engine alone: {lost}")
'''


def script_of(
    title: str, name: str, versions: dict[str, str], lines: Sequence[str], *, whole: bool
) -> str:
    """Return the text of a script.

    Args:
        versions: ``trtnn``, ``tensorrt`` with its title, and ``package``.
        lines: The calls.
        whole: Whether they came to the build; else TensorRT refused one of them.
    """
    head = HEAD.format(title=title, name=name, **versions)
    return head + "\n".join(lines) + (TAIL if whole else CUT_SHORT)
