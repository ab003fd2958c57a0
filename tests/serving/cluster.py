"""A local Ray cluster of two workers: what models do on it is printed as JSON, for the tests."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pandas
import ray
import torch
from ray import serve

from tests.docs.blocks import ROOT, blocks_of, run
from tests.serving.subjects import BAD, BATCH, CALLS, ROWS, WRONG, Mortal, make, net
from trtnn.serving import RayPredictor

PAGE = ROOT / "docs/guide/serving.md"
BLOCK, WIDTH = 500, 16


def dataset(rows: int, bad: int | None = None) -> Any:
    """Return rows of an index each; one of them may be out of range."""
    index = numpy.arange(rows)
    frame = pandas.DataFrame({"row": index, "index": numpy.where(index == bad, ROWS + 7, index)})
    return ray.data.from_pandas([frame[at : at + BLOCK] for at in range(0, rows, BLOCK)])


def data(folder: Path) -> dict[str, Any]:
    """Predict all rows while a worker is killed, and some of which one fails."""
    marker = folder / "killed"
    given = dataset(ROWS).map_batches(
        Mortal,
        fn_constructor_args=(str(marker),),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
    found = given.take_all()
    scores = torch.from_numpy(numpy.stack([row["scores"] for row in found]))
    with torch.no_grad():
        eager = net()(torch.arange(ROWS))["scores"]
    failing = dataset(2 * BATCH, BAD).map_batches(
        RayPredictor,
        fn_constructor_args=(make,),
        fn_constructor_kwargs={"keep": ["row"]},
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    try:
        failing.materialize()
        error = ""
    except Exception as raised:
        error = str(raised)
    return {
        "rows": [int(row["row"]) for row in found],
        "next": [int(row["next"]) for row in found],
        "off": float((scores - eager).abs().max()),
        "processes": len({int(row["process"]) for row in found}),
        "killed": marker.exists(),
        "error": error,
    }


def logged(make: Any, log: Path) -> Any:
    """Return the page's model, which writes down the size of each batch."""
    model = make()
    call = model.__call__

    def seen(x: Any) -> Any:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{len(x)}\n")
        return call(x)

    model.__call__ = seen
    return model


def page(log: Path) -> dict[str, Any]:
    """Run the page that tells of Ray; return what it has defined."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(PAGE.read_text(), PAGE):
        if block.runs({"ray"}):
            run(block, names, gpu=False)
        if "make" in names and "ray" not in names:
            names["make"] = partial(logged, names["make"], log)
    return names


def serving(names: dict[str, Any], port: int) -> dict[str, Any]:
    """Ask the page's deployment for many rows at once, one of them wrong, and by HTTP."""
    rows = numpy.random.default_rng(0).normal(size=(CALLS, WIDTH)).astype("float32")
    asked = [
        {"x": row.astype("float64" if i == WRONG else "float32")} for i, row in enumerate(rows)
    ]
    replies = [names["handle"].remote(row) for row in asked]
    answers: list[Any] = []
    for reply in replies:
        try:
            answers.append(reply.result(timeout_s=60)["output"].tolist())
        except Exception as error:
            answers.append(str(error))
    alone = names["predict"]({"id": numpy.arange(CALLS), "x": rows})["output"]
    bodies = ({"x": rows[0].tolist()}, {"x": "a"}, [5])
    return {
        "answers": answers,
        "alone": alone.tolist(),
        "http": [posted(port, body) for body in bodies],
    }


def posted(port: int, row: Any) -> tuple[int, Any]:
    body = json.dumps(row).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/rows", body)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def main(folder: Path) -> None:
    ray.init(
        num_cpus=2,
        num_gpus=2,  # which the page asks for, and nobody uses
        include_dashboard=False,
        object_store_memory=100 << 20,
        log_to_driver=False,
    )
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    os.chdir(folder)
    told = {"data": data(folder)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    log = folder / "sizes"
    told["serving"] = serving(page(log), port)
    told["sizes"] = [int(line) for line in log.read_text().split()]
    (folder / "told.json").write_text(json.dumps(told))
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
