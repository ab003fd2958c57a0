"""``RayPredictor`` and a replica's rows, without Ray: columns in and out, and who is to blame."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

import trtnn
from tests.on_double import on_double
from tests.saved.saving import save
from tests.serving.subjects import make
from trtnn import CudaError, Dim, Input, InputError, UnsupportedError
from trtnn.serving import RayPredictor
from trtnn.serving.deployment import Replica

N, S = Dim("n", 1, 4, 8), Dim("s", 1, 4, 16)
X = Input((N, 3), name="x")
ROWS = numpy.arange(12, dtype="float32").reshape(4, 3)


def model_of(function: Callable[..., Any], *inputs: Any, **how: Any) -> Any:
    return partial(trtnn.compile, function, inputs=[*inputs], backend="reference", **how)


def predictor(function: Callable[..., Any], *inputs: Any, **how: Any) -> RayPredictor:
    return RayPredictor(model_of(function, *inputs), **how)


def twice(x: Any) -> Any:
    return x * 2


def objects(*rows: Any) -> Any:
    """Return a column of rows that NumPy cannot put together, as Ray makes one."""
    column = numpy.empty(len(rows), object)
    column[:] = rows
    return column


NAMES: dict[str, tuple[Callable[..., Any], Any, list[str]]] = {
    "one tensor": (lambda x: x + 1, None, ["output"]),
    "a tuple": (lambda x: (x, x + 1), None, ["output[0]", "output[1]"]),
    "a dict": (lambda x: {"a": x, "b": (x + 1, None)}, None, ["a", "b[0]"]),
    "a user's own": (lambda x: {"a": x, "b": x + 1}, ["p", "q"], ["p", "q"]),
}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_names(name: str) -> None:
    function, outputs, names = NAMES[name]
    found = predictor(function, X, outputs=outputs)({"x": ROWS})
    assert list(found) == names
    assert numpy.array_equal(found[names[-1]], ROWS + 1)


def test_inputs_within_structures_and_other_columns() -> None:
    def forward(pair: Any, *, scale: float) -> Any:
        return pair["left"] * scale - pair["right"]

    declared = {"pair": {"left": X, "right": Input((N, 3), name="right")}, "scale": 3.0}
    source = partial(trtnn.compile, forward, inputs=declared, backend="reference")
    predict = RayPredictor(source, columns={"x": "a"}, keep=["id"])
    found = predict({"a": ROWS, "right": ROWS, "id": ["p", "q", "r", "s"]})
    assert numpy.array_equal(found["output"], 2 * ROWS) and found["id"] == ["p", "q", "r", "s"]


def test_memory_that_others_read_is_not_written() -> None:
    rows = ROWS.copy()
    rows.flags.writeable = False
    assert numpy.array_equal(predictor(twice, X)({"x": rows[::-1]})["output"], 2 * ROWS[::-1])


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_ragged_last_batch_is_a_batch(count: int) -> None:
    rows = numpy.ones((count, 3), "float32")
    assert predictor(twice, X)({"x": rows})["output"].shape == (count, 3)


BATCHES: dict[str, tuple[Any, str]] = {
    "no column": ({"y": ROWS}, "x: the batch has no such column, but y"),
    "too many rows": (
        {"x": numpy.ones((9, 3), "float32")},
        "a batch of 9 rows: the model takes 1 to 8\n.*give map_batches batch_size=8 or less",
    ),
    "no rows": ({"x": ROWS[:0]}, "a batch of 0 rows: the model takes 1 to 8"),
    "another dtype": (
        {"x": ROWS.astype("float64")},
        r'x: expected float32 \(3,\) a row, got float64 \(3,\)\n.*\.astype\("float32"\)',
    ),
    "another size": ({"x": ROWS[:, :2]}, r"x: expected float32 \(3,\) a row, got float32 \(2,\)"),
    "a row of another size": (
        {"x": objects(ROWS[0], ROWS[1], ROWS[2, :2])},
        r"row 2 of 3: x: expected float32 \(3,\) a row, got float32 \(2,\)",
    ),
    "a row that is none": (
        {"x": objects(ROWS[0], None)},
        r"row 1 of 2: x: expected float32 \(3,\) a row, got object \(\)",
    ),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_is_wrong_says_where(name: str) -> None:
    batch, text = BATCHES[name]
    with pytest.raises(InputError, match=text):
        predictor(twice, X)(batch)


def test_rows_of_different_sizes_are_told_apart() -> None:
    predict = predictor(twice, Input((N, S), name="x"), keep=["id"])
    column = objects(*(numpy.ones(n, "float32") for n in (4, 4, 5)))
    with pytest.raises(InputError, match=r"row 2 of 3 \(id=c\): x: \(5,\), and \(4,\) before"):
        predict({"x": column, "id": ["a", "b", "c"]})


def test_the_row_that_makes_a_model_fail_is_named() -> None:
    predict = RayPredictor(make, keep=["id"])
    index = numpy.array([0, 1, 9999, -9999])
    with pytest.raises(InputError, match=r"row 2 of 4 \(id=7\): IndexError: index out of range"):
        predict({"index": index, "id": numpy.array([5, 6, 7, 8])})


def test_what_no_row_is_to_blame_for_is_raised_as_it_is() -> None:
    predict = predictor(twice, X)
    call = predict.model.__call__

    def fails(x: Any) -> Any:
        if len(x) > 1:
            raise MemoryError("all of it")
        return call(x)

    predict.model.__call__ = fails  # type: ignore[method-assign]
    with pytest.raises(MemoryError, match="all of it"):
        predict({"x": ROWS})


SOURCES: dict[str, tuple[Any, str]] = {
    "no model": (lambda: twice, "source: expected a compiled model, got a function"),
    "lazy": (partial(trtnn.compile, twice, backend="reference"), "compiled at its first call"),
    "static": (model_of(twice, Input((4, 3))), "x begins with 4, which is no Dim"),
    "another Dim": (
        model_of(lambda x, y: (x, y), X, Input((S, 3))),
        "x begins with n and y with s",
    ),
    "a host input": (model_of(lambda x, k: x * k, X, Input(S, host=True)), "k is one integer"),
    "mixed rows": (model_of(lambda x: x - x.mean(0), X), "rows of output_0 depend on each other"),
    "a number": (model_of(lambda x: (x, 3), X), r"the result has output\[1\]=3, which is no"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_model_that_takes_no_rows_is_refused(name: str) -> None:
    source, text = SOURCES[name]
    with pytest.raises(InputError, match=text):
        RayPredictor(source)


@pytest.mark.parametrize("function", [twice, lambda x: x.float()])
def test_what_numpy_lacks_is_refused(function: Any) -> None:
    with pytest.raises(UnsupportedError, match="x: NumPy has no bfloat16"):
        predictor(function, Input((N, 3), torch.bfloat16, "x"))


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"columns": {"y": "a"}}, "columns: the model has no input 'y', but x"),
        ({"outputs": ["a", "b"]}, "outputs: expected 1 names, of output, got"),
        ({"outputs": "output"}, "outputs: expected a list of different names, got 'output'"),
        ({"keep": ["a", "a"]}, "keep: expected a list of different names"),
        ({"keep": ["output"]}, "keep: 'output' is what an output is called"),
    ],
)
def test_names_are_checked(how: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        predictor(twice, X, **how)


def test_a_saved_file_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = on_double("10", twice, [X])
    path = save(tmp_path / "net.trtnn", model)
    assert model.engine is not None
    monkeypatch.setitem(sys.modules, "tensorrt", model.engine.library.trt)
    here = partial(trtnn.load, device="cpu")
    monkeypatch.setattr("trtnn.serving.predictor.load", here)
    predict = RayPredictor(path)
    assert predict.model.backend == "tensorrt" and predict.batch == N
    assert predict({"x": ROWS})["output"].shape == ROWS.shape
    with pytest.raises(FileNotFoundError):
        RayPredictor(tmp_path / "no.trtnn")


@pytest.mark.parametrize(
    "error", [InputError("m", hint="h", search=False), CudaError("m", "cudaError", hint="h")]
)
def test_an_error_arrives_whole_from_another_process(error: Any) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert str(found) == str(error) and vars(found) == vars(error)


# A replica's rows ---------------------------------------------------------------------------------


def test_rows_of_one_shape_run_together() -> None:
    replica = Replica(model_of(twice, Input((N, S), name="x")))
    sizes: list[tuple[int, ...]] = []
    call = replica.model.__call__

    def seen(x: Any) -> Any:
        sizes.append(tuple(x.shape))
        return call(x)

    replica.model.__call__ = seen  # type: ignore[method-assign]
    rows = [{"x": numpy.full(n, n, "float32")} for n in (2, 3, 2, 3, 2)]
    found = replica.answers(rows)
    assert sizes == [(3, 2), (2, 3)]
    assert [answer["output"].tolist() for answer in found] == [(2 * r["x"]).tolist() for r in rows]


def test_a_row_that_fails_fails_alone() -> None:
    found = Replica(make).answers([{"index": numpy.array(n)} for n in (1, 9999, 3)])
    assert [answer["next"] for answer in (found[0], found[2])] == [2, 4]
    assert isinstance(found[1], IndexError)


REQUESTS: dict[str, tuple[Any, Any]] = {
    "lists": ({"x": [1, 2, 3]}, [1.0, 2.0, 3.0]),
    "arrays": ({"x": ROWS[0]}, [0.0, 1.0, 2.0]),
    "no dict": ([1], "request: expected a dict of columns, got a list"),
    "another column": ({"y": [1]}, "request: expected x, got y"),
    "another size": ({"x": [1, 2]}, r"x: expected float32 \(3,\) a row, got float32 \(2,\)"),
    "ragged": ({"x": [1, [2], 3]}, r"x: expected float32 \(3,\): setting an array element"),
    "texts": ({"x": ["a", "b", "c"]}, r"x: expected float32 \(3,\) a row, got <U1 \(3,\)"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_read_or_refused(name: str) -> None:
    given, expected = REQUESTS[name]
    replica = Replica(model_of(twice, X))
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            replica.row(given)
        return
    row = replica.row(given)["x"]
    assert row.dtype == numpy.float32 and row.tolist() == expected


@pytest.mark.parametrize("given", [1.5, 300, -1, True])
def test_a_number_that_would_change_is_refused(given: Any) -> None:
    replica = Replica(model_of(lambda x: x + 1, Input((N,), torch.uint8, "x")))
    assert replica.row({"x": 255})["x"] == 255
    with pytest.raises(InputError, match="x: expected uint8"):
        replica.row({"x": given})
