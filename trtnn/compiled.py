"""The compiled model: called like ``forward``, on a runner or on the reference."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from trtnn.engine.engine import Engine
from trtnn.engine.refit import refit
from trtnn.engine.verified import OFF, Verified
from trtnn.errors import InputError, OptionError, UnsupportedError
from trtnn.graph.graph import Graph, Interface
from trtnn.ops.op import Spec
from trtnn.precision.outcome import PrecisionReport
from trtnn.run.bound import BoundCall
from trtnn.run.calling import Caller, Runs
from trtnn.run.reference import Reference
from trtnn.run.rows import mixes_rows
from trtnn.run.runner import Runner
from trtnn.saved import file
from trtnn.saved.repository import (
    batching_of,
    config_text,
    notes_of,
    require_name,
    write_repository,
)
from trtnn.sizes.dims import Dim, Range
from trtnn.sizes.profiles import count_profiles, profile_of
from trtnn.tools.layers import EngineLayers, inspected
from trtnn.tools.measuring import profiled
from trtnn.tools.profiles import Profile
from trtnn.tools.recipe import Recipe
from trtnn.tracing.signature import Signature
from trtnn.trt.identity import TENSORRT, TITLES

EXECUTIONS = ("sync", "async", "graph")
Describe = Callable[[], dict[str, Any]]


class CompiledModule:
    """A compiled model: called like ``forward``, returning the same structure.

    ``model(x)`` returns new tensors, which never require a gradient; ``model(x, out=y)`` writes to
    yours: ``out`` has the structure of the result (where ``forward`` has an ``out`` of its own,
    that is meant, and ``bind`` takes yours). A call raises InputError, naming the argument that
    does not fit its declaration, and StreamError where the current stream is being captured.
    Calls may come from any number of threads.

    Attributes:
        graph: The traced graph; ``print`` shows it as a table.
        engine: The TensorRT engine; None on the reference.
        precision_report: What each module's floats are computed in, and why, and what the engine
            says of it; None once loaded.

    >>> import trtnn
    >>> model = trtnn.compile(torch.nn.ReLU(), inputs=[trtnn.Input((2,))], backend="reference")
    >>> y = torch.empty(2)
    >>> model(torch.tensor([-1.0, 1.0]), out=y) is y
    True
    >>> y
    tensor([0., 1.])
    """

    # A slot of this name is what a call finds, at once: no method stands between.
    __slots__ = ("__call__", "__dict__", "__weakref__")

    graph: Interface
    engine: Engine | None
    precision_report: PrecisionReport | None

    def __init__(
        self,
        graph: Interface,
        signature: Signature,
        parameters: inspect.Signature,
        runner: Runs,
        engine: Engine | None,
        describe: Describe | None = None,
        *,
        report: PrecisionReport | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        self.graph, self.engine = graph, engine
        self.precision_report = report
        self._signature, self._parameters, self._runner = signature, parameters, runner
        self._describe, self._recipe = describe, recipe
        self._caller = Caller(graph, signature, parameters, runner)
        self.__call__ = self._caller.make()  # type: ignore[method-assign]
        self.__signature__ = signature_of(parameters)  # what inspect.signature(model) shows

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def bind(self, *args: Any, out: Any = None, **kwargs: Any) -> BoundCall:
        """Fix a call's inputs, and its outputs, so that repeating it costs next to nothing.

        With ``execution="graph"`` the engine runs at once, to capture these very buffers.

        Args:
            args: The arguments of a call; tensors must be such that they can be read in place.
            out: The outputs' memory, in the structure of the result; new memory, if omitted.

        Raises:
            InputError: As for a call; and for an input that only a copy of could be read.
            UnsupportedError: The size of an output depends on data.

        >>> import trtnn
        >>> model = trtnn.compile(torch.nn.ReLU(), inputs=[trtnn.Input((2,))], backend="reference")
        >>> x = torch.tensor([-1.0, 1.0])
        >>> bound = model.bind(x)
        >>> bound()
        tensor([0., 1.])
        >>> _ = x.copy_(torch.tensor([3.0, -3.0]))
        >>> bound()
        tensor([3., 0.])
        """
        return self._caller.bind(args, kwargs, out)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, which ``trtnn.load`` and ``trtnn.host`` read.

        Raises:
            UnsupportedError: It runs on the reference, or its plan has no weights, or a constant or
                the result's structure has something that a file cannot hold.
        """
        if self._describe is None or self.engine is None:
            raise UnsupportedError(
                "save: a saved model holds a TensorRT engine, and this one runs on the reference",
                hint='compile it with backend="tensorrt"',
            )
        self._require_weights("save")
        file.write(path, {**self._describe(), "execution": self.execution}, self.engine.plan)

    def export_triton(
        self,
        repository: str | os.PathLike[str],
        *,
        name: str,
        version: int = 1,
        max_batch_size: int | None = None,
    ) -> Path:
        """Write ``config.pbtxt`` and ``model.plan`` for Triton Inference Server's TensorRT backend.

        The server puts requests together where every input and output begins with one Dim whose
        profiles take 1 and more, and where rows do not depend on each other, as the reference
        shows on random inputs (of a loaded model it cannot be asked). Comments of the file say
        where it does not, and what the server needs.

        Args:
            repository: The folder of the server's models; made, if it is missing.
            name: The model's, and its folder's.
            version: The number that the server knows this plan by.
            max_batch_size: The most rows that the server puts together, 0 for none; that Dim's
                greatest size, if omitted.

        Returns:
            The model's folder.

        Raises:
            InputError: A value is none of these, or the model cannot be run in such batches; or
                another version there has another config.
            UnsupportedError: The model runs on the reference or on TensorRT for RTX, its plan has
                no weights, or Triton lacks a dtype.
            OSError: The folder cannot be written.
        """
        if self._describe is None or self.engine is None:
            raise _no_engine("export_triton", 'compile it with backend="tensorrt"')
        if self.backend != TENSORRT:
            raise UnsupportedError(
                f"export_triton: Triton's backend runs plans of TensorRT, not of "
                f"{TITLES[self.backend]}",
                hint='compile it with backend="tensorrt"',
            )
        self._require_weights("export_triton")
        facts = self.engine.library.facts(self.engine.handle)
        mixed = mixes_rows(self.graph, self._signature.ranges) if max_batch_size != 0 else None
        batching = batching_of(self.graph, facts, max_batch_size, mixed)
        notes = notes_of(self.graph, self._describe(), facts, batching)
        text = config_text(require_name(name), self.graph, facts, batching, notes)
        return write_repository(repository, name, version, self.engine.plan, text)

    def _require_weights(self, what: str) -> None:
        refittable = self.engine.refittable if self.engine is not None else None
        if refittable is not None and refittable.stripped:
            raise UnsupportedError(
                f"{what}: the plan was built with strip_plan=True, without weights",
                hint="compile without strip_plan; model.plan gives the plan as it is",
            )

    @property
    def plan(self) -> bytes:
        """The engine's plan, as trtexec and Triton read it.

        Raises:
            UnsupportedError: The model runs on the reference.
        """
        if self.engine is None:
            raise _no_engine("plan", 'compile it with backend="tensorrt"')
        return self.engine.plan

    def refit(self, state_dict: Mapping[str, torch.Tensor]) -> None:
        """Give the model new weights without a build, from a ``state_dict()`` of its module.

        What ``forward`` computed from parameters is computed again. Running calls end first, and
        new ones wait; then all execution contexts and CUDA graphs are made anew.

        Raises:
            OptionError: The engine was not built with ``BuildOptions(refit="refit")``.
            UnsupportedError: The model was loaded: a file does not know how weights are made.
            InputError: A key is missing or unexpected, or a tensor has another shape or dtype.
            BuildError: TensorRT refused the weights.
        """
        runner = self._runner
        if isinstance(runner, Reference):
            runner.refit(state_dict)
        elif isinstance(runner, Runner) and self.engine is not None:
            with runner.on_device():
                refit(self.engine, state_dict, runner.pool.exclusive)
        if self._recipe is not None:
            self._recipe.refitted = True

    def inspect(self) -> EngineLayers:
        """Return the layers of the engine: what TensorRT fused, by which kernels, of which modules.

        Formats, tactics and kinds are told where the model was compiled with
        ``BuildOptions(profiling_verbosity="DETAILED")``; else names alone.

        Raises:
            UnsupportedError: The model runs on the reference, or the plan tells nothing.
        """
        if self.engine is None:
            raise _no_engine("inspect", "print(model.graph) shows what it runs")
        return inspected(self.engine, self.graph)

    def profile(
        self,
        *inputs: Any,
        named: Mapping[str, Any] | None = None,
        repeat: int = 10,
        kernels: bool = False,
        nvtx: bool = False,
    ) -> Profile:
        """Measure the time of each layer on the GPU, by TensorRT's profiler, summed by module.

        The calls run on an execution context of their own, one layer after another. The finest row
        is TensorRT's own layer: a fused region is one, and nothing of it is divided by guess.

        Args:
            inputs: The arguments of a call.
            named: Those that are given by name.
            repeat: How many calls the times are means of; one more comes before.
            kernels: List the kernels of each layer, by PyTorch's profiler in one further call. It
                can slow down every later launch of the process.
            nvtx: Mark calls and layers by NVTX ranges, for Nsight Systems: TensorRT names them
                after the modules' paths.

        Raises:
            InputError: An argument does not fit.
            OptionError: ``repeat`` is no positive int, or ``kernels`` is asked for without a GPU.
            UnsupportedError: The model runs on the reference.
            BuildError: TensorRT failed.
        """
        if type(repeat) is not int or repeat < 1:
            raise OptionError(f"repeat: expected an int of 1 or more, got {repeat!r}")
        if self.engine is None or not isinstance(self._runner, Runner):
            raise _no_engine("profile", "torch.profiler shows what PyTorch does")
        if kernels and not self._runner.on_cuda:
            raise OptionError("kernels: expected False, since the model runs on no GPU")
        arguments = self._caller.arguments(inputs, dict(named or {}))
        return profiled(self._runner, self.graph, arguments, repeat, kernels=kernels, nvtx=nvtx)

    def unload(self) -> None:
        """Free the GPU's memory of the engine and its contexts, and keep the plan in the host's.

        Running calls end first. The next call opens the engine again, which takes as long as to
        load it, and so does a bound call; views go with the model that they are of. A block that
        ``memory="shared"`` models share stays. On the reference there is nothing to free.

        Raises:
            BuildError: A refit failed half-way, and there is no plan to keep.

        >>> import trtnn
        >>> model = trtnn.compile(torch.nn.ReLU(), inputs=[trtnn.Input((2,))], backend="reference")
        >>> model.unload()
        >>> model(torch.tensor([-1.0, 1.0]))
        tensor([0., 1.])
        """
        if isinstance(self._runner, Runner):
            self._runner.unload()

    def to(self, device: Any) -> CompiledModule:
        """Return the model on another GPU of the same kind; its engine is opened there.

        Raises:
            InputError: There is no such device, or it is of another kind.
            BuildError: TensorRT refuses the plan there.
        """
        place = find_device("to", device)
        runner = self._runner
        if place == runner.device:
            return self
        if isinstance(runner, Reference):
            return self._with(runner.moved(place), None, None)
        if not isinstance(runner, Runner) or self.engine is None or place.type != "cuda":
            raise InputError(f"to: an engine runs on a GPU, got {place}")
        _require_same_kind(runner.device, place)
        with torch.cuda.device(place):
            engine = self.engine.copy()
            other = runner.on(engine, place)
        return self._with(other, engine, None)

    @property
    def backend(self) -> str:
        """``"tensorrt"``, ``"tensorrt_rtx"`` or ``"reference"``."""
        return "reference" if self.engine is None else self.engine.library.target.package

    @property
    def verified(self) -> Verified:
        """Whether the engine ran beside its graph when it was built, and what was found.

        >>> import trtnn
        >>> x = torch.ones(2)
        >>> print(trtnn.compile(torch.nn.ReLU(), inputs=[x], backend="reference").verified)
        not verified: the reference runs the graph itself, and there is no engine
        """
        if self.engine is None:
            return Verified(why="the reference runs the graph itself, and there is no engine")
        found = self.engine.verified
        return Verified(why=OFF) if found is None else found

    @property
    def execution(self) -> str:
        """How calls run: ``"sync"``, ``"async"`` or ``"graph"``; ``"sync"`` on the reference."""
        return self._runner.execution if isinstance(self._runner, Runner) else "sync"

    @property
    def input_specs(self) -> dict[str, Spec]:
        """Shape and dtype by input name."""
        return self._signature.specs

    @property
    def host_inputs(self) -> dict[str, Dim]:
        """The Dim of each host input, by name."""
        return self._signature.hosts

    @property
    def output_specs(self) -> tuple[Spec, ...]:
        """Shape and dtype of each output tensor, in order."""
        return tuple(v.spec for v in self.graph.outputs)

    @property
    def profiles(self) -> tuple[Mapping[str, Range], ...]:
        """The (min, opt, max) of every Dim, by name, in each optimization profile."""
        dims = self.graph.dims
        return tuple(
            {dim.name: profile_of(dim, index) for dim in dims}
            for index in range(count_profiles(dims))
        )

    def with_profile(self, index: int) -> CompiledModule:
        """Return a view of the model that uses one profile only; engine and memory are shared.

        Without it a call keeps the profile of the last one while its shapes fit, and else takes
        the tightest that fits. Changing the profile of a context costs about as much as making
        one, so a second context is made for it while there are fewer than ``max_contexts``.

        Raises:
            InputError: There is no such profile.
        """
        count = len(self.profiles)
        if type(index) is not int or not 0 <= index < count:
            raise InputError(f"with_profile: expected an int from 0 to {count - 1}, got {index!r}")
        return self._with(self._runner.view(profile=index), self.engine, self._recipe)

    def with_execution(self, execution: str) -> CompiledModule:
        """Return a view of the model that runs in another way; engine and memory are shared.

        Args:
            execution: ``"sync"``, ``"async"`` or ``"graph"``, as for ``trtnn.compile``.

        Raises:
            OptionError: It is none of these.
            UnsupportedError: The model cannot run so.

        >>> import trtnn
        >>> model = trtnn.compile(torch.nn.ReLU(), inputs=[trtnn.Input((2,))], backend="reference")
        >>> model.with_execution("async")(torch.ones(2))
        tensor([1., 1.])
        """
        if execution not in EXECUTIONS:
            raise OptionError(
                f"execution: expected one of {', '.join(EXECUTIONS)}, got {execution!r}"
            )
        return self._with(self._runner.view(execution=execution), self.engine, self._recipe)

    def _with(self, runner: Runs, engine: Engine | None, recipe: Recipe | None) -> CompiledModule:
        """Return the model with another runner; what was moved has no recipe."""
        return CompiledModule(
            self.graph,
            self._signature,
            self._parameters,
            runner,
            engine,
            self._describe,
            report=self.precision_report,
            recipe=recipe,
        )

    def __deepcopy__(self, memo: Any) -> NoReturn:
        raise _not_copied("copied")

    def __copy__(self) -> NoReturn:
        raise _not_copied("copied")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise _not_copied("pickled")

    def __repr__(self) -> str:
        given = {**self.input_specs, **self.host_inputs}
        specs = ", ".join(f"{name}: {what}" for name, what in given.items())
        return f"CompiledModule({self.backend}, {specs})"

    def _repr_html_(self) -> str:
        graph = self.graph
        shown = (
            graph._repr_html_() if isinstance(graph, Graph) else f"<pre>{escape(str(graph))}</pre>"
        )
        return f"<p>{escape(repr(self))}</p>{shown}"


