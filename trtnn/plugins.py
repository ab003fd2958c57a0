"""``plugin``: a layer by the name of its creator in TensorRT's registry, as a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import torch

from trtnn.errors import AbsentError, DTypeError, OptionError, UnsupportedError
from trtnn.flow.bodies import Body, Index, filled, recorder_for, traced
from trtnn.ops.op import Spec, has_sizes, spec_of
from trtnn.ops.plugins import (
    GIVEN,
    TAKEN,
    Plugin,
    name_of,
    require_declared,
    require_types,
    results_of,
)
from trtnn.trt.asking import results_of as asked
from trtnn.trt.fields import Entries, shown
from trtnn.trt.library import TensorRT
from trtnn.trt.plugins import Key
from trtnn.trt.written import OURS

Function = Callable[..., Any]


@dataclass(frozen=True)
class PluginFunction:
    """A plugin with its fields, to be called on tensors; ``plugin`` makes it."""

    key: Key
    infer: Function | None
    reference: Function | None
    fields: tuple[tuple[str, Any], ...]

    @property
    def __name__(self) -> str:
        return self.key.name

    @property
    def title(self) -> str:
        """What errors call it."""
        return f"plugin {self.key}"

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """Return what the plugin gives: what ``infer`` returns, with its entries.

        Raises:
            DTypeError: An input is no tensor, or of a type that plugins do not take; or ``infer``
                says a type that they do not give.
            UnsupportedError: It is called on tensors themselves, and has no reference.
        """
        specs = specs_given(self.title, inputs)
        recorder = recorder_for(inputs)
        if recorder is None:
            return computed(self.title, self.infer, self.reference, inputs)
        infer = self.infer if self.infer is not None else partial(self._asked, specs)
        body = inferred(recorder, self.title, infer, specs)
        made = recorder.record(self._op(specs, [v.spec for v in body.graph.outputs]), inputs)
        return filled(body, made)

    def _asked(self, specs: list[Spec], *inputs: torch.Tensor) -> Any:
        """Return tensors like the plugin's results, as TensorRT says they are."""
        need = "give a function of its inputs that returns tensors like its results: infer="
        if any(map(has_sizes, (spec.shape for spec in specs))):
            raise OptionError(
                f"{self.title}: TensorRT tells its results for static sizes alone", hint=need
            )
        try:
            library = TensorRT()
        except AbsentError as error:
            raise OptionError(
                f"{self.title}: there is no TensorRT that tells its results", hint=need
            ) from error
        shapes = [tuple(size for size in spec.shape if isinstance(size, int)) for spec in specs]
        given = [(name_of(spec.dtype), shape) for spec, shape in zip(specs, shapes, strict=True)]
        told = asked(library, self.key, self.fields, given)
        found = [torch.empty(shape, dtype=getattr(torch, dtype)) for dtype, shape in told]
        return found[0] if len(found) == 1 else tuple(found)

    def _op(self, inputs: list[Spec], outputs: list[Spec]) -> Plugin:
        return Plugin(
            *self.key,
            self.fields,
            tuple(spec.dtype for spec in inputs),
            tuple(spec.shape for spec in outputs),
            tuple(spec.dtype for spec in outputs),
            self.reference,
        )


def specs_given(title: str, inputs: Sequence[Any]) -> list[Spec]:
    """Return the specs of what a plugin is called on; raise DTypeError where it takes no such."""
    for index, tensor in enumerate(inputs):
        if not isinstance(tensor, torch.Tensor):
            raise DTypeError(f"{title}: input {index} is {tensor!r}; expected a tensor")
    specs = list(map(spec_of, inputs))
    require_types(title, "input", specs, TAKEN)
    return specs


