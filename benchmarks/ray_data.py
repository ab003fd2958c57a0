"""``python -m benchmarks.ray_data``: rows a second of one process, of threads, and of Ray Data.

The same rows through the same models on one machine, two workers each, on a GPU for each where
there are two, else on the reference with one thread of PyTorch a worker. Starting and compiling are
not timed: of Ray's workers, what each does a second from its first batch to its last is added up.
Rounds alternate, the first is dropped, and medians count. The machine's load is written down, too.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import ray
import torch

import trtnn
from trtnn.serving import RayPredictor

BATCH, WORKERS, ROUNDS = 32, 2, 3
# Rows, the side of their images, and the channels of the first layer.
CASES = {"small": (4096, 32, 16), "large": (1024, 96, 48)}
RESULT = Path(__file__).parent / "results" / "ray_data.json"


def make(case: str, device: str = "") -> trtnn.CompiledModule:
    """Return a convolutional network, compiled."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    _, size, wide = CASES[case]
    layers: list[torch.nn.Module] = []
    for given, returned in ((3, wide), (wide, 2 * wide), (2 * wide, 2 * wide)):
        layers += [torch.nn.Conv2d(given, returned, 3, 2, 1), torch.nn.ReLU()]
    head = torch.nn.Linear(2 * wide * (size // 8) ** 2, 10)
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), head).eval()
    inputs = [trtnn.Input((trtnn.Dim("batch", 1, BATCH, BATCH), 3, size, size), name="data")]
    where = {"device": device} if device else {"backend": "reference"}
    return trtnn.compile(net, inputs=inputs, **where)  # type: ignore[arg-type]


class Timed(RayPredictor):
    """Says which worker ran a batch, and when; its first call is not timed."""

    def __init__(self, case: str) -> None:
        # A worker of Ray sees its own GPU alone.
        super().__init__(partial(make, case, "cuda" if torch.cuda.is_available() else ""))
        self.run({"data": zeros(case, BATCH)})

    def __call__(self, batch: Any) -> dict[str, Any]:
        begin = time.time()
        found, count = super().__call__(batch), len(batch["data"])
        told = {"worker": os.getpid(), "begin": begin, "end": time.time()}
        return {**found, **{name: numpy.full(count, value) for name, value in told.items()}}


def zeros(case: str, count: int) -> Any:
    _, size, _ = CASES[case]
    return numpy.zeros((count, 3, size, size), "float32")


def on_ray(case: str, rows: Any, gpus: int) -> float:
    """Return the rows a second of Ray's workers together."""
    found = ray.data.from_numpy(numpy.array_split(rows, 4 * WORKERS)).map_batches(
        Timed,
        fn_constructor_args=(case,),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=WORKERS),
        num_gpus=int(gpus >= WORKERS),
    )
    workers: dict[int, list[Any]] = {}
    for row in found.take_all():
        workers.setdefault(row["worker"], []).append(row)
    assert sum(map(len, workers.values())) == len(rows)
    return sum(
        len(mine) / (max(r["end"] for r in mine) - min(r["begin"] for r in mine))
        for mine in workers.values()
    )


def contenders(case: str, rows: Any, gpus: int) -> dict[str, Callable[[], float]]:
    """Return what gives the rows a second of each way."""
    places = [f"cuda:{i % gpus}" if gpus else "" for i in range(WORKERS)]
    predictors = [RayPredictor(partial(make, case, place)) for place in places]
    batches = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]

    def share(index: int, mine: Any) -> None:
        for batch in mine:
            predictors[index]({"data": batch})

    def rate(workers: int) -> float:
        shares = [batches[i::workers] for i in range(workers)]
        start = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(share, range(workers), shares))
        return len(rows) / (time.perf_counter() - start)

    return {
        "one process": partial(rate, 1),
        "threads": partial(rate, WORKERS),
        "Ray Data": partial(on_ray, case, rows, gpus),
    }


def measured(case: str, gpus: int) -> dict[str, Any]:
    """Return the rows a second of each way, and what they are to one process."""
    count, *_ = CASES[case]
    rows = zeros(case, count) + numpy.float32(1)
    ways = contenders(case, rows, gpus)
    rounds = [{name: way() for name, way in ways.items()} for _ in range(ROUNDS + 1)][1:]
    rates = {name: statistics.median(each[name] for each in rounds) for name in ways}
    ratios = {name: rate / rates["one process"] for name, rate in rates.items()}
    for name, ratio in ratios.items():
        print(f"{case}, {name}: {rates[name]:.0f} rows a second, {ratio:.2f} times one process")
    return {"rows": count, "rows_a_second": rates, "over_one_process": ratios, "rounds": rounds}


def machine(gpus: int) -> dict[str, Any]:
    """Return what the numbers are of."""
    return {
        "device": torch.cuda.get_device_name() if gpus else "CPU",
        "gpus": gpus,
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "trtnn": trtnn.__version__,
        "ray": ray.__version__,
        "backend": make("small", "cuda" if gpus else "").backend,
    }


def main() -> None:
    """Measure, and write the result."""
    gpus = torch.cuda.device_count()
    facts, load = machine(gpus), os.getloadavg()[0]
    ray.init(num_cpus=WORKERS, num_gpus=gpus, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    cases = {case: measured(case, gpus) for case in CASES}
    facts["load"] = {"before": load, "after": os.getloadavg()[0]}
    held = {"machine": facts, "batch": BATCH, "workers": WORKERS, "cases": cases}
    RESULT.write_text(json.dumps(held, indent=1) + "\n")
    ray.shutdown()


if __name__ == "__main__":
    main()
