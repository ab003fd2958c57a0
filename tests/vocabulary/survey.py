"""Trace other libraries' networks beside eager: ``python -m tests.vocabulary.survey``."""

from __future__ import annotations

import argparse
import copy
import fnmatch
import json
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import tests.conftest  # noqa: F401 - which declares what torchvision's binary does not
import trtnn
from tests.compare import worst_error
from tests.real_builder import build
from tests.vocabulary.networks import Make, enliven, families
from trtnn.graph.interpreter import run
from trtnn.options import BuildOptions
from trtnn.tree import flatten

MOST = 1e-4  # relative error of a float32 network on the interpreter, beside eager
LEVEL = 1  # of TensorRT's builder: what is right does not depend on it
LARGE = 100  # million parameters: what is larger is not built, for the memory that it takes


@torch.no_grad()
def surveyed(make: Make, *, builds: bool, engines: Sequence[str] = ()) -> dict[str, Any]:
    """Return what becomes of one network: ops, seconds to trace, error, and whether RTX builds.

    ``engines`` are precisions in which TensorRT builds it here, and its engine runs beside eager.
    """
    torch.manual_seed(0)
    network = make()
    module, args = enliven(network.module), network.args
    expected = module(*args)
    inputs = [trtnn.Input(tuple(t.shape), t.dtype) for t in args]
    start = time.perf_counter()
    graph = trtnn.trace(module, inputs)
    seconds = time.perf_counter() - start
    results, _ = run(graph, list(args))
    want = [leaf for leaf in flatten(expected)[0] if isinstance(leaf, torch.Tensor)]
    given = [
        results[place]
        for place, leaf in zip(graph.leaves, flatten(expected)[0], strict=True)
        if isinstance(leaf, torch.Tensor)
    ]
    told: dict[str, Any] = {"ops": len(graph.nodes), "trace s": round(seconds, 2)}
    told["error"] = float(f"{worst_error(given, want):.1e}")
    if builds:
        millions = sum(p.numel() for p in module.parameters()) / 1e6
        if millions > LARGE:
            told["RTX"] = f"not built: {millions:.0f} million parameters"
        else:
            told["RTX"] = f"a plan of {len(build(graph)) / 1e6:.1f} MB"
    for precision in engines:
        told[precision] = run_on_engine(module, args, want, precision)
    return told


def run_on_engine(
    module: Any, args: Sequence[torch.Tensor], want: list[torch.Tensor], precision: str
) -> dict[str, Any]:
    """Return the error of a network's engine beside eager in float32, and what verify says of it.

    ``eager`` is the error of the module in half: what rounding alone costs.
    """
    given = [t.cuda() for t in args]
    start = time.perf_counter()
    model = trtnn.compile(
        copy.deepcopy(module).cuda(),
        inputs=given,
        backend="tensorrt",
        precision=precision,
        options=BuildOptions(builder_optimization_level=LEVEL),
        progress=False,
    )
    told: dict[str, Any] = {"build s": round(time.perf_counter() - start, 1)}
    found = [leaf.cpu() for leaf in flatten(model(*given))[0] if isinstance(leaf, torch.Tensor)]
    told["error"] = float(f"{worst_error(found, want):.1e}")
    if precision == "fp16":
        halved = [t.half() if t.is_floating_point() else t for t in given]
        leaves = flatten(copy.deepcopy(module).cuda().half()(*halved))[0]
        eager = [leaf.cpu() for leaf in leaves if isinstance(leaf, torch.Tensor)]
        told["eager"] = float(f"{worst_error(eager, want):.1e}")
    return {**told, "verified": str(model.verified)}


def main() -> None:
    """Print a line for each network, and the counts; write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*", default=["*"], help="family/name, with *")
    parser.add_argument("--builds", action="store_true", help="build each by TensorRT for RTX")
    parser.add_argument("--engines", nargs="*", default=[], help="precisions to run in, on a GPU")
    parser.add_argument("--trace", action="store_true", help="print where a failure comes from")
    parser.add_argument("--json", type=Path, help="a file that the results are merged into")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    found: dict[str, dict[str, Any]] = {}
    for family, networks in families().items():
        for name, make in networks.items():
            label = f"{family}/{name}"
            if not any(fnmatch.fnmatch(label, pattern) for pattern in asked.patterns):
                continue
            try:
                found[label] = surveyed(make, builds=asked.builds, engines=asked.engines)
            except Exception as error:  # a line of the table says it
                found[label] = {"failed": f"{type(error).__name__}: {error}"[:600]}
                if asked.trace:
                    traceback.print_exc()
            print(label, found[label], flush=True)
    right = [label for label, told in found.items() if told.get("error", 1.0) <= MOST]
    print(f"{len(right)} of {len(found)} as eager")
    if asked.json:
        before = json.loads(asked.json.read_text()) if asked.json.exists() else {}
        merged = {name: {**before.get(name, {}), **told} for name, told in found.items()}
        asked.json.write_text(json.dumps({**before, **merged}, indent=1) + "\n")


if __name__ == "__main__":
    main()
