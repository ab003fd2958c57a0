"""What a program may do: equal eager, or refuse with a typed error at its line."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

import trtnn
from tests import double
from tests.fuzz.programs import Loaded, Program, loaded
from trtnn.compiled import CompiledModule
from trtnn.compiler import optimize
from trtnn.errors import GraphError, TrtnnError, UnsupportedError
from trtnn.run.reference import Reference
from trtnn.trt.library import TensorRT

# Of the largest number that was rounded: the same functions, composed in another order.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
VERSIONS = ("8.6", "10", "11")
UNRAISED = "eager raises, ours does not"
# PyTorch refuses x[None, :] = x at length 1 alone, where strides no longer tell it is one memory.
QUIRK = "refer to a single memory location"
# What values alone tell: index_select and gather say so where others raise an IndexError.
BY_VALUE = (
    *("indexing axis dim should be positive", "is out of bounds for dimension"),
    "ZeroDivisionError",  # of integers
)


@dataclass(frozen=True)
class Verdict:
    """What became of a program.

    ``outcome`` is "equal", "refused", "raises" (eager and ours do), or "find". ``kind`` names the
    rule that a find breaks, or the reason of a refusal; ``text`` explains a find, with the sizes.
    """

    outcome: str
    kind: str = ""
    text: str = ""
    sizes: Mapping[str, int] | None = None


class Find(Exception):
    """A program that does what none may."""

    def __init__(self, kind: str, text: str, sizes: Mapping[str, int] | None = None) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text, self.sizes = kind, text, sizes


class Refusal(Exception):
    """A typed error where one is allowed."""


@dataclass(frozen=True)
class Eager:
    """What eager makes of a program at one place: results, or an error."""

    results: tuple[Any, ...]
    error: Exception | None


@cache
def library(version: str) -> TensorRT:
    return TensorRT(double.load(version))


def judge(program: Program) -> Verdict:
    """Run a program in eager, traced, and after the passes for each TensorRT; compare all."""
    places = program.places()
    with loaded(program) as source, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eager = [run_eager(source.make(), source.operands(**place)) for place in places]
        try:
            model = compiled(source, eager)
            if not program.depends_on_data:
                refuse_unrefused(eager, places)
            for name, ours in versions(model, source):
                for place, expected in zip(places, eager, strict=True):
                    compare(name, ours, source.operands(**place), expected, program, place)
            refitted(model, source, program)
        except Refusal as error:
            return Verdict("refused" if eager[0].error is None else "raises", str(error))
        except Find as find:
            whole = program.returning_all()
            unused = find.kind == UNRAISED and whole != program
            if unused and judge(whole).kind != UNRAISED:
                return Verdict("equal")  # nobody used what eager raises for: it is not computed
            return Verdict("find", find.kind, find.text, find.sizes or places[0])
    return Verdict("equal")


def run_eager(module: torch.nn.Module, operands: list[torch.Tensor]) -> Eager:
    try:
        with torch.no_grad():
            return Eager(module(*operands), None)
    except Exception as error:
        return Eager((), error)


def compiled(source: Loaded, eager: list[Eager]) -> CompiledModule:
    """Compile for the reference; a typed error with a line of the program is a refusal."""
    module = source.make()
    try:
        model = trtnn.compile(module, inputs=source.inputs, backend="reference")
    except Exception as error:
        raise refusal(error, source, eager) from error
    for name, tensor in source.make().state_dict().items():
        if not torch.equal(module.state_dict()[name], tensor):
            raise Find("state written", f"tracing changed {name}")
    return model


def refuse_unrefused(eager: list[Eager], places: list[dict[str, int]]) -> None:
    """Raise what PyTorch refuses at a size in range: that has to be told while compiling."""
    for place, expected in zip(places, eager, strict=True):
        known = is_by_value(expected.error) or QUIRK in str(expected.error)
        if expected.error is not None and not known:  # values are judged when it is called
            text = f"eager raises {expected.error!r}"
            raise Find("compiled, where eager raises at a size in range", text, place)


def is_by_value(error: Exception | None) -> bool:
    """Say whether eager refuses values, which no trace knows."""
    return isinstance(error, IndexError) or any(text in str(error) for text in BY_VALUE)


def refusal(error: Exception, source: Loaded, eager: list[Eager]) -> Exception:
    """Return what an error while compiling is: a refusal or a find."""
    if any(type(error) is type(other.error) for other in eager):
        return Refusal(f"{type(error).__name__} as in eager")
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if "trtnn" in f.filename), frames[-1])
    place = f"{type(error).__name__} in {last.name}"
    if not isinstance(error, TrtnnError) or isinstance(error, GraphError):
        return Find(f"raw {place}", f"{error}")
    if error.where is None or error.where.file != source.file:
        return Find(f"no line: {place}", f"{error}")
    return Refusal(re.sub(r"\d+|%\S+|c\d+", "#", error.message.splitlines()[0])[:70])


def versions(model: CompiledModule, source: Loaded) -> Iterator[tuple[str, CompiledModule]]:
    """Yield the model, and the same after the passes for each TensorRT that takes it."""
    yield "traced", model
    for version in VERSIONS:
        try:
            graph = optimize(model.graph, library(version))  # type: ignore[arg-type]
        except UnsupportedError:
            continue
        except Exception as error:
            raise Find(
                f"raw {type(error).__name__} in the passes", f"{version}: {error}"
            ) from error
        runner = Reference(graph, torch.device("cpu"))
        yield version, CompiledModule(graph, model._signature, model._parameters, runner, None)


def compare(
    name: str,
    model: CompiledModule,
    operands: list[torch.Tensor],
    expected: Eager,
    program: Program,
    place: Mapping[str, int],
) -> None:
    """Call a model once; raise what breaks a rule."""
    before = [tensor.clone() for tensor in operands]
    try:
        results = model(*operands)
    except Exception as error:
        if expected.error is None:
            text = f"{name}: {type(error).__name__}: {error}"
            raise Find("raises when called, eager does not", text, place) from error
        return
    if QUIRK in str(expected.error):
        return
    if expected.error is not None:
        if name != "traced" and is_by_value(expected.error):
            return  # by value: what an engine makes of it is documented
        text = f"{name}: eager raises {expected.error!r}"
        raise Find(UNRAISED, text, place)
    for given, copy in zip(operands, before, strict=True):
        if not torch.equal(given.nan_to_num(), copy.nan_to_num()):
            raise Find("input written", f"{name}: an input changed", place)
    if len(results) != len(expected.results):
        raise Find("structure", f"{name}: {len(results)} results", place)
    for index, (given, wanted) in enumerate(zip(results, expected.results, strict=True)):
        difference = differs(given, wanted, program.scale)
        if difference is not None:
            kind, text = difference
            which = program.results[index]
            stage = "traced" if name == "traced" else "passes"
            raise Find(f"{stage}: {kind}", f"{name}: {which}: {text}", place)
    tensors = [t for t in (*operands, *results) if isinstance(t, torch.Tensor) and t.numel()]
    if len({t.untyped_storage().data_ptr() for t in tensors}) < len(tensors):
        raise Find("alias", f"{name}: results share memory with others or with inputs", place)


def differs(given: Any, wanted: Any, scale: float) -> tuple[str, str] | None:
    """Say in what a result differs: its type, dtype, shape or values."""
    if not isinstance(wanted, torch.Tensor):
        same = type(given) is type(wanted) and given == wanted
        return None if same else ("value", f"{given!r}, eager has {wanted!r}")
    if not isinstance(given, torch.Tensor):
        return "type", f"{type(given).__name__}, eager has a tensor"
    if given.dtype != wanted.dtype:
        return "dtype", f"{given.dtype}, eager has {wanted.dtype}"
    if given.shape != wanted.shape:
        return "shape", f"{tuple(given.shape)}, eager has {tuple(wanted.shape)}"
    if not wanted.dtype.is_floating_point:
        same = torch.equal(given, wanted)
    else:
        bound = TOLERANCE[wanted.dtype]
        near = torch.isclose(
            given.double(), wanted.double(), rtol=bound, atol=bound * scale, equal_nan=True
        )
        same = bool(near.all())
    return None if same else ("value", f"\n{given}\neager has\n{wanted}")


def changed(tensor: torch.Tensor) -> torch.Tensor:
    """Return other content of a parameter or buffer."""
    if tensor.dtype == torch.bool:
        return ~tensor
    return tensor + (0.25 if tensor.is_floating_point() else 1)


def refitted(model: CompiledModule, source: Loaded, program: Program) -> None:
    """Give the traced graph, and those after the passes, another state; compare again."""
    module = source.make()
    state = {name: changed(tensor) for name, tensor in module.state_dict().items()}
    if not state:
        return
    module.load_state_dict(state)
    place = program.places()[0]
    expected = run_eager(module, source.operands(**place))
    for name, ours in versions(model, source):
        try:
            ours._runner.refit(state)  # type: ignore[attr-defined]
        except TrtnnError:
            return  # a value that decided something is another now
        except Exception as error:
            if expected.error is None:
                kind = f"raw {type(error).__name__} in a refit"
                raise Find(kind, f"{name}: {error}", place) from error
            return
        if expected.error is None:
            try:
                compare(name, ours, source.operands(**place), expected, program, place)
            except Find as find:
                raise Find(f"refit: {find.kind}", find.text, place) from find
