"""``RayPredictor``: a model on batches of rows, dicts of NumPy arrays in and out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import torch

from trtnn.compiled import CompiledModule
from trtnn.errors import InputError
from trtnn.lazy import LazyModule
from trtnn.loading import load
from trtnn.run.rows import batch_of, mixes_rows
from trtnn.serving.rows import Array, Column, numpy_dtype, require_rows
from trtnn.sizes.dims import Dim
from trtnn.tracing.tracer import Output
from trtnn.tree import flatten, leaf_names, unflatten

Source = str | os.PathLike[str] | Callable[[], CompiledModule]


class RayPredictor:
    """A model that ``ray.data.Dataset.map_batches`` makes one of in each actor.

    Called with a batch, a dict of columns, it returns one: a column for each input goes in, one
    for each tensor of the result comes out. Every input and output begins with one Dim, of the
    rows; a batch has any size in its range. Where many actors compile at once, one builds the
    engine, and the others wait and load it from the cache.

    A batch that fails is looked through row by row, and the error names the first that is to
    blame: by its place, and by the columns that are kept.

    Args:
        source: A function without arguments that compiles the model, or loads it; or the path of
            a file that ``CompiledModule.save`` wrote.
        columns: The column of an input, by its name, where it is called otherwise.
        outputs: What the columns of the result are called, in its order: ``"output"``, or the
            result's own keys, if omitted.
        keep: Columns that are handed on, and by which errors name a row.

    Raises:
        InputError: The model takes or returns something else than rows, or mixes them; or a name
            is none.
        UnsupportedError: NumPy lacks a dtype of an input or output.

    >>> import trtnn
    >>> def make():
    ...     inputs = [trtnn.Input((trtnn.Dim("batch", 1, 8, 64), 2), name="x")]
    ...     return trtnn.compile(torch.nn.ReLU(), inputs=inputs, backend="reference")
    >>> predict = RayPredictor(make, keep=["id"])
    >>> rows = numpy.array([[-1, 1], [2, -2]], "float32")
    >>> predict({"id": numpy.array([7, 8]), "x": rows})
    {'id': array([7, 8]), 'output': array([[0., 1.],
           [2., 0.]], dtype=float32)}
    >>> try:
    ...     predict({"id": [7, 8], "x": [rows[0], rows[1, :1]]})
    ... except InputError as error:
    ...     print(error.message)
    row 1 of 2 (id=8): x: expected float32 (2,) a row, got float32 (1,)
    """

    def __init__(
        self,
        source: Source,
        *,
        columns: Mapping[str, str] | None = None,
        outputs: Sequence[str] | None = None,
        keep: Sequence[str] = (),
    ) -> None:
        self.model = _model(source)
        self.batch = _batch(self.model)
        self.keep = _texts("keep", keep)
        specs, named = self.model.input_specs, dict(columns or {})
        if unknown := named.keys() - specs:
            raise InputError(
                f"columns: the model has no input {unknown.pop()!r}, but {', '.join(specs)}"
            )
        self.columns = {
            name: Column.of(named.get(name, name), spec) for name, spec in specs.items()
        }
        self.outputs = _outputs(self.model, outputs)
        if both := {*self.outputs} & {*self.keep}:
            raise InputError(f"keep: {both.pop()!r} is what an output is called", hint="outputs=")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs of a batch's rows, and the columns that are kept.

        Raises:
            InputError: The batch lacks a column or has another number of rows than the model
                takes; or a row is not what was declared, or makes the model fail.
        """
        wanted = (*(column.name for column in self.columns.values()), *self.keep)
        for name in wanted:
            if name not in batch:
                raise InputError(
                    f"{name}: the batch has no such column, but {', '.join(map(str, batch))}",
                    hint="say columns={input: column} where they are called otherwise",
                    search=False,
                )
        count = len(batch[wanted[0]])
        require_rows(self.batch, count)

        def label(index: int) -> str:
            kept = ", ".join(f"{name}={batch[name][index]}" for name in self.keep)
            return f"row {index} of {count}" + (f" ({kept})" if kept else "")

        arrays = {n: c.whole(batch[c.name], label) for n, c in self.columns.items()}
        try:
            found = self.run(arrays)
        except Exception as error:
            self._blame(arrays, count, label, error)
            raise
        return {**{name: batch[name] for name in self.keep}, **found}

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by column of inputs by name, which are as they were declared."""
        signature, device = self.model._signature, self.model._runner.device
        # Ray's arrays are read only, and lie in memory that others read.
        tensors = {
            name: torch.from_numpy(numpy.require(array, requirements=["C", "W"])).to(device)
            for name, array in arrays.items()
        }
        tree, leaves = signature.arguments()
        filled = [tensors.get(n, x) for n, x in zip(signature.names, leaves, strict=True)]
        args, named = unflatten(tree, filled)
        results = [x for x in flatten(self.model(*args, **named))[0] if torch.is_tensor(x)]
        return {name: x.cpu().numpy() for name, x in zip(self.outputs, results, strict=True)}

    def _blame(
        self,
        arrays: Mapping[str, Array],
        count: int,
        label: Callable[[int], str],
        error: Exception,
    ) -> None:
        """Raise InputError for the first row that fails alone, where one row can be run."""
        for index in range(count) if self.batch.min <= 1 else ():
            try:
                self.run({name: array[index : index + 1] for name, array in arrays.items()})
            except Exception as found:
                text = f"{type(found).__name__}: {found}"
                raise InputError(f"{label(index)}: {text}", search=False) from error


def _model(source: Source) -> CompiledModule:
    if not callable(source):
        return load(source)
    model = source()
    if not isinstance(model, CompiledModule):
        raise InputError(f"source: expected a compiled model, got a {type(model).__name__}")
    if isinstance(model, LazyModule):
        raise InputError(
            "source: the model is compiled at its first call, whose rows would decide",
            hint="give compile inputs=",
        )
    return model


def _batch(model: CompiledModule) -> Dim:
    batch = batch_of(model.graph)
    if isinstance(batch, str):
        raise InputError(
            f"source: the model does not take rows and return as many: {batch}",
            hint='begin each input with one Dim: Input((Dim("batch", 1, 32, 64), ...))',
        )
    if mixed := mixes_rows(model.graph, model._signature.ranges):
        raise InputError(
            f"source: rows of {mixed} depend on each other, so that they would depend on how "
            "rows are put together",
        )
    return batch


def _outputs(model: CompiledModule, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the result's tensors, in its order."""
    graph = model.graph
    names = []
    for name, leaf in zip(leaf_names(graph.result, "output"), graph.leaves, strict=True):
        if isinstance(leaf, Output):
            spec = graph.outputs[leaf].spec
            names.append(name.removeprefix("output."))
            numpy_dtype(names[-1], spec.dtype)
        elif leaf is not None:
            raise InputError(f"source: the result has {name}={leaf!r}, which is no tensor of rows")
    if given is None:
        return tuple(names)
    texts = _texts("outputs", given)
    if len(texts) != len(names):
        raise InputError(
            f"outputs: expected {len(names)} names, of {', '.join(names)}, got {given}"
        )
    return texts


def _texts(what: str, given: Sequence[str]) -> tuple[str, ...]:
    texts = tuple(given)
    is_list = not isinstance(given, str) and all(isinstance(text, str) for text in texts)
    if not is_list or len({*texts}) < len(texts):
        raise InputError(f"{what}: expected a list of different names, got {given!r}")
    return texts
