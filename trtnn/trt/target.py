"""What one TensorRT can do: facts by name, so that nobody else asks for a version."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from trtnn.trt.capabilities import capabilities_of
from trtnn.trt.debugging import has_debug_tensors
from trtnn.trt.identity import RTX, TENSORRT, package_of, title_of
from trtnn.trt.tensors import DTYPES

# Layers that a package lists and cannot build, which nothing but a build tells.
# RTX 1.7.1.116: "has no runners that implement it"; NVIDIA/TensorRT-RTX#36.
_WITHOUT_KERNELS = {RTX: frozenset({"non_zero", "nms"})}


@dataclass(frozen=True)
class Target:
    """What one TensorRT can do, asked of the library itself.

    Attributes:
        package: ``"tensorrt"``, or ``"tensorrt_rtx"`` for TensorRT for RTX.
        name: Title and version, as errors say them.
        layers: The layers that it can build, as the ``add_`` methods are named.
        compute_capabilities: The GPUs that it builds for, ``"8.9"``, where it can be told which;
            else it builds for the GPU at hand.
        debug_tensors: Whether an engine can tell of values inside it while it runs.
        fuses_wide_sums: Whether a half product between casts to float32 and back is one kernel,
            which adds so.
    """

    package: str
    name: str
    version: str
    layers: frozenset[str]
    activations: frozenset[str]
    unaries: frozenset[str]
    dtypes: frozenset[str]
    strongly_typed: bool
    compute_capabilities: tuple[str, ...] = ()
    debug_tensors: bool = False
    fuses_wide_sums: bool = False

    @property
    def index_dtype(self) -> str:
        """The dtype of shape tensors."""
        return "int64" if "INT64" in self.dtypes else "int32"

    @property
    def scalars_in_unary(self) -> bool:
        return self.strongly_typed

    @property
    def dilates_strided_deconvolutions(self) -> bool:
        """Whether a transposed convolution may have stride and dilation above 1; 8.6 takes it.

        RTX 1.7.1: "Strided & Dilated Deconv are currently not supported"; 10 and 11 do not say.
        """
        return not self.strongly_typed

    @property
    def casts_int8(self) -> bool:
        """Whether a network may have int8 at its border without quantization.

        8.6 wants a dynamic range for such a tensor, and calibrates it where there is none.
        """
        return self.strongly_typed

    @property
    def quantized_dtypes(self) -> frozenset[str]:
        """What Quantize gives; 8.6 lists FP8, and its layer cannot be told so."""
        return frozenset({"int8", "float8_e4m3fn"} if self.strongly_typed else {"int8"})

    @property
    def quantized_activations(self) -> frozenset[str]:
        """Of these, what activations may be: int8 is documented for RTX as of weights only."""
        return self.quantized_dtypes - ({"int8"} if self.package == RTX else set())

    @property
    def tells_types_at_once(self) -> bool:
        """Whether a layer's tensors have their types before the build: 8.6 says FLOAT of halves."""
        return self.package == RTX

    @property
    def recurses(self) -> bool:
        """Whether a build goes down the network layer by layer, on the stack."""
        return self.package == RTX

    @property
    def nests_dynamic_conditions(self) -> bool:
        """Whether a branch may hold a condition that gives a dynamic size.

        RTX 1.7.1: "MyelinCheckException: utils.cpp:3613: CHECK(i < op->input_size()) failed".
        """
        return self.package != RTX

    @property
    def refused_with_graphs(self) -> frozenset[str]:
        """The activations that fail in a network with a branch or a loop, wherever they stand.

        RTX 1.7.1, of two, or one in a loop: "There are 2 inputs. Expected 1."
        """
        return frozenset({"ELU"} if self.package == RTX else ())

    @property
    def inspects_plans(self) -> bool:
        """Whether an inspector opens a plan; that of RTX needs a GPU which can run it."""
        return self.package == TENSORRT

    def has_dtype(self, name: str) -> bool:
        """Say whether a dtype exists here; int64 travels as int32 where it does not."""
        return name == "int64" or DTYPES.get(name) in self.dtypes


def target_of(trt: ModuleType) -> Target:
    """Ask a TensorRT what it has."""
    package, flags = package_of(trt), trt.NetworkDefinitionCreationFlag.__members__
    strong = not hasattr(trt.ILayer, "precision") or "STRONGLY_TYPED" in flags
    listed = (n.removeprefix("add_") for n in dir(trt.INetworkDefinition) if n[:4] == "add_")
    return Target(
        package=package,
        name=title_of(trt),
        version=trt.__version__,
        layers=frozenset(listed) - _WITHOUT_KERNELS.get(package, frozenset()),
        activations=frozenset(trt.ActivationType.__members__),
        unaries=frozenset(trt.UnaryOperation.__members__),
        dtypes=frozenset(trt.DataType.__members__),
        strongly_typed=strong,
        compute_capabilities=capabilities_of(trt),
        debug_tensors=has_debug_tensors(trt),
        # As Torch-TensorRT relies on; of RTX it was not measured.
        fuses_wide_sums=strong and package == TENSORRT,
    )
