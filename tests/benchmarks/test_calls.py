"""The measurements of calls, threads, cycles and the cache, on the double of TensorRT."""

from __future__ import annotations

import contextlib
import ctypes
import doctest
import json
import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import trtnn
from benchmarks.__main__ import MEASURES, attempt
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.machine import Machine
from benchmarks.instruments.timing import TINY
from benchmarks.measures import cached, cycles, mixed, one_layer, overhead, sanitize, threads
from benchmarks.measures.overhead import Row, Subject, interleaved, judge
from benchmarks.subjects.cases import CALLS, Case, list_cases
from benchmarks.tables import call_tables, table
from tests import double
from tests.compare import leaves
from trtnn.cache import engines
from trtnn.run import cuda_graphs
from trtnn.trt.library import TensorRT

EXAMPLES = (cached, call_tables, cycles, mixed, one_layer, overhead, sanitize, threads)
CASES = list_cases(CALLS, "small")
compile_engine, load_engine = trtnn.compile, trtnn.load  # before something stands in for them


OFFSET = 0.0  # of all that the double computes


class Doubled(Machine):
    """A double of TensorRT, as if the CPU were its GPU."""

    device = torch.device("cpu")


def viewed(pointer: int, shape: Any, dtype: Any) -> torch.Tensor:
    """Return memory that the double was given as a tensor."""
    kind = {"FLOAT": torch.float32, "HALF": torch.float16, "INT32": torch.int32}[dtype.name]
    size = torch.Size(shape).numel() * kind.itemsize
    memory = (ctypes.c_char * size).from_address(pointer)
    return torch.frombuffer(memory, dtype=kind).view(tuple(shape))


def computing(function: Callable[..., Any]) -> Any:
    """Return what lets the double compute a function of the engine's inputs."""

    @torch.no_grad()
    def callback(_: Any, tensors: dict[str, Any]) -> None:
        given = [viewed(*t) for name, t in tensors.items() if not name.startswith("output_")]
        # What 8.6 reads as int32, having no int64, PyTorch takes as an index in int64 alone.
        given = [t.long() if t.dtype == torch.int32 else t for t in given]
        for index, result in enumerate(leaves(function(*given))):
            viewed(*tensors[f"output_{index}"]).copy_(result + OFFSET)

    return callback


