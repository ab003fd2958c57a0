"""What commands act on, a saved file or a module to be compiled, and their shared options."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from trtnn.compiled import CompiledModule
from trtnn.compiler import compile as compile_module
from trtnn.errors import InputError, OptionError
from trtnn.loading import load
from trtnn.options import BuildOptions
from trtnn.settings import library_for, place_for, settings_of
from trtnn.tools.factories import module_of
from trtnn.tools.spelling import FORM, RANDOM, Written, read_array, read_inputs, values_of

Target = Annotated[
    str, typer.Argument(help="A saved file, or MODULE:FACTORY, which makes a module.")
]
Factory = Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="Makes the module.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        help="NAME:SIZES[:TYPE] declares an input, NAME=FILE.npy or NAME=random gives its values.",
    ),
]
Precision = Annotated[str, typer.Option(help="tf32, fp32, fp16 or bf16.")]
Backend = Annotated[str, typer.Option(help="auto, tensorrt, tensorrt_rtx or reference.")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", help="NAME=VALUE of trtnn.options.BuildOptions."),
]
Seed = Annotated[int, typer.Option(help="Of random values.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@dataclass(frozen=True)
class Opened:
    """A model that can be called.

    Attributes:
        module: What it was compiled from; None of a saved file.
        arguments: Those of a call, by name, where the model runs.
    """

    model: CompiledModule
    module: torch.nn.Module | None
    arguments: dict[str, Any]

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.model._runner.device


def is_factory(target: str) -> bool:
    """Say whether a target names a factory, and no file."""
    return ":" in target and not Path(target).exists()


def opened(
    target: str,
    texts: Sequence[str] | None,
    seed: int,
    *,
    precision: str = "tf32",
    backend: str = "auto",
    options: Sequence[str] | None = None,
) -> Opened:
    """Load a file, or compile what a factory makes, and make the arguments of a call.

    Raises:
        TrtnnError: As ``trtnn.load`` and ``trtnn.compile`` do, or a text is wrong.
    """
    written = read_inputs(texts or ())
    if not is_factory(target):
        if (precision, backend) != ("tf32", "auto") or options:
            raise _for_factories("--precision, --backend and --option")
        if written.inputs:
            raise _for_factories(f"--input {next(iter(written.inputs))}:...")
        model = load(target)
        _require_named(model)
        specs: Any = model.input_specs
        module = None
    else:
        module = module_of(target)
        specs = declared(written)
        model = compile_module(
            module,
            inputs=specs,
            precision=precision,
            backend=backend,
            options=build_options(options),
        )
    hosts = model.host_inputs
    tensors = {name: spec for name, spec in specs.items() if name not in hosts}
    place = model._runner.device
    values = values_of(tensors, written.values, hosts, seed, place)
    return Opened(model, module, values)


def called(
    target: str, texts: Sequence[str] | None, seed: int, backend: str
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return what a factory makes, and arguments for it, where it is going to run."""
    if not is_factory(target):
        raise OptionError(f"{target}: expected MODULE:FACTORY, which has the weights", search=False)
    written, module = read_inputs(texts or ()), module_of(target)
    specs = declared(written)
    hosts = {name: spec.shape for name, spec in specs.items() if getattr(spec, "host", False)}
    tensors = {name: spec for name, spec in specs.items() if name not in hosts}
    return module, values_of(tensors, written.values, hosts, seed, _device(module, backend))


def _device(module: torch.nn.Module, backend: str) -> torch.device:
    """Return where a compiled module would run."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    how: dict[str, Any] = {"cache": False, "progress": None, "execution": "sync", "verify": False}
    settings = settings_of(None, None, "tf32", "always", **how)
    return place_for(module, None, library_for(backend, settings))


def declared(written: Written) -> dict[str, Any]:
    """Return what ``compile`` takes as inputs: declarations, and arrays that declare themselves.

    Raises:
        InputError: There is none, or values without sizes.
    """
    found: dict[str, Any] = dict(written.inputs)
    for name, text in written.values.items():
        if name in found:
            continue
        if text == RANDOM:
            raise InputError(f"--input {name}=random: of which sizes? {FORM}", search=False)
        found[name] = read_array(text)
    if not found:
        raise InputError(
            f"--input: expected one for each argument of forward: {FORM}", search=False
        )
    return found


def _require_named(model: CompiledModule) -> None:
    """Raise InputError where a call cannot give all inputs by name."""
    names = {*model.input_specs, *model.host_inputs}
    if lost := names - {*model._parameters.parameters}:
        raise InputError(
            f"{lost.pop()}: is a part of an argument, and a command line gives whole ones",
            hint="call the model from Python",
            search=False,
        )


def build_options(texts: Sequence[str] | None) -> BuildOptions | None:
    """Return build options from texts such as ``builder_optimization_level=1``.

    Raises:
        OptionError: There is none of a name, or a value is not right.
    """
    if not texts:
        return None
    names = {field.name for field in dataclasses.fields(BuildOptions)}
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name not in names:
            raise OptionError(
                f"--option {text}: expected NAME=VALUE, and NAME of {', '.join(sorted(names))}",
                search=False,
            )
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value  # a word
    return BuildOptions(**found)


def _for_factories(what: str) -> OptionError:
    return OptionError(f"{what}: a saved file was compiled already", search=False)


def say(text: str) -> None:
    """Tell on stderr what begins, so that stdout has the result alone."""
    typer.echo(f"trtnn: {text}", err=True)


def print_json(value: Any) -> None:
    """Print plain data."""
    typer.echo(json.dumps(value, indent=1))