def _no_engine(what: str, hint: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what}: this model runs on the reference and has no engine", hint=hint
    )


def _not_copied(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"a compiled model cannot be {what}: it holds an engine on a GPU",
        hint='model.save("net.trtnn"), and trtnn.load("net.trtnn") where it is needed',
    )


def signature_of(parameters: inspect.Signature) -> inspect.Signature:
    """Return the signature of a call: that of ``forward``, and ``out`` where it has none."""
    found = list(parameters.parameters.values())
    if "out" in parameters.parameters:
        return parameters
    out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
    last = found[-1:] if found and found[-1].kind is inspect.Parameter.VAR_KEYWORD else []
    return inspect.Signature([*found[: len(found) - len(last)], out, *last])


def find_device(what: str, device: Any) -> torch.device:
    """Return a device that is there, the current one where ``"cuda"`` has no number.

    Raises:
        InputError: It is none; the error begins with ``what``.
    """
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        text = str(error).splitlines()[0]
        raise InputError(f"{what}: expected a device, got {device!r}: {text}") from None
    if place.type != "cuda":
        return place
    count = torch.cuda.device_count()
    index = place.index if place.index is not None else torch.cuda.current_device() if count else 0
    if index >= count:
        raise InputError(f"{what}: there is no {place}; PyTorch sees {count} CUDA devices")
    return torch.device("cuda", index)


def require_running(execution: Any, max_contexts: Any, memory: Any) -> None:
    """Raise OptionError unless these say how calls run, how many at once, and on which memory."""
    choices = (("execution", execution, EXECUTIONS), ("memory", memory, ("own", "shared")))
    for name, value, allowed in choices:
        if value not in allowed:
            raise OptionError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
    if type(max_contexts) is not int or max_contexts < 1:
        raise OptionError(f"max_contexts: expected an int of 1 or more, got {max_contexts!r}")


def _require_same_kind(here: torch.device, there: torch.device) -> None:
    if here.type != "cuda":
        return
    names = [torch.cuda.get_device_name(device) for device in (here, there)]
    if names[0] != names[1]:
        raise InputError(
            f"to: the engine was built for {names[0]}, and {there} is {names[1]}",
            hint="compile the module there",
        )
