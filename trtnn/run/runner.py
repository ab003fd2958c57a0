"""Plan to callable: contexts, bindings, streams and output memory on torch tensors."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.autograd.graph import increment_version

from trtnn.engine.engine import Engine
from trtnn.errors import BuildError, CopyWarning, InputError, OptionError, UnsupportedError
from trtnn.graph.graph import Interface
from trtnn.run.arena import arena_of
from trtnn.run.arguments import check_tensor
from trtnn.run.bound import Make, bind
from trtnn.run.contexts import Context, Pool
from trtnn.run.cuda_graphs import Captured
from trtnn.run.launching import LAUNCHES
from trtnn.run.prepared import Prepared, make_room
from trtnn.run.streams import Streams
from trtnn.source import warn_user

ALIGNMENT = 255  # TensorRT asks for addresses that are multiples of 256 bytes
INT32 = torch.iinfo(torch.int32)
Verify = Callable[["Runner", Prepared], None]


class Runner:
    """Runs one engine on torch tensors' own memory, from any number of threads.

    Order in a call: check, allocate outputs, wait, execute.

    Args:
        int64_checks: ``"always"`` checks the range of narrowed int64 inputs on every call,
            ``"first"`` on the first call of each signature only.
        max_contexts: How many calls may run at once; further ones wait.
        execution: ``"sync"``, ``"async"`` or ``"graph"``.
        memory: ``"own"``, or ``"shared"`` with the other engines of the device that share it.

    Attributes:
        verify: Raises where outputs would not be what a file says; asked before there is memory
            for them, once for each combination of shapes and host inputs.
    """

    verify: Verify | None = None

    def __init__(
        self,
        engine: Engine,
        graph: Interface,
        device: torch.device,
        int64_checks: str,
        max_contexts: int = 4,
        *,
        execution: str = "sync",
        memory: str = "own",
    ) -> None:
        self.engine, self.graph, self.device = engine, graph, device
        self.int64_checks = int64_checks
        self.max_contexts, self.execution, self.memory = max_contexts, execution, memory
        library = engine.library
        self.known: dict[Any, Prepared] = {}
        self.profile = 0
        self.pinned: int | None = None  # the last call's, and the only one allowed
        self.on_cuda = device.type == "cuda"
        self.elsewhere = self.on_cuda and torch.cuda.device_count() > 1
        self.streams = Streams(device, waits=library.waits_for_default_stream)
        self.blocks = library.binding_blocks(engine.handle)
        self.placeholder = torch.empty(256, dtype=torch.uint8, device=device)
        dtypes = {name: getattr(torch, dtype) for name, _, dtype in engine.tensors}
        places = {name: i for i, (name, _, _) in enumerate(engine.tensors)}
        outputs = [f"output_{i}" for i in range(len(graph.outputs))]
        self.inputs = [(places[v.name], dtypes[v.name]) for v in graph.inputs]
        formats = [graph.formats.get(v.name, "contiguous_format") for v in graph.inputs]
        self.formats: list[torch.memory_format] = [getattr(torch, name) for name in formats]
        self.outputs = [(places[name], dtypes[name]) for name in outputs]
        # TensorRT reads an integer that shapes need where it is, others where it computes.
        self.hosts = [
            (
                i,
                places[name],
                dtypes[name],
                "cpu" if library.on_host(engine.handle, name) else device,
            )
            for i, name in enumerate(graph.hosts)
            if name in places
        ]
        self.profiles = library.count_profiles(engine.handle)
        self.require_execution()
        self.pool = self._pool(max_contexts)
        # CUDA graphs by shapes, the shapes that cannot be captured, and why.
        self.capturing = threading.Lock()
        self.graphs: dict[Any, Captured] = {}
        self.uncaptured: dict[Any, None] = {}
        self.refused: list[str] = []

    def _pool(self, max_contexts: int) -> Pool:
        dynamic = [
            (i, v.name)
            for i, v in enumerate(self.graph.inputs)
            if any(not isinstance(s, int) for s in v.spec.shape)
        ]
        arena = None
        if self.memory == "shared":
            arena = arena_of(self.device)
            arena.reserve(self.engine.library.scratch_bytes(self.engine.handle))
        return Pool(self.engine, dynamic, max_contexts, self.streams.settle, arena)

    def __call__(
        self, arguments: Sequence[Any], into: Sequence[torch.Tensor] | None = None
    ) -> tuple[list[torch.Tensor], Any]:
        """Execute the engine; return its outputs, and what knows the Dims' values.

        Args:
            arguments: A tensor per input of the graph, in order, then the host inputs as ints.
            into: The outputs' memory, which was checked; new memory, if omitted.

        Raises:
            InputError: A tensor does not fit its declaration.
            StreamError: The current stream is being captured.
            BuildError: TensorRT failed to execute.
        """
        prepared, ready = self.prepare(arguments)
        with self.on_device():
            return self._run(prepared, ready, into)

    def _run(
        self,
        prepared: Prepared,
        inputs: Sequence[torch.Tensor],
        into: Sequence[torch.Tensor] | None,
    ) -> tuple[list[torch.Tensor], Any]:
        results = self.allocate(prepared, into)
        LAUNCHES[self.execution](self, prepared, inputs, results)
        if (kernels := self.engine.library.kernels) is not None:
            kernels.ran((id(self.engine), prepared.shapes))
        return self.delivered(results, into), prepared

    def view(self, *, profile: int | None = None, execution: str | None = None) -> Runner:
        """Return a runner on the same contexts that uses one profile only, or runs differently."""
        view = copy.copy(self)
        if profile is not None:
            view.known, view.pinned = {}, profile
        view.execution = execution or self.execution
        view.require_execution()
        return view

    def unload(self) -> None:
        """Close the engine once all calls have ended; the next call opens it again."""
        with self.on_device(), self.pool.exclusive(reopen=False):
            self.engine.close()

    def alone(self) -> Runner:
        """Return a runner of the same engine with one context, which nobody else has."""
        other = self.on(self.engine, self.device)
        other.execution = "sync"
        return other

    def on(self, engine: Engine, device: torch.device) -> Runner:
        """Return a runner like this one of an engine on another GPU."""
        other = type(self)(
            engine,
            self.graph,
            device,
            self.int64_checks,
            self.max_contexts,
            execution=self.execution,
            memory=self.memory,
        )
        other.pinned, other.verify = self.pinned, self.verify
        return other

    def require_execution(self) -> None:
        """Raise where this engine cannot run as it is asked to."""
        if self.memory == "shared" and self.execution != "sync":
            raise OptionError(
                f'execution={self.execution!r}: memory="shared" is for models that run one after '
                'another, execution="sync"'
            )
        if self.execution == "graph" and getattr(self.graph, "branches", False):
            raise UnsupportedError(
                'execution="graph": what the GPU computes decides how an engine with conditions '
                "or loops goes on, and a CUDA graph holds one way",
                hint='use execution="sync" or "async"',
                search=False,
            )
        if self.execution == "graph" and self.graph.hosts:
            raise UnsupportedError(
                'execution="graph": the host inputs '
                f"{', '.join(self.graph.hosts)} decide shapes, and a CUDA graph has one shape",
                hint='use execution="sync" or "async"',
            )

    def on_device(self) -> AbstractContextManager[Any]:
        """Return what to enter around calls of TensorRT: they use the current device."""
        if self.elsewhere and torch.cuda.current_device() != self.device.index:
            return torch.cuda.device(self.device)
        return contextlib.nullcontext()

    # A call's parts ------------------------------------------------------------------------

    def prepare(self, arguments: Sequence[Any]) -> tuple[Prepared, list[torch.Tensor]]:
        """Return what the shapes of a call decide, and its inputs as TensorRT can read them."""
        prepared = self.decide(arguments)
        return prepared, self._ready(arguments[: len(self.graph.inputs)], prepared)

    def decide(self, arguments: Sequence[Any]) -> Prepared:
        """Return what the shapes of a call decide."""
        count = len(self.graph.inputs)
        tensors, hosts = arguments[:count], tuple(arguments[count:])
        try:
            key = (hosts, tuple([t.shape for t in tensors]))
        except (AttributeError, RuntimeError):  # no tensor, or none with a shape
            self.check(tensors)
            raise
        return self.known.get(key) or self._remember(key, tensors, hosts)

    def sizes(self, arguments: Sequence[Any]) -> dict[str, int]:
        """Return the value of every Dim in a call, once its inputs were checked."""
        self.check(arguments[: len(self.graph.inputs)])
        return self.decide(arguments).bindings

    def bound(
        self, arguments: Sequence[Any], into: Sequence[torch.Tensor] | None
    ) -> tuple[list[torch.Tensor], Any, Make]:
        """Return the outputs of a call that is bound, what knows the Dims, and what makes it."""
        prepared = self.decide(arguments)
        # Later calls write there in any mode.
        with self.on_device(), self.pool.lending(), torch.inference_mode(mode=False):
            outputs, make = bind(self, prepared, arguments[: len(self.graph.inputs)], into)
        return outputs, prepared, make

    def _remember(self, key: Any, tensors: Sequence[Any], hosts: tuple[int, ...]) -> Prepared:
        self.check(tensors)
        shapes = tuple(tuple(t.shape) for t in tensors)
        prepared = Prepared(self.graph, shapes, self.profile, self.pinned, hosts)
        prepared.hosts = [
            (place, torch.tensor([hosts[i]], dtype=dtype, device=where))
            for i, place, dtype, where in self.hosts
        ]
        if self.verify is not None:
            self.verify(self, prepared)
        self.profile = prepared.profile
        make_room(self.known)  # contexts stay in the pool, which knows each by its home
        return self.known.setdefault(key, prepared)

    def check(self, tensors: Sequence[Any]) -> None:
        """Raise InputError where a tensor does not fit its declaration, whatever its sizes."""
        for value, tensor in zip(self.graph.inputs, tensors, strict=True):
            check_tensor(value.name, value.spec, tensor, self.device)

    def is_ready(self, i: int, tensor: torch.Tensor) -> bool:
        """Say whether TensorRT can read an input where it is."""
        address = tensor.data_ptr()
        return (
            bool(address or not tensor.numel())
            and tensor.dtype is self.inputs[i][1]
            and tensor.device == self.device
            and tensor.is_contiguous(memory_format=self.formats[i])
            and not tensor.is_neg()
            and not (self.on_cuda and address & ALIGNMENT)
        )

    def _ready(self, tensors: Sequence[Any], prepared: Prepared) -> list[torch.Tensor]:
        """Return the inputs as TensorRT can read them, or say which cannot be."""
        try:
            if all(self.is_ready(i, tensor) for i, tensor in enumerate(tensors)):
                return list(tensors)
        except (AttributeError, RuntimeError, TypeError):  # no tensor, or no plain memory
            self.check(tensors)
            raise
        self.check(tensors)
        return [self._converted(i, tensor, prepared) for i, tensor in enumerate(tensors)]

    def _converted(self, i: int, tensor: torch.Tensor, prepared: Prepared) -> torch.Tensor:
        name, form = self.graph.inputs[i].name, self.formats[i]
        if tensor.numel() and not tensor.data_ptr():
            raise InputError(
                f"{name}: expected a tensor with memory of its own, got a {type(tensor).__name__} "
                "without: a wrapper, or one whose storage was freed"
            )
        if tensor.dtype is not self.inputs[i][1]:
            tensor = self._cast(name, tensor, self.inputs[i][1], prepared)
        why = ""
        if not tensor.is_contiguous(memory_format=form):
            layout = "" if form is torch.contiguous_format else f" in {form}"
            why = f"is not contiguous{layout}"
        if tensor.is_neg():
            why = "is a view that PyTorch negates when it is read"
        tensor = tensor.resolve_neg().contiguous(memory_format=form)
        if self.on_cuda and tensor.data_ptr() & ALIGNMENT:
            why, tensor = "is not aligned to 256 bytes", tensor.clone()
        if why:
            _say_copied(f"{name} {why}", prepared)
        return tensor

    def _cast(
        self, name: str, tensor: torch.Tensor, dtype: torch.dtype, prepared: Prepared
    ) -> torch.Tensor:
        """Return an input as TensorRT takes it: float64 as float32; int64 as int32 or back."""
        result = tensor.to(dtype)
        if dtype is torch.int32 and (self.int64_checks == "always" or name not in prepared.said):
            if bool((result != tensor).any()):
                raise InputError(
                    f"{name}: int64 values beyond {INT32.min} to {INT32.max}, and "
                    f"{self.engine.library.target.name} has no int64"
                )
            prepared.said.add(name)
        return result

    def allocate(
        self, prepared: Prepared, into: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Return the memory that TensorRT writes: the caller's where it has TensorRT's dtype."""
        results = []
        for i, (shape, strides) in enumerate(prepared.outputs):
            dtype = self.outputs[i][1]
            if into is not None and into[i].dtype is dtype:
                results.append(into[i])
            else:
                made = torch.empty_strided(shape, strides, dtype=dtype, device=self.device)
                results.append(made)
        return results

    def delivered(
        self, results: Sequence[torch.Tensor], into: Sequence[torch.Tensor] | None
    ) -> list[torch.Tensor]:
        """Return the outputs in the graph's dtypes, in the caller's memory if there is some."""
        if into is None:
            pairs = zip(results, self.graph.outputs, strict=True)
            return [result.to(value.spec.dtype) for result, value in pairs]
        for result, given in zip(results, into, strict=True):
            if result is given:
                increment_version(given)  # TensorRT wrote there, which autograd has to know
            else:
                given.copy_(result)
        return list(into)

    def addresses(
        self,
        prepared: Prepared,
        inputs: Sequence[torch.Tensor],
        results: Sequence[torch.Tensor],
    ) -> list[int]:
        """Return the address of each of the engine's tensors, in its order."""
        found = [0] * len(self.engine.tensors)
        nowhere = self.placeholder.data_ptr()
        for tensors, places in ((inputs, self.inputs), (results, self.outputs)):
            for tensor, (place, _) in zip(tensors, places, strict=False):
                found[place] = tensor.data_ptr() or nowhere
        for place, memory in prepared.hosts:
            found[place] = memory.data_ptr()
        return found

    def take(self, prepared: Prepared, on: int | None = None) -> Context:
        """Return a context that has the profile, the shapes and the host inputs of a call."""
        home = prepared.home(on)
        try:
            return home.pop()
        except IndexError:
            pass
        stream = self.streams.number()
        profile = self._profile_of(prepared)
        context = self.pool.take(home, profile, prepared.shapes, stream, on=on)
        self._place_hosts(context, prepared)
        return context

    def lend(self, prepared: Prepared) -> Context:
        """Return a new context for a bound call or a CUDA graph alone."""
        profile = self._profile_of(prepared)
        context = self.pool.lend(profile, prepared.shapes, self.streams.number())
        self._place_hosts(context, prepared)
        return context

    def _profile_of(self, prepared: Prepared) -> int:
        # An engine that asks for none of the Dims' sizes has one profile.
        return prepared.profile if prepared.profile < self.profiles else 0

    def _place_hosts(self, context: Context, prepared: Prepared) -> None:
        for place, memory in prepared.hosts:
            # 8.6.0 asks the context for what shapes need before it looks at the binding list.
            name = self.engine.tensors[place][0]
            if not context.locate(name, memory.data_ptr()):
                self.pool.drop(context)
                lines = self.engine.library.log.take()
                raise BuildError(f"TensorRT refused the host input {name}: {lines}")

    def give_back(self, context: Context, *, done: bool) -> None:
        """Let others have a context, unless TensorRT failed on it.

        Raises:
            BuildError: It failed; carries TensorRT's log lines.
        """
        if not done:
            self.fail(context)
        self.pool.put(context)

    def fail(self, context: Context) -> None:
        """Drop a context that TensorRT failed on, and say so."""
        self.pool.drop(context)
        raise self.failure()

    def failure(self) -> BuildError:
        """Return the error of a run, with TensorRT's log lines."""
        return BuildError(f"TensorRT failed to execute: {self.engine.library.log.take()}")


def _say_copied(why: str, prepared: Prepared) -> None:
    if why not in prepared.said:
        prepared.said.add(why)
        text = (
            f"{why} and is copied on every such call; "
            "give a contiguous tensor that is not a slice of another"
        )
        warn_user(text, CopyWarning)
