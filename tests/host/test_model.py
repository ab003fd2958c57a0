"""HostModel on the doubles of TensorRT and CUDA: NumPy in, NumPy out, nothing left behind."""

from __future__ import annotations

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from tests.host.host_rows import BOTH, ROWS, VERSIONS, B, S, X, arguments, reference, twice
from tests.host.hosted import GPU, assert_same, hosted, plain
from tests.run.test_host_inputs import ROWS as HOST_ROWS
from tests.run.test_host_inputs import calls
from trtnn import Dim, Input
from trtnn.errors import (
    BackendError,
    InputError,
    LoadError,
    OptionError,
    UnsupportedError,
)
from trtnn.host import HostModel
from trtnn.saved import file as saved
from trtnn.tree import flatten

__all__ = ["hosted"]
EXECUTIONS = ["sync", "async"]


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, version: str, execution: str, hosted: Any) -> None:
    row = ROWS[name]
    made = hosted(version, row.function, row.inputs)
    with made.open(execution=execution) as model:
        for size in row.sizes:
            given = arguments(row, size)
            assert_same(made.call(model, given), reference(row, given))
        used = {key for context in made.contexts for key in context.calls if "execute" in key}
    way = "execute_v2" if execution == "sync" and not row.counted else "execute_async_v3"
    assert used == {way} and len(set(map(id, made.contexts))) == 1
    made.cuda.require_nothing_left()


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", HOST_ROWS)
def test_rows_with_host_inputs(name: str, version: str, execution: str, hosted: Any) -> None:
    row = HOST_ROWS[name]
    made = hosted(version, row.function, row.inputs)
    with made.open(execution=execution) as model:
        for given in calls(row)[::3]:
            leaves = [x.numpy() if isinstance(x, torch.Tensor) else x for x in flatten(given)[0]]
            assert_same(made.call(model, leaves), plain(row.function(*given)))
    made.cuda.require_nothing_left()


@pytest.mark.parametrize("version", VERSIONS)
def test_arguments_by_name_and_outputs_of_their_own(version: str, hosted: Any) -> None:
    made = hosted(version, lambda x, y: (x * 2, y + 1), BOTH)
    with made.open() as model:
        x, y = arguments(ROWS["two"], 2)
        first, second = model(x, y), model(y=y, x=x)
        assert_same(first, second)
        assert not any(numpy.shares_memory(a, b) for a in first for b in second)
        kept = [array.copy() for array in first]
        model(x + 1, y=y + 1)
        assert_same(list(first), kept)
        assert all(array.flags.owndata and array.flags.writeable for array in first)
        assert_same(model(x[::-1], y.astype(numpy.int32)), (x[::-1] * 2, y + 1))
    nested_row = ROWS["in a structure"]
    made = hosted(version, nested_row.function, nested_row.inputs)
    with made.open() as model:
        assert_same(model(**{"xs.a": x, "xs.b[0]": x}), x + x)


WRONG: list[tuple[list[Any], dict[str, Any], str]] = [
    ([], {}, "x: the argument is missing; the model takes x, y, n$"),
    ([1], {}, "y: the argument is missing"),
    ([1, 2, 3, 4], {}, "argument 3: got 4 by position; the model takes x, y, n$"),
    ([1], {"x": 1}, "x: given by position and again by name"),
    ([1, 2, 3], {"z": 1}, "z: there is no such argument; the model takes x, y, n$"),
    (["list"], {}, r"x: expected an array \(batch, 3\) float32, got a list"),
    (["none"], {}, r"x: expected an array \(batch, 3\) float32, got None"),
    (["tensor"], {}, r"x: expected an array \(batch, 3\) float32, got a Tensor"),
    (["masked"], {}, "x: expected a plain array .*, got a masked one"),
    (["rank"], {}, r"x: expected 2 dims \(batch, 3\) float32, got \(2, 3, 1\)"),
    (["double"], {}, "x: expected float32, got float64"),
    (["other end"], {}, "x: expected float32, got >f4"),
    (["columns"], {}, "x: size 4 of dim 1 should be 3"),
    (["nine"], {}, "x: size 9 of dim 0 is out of range: batch is 1 to 8"),
    ([], {"y": numpy.ones(5, int)}, r"y: size 5 of dim 0 should be 4 \(2\*batch; batch = 2 given"),
    ([], {"y": numpy.full(4, 2**31)}, "y: int64 values beyond -2147483648 to 2147483647, and"),
    ([], {"y": numpy.full(4, -(2**31) - 1)}, "y: int64 values beyond"),
    ([], {"n": 9}, "n: 9 is out of range: n is 1 to 8"),
    ([], {"n": True}, "n: expected an int, n from 1 to 8, got True"),
    ([], {"n": 2.0}, "n: expected an int, n from 1 to 8, got 2.0"),
    ([], {"n": numpy.ones(1, int)}, "n: expected an int, n from 1 to 8, got a ndarray"),
]
GIVEN: dict[str, Any] = {
    "list": [[0.0, 0.0, 0.0]],
    "none": None,
    "tensor": torch.zeros(2, 3),
    "masked": numpy.ma.masked_less(numpy.zeros((2, 3), numpy.float32), 1),
    "rank": numpy.zeros((2, 3, 1), numpy.float32),
    "double": numpy.zeros((2, 3)),
    "other end": numpy.zeros((2, 3), ">f4"),
    "columns": numpy.zeros((2, 4), numpy.float32),
    "nine": numpy.zeros((9, 3), numpy.float32),
}


