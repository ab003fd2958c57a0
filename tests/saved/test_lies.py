"""A manifest that was altered, its digests made anew: refused by both doors, or without effect.

Each leaf of the JSON is taken away, and given other types, other values and those of its siblings.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.host import cuda_double
from tests.host.cuda_double import CudaDouble
from tests.on_double import on_double
from tests.run.test_data_dependent import engine_of_positive, positive
from tests.saved.saving import manifest_of
from trtnn import Dim, Input
from trtnn.errors import InputError, LoadError, UnsupportedError
from trtnn.host import HostModel
from trtnn.run.allocating import AllocatingRunner
from trtnn.run.runner import Runner
from trtnn.saved import file as saved
from trtnn.tree import flatten

GPU = {"name": "Double GPU", "compute_capability": [9, 0], "sm_count": 132}
N, M = Dim("n", 1, 2, 8), Dim("m", profiles=[(2, 4, 4), (4, 8, 16)])
COUNT = Dim("count", 1, 2, 5)
OTHERS: list[Any] = [
    *(None, True, -1, 7, 2**40, 2**70, 1.5, "", "n", "a b", "x", "float16", "int32", "*", "n*2"),
    *([], {}, [1], {"size": "n"}, {"output": 0}, "(n+1)**32//(n+2)", "n//(n-1)", "n-2", "1//0"),
]
Row = tuple[Callable[..., Any], list[Any], tuple[Any, ...]]


def _nested(x: Any, more: Any, count: int) -> Any:
    first = x * 2 + more["b"][0] + more["a"]
    made = torch.ones(count, 2) * x.sum()
    return {"first": (first, made), "rows": x.shape[0] + 1, "shape": x.shape, "k": (0.5, None)}


def _several(x: Any, y: Any) -> Any:
    return x * 2, y + 1, x.reshape(-1), (y > 0)


T = torch.ones(3, 6)
NESTED = {"b": [Input((N, 6))], "a": Input((6,))}
ROWS: dict[str, Row] = {
    "static": (lambda x, scale: x * scale, [Input((3, 6), torch.float16), 2.0], (T.half(), 2.0)),
    "nested": (
        _nested,
        [Input((N, 6), name="x"), NESTED, Input(COUNT, host=True)],
        (T, {"b": [T], "a": torch.ones(6)}, 3),
    ),
    "several": (_several, [Input((N, M)), Input((N, M))], (torch.ones(3, 9), torch.ones(3, 9))),
    "counted": (positive, [Input((Dim("batch", 1, 2, 4), 3), name="x")], (torch.ones(2, 3),)),
    "channels last": (
        lambda x: x * 2,
        [Input((N, 8, 4, 4), torch.float16, memory_format=torch.channels_last)],
        (torch.ones(3, 8, 4, 4).half().to(memory_format=torch.channels_last),),
    ),
}


@dataclass
class Doors:
    """A saved model, and the two ways to open it."""

    path: Path
    manifest: dict[str, Any]
    plan: bytes
    arguments: tuple[Any, ...]
    patch: pytest.MonkeyPatch

    def write(self, manifest: Mapping[str, Any]) -> None:
        """Let both doors find a manifest behind digests that are right."""
        found = saved.Saved(json.loads(json.dumps(manifest)), self.plan)
        for door in ("trtnn.loading.read", "trtnn.host.model.read"):
            self.patch.setattr(door, lambda path: found)

    def torch(self) -> Any:
        model = trtnn.load(self.path, device="cpu")
        return _look(model(*self.arguments))

    def host(self) -> Any:
        with HostModel(self.path) as model:
            leaves = flatten(self.arguments)[0]
            given = [leaf.numpy() if torch.is_tensor(leaf) else leaf for leaf in leaves]
            return _look(model(*given[: len(model._interface.given)]))


def _look(result: Any) -> Any:
    """Return the shape and the dtype of each tensor of a result."""
    arrays = [leaf for leaf in flatten(result)[0] if hasattr(leaf, "shape")]
    return [(tuple(a.shape), str(a.dtype).removeprefix("torch.")) for a in arrays]


def opened(name: str, version: str, path: Path, patch: pytest.MonkeyPatch) -> Doors:
    function, inputs, arguments = ROWS[name]
    runner = AllocatingRunner if name == "counted" else Runner
    model, _ = on_double(version, function, inputs, runner)
    assert model.engine is not None
    trt = model.engine.library.trt
    if name == "counted":
        double.on_execute(trt, engine_of_positive)
    patch.setitem(sys.modules, "tensorrt", trt)
    patch.setattr("trtnn.loading.gpu_of", lambda device: GPU)
    patch.setitem(sys.modules, "cuda.bindings.runtime", cuda_double.load(CudaDouble()))
    plan = model.engine.plan
    saved.write(path, {**manifest_of(model), "gpu": GPU}, plan)
    return Doors(path, saved.read(path).manifest, plan, arguments, patch)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each value of a JSON, containers too."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def altered(manifest: Any, place: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Yield what a manifest becomes by one alteration at a place, and what that was."""

    def parent(of: Any) -> Any:
        for key in place[:-1]:
            of = of[key]
        return of

    old, siblings = parent(manifest)[place[-1]], parent(manifest)
    keys = siblings if isinstance(siblings, dict) else range(len(siblings))
    changed = copy.deepcopy(manifest)
    del parent(changed)[place[-1]]
    yield "left out", changed
    others = OTHERS + ([old + 1, -old] if type(old) is int else [])
    others += [old + "x", "9" * 40] if isinstance(old, str) else []
    others += [old + old[-1:], old[::-1]] if isinstance(old, list) else []
    others += [{**old, "surplus": 1}] if isinstance(old, dict) else []
    for other in others:
        plain = place[:2] == ("result", "leaves") and len(place) == 3 and "output" not in str(old)
        if other == {"output": 0} and plain:
            continue  # the file alone knows which plain values a result has
        if type(other) is not type(old) or other != old:
            changed = copy.deepcopy(manifest)
            parent(changed)[place[-1]] = other
            yield repr(other)[:40], changed
    for key in keys:
        if key != place[-1] and siblings[key] != old:
            changed = copy.deepcopy(manifest)
            inside = parent(changed)
            inside[place[-1]], inside[key] = inside[key], inside[place[-1]]
            yield f"exchanged with {key}", changed


