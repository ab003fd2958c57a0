"""``trtnn inspect`` and ``trtnn profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trtnn.compiler import trace
from trtnn.errors import OptionError
from trtnn.saved.file import read
from trtnn.terminal.targets import (
    AsJson,
    Backend,
    Inputs,
    Option,
    Precision,
    Seed,
    Target,
    declared,
    is_factory,
    opened,
    print_json,
    say,
)
from trtnn.tools.factories import module_of
from trtnn.tools.spelling import read_inputs

commands = typer.Typer()


@commands.command("inspect")
def inspect_target(
    target: Target,
    *,
    inputs: Inputs = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="What TensorRT fused, from the engine: on its GPU.")
    ] = False,
    dot: Annotated[
        bool, typer.Option("--dot", help="A module's graph in Graphviz's language.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a file holds, or the graph of a module.

    A file is read without a GPU and without TensorRT; --layers opens its engine.

    \b
    trtnn inspect net.trtnn --json
    trtnn inspect net.trtnn --layers
    trtnn inspect net:make -i "x:batch=1..8..32,3,224,224" --dot > net.dot
    """
    if layers:
        found = opened(target, inputs, 0).model.inspect()
        print_json(found.to_json()) if as_json else typer.echo(str(found))
    elif is_factory(target):
        graph = trace(module_of(target), declared(read_inputs(inputs or ())))
        if as_json:
            print_json(graph.to_json())
        else:
            typer.echo(graph.to_dot() if dot else str(graph))
    else:
        if inputs or dot:
            raise OptionError("--input and --dot: are for MODULE:FACTORY", search=False)
        manifest = read(target).manifest
        print_json(manifest) if as_json else typer.echo("\n".join(_summary(manifest)))


def _summary(manifest: dict[str, Any]) -> list[str]:
    """Return the facts of a saved file that people ask for, a line each."""
    engine, gpu = manifest["engine"], manifest["gpu"]
    package = engine.get("package", "tensorrt")
    place = f"{gpu['name']}" if gpu else ", ".join(engine.get("compute_capabilities", ()))
    lines = [
        f"for {package} {manifest['versions'].get(package)} on {place}",
        f"by trtnn {manifest['versions']['trtnn']}, torch {manifest['versions']['torch']}",
        f"precision {manifest['precision']}, execution {manifest['execution']}",
        f"plan: {manifest['plan']['bytes']} bytes",
    ]
    lines += [f"option {name} = {value!r}" for name, value in manifest["options"].items()]
    for kind in ("inputs", "outputs"):
        lines += [
            f"{kind[:-1]} {t['name']}: ({', '.join(map(str, t['shape']))}) {t['dtype']}"
            for t in manifest[kind]
        ]
    lines += [f"host input {host['name']}: {host['dim']}" for host in manifest["hosts"]]
    lines += [
        f"profile {index}: " + ", ".join(f"{n} {'..'.join(map(str, r))}" for n, r in dims.items())
        for index, dims in enumerate(manifest["profiles"])
        if dims
    ]
    return [*lines, "", manifest["graph"]]


@commands.command("profile")
def profile_target(
    target: Target,
    *,
    inputs: Inputs = None,
    repeat: Annotated[int, typer.Option(min=1, help="How many calls are averaged.")] = 10,
    kernels: Annotated[bool, typer.Option("--kernels", help="List each layer's kernels.")] = False,
    nvtx: Annotated[bool, typer.Option("--nvtx", help="Mark layers for Nsight Systems.")] = False,
    plot: Annotated[Path | None, typer.Option(help="A .png, .svg or .pdf of bars.")] = None,
    trace_file: Annotated[
        Path | None, typer.Option("--trace", help="A trace for Chrome or Perfetto.")
    ] = None,
    precision: Precision = "tf32",
    backend: Backend = "auto",
    option: Option = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Time the layers of an engine on the GPU, and sum them by module.

    \b
    trtnn profile net.trtnn --plot out.png
    trtnn profile net:make -i "x:8,3,224,224" --precision fp16 --kernels
    """
    how: dict[str, Any] = {"precision": precision, "backend": backend, "options": option}
    found = opened(target, inputs, seed, **how)
    say(f"profiles {repeat} calls on {found.device}")
    profile = found.model.profile(named=found.arguments, repeat=repeat, kernels=kernels, nvtx=nvtx)
    if plot is not None:
        profile.plot(plot)
    if trace_file is not None:
        profile.save_trace(trace_file)
    print_json(profile.to_json()) if as_json else typer.echo(str(profile))
