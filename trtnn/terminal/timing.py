"""``trtnn bench`` and ``trtnn demo``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from trtnn.compiler import compile as compile_module
from trtnn.sizes.dims import Dim
from trtnn.terminal.targets import (
    AsJson,
    Backend,
    Inputs,
    Option,
    Precision,
    Seed,
    Target,
    opened,
    print_json,
    say,
)
from trtnn.tools.clock import Timing, compared
from trtnn.tools.demonstration import SIDE, agreement, images_of, trained
from trtnn.tracing.signature import Input

DEMO_IMAGES = 256

commands = typer.Typer()


@commands.command("bench")
def bench(
    target: Target,
    *,
    inputs: Inputs = None,
    repeat: Annotated[int, typer.Option(min=1, help="How many calls are timed.")] = 100,
    precision: Precision = "tf32",
    backend: Backend = "auto",
    option: Option = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Time calls of a model, and of its module in PyTorch, on the same inputs.

    \b
    trtnn bench net.trtnn
    trtnn bench net:make -i "x:8,3,224,224" --precision fp16
    """
    how: dict[str, Any] = {"precision": precision, "backend": backend, "options": option}
    found = opened(target, inputs, seed, **how)
    calls: dict[str, Callable[[], Any]] = {}
    if found.module is not None:
        calls["eager"] = partial(found.module.to(found.device), **found.arguments)
    calls[found.model.backend] = partial(found.model, **found.arguments)
    say(f"times {repeat} calls of {', '.join(calls)} on {found.device}")
    timings = compared(calls, repeat, found.device)
    if as_json:
        print_json([timing.described() for timing in timings])
    else:
        _print(timings)


@commands.command("demo")
def demo(backend: Backend = "auto") -> None:
    """Train a small network on stripes, compile it with a dynamic batch, and compare the two.

    \b
    trtnn demo --backend reference
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    say("trains a small network")
    net = trained(device)
    images, labels = images_of(DEMO_IMAGES, torch.Generator().manual_seed(1))
    images = images.to(device)
    batch = Dim("batch", 1, DEMO_IMAGES, 512)
    say("compiles it with a dynamic batch")
    model = compile_module(net, inputs=[Input((batch, 1, SIDE, SIDE))], backend=backend)
    typer.echo(str(model.graph))
    with torch.inference_mode():
        seen = agreement({"eager": net(images), model.backend: model(images)}, labels)
    shares = ", ".join(f"{share:.1%} by {name}" for name, share in seen.right.items())
    typer.echo(f"of {seen.count} images right: {shares}; labels that differ: {seen.differing}")
    typer.echo(f"largest difference of a score: {seen.error:.1e}")
    calls = {"eager": partial(net, images), model.backend: partial(model, images)}
    _print(compared(calls, 30, device))


def _print(timings: Sequence[Timing]) -> None:
    table = Table("", "median", "least", "90 %", "times faster")
    for timing in timings:
        times = (timing.median, timing.least, timing.p90)
        table.add_row(timing.name, *(f"{t:.0f} µs" for t in times), f"{timing.ratio:.2f}")
    Console().print(table)
