"""``python -m benchmarks.race.peer``: torch.compile, and eager beside it, in a process of its own.

For an interpreter that has PyTorch and a compiler, and perhaps nothing else: the network comes as a
file that ``torch.export`` wrote, weights and inputs included.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.instruments.contest import Contender, Tensors, compete, eager_openers, enter
from benchmarks.instruments.timing import Effort

NAMES = {"reduce-overhead": "compile", "max-autotune": "compile max-autotune"}


def opener(net: Any, inputs: Tensors, mode: str) -> Callable[[], Contender]:
    """Return how ``torch.compile`` enters in one of its modes."""

    def open_one() -> Contender:
        torch.compiler.reset()
        compiled = torch.compile(net, mode=mode, dynamic=False)
        start = time.perf_counter()
        for _ in range(3):  # the third is the first that replays
            compiled(*inputs)
        call = {"contiguous": lambda: compiled(*inputs)}
        seconds = round(time.perf_counter() - start, 1)
        return Contender(call, call, call["contiguous"], {"build_s": {"cold": seconds}})

    return open_one


@torch.no_grad()
def main() -> None:
    """Measure one network, and write its records and its results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path, help="What torch.export wrote.")
    parser.add_argument("--mode", default="reduce-overhead", choices=NAMES)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--effort", default="5,20,50", help="Rounds, calls, inferences a round.")
    parser.add_argument("--results", type=Path, help="Without it: compile only.")
    asked = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    program = torch.export.load(asked.program)
    net, (inputs, _) = program.module(check_guards=False), program.example_inputs
    openers = {NAMES[asked.mode]: opener(net, inputs, asked.mode)}
    if asked.results is not None and asked.mode == "reduce-overhead":
        openers = {**eager_openers(net, inputs, on_gpu=on_gpu), **openers}
    entered, failed = enter(openers, wait, on_gpu=on_gpu)
    records = {**failed}
    if asked.results is not None:
        effort = Effort(*map(int, asked.effort.split(",")))
        records |= compete(entered, asked.batch, effort, wait, on_gpu=on_gpu)
        outputs = {
            name: [t.cpu() for t in contender.outputs()]
            for name, contender in entered.items()
            if contender.outputs is not None
        }
        torch.save(outputs, asked.results)
    facts = {"torch": torch.__version__, "python": platform.python_version()}
    print(json.dumps({"records": records, "facts": facts}))


if __name__ == "__main__":
    main()