@pytest.mark.parametrize(("args", "kwargs", "text"), WRONG, ids=lambda x: str(x)[:40])
def test_wrong_arguments_are_named(args: Any, kwargs: Any, text: str, hosted: Any) -> None:
    inputs = [*BOTH, Input(Dim("n", 1, 3, 8), host=True)]
    made = hosted("8.6", lambda x, y, n: (x * 2, y + n), inputs)
    good = {"x": numpy.zeros((2, 3), numpy.float32), "y": numpy.zeros(4, numpy.int64), "n": 2}
    with made.open() as model:
        if "arg" not in text and "there is no" not in text and "given by pos" not in text:
            kwargs = {**good, **({"x": GIVEN[args[0]]} if args else {}), **kwargs}
            args = []
        with pytest.raises(InputError, match=f"(?m)^{text}"):
            model(*args, **kwargs)
        assert not made.contexts
        made.integers = {"n": 2}
        assert_same(model(**good), (good["x"] * 2, good["y"] + 2))


@pytest.mark.parametrize("version", VERSIONS)
def test_profiles(version: str, hosted: Any) -> None:
    made = hosted(version, lambda x: x + 1, [Input((S,), name="x")])
    with made.open() as model:
        used = []
        for size in (5, 2, 16, 3):
            model(numpy.zeros(size, numpy.float32))
            used.append(made.contexts[-1].active_optimization_profile)
        assert used == [0, 0, 2, 1]
        with pytest.raises(InputError, match="x, dim 0: s = 12 does not fit profile 0: s = 1 to 8"):
            model(numpy.zeros(12, numpy.float32))
    with made.open(profile=1) as model:
        model(numpy.zeros(2, numpy.float32))
        assert made.contexts[-1].active_optimization_profile == 1
        with pytest.raises(InputError, match="s = 5 does not fit profile 1: s = 1 to 3"):
            model(numpy.zeros(5, numpy.float32))
    for profile in (3, -1, True):
        with pytest.raises(InputError, match=r"profile: expected an int from 0 to 2, got "):
            made.open(profile=profile)
    made.cuda.require_nothing_left()


@pytest.mark.parametrize("version", VERSIONS)
def test_another_profile_and_the_same_shape(version: str, hosted: Any) -> None:
    made = hosted(version, lambda x, y: (x + 1, y * 2), [Input((S,)), Input((B, 3))])
    y = numpy.ones((2, 3), numpy.float32)
    with made.open() as model:
        for size in (5, 16, 5):
            x = numpy.ones(size, numpy.float32)
            assert_same(model(x, y), (x + 1, y * 2))


@pytest.mark.parametrize("version", VERSIONS)
def test_profiles_of_an_integer_that_the_engine_does_not_take(version: str, hosted: Any) -> None:
    ranged = Input(Dim("n", profiles=[(1, 1, 2), (8, 8, 8)]), host=True)
    made = hosted(version, lambda x, n: x * 2, [Input((3,)), ranged])
    x = numpy.ones(3, numpy.float32)
    with made.open() as model:
        for n in (1, 8):
            assert_same(made.call(model, [x, n]), x * 2)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("name", ["wide", "wide counted"])
def test_a_thousand_calls_take_no_more_memory(name: str, execution: str, hosted: Any) -> None:
    row = ROWS[name]
    made = hosted("8.6", row.function, row.inputs)
    given = {size: arguments(row, size) for size in (8, 1, 5)}
    with made.open(execution=execution) as model:
        made.call(model, given[8])
        before = len(made.cuda.memory)
        for i in range(1000):
            made.call(model, given[(1, 5, 8)[i % 3]])
        assert len(made.cuda.memory) == before and len(set(map(id, made.contexts))) == 1
    made.cuda.require_nothing_left()


