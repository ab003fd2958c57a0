"""Saved models: what goes into a file comes out of it, and calls like the model that was saved."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.on_double import on_double
from tests.run.test_data_dependent import engine_of_positive, positive
from tests.saved.saving import CPU, load, manifest_of, save
from tests.sizes.test_dims import A
from trtnn import Dim, Input
from trtnn.compiled import CompiledModule
from trtnn.errors import LoadError, UnsupportedError
from trtnn.run.allocating import AllocatingRunner
from trtnn.saved import file as saved
from trtnn.saved.description import restore
from trtnn.tree import flatten

VERSIONS = ("8.6", "10", "11")
N = Dim("n", 1, 2, 8)
M = Dim("m", profiles=[(2, 4, 4), (4, 8, 16)])
X = Input((N, 6), name="x")
Y = Input((N, 6), name="y")
Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Parts:
    """A structure of a user's own."""

    left: Any
    right: Any = None


class Color(enum.Enum):
    """Something that JSON has no form for."""

    RED = 1


Row = tuple[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]]
T = torch.ones(3, 6)


def _by_place(x: Any, /, y: Any, *rest: Any, scale: float = 1.0) -> Any:
    return (x + y) * scale + rest[0]


def _by_name(x: Any, y: Any = None, *, scale: float = 1.0, **more: Any) -> Any:
    return (x + more["first"]) * scale + more["last"]


def _odd_default(x: Any, way: Any = Color.RED, flag: bool = True) -> Any:
    return x * 2


