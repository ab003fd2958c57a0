"""What a length that varies costs: engines for one length, for a range, with a profile a length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

import trtnn
from benchmarks.instruments.bound import Bound, inference
from benchmarks.instruments.builds import Builds
from benchmarks.instruments.timing import Call, Effort, gpu_times
from benchmarks.measures.activities import describe_kernels, traced
from benchmarks.measures.comparison import all_met, difference, judge
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import FLOATS, LENGTHS, exact, inputs, moved, prepared
from tests.zoo import Inputs
from trtnn.sizes.profiles import fitting_profiles

KINDS = ("static", "dynamic", "bucketed")
LEAST = {"full": 16, "small": 2}  # of the dynamic length

Texts = Mapping[int, Inputs]  # the inputs by length
Models = Mapping[int, Mapping[str, Any]]  # the compiled models by length and kind


@torch.no_grad()
def compare_lengths(case: Case, builds: Builds, effort: Effort) -> dict[str, Any]:
    """Build a model for each length, for a range, and with two profiles; compare them at each.

    Four builds: on one H200 two to four minutes for MiniLM at level 3 and for the BERT encoder at
    level 1, less with a timing cache; what is measured then takes half a minute.
    """
    device, lengths = builds.machine.device, LENGTHS[case.size]
    net, _ = prepared(case, device)
    texts = {n: moved(inputs(case, n), device, FLOATS[case.dtype]) for n in lengths}
    models, facts = _compiled(case, builds, net, texts)
    verdicts = {
        n: judge(
            case.dtype,
            exact(case, device, n),
            {"eager": net(*texts[n]), **{k: model(*texts[n]) for k, model in models[n].items()}},
        )
        for n in lengths
    }
    row = {"builds": facts, "least": LEAST[case.size], **_by_field(verdicts)}
    row["met"] = all_met(row["met"].values())
    return {**row, **(_measured(models, texts, effort) if builds.machine.library else {})}


def declared(lengths: Sequence[int], least: int) -> dict[str, Any]:
    """Return the length that each engine is built for.

    >>> sizes = declared((8, 16), 2)
    >>> sizes["static 8"], sizes["dynamic"].profiles, sizes["bucketed"].profiles
    (8, ((2, 16, 16),), ((8, 8, 8), (16, 16, 16)))
    """
    longest = max(lengths)
    return {
        **{f"static {n}": n for n in lengths},
        "dynamic": trtnn.Dim("length", least, longest, longest),
        "bucketed": trtnn.Dim("length", profiles=[(n, n, n) for n in lengths]),
    }


def _compiled(
    case: Case, builds: Builds, net: nn.Module, texts: Texts
) -> tuple[Models, dict[str, Any]]:
    """Return the models by length and kind, and how each was built."""
    models, facts = {}, {}
    for name, size in declared(list(texts), LEAST[case.size]).items():
        example = next(iter(texts.values()))
        specs = [trtnn.Input((x.shape[0], size), x.dtype) for x in example]
        models[name], facts[name] = builds.compile(case.level, net, specs)
    names = {n: (f"static {n}", "dynamic", "bucketed") for n in texts}
    return {n: dict(zip(KINDS, map(models.get, names[n]), strict=True)) for n in texts}, facts


def _by_field(rows: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Turn rows by length into fields that hold a value for each length.

    >>> _by_field({64: {"bar": 1}, 128: {"bar": 2}})
    {'bar': {'64': 1, '128': 2}}
    """
    first = next(iter(rows.values()))
    return {field: {str(n): row[field] for n, row in rows.items()} for field in first}


def _measured(models: Models, texts: Texts, effort: Effort) -> dict[str, Any]:
    """Time all engines on the GPU, and only then trace an inference of each."""
    found, bounds = {}, {}
    for length, by_kind in models.items():
        started = {k: _start(model, texts[length], length) for k, model in by_kind.items()}
        times = gpu_times({kind: call for kind, (_, call, _) in started.items()}, effort)
        for kind, (bound, _, method) in started.items():
            same = difference(bound, by_kind[kind](*texts[length]))
            times[kind].update(method=method, difference_from_call=same)
        bounds[length] = {kind: bound for kind, (bound, _, _) in started.items()}
        found[length] = {"gpu_us": times, "ratio": ratios(times)}
    for length, by_kind in bounds.items():
        kernels = {k: describe_kernels(traced(bound.enqueue)) for k, bound in by_kind.items()}
        found[length]["kernels"] = kernels
    return _by_field(found)


def _start(model: Any, given: Inputs, length: int) -> tuple[Bound, Call, str]:
    """Return an inference of a model's engine at a length, on the profile that fits it."""
    dims = model.graph.dims
    profile = fitting_profiles(dims, {dim.name: length for dim in dims})[0]
    return inference(model.engine, dict(zip(model.input_specs, given, strict=True)), profile)


def ratios(times: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return each kind's time over the static one's, and how far the rounds' ratios lie apart.

    >>> static = {"median": 100.0, "rounds": [100.0, 100.0]}
    >>> ratios({"static": static, "dynamic": {"median": 110.0, "rounds": [108.0, 112.0]}})
    {'dynamic': {'ratio': 1.1, 'spread': 0.04}}
    """
    static, found = times["static"], {}
    for kind in (kind for kind in times if kind != "static"):
        rounds = [a / b for a, b in zip(times[kind]["rounds"], static["rounds"], strict=True)]
        found[kind] = {
            "ratio": round(times[kind]["median"] / static["median"], 4),
            "spread": round(max(rounds) - min(rounds), 4),
        }
    return found
