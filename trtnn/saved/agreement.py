"""Whether an engine is the one that is described: asked of TensorRT itself, and without torch.

TensorRT reads and writes what addresses it is given, so that a wrong name, dtype or size is memory
that is read or written out of bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trtnn.errors import LoadError, OptionError
from trtnn.saved.border import Border, Described, depends_on_data
from trtnn.sizes.dims import Size, bounds, evaluate
from trtnn.sizes.profiles import count_profiles, profile_of
from trtnn.trt.library import TensorRT
from trtnn.trt.memory_formats import FORMATS, LINEAR
from trtnn.trt.tensors import Shape, TensorFacts, place_integers, profile_ranges

INTEGERS = ("int32", "int64")
ENDS = ("min", "opt", "max")
Facts = Mapping[str, TensorFacts]


def require_agreement(border: Border, where: str, library: TensorRT, engine: Any) -> None:
    """Raise LoadError unless an engine has the inputs and outputs that are described, and no other.

    Names, directions, dtypes, memory formats and profiles are compared, and the sizes at the min,
    opt and max of each profile: outputs are asked of an execution context that is told the inputs.

    Args:
        where: What describes it: the path of a file.
    """
    facts = library.facts(engine)
    _require_names(border, where, facts)
    for tensor in (*border.inputs, *border.outputs):
        _require_alike(tensor, where, facts[tensor.name], library)
    for name in border.hosts:
        found = facts.get(name)
        if found and (found.dtype not in INTEGERS or any(size != 1 for size in found.shape)):
            raise _differ(where, name, "an integer", _shown(found))
    _require_profiles(border, where, facts, library, engine)
    _require_sizes(border, where, facts, library, engine)


def require_shapes(
    outputs: Sequence[Described],
    expected: Sequence[Shape | None],
    where: str,
    shape_of: Callable[[str], Any],
) -> None:
    """Raise LoadError unless TensorRT would write outputs of the expected shapes.

    Args:
        expected: None for an output whose sizes depend on data.
        shape_of: Asks a context that knows the inputs' shapes.
    """
    for tensor, shape in zip(outputs, expected, strict=True):
        if shape is not None and (found := tuple(shape_of(tensor.name))) != shape:
            raise _differ(where, tensor.name, str(shape), str(found))


def _require_names(border: Border, where: str, facts: Facts) -> None:
    inputs = {name for name, tensor in facts.items() if tensor.is_input}
    described = {tensor.name for tensor in border.inputs}
    outputs = {tensor.name for tensor in border.outputs}
    # TensorRT drops a host input that no layer needs.
    if inputs - {*border.hosts} != described or facts.keys() - inputs != outputs:
        raise LoadError(
            f"{where}: the manifest describes {', '.join(sorted(described | outputs))}, "
            f"the engine has {', '.join(sorted(facts))}"
            + ("" if facts.keys() != described | outputs else ", others of them as inputs")
        )


def _require_alike(tensor: Described, where: str, found: TensorFacts, library: TensorRT) -> None:
    """Raise LoadError unless dtype, rank, static sizes and memory format are as described."""
    try:
        dtype = library.dtype(tensor.dtype).name
        same = dtype == library.dtype(found.dtype).name
    except OptionError:
        same = False
    form = FORMATS.get((tensor.format, tensor.dtype), (None,))[0] if tensor.format else LINEAR
    sizes_fit = len(tensor.shape) == len(found.shape) and all(
        _may_be(size, number) for size, number in zip(tensor.shape, found.shape, strict=True)
    )
    if not same or not sizes_fit or found.on_host or (found.is_input and form != found.format):
        raise _differ(where, tensor.name, str(tensor), _shown(found))


def _may_be(size: Size, number: int) -> bool:
    """Say whether a size that TensorRT knows, or not (-1), can be one that is described."""
    if isinstance(size, int):
        return number in (size, -1)
    low, high = bounds(size)
    return number == -1 or low == high == number or depends_on_data(size)


def _require_profiles(
    border: Border, where: str, facts: Facts, library: TensorRT, engine: Any
) -> None:
    """Raise LoadError unless each profile of an engine has the ranges of the Dims."""
    asked: dict[str, Sequence[Size]] = {
        tensor.name: tensor.shape for tensor in border.inputs if -1 in facts[tensor.name].shape
    }
    asked |= {n: (dim,) for n, dim in border.hosts.items() if n in facts and facts[n].on_host}
    # An engine that asks for none of the Dims' sizes has one profile.
    count = count_profiles(border.dims) if asked else 1
    if (has := library.count_profiles(engine)) != count:
        raise LoadError(f"{where}: described with {count} profiles, and the engine has {has}")
    for profile in range(count):
        for name, sizes in asked.items():
            found = profile_ranges(engine, facts[name], profile)
            for end, shape in enumerate(found):
                expected = tuple(evaluate(size, _sizes(border, profile, end)) for size in sizes)
                if len(found) != len(ENDS) or shape != expected:
                    place = f"{name} at the {ENDS[end % 3]} of profile {profile}"
                    raise _differ(where, place, str(expected), str(shape))


def _sizes(border: Border, profile: int, end: int) -> dict[str, int]:
    return {dim.name: profile_of(dim, profile)[end] for dim in border.dims}


def _require_sizes(
    border: Border, where: str, facts: Facts, library: TensorRT, engine: Any
) -> None:
    """Raise LoadError unless outputs have the described sizes at the ends of all profiles."""
    fixed = [tensor for tensor in border.outputs if not tensor.counted]
    static = all(-1 not in facts[tensor.name].shape for tensor in (*border.inputs, *fixed))
    # It computes nothing, so that it needs no memory to work in.
    context = None if static else library.context(engine, own=False)
    profiles = library.count_profiles(engine)
    for profile in range(count_profiles(border.dims)):
        if context is not None and 0 < profile < profiles:
            library.select_profile(context, profile, 0)
        for end in range(len(ENDS) if border.dims else 1):
            sizes = _sizes(border, profile, end)
            shapes = [tuple(evaluate(s, sizes) for s in tensor.shape) for tensor in fixed]
            what = f"{where}: at the {ENDS[end]} of profile {profile}" if border.dims else where
            if context is None:
                require_shapes(fixed, shapes, what, lambda name: facts[name].shape)
                continue
            held = _tell_inputs(border, what, facts, context, sizes)
            require_shapes(fixed, shapes, what, context.get_tensor_shape)
            del held


def _tell_inputs(
    border: Border, where: str, facts: Facts, context: Any, sizes: Mapping[str, int]
) -> Any:
    """Tell a context the inputs' shapes and integers; return what has to live meanwhile."""
    for tensor in border.inputs:
        if -1 in facts[tensor.name].shape:
            shape = tuple(evaluate(size, sizes) for size in tensor.shape)
            if not context.set_input_shape(tensor.name, shape):
                raise LoadError(f"{where}: {tensor.name}: TensorRT refuses the shape {shape}")
    hosts = {n: sizes[d.name] for n, d in border.hosts.items() if n in facts and facts[n].on_host}
    return place_integers(context, {name: facts[name].dtype for name in hosts}, hosts)


def _differ(where: str, what: str, described: str, found: str) -> LoadError:
    return LoadError(
        f"{where}: {what}: described as {described}, and the engine has {found}",
        hint="save the model again from its module",
    )


def _shown(found: TensorFacts) -> str:
    form = "" if found.format == LINEAR else f" in {found.format}"
    kind = "input" if found.is_input else "output"
    place = " on the host" if found.on_host else ""
    return f"the {kind} {found.dtype} ({', '.join(map(str, found.shape))}){form}{place}"
