"""A compiled model's interface as plain data, which a manifest holds, and back."""

from __future__ import annotations

import inspect
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trtnn.engine.verified import Verified
from trtnn.errors import LoadError, TrtnnError, UnsupportedError
from trtnn.graph.graph import Interface, Value
from trtnn.ops.op import Spec
from trtnn.options import BuildOptions
from trtnn.saved.border import border_of
from trtnn.saved.file import FORMAT
from trtnn.saved.fit import platform_of
from trtnn.saved.leaves import Other, decode, decode_tree, dtype_of, encode, encode_tree
from trtnn.saved.notation import read_dims, read_size
from trtnn.sizes.dims import Dim, Expr, Size, symbols
from trtnn.sizes.expressions import SizeSymbol
from trtnn.sizes.profiles import count_profiles, profile_of
from trtnn.sizes.solutions import Given, integers_of
from trtnn.tracing.constants import short
from trtnn.tracing.signature import RANKS, Signature, spread
from trtnn.tracing.tracer import Sizes
from trtnn.tree import Tree, leaf_names
from trtnn.trt.library import TensorRT


@dataclass(frozen=True, eq=False)
class SavedGraph:
    """What a loaded model knows of the graph that it was compiled from; ``str`` is its table."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    dims: tuple[Dim, ...]
    hosts: Mapping[str, Dim]
    formats: Mapping[str, str]
    result: Tree
    leaves: tuple[Any, ...]
    text: str

    def __str__(self) -> str:
        return self.text

    def integers(self) -> list[Given]:
        """Return the integers that a call gives: the inputs' sizes, then the host inputs."""
        return integers_of(((v.name, v.spec.shape) for v in self.inputs), self.hosts)


def gpu_of(device: torch.device) -> dict[str, Any] | None:
    """Return what a plan depends on: the GPU's name, compute capability and multiprocessors."""
    if device.type != "cuda":
        return None
    facts = torch.cuda.get_device_properties(device)
    return {
        "name": facts.name,
        "compute_capability": [facts.major, facts.minor],
        "sm_count": facts.multi_processor_count,
    }


def versions_of(library: TensorRT | None) -> dict[str, str | None]:
    """Return the versions of what a model is made with; None: there is no TensorRT."""
    built = {} if library is None else {library.target.package: library.target.version}
    return {
        # Of the package itself, which exports from the modules below it.
        "trtnn": sys.modules["trtnn"].__version__,
        **built,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }


def describe(
    graph: Interface,
    signature: Signature,
    parameters: inspect.Signature,
    library: TensorRT,
    *,
    device: torch.device,
    precision: str,
    execution: str,
    int64_checks: str,
    options: BuildOptions,
    timing_digest: str | None = None,
    capabilities: Sequence[str] = (),
    verified: Verified | None = None,
    plugins: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the manifest of a compiled model, without what ``saved.file.write`` adds.

    Args:
        library: What built its plan.
        device: The GPU that a plan of TensorRT is for.
        timing_digest: The SHA-256 of the timing cache that the build started from.
        capabilities: The GPUs that a plan of TensorRT for RTX is for, by compute capability.
        verified: What was found when the engine ran beside its graph; None: nobody looked.
        plugins: What the plan has of plugins, as ``plugins_in`` says.

    Raises:
        UnsupportedError: It has a constant, a result or a structure that a file cannot hold; the
            error names it.
    """
    manifest = {
        "versions": versions_of(library),
        "platform": platform_of(),
        "gpu": None if capabilities else gpu_of(device),
        "precision": precision,
        "execution": execution,
        "checks": int64_checks,
        "options": options.describe(),
        "engine": {
            "package": library.target.package,
            "compute_capabilities": list(capabilities),
            "version_compatible": bool(options.version_compatible),
            "host_code": _holds_host_code(options),
            "hardware_compatibility_level": options.hardware_compatibility_level or "NONE",
            "refit": options.refit,
            "timing_digest": timing_digest,
        },
        "verified": None if verified is None else verified.described(),
        "plugins": list(plugins),
        **_interface(graph, signature, parameters),
        "graph": str(graph),
    }
    try:
        border_of({**manifest, "format": FORMAT, "plan": {"sha256": "0" * 64, "bytes": 0}}, "save")
    except LoadError as error:
        raise UnsupportedError(f"{error.message}: it could not be loaded again") from error
    return manifest


def _holds_host_code(options: BuildOptions) -> bool:
    """Say whether a plan holds code for the host: a lean runtime, or libraries of plugins."""
    lean = options.version_compatible and not options.exclude_lean_runtime
    return bool(lean or options.plugins_to_serialize)


def _interface(
    graph: Interface, signature: Signature, parameters: inspect.Signature
) -> dict[str, Any]:
    outputs = [(f"output_{i}", value.spec) for i, value in enumerate(graph.outputs)]
    inputs = [(value.name, value.spec) for value in graph.inputs]
    sizes = [size for _, spec in (*inputs, *outputs) for size in spec.shape]
    sizes += [size for leaf in graph.leaves for size in _sizes_in(leaf)]
    named = {s.name: s for size in (*sizes, *graph.dims) for s in symbols(size)}
    dims = {name: described_dim(symbol) for name, symbol in named.items()}
    _require_read_back(sizes, read_dims(dims))
    declared = graph.dims
    return {
        "dims": dims,
        "profiles": [
            {dim.name: list(profile_of(dim, index)) for dim in declared}
            for index in range(count_profiles(declared))
        ],
        "inputs": [described_tensor(name, spec, graph.formats.get(name)) for name, spec in inputs],
        "outputs": [described_tensor(name, spec) for name, spec in outputs],
        "hosts": [{"name": name, "dim": dim.name} for name, dim in graph.hosts.items()],
        "signature": _signature(signature, parameters),
        "result": {
            "tree": encode_tree(graph.result, "the result"),
            "leaves": [
                encode(leaf, name)
                for name, leaf in zip(leaf_names(graph.result, "result"), graph.leaves, strict=True)
            ],
        },
    }


def _sizes_in(leaf: Any) -> tuple[Size, ...]:
    if isinstance(leaf, Sizes):
        return leaf
    return (leaf,) if isinstance(leaf, Expr) else ()


def described_dim(symbol: SizeSymbol) -> dict[str, Any]:
    """Return what a manifest says of a Dim, or of a size that depends on data."""
    return {
        "profiles": [list(profile) for profile in symbol.profiles],
        "depends_on_data": not symbol.declared,
    }


def described_tensor(name: str, spec: Spec, form: str | None = None) -> dict[str, Any]:
    """Return what a manifest says of a tensor; ``form`` is its memory format."""
    shape = [size if isinstance(size, int) else str(size) for size in spec.shape]
    written = {"name": name, "dtype": str(spec.dtype).removeprefix("torch."), "shape": shape}
    return {**written, "memory_format": form} if form else written


def _require_read_back(sizes: Sequence[Size], dims: Mapping[str, Expr]) -> None:
    """Refuse a size whose text is read as another one, such as one of a Dim named ``in``."""
    for size in sizes:
        try:
            again = read_size(size if isinstance(size, int) else str(size), dims)
        except LoadError:
            again = -1
        if again != size:
            names = ", ".join(s.name for s in symbols(size))
            raise UnsupportedError(
                f"save: the size {size} cannot be read back from its text",
                hint=f"give other names to the Dims {names}",
            )


def _signature(signature: Signature, parameters: inspect.Signature) -> dict[str, Any]:
    leaves = []
    for name, leaf in zip(signature.names, signature.leaves, strict=True):
        if isinstance(leaf, Spec):
            leaves.append({"input": name})
        else:
            leaves.append({"host": name} if isinstance(leaf, Dim) else encode(leaf, name))
    return {
        "parameters": [_parameter(p) for p in parameters.parameters.values()],
        "declared": list(signature.parameters),
        "keyword_only": sorted(signature.by_keyword),
        "dims": [dim.name for dim in signature.dims],
        "names": list(signature.names),
        "tree": encode_tree(signature.tree, "the arguments"),
        "leaves": leaves,
    }


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    written = {"name": parameter.name, "kind": parameter.kind.name}
    if parameter.default is inspect.Parameter.empty:
        return written
    try:
        default = encode(parameter.default, parameter.name)
    except UnsupportedError:
        default = encode(Other(short(parameter.default)), parameter.name)
    return {**written, "default": default}


# What Python and PyTorch raise where a value is not what was to be there.
MALFORMED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Restored:
    """What ``describe`` was given of a model's interface."""

    graph: SavedGraph
    signature: Signature
    parameters: inspect.Signature


def restore(manifest: Mapping[str, Any]) -> Restored:
    """Return the interface that a manifest describes.

    Raises:
        LoadError: It describes none, or its structure has a class that is not imported.
    """
    try:
        return _restored(manifest)
    except LoadError:
        raise
    except (TrtnnError, *MALFORMED) as e:
        raise LoadError(f"the manifest describes no model: {type(e).__name__}: {e}") from e


def _restored(manifest: Mapping[str, Any]) -> Restored:
    dims = read_dims(manifest["dims"])
    written, result = manifest["signature"], manifest["result"]
    inputs = {t["name"]: _spec(t, dims) for t in manifest["inputs"]}
    hosts = {host["name"]: declared_dim(dims[host["dim"]]) for host in manifest["hosts"]}
    given = tuple(declared_dim(dims[name]) for name in written["dims"])
    formats = {t["name"]: t["memory_format"] for t in manifest["inputs"] if "memory_format" in t}
    if unknown := {*formats.values()} - {str(form).removeprefix("torch.") for form in RANKS}:
        raise LoadError(f"there is no memory format {unknown.pop()!r}")

    def leaf(found: Any) -> Any:
        if isinstance(found, dict) and found.keys() <= {"input", "host"}:
            return inputs[found["input"]] if "input" in found else hosts[found["host"]]
        return decode(found, dims)

    signature = Signature(
        tree=decode_tree(written["tree"]),
        leaves=tuple(map(leaf, written["leaves"])),
        names=tuple(written["names"]),
        dims=given,
        by_keyword=frozenset(written["keyword_only"]),
        formats=formats,
    )
    graph = SavedGraph(
        inputs=tuple(Value(name, spec) for name, spec in inputs.items()),
        outputs=tuple(Value(t["name"], _spec(t, dims)) for t in manifest["outputs"]),
        dims=given,
        hosts=hosts,
        formats=formats,
        result=decode_tree(result["tree"]),
        leaves=tuple(decode(found, dims) for found in result["leaves"]),
        text=manifest["graph"],
    )
    parameters = _parameters(written["parameters"])
    _require_callable(signature, parameters)
    return Restored(graph, signature, parameters)


def _require_callable(signature: Signature, parameters: inspect.Signature) -> None:
    """Raise LoadError unless ``forward``'s parameters take the arguments that are declared."""
    args, kwargs = signature.arguments()[0].children
    named = ", ".join(signature.parameters)
    try:
        bound = parameters.bind(*args.children, **dict.fromkeys(kwargs.keys))
    except TypeError as error:
        raise LoadError(f"the parameters {parameters} do not take {named}") from error
    if tuple(spread(bound)) != signature.tree.keys:
        raise LoadError(f"the parameters {parameters} are not those of {named}")


def declared_dim(dim: Expr) -> Dim:
    """Return a Dim, LoadError where a size is none."""
    if not isinstance(dim, Dim):
        raise LoadError(f"{dim}: expected a declared Dim")
    return dim


def _spec(written: Mapping[str, Any], dims: Mapping[str, Expr]) -> Spec:
    shape = tuple(read_size(size, dims) for size in written["shape"])
    return Spec(shape, dtype_of(written["dtype"]))


def _parameters(written: Sequence[Mapping[str, Any]]) -> inspect.Signature:
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(
                p["name"],
                getattr(inspect.Parameter, p["kind"]),
                default=decode(p["default"], {}) if "default" in p else empty,
            )
            for p in written
        ]
    )
