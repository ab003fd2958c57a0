"""Compile at the first call: its shapes, dtypes and plain values decide; later ones widen them."""

from __future__ import annotations

import inspect
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import torch

from trtnn.compiled import CompiledModule, signature_of
from trtnn.errors import InputError, RecompileWarning, TrtnnError
from trtnn.ops.op import Spec
from trtnn.run.bound import BoundCall
from trtnn.run.calling import refuse_traced
from trtnn.run.subject import Call
from trtnn.sizes.dims import Dim
from trtnn.sizes.solutions import bind_dims
from trtnn.source import warn_user
from trtnn.tools.layers import EngineLayers
from trtnn.tools.profiles import Profile
from trtnn.tracing.changes import change_of, nearest
from trtnn.tracing.constants import short
from trtnn.tracing.signature import Signature, from_arguments

MAX_ENGINES = 8
MAX_KNOWN = 1024  # combinations of shapes that find their model at once


class LazyModule(CompiledModule):
    """A compiled model whose first call decides the engine.

    ``engine``, ``graph`` and the specs are those of the last call; what acts on one engine, such as
    ``save``, is an error where there are several.

    Args:
        build: Compiles for a signature; the arguments of the call show what to verify with.
        dynamic: Whether a dim that changes from one call to the next becomes a Dim.
    """

    def __init__(
        self,
        parameters: inspect.Signature,
        build: Callable[[Signature, Call], CompiledModule],
        *,
        dynamic: bool,
    ) -> None:
        self._parameters, self._compile = parameters, build
        self._dynamic = dynamic
        # By structure, dtypes and ranks: the calls that were compiled for, and their models.
        self._seen: dict[Any, list[Signature]] = {}
        self._models: dict[Any, CompiledModule] = {}
        # What tells two calls of plain tensors apart costs a microsecond, a signature fifty.
        self._known: dict[Any, CompiledModule] = {}
        self._last: CompiledModule | None = None
        self._state: dict[str, Any] | None = None  # of the last refit
        self.__signature__ = signature_of(parameters)
        self._built = 0
        self._building = threading.Lock()

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is not None and "out" in self._parameters.parameters:
            kwargs["out"], out = out, None
        model = self._model(args, kwargs)
        return model(*args, **kwargs) if out is None else model(*args, out=out, **kwargs)

    def bind(self, *args: Any, out: Any = None, **kwargs: Any) -> BoundCall:
        """Fix a call's inputs, and its outputs, as ``CompiledModule.bind`` does."""
        return self._model(args, kwargs).bind(*args, out=out, **kwargs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, if one engine was compiled.

        Raises:
            InputError: None was compiled yet, or more than one.
        """
        self._only("save").save(path)

    def export_triton(self, repository: str | os.PathLike[str], **how: Any) -> Path:
        """Write the one engine that was compiled for Triton, as ``CompiledModule`` does."""
        return self._only("export_triton").export_triton(repository, **how)

    def refit(self, state_dict: Mapping[str, torch.Tensor]) -> None:
        """Give every engine new weights, those that later calls compile included."""
        with self._building:
            for model in self._compiled("refit"):
                model.refit(state_dict)
            self._state = {key: _kept(value) for key, value in state_dict.items()}

    def inspect(self) -> EngineLayers:
        """Return the layers of the one engine that was compiled, as ``CompiledModule`` does."""
        return self._only("inspect").inspect()

    def profile(self, *inputs: Any, named: Mapping[str, Any] | None = None, **how: Any) -> Profile:
        """Measure the engine of a call, as ``CompiledModule.profile`` does."""
        return self._model(inputs, dict(named or {})).profile(*inputs, named=named, **how)

    def unload(self) -> None:
        """Free the GPU's memory of every engine, as ``CompiledModule.unload`` does."""
        with self._building:
            for model in self._models.values():
                model.unload()

    @property
    def plan(self) -> bytes:
        """The plan of the one engine that was compiled, as ``CompiledModule`` has it."""
        return self._only("plan").plan

    def with_execution(self, execution: str) -> CompiledModule:
        """Return a view of the one engine that was compiled, as ``CompiledModule`` does."""
        return self._only("with_execution").with_execution(execution)

    def with_profile(self, index: int) -> CompiledModule:
        """Return a view of the one engine that was compiled, as ``CompiledModule`` does."""
        return self._only("with_profile").with_profile(index)

    def to(self, device: Any) -> CompiledModule:
        """Return the one engine that was compiled on another GPU, as ``CompiledModule`` does."""
        return self._only("to").to(device)

    def _compiled(self, what: str) -> list[CompiledModule]:
        models = list(self._models.values())
        if not models:
            raise InputError(
                f"{what}: nothing is compiled before the first call",
                hint="call the model once, or give compile inputs=",
            )
        return models

    def _only(self, what: str) -> CompiledModule:
        models = self._compiled(what)
        if len(models) > 1:
            raise InputError(
                f"{what}: {len(models)} engines are compiled, one for each combination of shapes, "
                "dtypes and constants",
                hint="give compile inputs=, which makes one engine",
            )
        return models[0]

    def _model(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CompiledModule:
        """Return the model of a call."""
        key = _tensors(args, kwargs)
        model = self._known.get(key) if key is not None else None
        if model is None:
            with self._building:
                model = self._find(args, kwargs)
                if key is not None:
                    if len(self._known) >= MAX_KNOWN:
                        self._known.clear()
                    self._known[key] = model
        self._last = model
        return model

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CompiledModule:
        """Return the model for a call, compiled if there is none."""
        refuse_traced()
        try:
            bound = self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"call: {error}") from None
        signature = from_arguments(bound, kwargs)
        kind = (signature.tree, tuple(map(_kind, signature.leaves, signature.keys)))
        seen = self._seen.get(kind, [])
        key = kind if self._dynamic else (signature.tree, signature.keys)
        model = self._models.get(key)
        if model is None or (self._dynamic and not _takes(model, signature)):
            self._admit(signature)
            model = self._made([*seen, signature], (args, kwargs))
            if self._state is not None:
                model.refit(self._state)
            self._built += 1
            self._models[key] = model
            self._seen[kind] = [*seen, signature]
            self._known.clear()  # of an engine that a wider one replaces
        return model

    def _made(self, calls: Sequence[Signature], call: Call) -> CompiledModule:
        """Compile for the last of some calls that differ in sizes only, or for all of them."""
        latest = calls[-1]
        if not self._dynamic or len(calls) == 1:
            self._announce(latest, calls[:-1])
            return self._compile(latest, call)
        wide, seen = (widen(calls, round_up=up) for up in (True, False))
        try:
            return self._compile(wide, call)
        except Exception as error:  # of forward's own too, of whatever type
            if wide == seen:
                raise
            model = self._compile(seen, call)
            why = error.message if isinstance(error, TrtnnError) else repr(error)
            warn_user(
                f"{_ranges(wide)} cannot be compiled, so the engine takes {_ranges(seen)}, what "
                f"was seen: {why}; a call outside of it compiles another",
                RecompileWarning,
            )
            return model

    def _announce(self, signature: Signature, seen: Sequence[Signature]) -> None:
        """Warn of another engine; say what changed, and how to need one only."""
        before = seen or [other for found in self._seen.values() for other in found]
        if not before:
            return
        changed, advice = change_of(signature, nearest(signature, before))
        if seen:
            proposal = declaration(widen([*seen, signature], round_up=False))
            advice = f"declare what changes: {proposal}, or give compile dynamic=True"
        warn_user(
            f"another engine is compiled: {changed}; for one engine, {advice}", RecompileWarning
        )

    def _admit(self, signature: Signature) -> None:
        if self._built >= MAX_ENGINES:
            raise InputError(
                f"a {MAX_ENGINES + 1}th combination of shapes, dtypes and constants: "
                f"{_text(signature)}",
                hint="declare what changes: sizes as trtnn.Dim, integers that decide sizes as host "
                "inputs, other numbers as tensors; or compile a model for each constant",
            )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") and self.__dict__.get("_last") is not None:
            return getattr(self._last, name)
        raise AttributeError(f"{name}: nothing is compiled before the first call")

    def __repr__(self) -> str:
        return f"CompiledModule(lazy, {self._built} compiled)"

    def _repr_html_(self) -> str:
        shown = "" if self._last is None else self._last._repr_html_()
        return f"<p>{escape(repr(self))}</p>{shown}"


def _kept(value: Any) -> Any:
    """Return a copy that later changes of a module do not reach."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return shapes and dtypes by place and name; None where something is no tensor."""
    given = (*args, *kwargs.values())
    for value in given:
        if not isinstance(value, torch.Tensor) or value.is_nested:
            return None
    return (len(args), tuple(kwargs), tuple([(t.shape, t.dtype) for t in given]))


def _kind(leaf: Any, key: Any) -> Any:
    return (leaf.dtype, leaf.rank) if isinstance(leaf, Spec) else key


def _takes(model: CompiledModule, signature: Signature) -> bool:
    """Say whether a model's Dims allow a call's sizes."""
    try:
        bind_dims(model.graph, [spec.shape for spec in signature.specs.values()])  # type: ignore[misc]
    except InputError:
        return False
    return True


def _text(signature: Signature) -> str:
    pairs = zip(signature.names, signature.leaves, strict=True)
    return ", ".join(
        f"{name} {leaf}" if isinstance(leaf, Spec) else f"{name} = {short(leaf)}"
        for name, leaf in pairs
    )


def _ranges(signature: Signature) -> str:
    return " and ".join(f"{d.name} from {d.min} to {d.max}" for d in signature.dims)


def widen(signatures: Sequence[Signature], *, round_up: bool) -> Signature:
    """Return the last signature with a Dim for each size that differed from call to call.

    Sizes that were equal in every call share a Dim. Its range is what was seen, or, with
    ``round_up``, that widened to powers of two; it is tuned for the last call.
    """
    latest = signatures[-1]
    history = {
        (leaf, axis): tuple(s.leaves[leaf].shape[axis] for s in signatures)
        for leaf, spec in enumerate(latest.leaves)
        if isinstance(spec, Spec)
        for axis in range(spec.rank)
    }
    dims: dict[tuple[int, ...], Dim] = {}
    for (leaf, axis), sizes in history.items():
        if len(set(sizes)) > 1 and sizes not in dims:
            low, high = min(sizes), max(sizes)
            if round_up:
                low, high = 1 << low.bit_length() - 1 if low else 0, 1 << (high - 1).bit_length()
            name = re.sub(r"\W", "_", f"{latest.names[leaf]}_{axis}")
            dims[sizes] = Dim(name, low, sizes[-1], high)
    leaves = tuple(
        Spec(tuple(dims.get(history[leaf, a], s) for a, s in enumerate(spec.shape)), spec.dtype)
        if isinstance(spec, Spec)
        else spec
        for leaf, spec in enumerate(latest.leaves)
    )
    return replace(latest, leaves=leaves, dims=tuple(dims.values()))


def declaration(signature: Signature) -> str:
    """Return the source text that declares a signature's inputs."""
    dims = "; ".join(
        f'{d.name} = trtnn.Dim("{d.name}", {d.min}, {d.opt}, {d.max})' for d in signature.dims
    )
    inputs = ", ".join(
        f'"{name}": trtnn.Input(({", ".join(map(str, spec.shape))},), {spec.dtype})'
        for name, spec in signature.specs.items()
    )
    return f"{dims}; inputs={{{inputs}}}"