def replayed(context: Any, streams: Any, results: Any) -> Any:
    """Stand in for a capture: the replay runs the context again."""
    context.enqueue(0)
    return lambda: context.enqueue(0) and None


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Builds:
    """Return what compiles for the double, on a GPU that is none."""
    trt = double.load("8.6")
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    stream = SimpleNamespace(cuda_stream=7)
    for name, value in {
        "is_available": True,
        "synchronize": None,
        "empty_cache": None,
        "get_device_name": "GPU",
        "mem_get_info": (10, 20),
        "memory_reserved": 4,
        "memory_allocated": 0,
        "current_stream": stream,
        "Stream": stream,
        "stream": contextlib.nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    for module in (overhead, cycles):
        monkeypatch.setattr(module, "captured", lambda call: call)
    monkeypatch.setattr(cuda_graphs, "record", replayed)

    def compile(net: Any, **how: Any) -> Any:
        model = compile_engine(net, **how)
        half = any(spec.dtype is torch.float16 for spec in model.input_specs.values())
        # A ResNet in half takes long on a CPU, and no row compares its results.
        double.on_execute(model.engine.handle, (lambda *_: None) if half else computing(net))
        return model

    def load(path: Any, **how: Any) -> Any:
        return load_engine(path, device="cpu", **how)

    monkeypatch.setattr(trtnn, "compile", compile)
    monkeypatch.setattr(trtnn, "load", load)
    gpu = {"name": "GPU", "compute_capability": [9, 0], "sm_count": 2, "memory_bytes": 2**30}
    monkeypatch.setattr(engines, "gpu_facts", lambda _: gpu)
    # What the raw loop of the cycles builds has no other function.
    double.on_execute(trt, computing(cycles.subject(torch.device("cpu"))[0]))
    return Builds(Doubled(TensorRT(trt)))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what starts a process run here; there is no memcheck on this machine."""

    def start(case: Case, builds: Builds, folder: Path) -> dict[str, Any]:
        return cached.compile_once(
            folder, case.model, case.size, case.dtype, case.level, builds.machine.device
        )

    monkeypatch.setattr(cached, "start", start)
    monkeypatch.setattr(sanitize.shutil, "which", lambda _: None)


def timed_once(call: Any, *_: Any) -> float:
    """Stand in for a time: make the call."""
    call()
    return 1.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
@pytest.mark.usefixtures("in_process")
def test_every_row_is_measured_on_the_double(
    case: Case, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "_median", timed_once)
    monkeypatch.setattr(threads, "BAR", 0.0)  # there is no speed to see
    monkeypatch.setattr(cycles, "LIMIT", 2**40)  # of a host on which other tests run
    monkeypatch.setattr(mixed, "LIMIT", 2**40)
    row = attempt(case, builds, TINY)
    assert "failed" not in row
    json.dumps(row, allow_nan=False)
    if case.what not in ("cached", "sanitizer"):  # a ratio of times; not run
        assert row["met"] is True
    assert table.tables({case.key: row}).count(f"### {table.TITLES[case.what][0]}\n") == 1


@pytest.mark.parametrize("what", ["overhead", "threads", "cycles", "mixed"])
def test_a_wrong_result_is_found(
    what: str, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "OFFSET", 0.01)
    case = Case(what, "one_layer", "small")
    if what in ("overhead", "cycles"):
        with pytest.raises(AssertionError, match="relative error"):
            MEASURES[what](case, builds, TINY)
        return
    row = MEASURES[what](case, builds, TINY)
    assert row["met"] is False
    assert row["wrong"] if what == "mixed" else row["right"]["graph"]["wrong"] == 8 * TINY.of(2000)


def test_rounds_alternate_and_each_call_starts_on_an_idle_gpu() -> None:
    made: list[str] = []
    subjects = {
        name: Subject(lambda name=name: made.append(name))  # type: ignore[misc]
        for name in ("empty", "ours")
    }
    times = interleaved(subjects, TINY, lambda: made.append("wait"))
    round_of_two = ["wait", "empty"] * 2 + ["wait", "ours"] * 2
    assert made == round_of_two * 2
    assert times["empty"] == [0.0, 0.0] and len(times["ours"]) == 2


@pytest.mark.parametrize(
    ("ours", "met"),
    [
        ([12.0, 12.0, 12.0, 12.0, 12.0], True),
        ([12.5, 12.5, 12.5, 12.5, 12.5], False),
        ([11.9, 12.0, 12.5, 12.5, 12.5], True),  # the bar lies within the quartiles
        ([11.9, 12.1, 12.5, 12.5, 12.5], False),  # one good round is none
    ],
)
def test_a_bar_inside_the_spread_is_met(ours: list[float], met: bool) -> None:
    times = {"ours": ours, "raw": [10.0] * 5}
    assert judge(Row("ours", ("raw",), 2.0), times)["met"] is met


def test_the_bars_grow_with_inputs_and_outputs() -> None:
    bars = {
        engine.name: [(row.base.count("alloc"), round(row.allowed or 0, 1)) for row in rows]
        for engine in one_layer.ENGINES
        for rows in [overhead._rows(engine)]
    }
    assert bars == {
        "1 in, 1 out": [(1, 2.0), (0, 2.0), (0, 0.6)],
        "2 in, 1 out": [(1, 2.6), (0, 2.6), (0, 0.6)],
        "3 in, 1 out": [(1, 3.2), (0, 3.2), (0, 0.6)],
        "1 in, 2 out": [(2, 2.3), (0, 2.3), (0, 0.6)],
        "1 in, 3 out": [(3, 2.6), (0, 2.6), (0, 0.6)],
    }


def test_a_thread_that_fails_is_no_speed() -> None:
    def fail() -> None:
        raise RuntimeError("in a thread")

    with pytest.raises(RuntimeError, match="in a thread"):
        threads.together([fail, lambda: None])


def test_memory_is_told_apart(builds: Builds) -> None:
    found = cycles.memory(builds.machine)
    assert found["device"] == 20 - 10 - 4 and found["torch"] == 0
    with mmap.mmap(-1, 2**26) as held:  # what no earlier memory can serve
        held.write(b"x" * len(held))
        assert cycles.memory(builds.machine)["host"] - found["host"] > len(held) // 2


def test_a_hit_builds_nothing_and_its_parts_are_timed(builds: Builds, tmp_path: Path) -> None:
    device = builds.machine.device
    cold, hit = (cached.compile_once(tmp_path, "mlp", "small", "tf32", 0, device) for _ in range(2))
    assert all(part > 0 for part in cold["parts_s"].values())
    assert hit["parts_s"]["build"] == 0 < hit["parts_s"]["deserialize"]
    assert sum(cold["parts_s"].values()) <= cold["compile_s"] + 1e-5  # each is rounded
    owner = cached._owner(cached.PARTS["trace"][0])
    assert owner._trace.__module__ == "trtnn.compiler"  # as it was before


def test_a_process_that_fails_says_why(builds: Builds, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'no_such'"):
        cached.start(Case("cached", "no_such", "small", "tf32", 1), builds, tmp_path)


TOOL = """#!/bin/sh
for kind; do :; done
test "$PYTORCH_NO_CUDA_MEMORY_CACHING" = 1 || exit 3
echo "$*" | grep -q -e "--padding [1-9]" || exit 4
{lines}
"""


@pytest.mark.parametrize(
    ("lines", "met", "said"),
    [
        (
            'echo "ran $kind"; errors=0; [ $kind = planted ] && errors=4\n'
            'echo "========= ERROR SUMMARY: $errors errors"\n'
            "printf '\\377'",  # what a program prints need not be text
            True,
            "| planted | 4 | yes |",
        ),
        ('echo "ran $kind"; echo "ERROR SUMMARY: 0 errors"', False, "| planted | 0 | **no** |"),
        ('echo "ran $kind"; echo "ERROR SUMMARY: 1 error"', False, "| sync | 1 |"),
        (  # it failed before it ran
            'errors=0; [ $kind = planted ] && errors=4\necho "ERROR SUMMARY: $errors errors"',
            False,
            "| planted | 4 | **no** |",
        ),
        ('echo "Device not supported"; exit 1', None, "| not run | sync: Device not supported"),
    ],
)
def test_what_memcheck_says_is_judged(
    lines: str, met: bool | None, said: str, builds: Builds, tmp_path: Path
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(TOOL.format(lines=lines))
    tool.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path), prepend=":")
        row = attempt(Case("sanitizer", "one_layer", "small"), builds, TINY)
    assert row["met"] is met
    assert said in table.tables({"row": row})


@pytest.mark.parametrize("kind", sanitize.KINDS)
def test_the_program_under_memcheck(kind: str, builds: Builds, tmp_path: Path) -> None:
    path, seen = tmp_path / "model.trtnn", []
    model = one_layer.opened(builds).model
    model.save(path)
    right = computing(one_layer.ENGINES[0].function)

    def callback(context: Any, tensors: dict[str, Any]) -> None:
        seen.append(tensors["output_0"])
        if kind != sanitize.PLANTED:  # what is too short here is memory of this process
            right(context, tensors)

    double.on_execute(model.engine.handle, callback)
    sanitize.run_once(path, kind, builds.machine.device)
    assert len(seen) == (2 if kind == "graph" else 1)  # a capture runs it first


def test_frequent_and_rare_sizes_lie_in_the_profiles() -> None:
    given = list(mixed.sizes(10_000, range(1, 33)))
    rare = [size for size in given if size not in mixed.OFTEN]
    assert 0 < len(rare) < 200 and set(given) <= set(range(1, 33))
    assert len(mixed.OFTEN) < 8  # as many CUDA graphs as a model keeps


@pytest.mark.parametrize("module", EXAMPLES, ids=lambda module: module.__name__)
def test_examples(module: Any) -> None:
    done = doctest.testmod(module)
    assert not done.failed


def test_the_measurements_have_examples() -> None:
    assert sum(doctest.testmod(module).attempted for module in EXAMPLES) > 10