def test_closing(hosted: Any) -> None:
    made = hosted("10", twice, [X])
    x = numpy.ones((2, 3), numpy.float32)
    model = made.open()
    model(x)
    assert len(made.cuda.living) == 4 and len(made.cuda.streams) == 1
    model.close()
    made.cuda.require_nothing_left()
    calls_before = made.cuda.calls.copy()
    model.close()
    assert made.cuda.calls == calls_before
    with pytest.raises(BackendError, match=r"^HostModel: the model of .*net.trtnn is closed"):
        model(x)
    with pytest.raises(ZeroDivisionError), made.open() as other:
        other(x)
        1 / 0  # noqa: B018 - leaves the block
    made.cuda.require_nothing_left()


def test_deleting_frees_everything_at_once(hosted: Any) -> None:
    made = hosted("10", twice, [X])
    gc.disable()
    try:
        model = made.open()
        model(numpy.ones((2, 3), numpy.float32))
        del model
        made.cuda.require_nothing_left()
    finally:
        gc.enable()


def test_it_is_neither_copied_nor_pickled(hosted: Any) -> None:
    with hosted("10", twice, [X]).open() as model:
        for spread in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(UnsupportedError, match="neither copied nor pickled"):
                spread(model)
        assert repr(model).endswith("net.trtnn', x: (batch, 3) float32)")


def test_threads_get_their_own_results(hosted: Any) -> None:
    made = hosted("8.6", twice, [X])
    with made.open() as model:

        def run(number: int) -> bool:
            x = numpy.full((number + 1, 3), number, numpy.float32)
            return all(numpy.array_equal(model(x), x * 2) for _ in range(50))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(run, range(8)))
    assert len(made.threads) > 1 and len(set(map(id, made.contexts))) == 1
    made.cuda.require_nothing_left()


def test_another_gpu_is_used_and_left_as_it_was(hosted: Any) -> None:
    made = hosted("10", twice, [X])
    with made.open(device=1) as model:
        model(numpy.ones((2, 3), numpy.float32))
        assert made.devices == {1} and made.cuda.current == 0
        assert {memory.device for memory in made.cuda.living} == {1, None}
    made.cuda.require_nothing_left()
    for device in (2, -1, True, "cuda"):
        with pytest.raises(InputError, match="device: expected an int from 0 to 1, got"):
            made.open(device=device)


def rewrite(path: Path, **changes: Any) -> None:
    read = saved.read(path)
    saved.write(path, {**read.manifest, **changes}, read.plan)


def test_what_cannot_be_loaded(hosted: Any) -> None:
    made = hosted("10", twice, [X])
    manifest = saved.read(made.path).manifest
    engine = {**manifest["engine"], "host_code": True}
    wide = [{**manifest["inputs"][0], "dtype": "bfloat16"}]
    versions = {**manifest["versions"], "tensorrt": "8.6.0"}
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"gpu": {**GPU, "sm_count": 7}}, LoadError, "was built for Double GPU .*, 7 multi.* 132"),
        ({"gpu": None}, LoadError, "was built for no GPU, and this is Double GPU"),
        ({"versions": versions}, LoadError, "was built with TensorRT 8.6.0, and this is TensorRT"),
        ({"engine": engine}, LoadError, "holds code for the CPU"),
        ({"inputs": wide}, UnsupportedError, "x: NumPy has no bfloat16"),
        ({"inputs": []}, LoadError, "the manifest's inputs: expected none, found x"),
        ({"outputs": []}, LoadError, "outputs in the result: expected none, found 0"),
        ({"hosts": [{"name": "n"}]}, LoadError, "the manifest's hosts.0. has no key 'dim'"),
    ]
    for changes, error, text in refused:
        rewrite(made.path, **changes)
        with pytest.raises(error, match=text):
            made.open()
        rewrite(made.path, **manifest)
    rewrite(made.path, engine=engine)
    made.open(allow_host_code=True).close()
    assert made.cuda.calls["cudaMalloc"] == 0
    with pytest.raises(OptionError, match="execution: expected one of sync, async, got 'graph'"):
        made.open(execution="graph")
    made.path.write_bytes(made.path.read_bytes()[:-40])
    with pytest.raises(LoadError):
        made.open()
    with pytest.raises(FileNotFoundError):
        HostModel("absent.trtnn")
    made.cuda.require_nothing_left()