def _constants(x: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    return x.to(d) * b, a, c, e


def _sized(x: Any, count: int) -> Any:
    return torch.ones(count, 2) * x.sum(), count, count + 1


ROWS: dict[str, Row] = {
    "tensor": (lambda x: x * 2, [X], (T,), {}),
    "static": (lambda x: x * 2, [Input((3, 6), torch.float16)], (T.half(),), {}),
    "float64": (
        lambda x: (x.float() * 2).double(),
        [Input((N,), torch.float64)],
        (T.double()[:, 0],),
        {},
    ),
    "int64": (lambda x: x + 1, [Input((N,), torch.int64)], (torch.arange(3),), {}),
    "scalar": (lambda x: x + 1, [Input(())], (torch.tensor(1.0),), {}),
    "tuple": (lambda x: (x * 2, x + 1), [X], (T,), {}),
    "list": (lambda x: [x * 2], [X], (T,), {}),
    "dict": (lambda x: {"b": x * 2, "a": [x + 1], 3: None, (1, "k"): True}, [X], (T,), {}),
    "ordered": (lambda x: OrderedDict(b=x * 2, a=x + 1), [X], (T,), {}),
    "default dict": (lambda x: defaultdict(list, b=x * 2, a=[x]), [X], (T,), {}),
    "counter": (lambda x: Counter({1: x * 2, 0: x + 1}), [X], (T,), {}),
    "deque": (lambda x: deque([x * 2, x + 1], 3), [X], (T,), {}),
    "any number": (lambda *xs: sum(xs) * 2, [X, Y], (T, T), {}),
    "named tuple": (lambda x: Pair(x * 2, (x + 1,)), [X], (T,), {}),
    "dataclass": (lambda x: Parts(x * 2, {"n": 3}), [X], (T,), {}),
    "torch's own": (lambda x: torch.max(x, 1), [X], (T,), {}),
    "empty": (lambda x: (x * 2, (), [], {}), [X], (T,), {}),
    "sizes": (lambda x: (x * 2, x.shape, x.shape[0], x.shape[0] // 2, 6), [X], (T,), {}),
    "floats": (lambda x: (x * 2, float("inf"), -0.0, 0.1, 1e300, 2**70), [X], (T,), {}),
    "plain": (lambda x: (x * 2, None, True, "ü\ud800", x.dtype, 1 + 2j), [X], (T,), {}),
    "slices": (lambda x: (x * 2, slice(1, None, 2), CPU), [X], (T,), {}),
    "nested": (
        lambda x, more: x * 2 + more["b"][0] + more["a"],
        [X, {"b": [Y], "a": Input((6,))}],
        (T, {"a": torch.ones(6), "b": [T]}),
        {},
    ),
    "arguments in a class": (lambda p: p.first + p.second, [Pair(X, Y)], (Pair(T, T),), {}),
    "constants": (
        _constants,
        [X, float("nan"), 2.0, "text", torch.float32, None],
        (T, float("nan"), 2.0, "text", torch.float32, None),
        {},
    ),
    "by name": (
        lambda x, *, y=None, z=2.0: x + y,
        {"x": X, "y": Y},
        (T,),
        {"y": T},
    ),
    "by place": (_by_place, [X, Y, Input((6,))], (T, T, torch.ones(6)), {}),
    "with a gap": (
        _by_name,
        {"x": X, "scale": 3.0, "first": Y, "last": Input((6,))},
        (T,),
        {"last": torch.ones(6), "first": T, "scale": 3.0},
    ),
    "odd default": (_odd_default, [X], (T,), {}),
    "host input": (_sized, [X, Input(Dim("count", 1, 2, 5), host=True)], (T, 3), {}),
    "expressions": (
        lambda x, y: (x * 2, y.reshape(-1), x.shape[0] * y.shape[1]),
        [X, Input((2 * N + 1, N), name="y")],
        (T, torch.ones(7, 3)),
        {},
    ),
    "channels last": (
        lambda x: x * 2,
        [Input((N, 8, 4, 4), torch.float16, memory_format=torch.channels_last)],
        (torch.ones(3, 8, 4, 4).half().to(memory_format=torch.channels_last),),
        {},
    ),
    "own range": (lambda x: x * 2, [Input(((1, 2, 4), 3))], (torch.ones(3, 3),), {}),
    "profiles": (lambda x: x * 2, [Input((N, M), name="x")], (torch.ones(3, 9),), {}),
    "keyword as a Dim": (
        lambda x: x * 2,
        [Input((Dim("in", 1, 2, 4), 3))],
        (T[:, :3].clone(),),
        {},
    ),
}


def alike(given: Any, wanted: Any) -> None:
    """Assert equal structures, equal plain leaves, and tensors of one shape, dtype and content."""
    (left, tree), (right, other) = flatten(given), flatten(wanted)
    assert tree == other
    for a, b in zip(left, right, strict=True):
        assert type(a) is type(b)
        assert (
            torch.equal(a, b) and a.dtype == b.dtype if torch.is_tensor(a) else repr(a) == repr(b)
        )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ROWS)
def test_a_loaded_model_is_the_one_that_was_saved(
    name: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, inputs, args, kwargs = ROWS[name]
    model, _ = on_double(version, function, inputs)
    path = save(tmp_path / "net.trtnn", model)
    # A hit makes a runtime only.
    assert model.engine is not None
    monkeypatch.setattr(model.engine.library.trt, "Builder", None)
    loaded = load(monkeypatch, model, path)
    assert type(loaded) is CompiledModule and loaded.backend == "tensorrt"
    assert loaded.input_specs == model.input_specs and loaded.host_inputs == model.host_inputs
    assert loaded.output_specs == model.output_specs and loaded.profiles == model.profiles
    assert str(loaded.graph) == str(model.graph) and repr(loaded) == repr(model)
    assert loaded.graph.integers() == model.graph.integers()
    assert loaded.graph.dims == model.graph.dims
    alike(loaded(*args, **kwargs), model(*args, **kwargs))
    _, tree = flatten(function(*args, **kwargs))
    assert loaded.graph.result == tree
    assert manifest_of(loaded) == manifest_of(model)
    again = save(tmp_path / "again.trtnn", loaded)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_sizes_that_depend_on_data_are_exact(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_batch = Input((Dim("batch", 1, 2, 4), 3), name="x")
    model, _ = on_double(version, positive, [from_batch], AllocatingRunner)
    double.on_execute(model.engine.library.trt, engine_of_positive)  # type: ignore[union-attr]
    loaded = load(monkeypatch, model, save(tmp_path / "net.trtnn", model))
    for fill in (torch.randn(4, 3), torch.ones(2, 3), -torch.ones(1, 3)):
        alike(loaded(fill), positive(fill))


def test_calls_that_do_not_fit_are_refused_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(x: Any, scale: float = 1.0, *, n: int = 3) -> Any:
        return x * scale + n

    inputs = {"x": X, "scale": 2.0, "n": Input(Dim("k", 1, 2, 4), host=True)}
    model, _ = on_double("10", forward, inputs)
    loaded = load(monkeypatch, model, save(tmp_path / "net.trtnn", model))
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((T, 2.0), {}),
        ((T, 3.0), {"n": 2}),
        ((T, 2.0), {"n": 9}),
        ((T, 2.0), {"n": 2, "m": 2}),
        ((T, 2.0, 3), {}),
        ((T[:, :3], 2.0), {"n": 2}),
        ((torch.ones(9, 6), 2.0), {"n": 2}),
        ((T.double(), 2.0), {"n": 2}),
        ((), {}),
    ]
    for args, kwargs in calls:
        texts = []
        for each in (model, loaded):
            with pytest.raises(trtnn.InputError) as caught:
                each(*args, **kwargs)
            texts.append((caught.value.message, caught.value.hint))
        assert texts[0] == texts[1]


def test_one_profile_of_a_loaded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = on_double("11", *ROWS["profiles"][:2])
    loaded = load(monkeypatch, model, save(tmp_path / "net.trtnn", model))
    second = loaded.with_profile(1)
    assert second(torch.ones(3, 9)).shape == (3, 9)
    with pytest.raises(trtnn.InputError, match="m = 3 does not fit profile 1"):
        second(torch.ones(3, 3))


def test_the_manifest_says_what_others_need(tmp_path: Path) -> None:
    model, _ = on_double("10", lambda x, n: (x * 2, x.shape[0]), [X, Input(A, host=True)])
    path = save(tmp_path / "net.trtnn", model, refit="refit", max_threads=2)
    manifest = saved.read(path).manifest
    assert manifest["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["n", 6]}]
    assert manifest["outputs"] == [{"name": "output_0", "dtype": "float32", "shape": ["n", 6]}]
    assert manifest["hosts"] == [{"name": "n", "dim": "a"}]
    dims = {name: [list(p) for p in d.profiles] for name, d in (("n", N), ("a", A))}
    assert manifest["dims"] == {
        name: {"profiles": profiles, "depends_on_data": False} for name, profiles in dims.items()
    }
    assert manifest["profiles"] == [{"n": [1, 2, 8], "a": [1, 4, 16]}]
    assert manifest["options"] == {"refit": "refit", "max_threads": 2}
    assert manifest["engine"]["refit"] == "refit"
    assert len(manifest["engine"]["timing_digest"]) == 64
    assert manifest["versions"]["trtnn"] == trtnn.__version__
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["graph"] == str(model.graph)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["manifest.json", "plan"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("plan") == model.engine.plan  # type: ignore[union-attr]
        text = archive.read("manifest.json")
    assert json.dumps(json.loads(text), sort_keys=True, indent=1).encode() == text


def _local(x: Any) -> Any:
    @dataclasses.dataclass
    class Inside:
        y: Any

    return Inside(x * 2)


REFUSED: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "result": (lambda x: (x, {"how": Color.RED}), [X], "result[1].how: a file cannot hold a Color"),
    "constant": (lambda x, how: x * 2, [X, Color.RED], "how: a file cannot hold a Color"),
    "set": (lambda x: (x * 2, frozenset()), [X], "result[1]: a file cannot hold a frozenset"),
    "key": (lambda x: {Color.RED: x * 2}, [X], "a key of the result: a file cannot hold a Color"),
    "class": (_local, [X], "_local.<locals>.Inside cannot be found by its name"),
    "Dim": (
        lambda x: x.reshape(-1),
        [Input((Dim("in", 1, 2, 4), 3))],
        "the size 3*in cannot be read back from its text",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_cannot_hold_is_named(name: str) -> None:
    function, inputs, text = REFUSED[name]
    model, _ = on_double("10", function, inputs)
    with pytest.raises(UnsupportedError) as caught:
        manifest_of(model)
    assert text in caught.value.message and caught.value.message.startswith("save: ")


def test_the_reference_has_nothing_to_save() -> None:
    model = trtnn.compile(torch.nn.ReLU(), inputs=[X], backend="reference")
    with pytest.raises(UnsupportedError, match=r"holds a TensorRT engine, .* on the reference"):
        model.save("net.trtnn")


def test_loading_takes_classes_of_structures_only_and_imports_none() -> None:
    assert "wave" not in sys.modules
    model, _ = on_double("10", lambda x: Parts(x * 2), [X])
    manifest = manifest_of(model)
    rows = {
        "wave:Wave_read": "wave.Wave_read, which is not imported",
        "sys:exit": "expected a class of a structure",
        "collections:Counter.update": "expected a class of a structure",
        f"{__name__}:Pair": "the saved model knows the fields left, right, this one has 0, 1",
        f"{__name__}:Gone": f"{__name__}.Gone, which is not imported",
    }
    for name, text in rows.items():
        tree = {**manifest["result"]["tree"], "kind": name}
        with pytest.raises(LoadError) as caught:
            restore({**manifest, "result": {**manifest["result"], "tree": tree}})
        assert text in str(caught.value)
    assert "wave" not in sys.modules


MALFORMED: dict[str, Any] = {
    "no leaf": {"result": {"tree": None, "leaves": [{}]}},
    "two tags": {"result": {"tree": None, "leaves": [{"float": "1", "output": 0}]}},
    "unknown tag": {"result": {"tree": None, "leaves": [{"pickle": "x"}]}},
    "no such output": {"result": {"tree": None, "leaves": [{"output": 7}]}},
    "fewer leaves": {"result": {"tree": None, "leaves": []}},
    "no dtype": {"inputs": [{"name": "x", "dtype": "load", "shape": []}]},
    "other inputs": {"inputs": []},
    "unknown Dim": {"inputs": [{"name": "x", "dtype": "float32", "shape": ["z"]}]},
    "code": {"inputs": [{"name": "x", "dtype": "float32", "shape": ["exit()"]}]},
    "bad range": {"dims": {"n": {"profiles": [[3, 2, 1]], "depends_on_data": False}}},
    "no kind": {"signature": {"tree": {"kind": 3, "keys": [], "children": []}}},
    "no signature": {"signature": {"leaves": None}},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_manifest_that_describes_no_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = on_double("10", lambda x: x * 2, [X])
    path = save(tmp_path / "net.trtnn", model, MALFORMED[name])
    with pytest.raises(LoadError):
        load(monkeypatch, model, path)