def wrong(door: Callable[[], Any], expected: Any) -> str:
    """Return what is wrong with how a door takes a file; nothing where it is refused in words."""
    try:
        found = door()
    except (LoadError, UnsupportedError):  # NumPy lacks a dtype
        return ""
    except InputError:  # constants, and names of arguments, are known to the file alone
        return ""
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "" if found == expected else f"gives {found}"


INTERFACE = ("dims", "profiles", "inputs", "outputs", "hosts", "signature", "result")
# 8.6 has no int64, and so cannot tell that int32 was meant. Of many alterations, one of three is
# made.
PAIRS = [
    *(("static", "11", 1), ("nested", "10", 3), ("several", "8.6", 1), ("counted", "11", 1)),
    ("channels last", "8.6", 1),
]


@pytest.mark.parametrize(("name", "version", "step"), PAIRS)
def test_a_manifest_that_lies_is_refused_or_changes_nothing(
    name: str, version: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened(name, version, tmp_path / "net.trtnn", monkeypatch)
    expected = {"torch": made.torch(), "host": made.host()}
    complaints = []
    for place in places(made.manifest):
        # What is the same for all is looked at once.
        if place[0] not in INTERFACE and name != "static":
            continue
        for what, changed in islice(altered(made.manifest, place), 0, None, step):
            made.write(changed)
            for door in ("torch", "host"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = wrong(getattr(made, door), expected[door])
                if found:
                    complaints.append(f"{door}: {'.'.join(map(str, place))} {what}: {found}"[:200])
    assert not complaints, "\n".join(complaints[:60])


def test_sizes_are_looked_at_in_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the ends of the range the size is right, and between them TensorRT writes more."""
    rows = Dim("n", 1, 2, 8)
    monkeypatch.setitem(ROWS, "one", (lambda x: x * 2, [Input((rows, 6), name="x")], (T,)))
    made = opened("one", "10", tmp_path / "net.trtnn", monkeypatch)
    for text in ("n + (n-1)*(n-2)*(n-8)//7", "n + (n-1)*(n-2)*(n-8)"):
        output = {**made.manifest["outputs"][0], "shape": [text, 6]}
        made.write({**made.manifest, "outputs": [output]})
        for door in (made.torch, made.host):
            with pytest.raises(LoadError, match=r"output_0: .*the engine has \(3, 6\)"):
                door()


def test_a_lie_behind_right_digests_is_read_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened("nested", "10", tmp_path / "net.trtnn", monkeypatch)
    smaller = [{**made.manifest["outputs"][0], "shape": [1, 6]}, *made.manifest["outputs"][1:]]
    saved.write(made.path, {**made.manifest, "outputs": smaller}, made.plan)
    for door in (made.torch, made.host):
        with pytest.raises(LoadError, match=r"net\.trtnn: .*output_0: .*1, 6") as caught:
            door()
        assert "save the model again" in str(caught.value)


def _ranges(manifest: Any, name: str, profiles: list[list[int]]) -> Any:
    """Return a manifest with other ranges of a Dim, wherever they stand."""
    changed = copy.deepcopy(manifest)
    changed["dims"][name]["profiles"] = profiles
    for profile in changed["profiles"]:
        profile[name] = profiles[0]
    return changed


def _shaped(manifest: Any, index: int, shape: list[Any]) -> Any:
    changed = copy.deepcopy(manifest)
    changed["outputs"][index]["shape"] = shape
    return changed


AT_LOAD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "wider range": (lambda m: _ranges(m, "n", [[1, 2, 9]]), r"at the max of profile 0: .*\(9, 6\)"),
    "lower range": (lambda m: _ranges(m, "n", [[0, 2, 8]]), r"at the min of profile 0: .*\(0, 6\)"),
    "other tuning": (
        lambda m: _ranges(m, "n", [[1, 3, 8]]),
        r"at the opt of .*\(3, 6\)",
    ),
    "host range": (lambda m: _ranges(m, "count", [[1, 2, 6]]), r"count at the max .*\(6,\)"),
    "one profile more": (
        lambda m: {**_ranges(m, "n", [[1, 2, 8]] * 2), "profiles": m["profiles"] * 2},
        "described with 2 profiles, and the engine has 1",
    ),
    "smaller output": (lambda m: _shaped(m, 0, ["n - 1", 6]), r"output_0: .* \(0, 6\).* \(1, 6\)"),
    "fixed output": (lambda m: _shaped(m, 0, [2, 6]), r"output_0: .* \(2, 6\).* \(1, 6\)"),
    "of a host input": (lambda m: _shaped(m, 1, ["count - 1", 2]), r"output_1: .*\(0, 2\)"),
    "rank": (lambda m: _shaped(m, 0, ["6*n"]), r"output_0: described as float32 \(6\*n\)"),
}


@pytest.mark.parametrize("name", AT_LOAD)
@pytest.mark.parametrize("version", ["8.6", "10", "11"])
def test_ranges_and_sizes_are_the_engines(
    name: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened("nested", version, tmp_path / "net.trtnn", monkeypatch)
    alter, text = AT_LOAD[name]
    made.write(alter(made.manifest))
    for load in (lambda: trtnn.load(made.path, device="cpu"), lambda: HostModel(made.path)):
        with pytest.raises(LoadError, match=text):
            load()