def inferred(recorder: Any, title: str, infer: Function, specs: Sequence[Spec]) -> Body:
    """Return what ``infer`` does with such inputs; raise DTypeError unless it returns tensors."""
    body = traced(recorder, f"infer= of {title}", infer, specs)
    if not body.graph.outputs or not all(isinstance(leaf, Index) for leaf in body.leaves):
        raise DTypeError(f"{title}: infer= returned no tensors, or other values too")
    require_types(title, "result", [value.spec for value in body.graph.outputs], GIVEN)
    return body


def computed(
    title: str,
    infer: Function | None,
    reference: Function | None,
    inputs: Sequence[torch.Tensor],
) -> Any:
    """Return what the reference gives; it is held to ``infer`` here too."""
    if reference is None:
        raise UnsupportedError(
            f"{title}: only an engine computes it: it has no reference",
            hint="give a function of its inputs that does: reference=",
        )
    results = reference(*inputs)
    if infer is None:
        return results
    declared = [spec_of(x) for x in results_of(title, "infer=", infer(*inputs))]
    require_types(title, "result", declared, GIVEN)
    found = [spec_of(x) for x in results_of(title, "reference=", results)]
    shapes, dtypes = [spec.shape for spec in declared], [spec.dtype for spec in declared]
    require_declared(title, found, shapes, dtypes)
    return results


def plugin(
    name: str,
    /,
    version: str = "1",
    namespace: str = "",
    *,
    infer: Function | None = None,
    reference: Function | None = None,
    **fields: Any,
) -> PluginFunction:
    """Return a plugin of TensorRT's registry as a function of tensors, for ``forward`` to call.

    Args:
        name: The creator's: one that TensorRT has itself, one of a library that
            ``trtnn.load_plugins`` loaded, or one that was registered in Python (with TensorRT 10
            and later by ``tensorrt.plugin`` too).
        version: The creator's.
        namespace: The creator's.
        infer: A function of the same inputs that returns tensors of the shapes and dtypes of the
            results; what is in them does not count, as for ``torch.library.register_fake``.
            Without one TensorRT is asked: 10 and later, where it is installed, for static sizes.
        reference: A function of the same inputs that computes the same with PyTorch. Without one
            the plugin runs in engines alone, and none that holds it can be verified.
        fields: What the creator is told: numbers, texts, several numbers, NumPy arrays. All that
            it lists have to be given; None leaves one to it, which may be what it was told last.

    Raises:
        OptionError: A name is no text, or a field is none of these. That there is no such creator,
            or that it lists other fields, is an error of ``trtnn.compile`` at the call's line.

    TensorRT for RTX has no plugins. On TensorRT 8.6 a plugin gets int64 values as int32.

    >>> relu = plugin("LReLU_TRT", infer=torch.empty_like, reference=torch.relu, negSlope=0.0)
    >>> relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    for what, text in (("name", name), ("version", version), ("namespace", namespace)):
        if not isinstance(text, str) or (what == "name" and not text):
            raise OptionError(f"plugin: expected a str as {what}, got {text!r}")
    for what, function in (("infer", infer), ("reference", reference)):
        if not callable(function) and function is not None:
            raise OptionError(f"plugin {name}: expected a function as {what}, got {function!r}")
    if namespace == OURS:
        raise OptionError(f"plugin {name}: the namespace {OURS!r} is trtnn's own")
    told = tuple((key, _field(name, key, value)) for key, value in fields.items())
    return PluginFunction(Key(name, version, namespace), infer, reference, told)


def _field(plugin: str, name: str, value: Any) -> Any:
    """Return the value of a field in the one form that it has inside."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (numpy.bool_, numpy.integer, numpy.floating)):
        return value.item()
    if isinstance(value, numpy.ndarray):
        return Entries(str(value.dtype), tuple(value.reshape(-1).tolist()))
    if isinstance(value, (tuple, list)) and all(type(v) in (bool, int, float) for v in value):
        return tuple(value)
    raise OptionError(
        f"plugin {plugin}: the field {name!r} is {shown(value)} of {type(value).__name__}; "
        "expected a number, a str, several numbers or a NumPy array",
        hint="a field is fixed when the engine is built: what a call gives is an input",
    )
