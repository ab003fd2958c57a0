"""How long tracing takes."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

import trtnn
from benchmarks.measures.growth import seconds
from benchmarks.subjects.cases import Case
from benchmarks.subjects.networks import network
from tests.zoo import MODELS

LIMIT_S = 0.5
REPEATS = 3


def measure_tracing(case: Case, *_: object) -> dict[str, Any]:
    """Time the tracing of a network: the best of a few, after one that loads what it needs."""
    net = network(case.model, case.size)
    trace = partial(trtnn.trace, net, list(MODELS[case.size][case.model].inputs(1, 3)))
    trace()
    times = []
    for _round in range(REPEATS):
        gc.collect()
        times.append(seconds(trace)[1])
    best = min(times)
    return {"limit_s": LIMIT_S, "seconds": round(best, 4), "met": best < LIMIT_S}
