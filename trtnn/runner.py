"""Plan to callable: contexts, bindings, streams and output memory on torch tensors."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from trtnn.contexts import Context, Pool, Shapes
from trtnn.dims import Size, evaluate
from trtnn.engine import Engine
from trtnn.errors import BuildError, CopyWarning, InputError, StreamError
from trtnn.graph import Graph
from trtnn.interpreter import bind_dims
from trtnn.ops.masks import depends_on_data
from trtnn.profiles import fitting_profiles
from trtnn.signature import require_dense

ALIGNMENT = 255  # TensorRT asks for addresses that are multiples of 256 bytes
INT32 = torch.iinfo(torch.int32)
MAX_PREPARED = 1024  # combinations of input shapes and host inputs that are remembered


Call = Callable[[Sequence[Any]], tuple[list[torch.Tensor], Any]]
Run = Callable[["Prepared", list[int]], tuple[list[torch.Tensor], Any]]


class Prepared:
    """What is fixed once the input shapes are: profile, output shapes, Dims, ready contexts.

    ``hosts`` is the memory of the host inputs, with the place of each among the engine's tensors.
    """

    __slots__ = ("bindings", "free", "hosts", "outputs", "profile", "said", "shapes")

    def __init__(
        self,
        graph: Graph,
        shapes: Shapes,
        last: int,
        pinned: int | None,
        hosts: tuple[int, ...] = (),
    ) -> None:
        self.shapes = shapes
        self.bindings = bind_dims(graph, shapes, pinned, hosts)
        self.hosts: list[tuple[int, torch.Tensor]] = []
        fitting = fitting_profiles(graph.dims, self.bindings)
        kept = last if pinned is None else pinned
        self.profile = kept if kept in fitting else fitting[0]
        self.free: list[Context] = []
        self.said: set[str] = set()
        self.outputs = [
            _contiguous(v.spec.shape, self.bindings)
            for v in graph.outputs
            if not depends_on_data(*v.spec.shape)
        ]


def _contiguous(
    sizes: tuple[Size, ...], bindings: dict[str, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape and the strides of an output."""
    shape = tuple(evaluate(size, bindings) for size in sizes)
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    return shape, tuple(strides)


class Runner:
    """Runs one engine on torch tensors' own memory, from any number of threads.

    Order in a call: check, allocate outputs, wait, execute. Outputs are complete on return.

    Args:
        checks: ``"always"`` checks the range of narrowed int64 inputs on every call, ``"first"``
            on the first call of each signature only.
        max_contexts: How many calls may run at once; further ones wait.
    """

    def __init__(
        self,
        engine: Engine,
        graph: Graph,
        device: torch.device,
        checks: str,
        max_contexts: int = 4,
    ) -> None:
        self.engine, self.graph, self.device, self.checks = engine, graph, device, checks
        library = engine.library
        self.prepared: dict[Any, Prepared] = {}
        self.profile = 0
        self.pinned: int | None = None  # the last call's, and the only one allowed
        self.streams: dict[int, torch.cuda.Stream] = {}
        self.on_cuda = device.type == "cuda"
        self.index = device.index or 0
        self.elsewhere = self.on_cuda and torch.cuda.device_count() > 1
        self.waits = library.waits_for_default_stream
        self.blocks = library.binding_blocks(engine.handle)
        self.placeholder = torch.empty(256, dtype=torch.uint8, device=device)
        dtypes = {name: getattr(torch, dtype) for name, _, dtype in engine.tensors}
        places = {name: i for i, (name, _, _) in enumerate(engine.tensors)}
        outputs = [f"output_{i}" for i in range(len(graph.outputs))]
        self.inputs = [(places[v.name], dtypes[v.name]) for v in graph.inputs]
        self.outputs = [(places[name], dtypes[name]) for name in outputs]
        self.widened = [
            (i, v.spec.dtype)
            for i, v in enumerate(graph.outputs)
            if v.spec.dtype is not self.outputs[i][1]
        ]
        dynamic = [
            (i, v.name)
            for i, v in enumerate(graph.inputs)
            if any(not isinstance(s, int) for s in v.spec.shape)
        ]
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
        self.pool = Pool(engine, dynamic, max_contexts)
        self.call = self._by_hosts() if graph.hosts else self._closure()

    def __call__(self, arguments: Sequence[Any]) -> tuple[list[torch.Tensor], Any]:
        """Execute the engine.

        Args:
            arguments: A tensor per input of the graph, in order, then the host inputs as ints.

        Raises:
            InputError: A tensor does not fit its declaration.
            StreamError: The current stream is being captured.
            BuildError: TensorRT failed to execute.
        """
        return self.call(arguments)

    def _by_hosts(self) -> Call:
        """Return what has a hot path of its own for each combination of host inputs."""
        calls: dict[tuple[int, ...], Call] = {}
        count = len(self.graph.inputs)

        def call(arguments: Sequence[Any]) -> tuple[list[torch.Tensor], Any]:
            hosts = tuple(arguments[count:])
            found = calls.get(hosts) or self._closure(hosts)
            result = found(arguments[:count])
            if hosts not in calls:
                _make_room(calls)
                calls[hosts] = found
            return result

        return call

    def _closure(self, hosts: tuple[int, ...] = ()) -> Call:
        """Return the hot path: a closure, for its names cost least to look up."""
        find, convert, run = self.prepared.get, self._convert, self._runs()
        prepare = partial(self._prepare, hosts)
        if hosts:
            find, run = _beside(hosts, find), _with_hosts(run)
        device, inputs, count = self.device, self.inputs, len(self.engine.tensors)
        elsewhere, index, low_bits = self.elsewhere, self.index, ALIGNMENT if self.on_cuda else 0

        def call(tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], Any]:
            try:
                key = tensors[0].shape if len(tensors) == 1 else tuple([t.shape for t in tensors])
                prepared = find(key) or prepare(key, tensors)
                addresses = [0] * count
                for tensor, (place, dtype) in zip(tensors, inputs):  # noqa: B905 - as counted
                    address = addresses[place] = tensor.data_ptr()
                    if (
                        address & low_bits
                        or not address
                        or tensor.dtype is not dtype
                        or tensor.device != device
                        or not tensor.is_contiguous()
                        or tensor.is_neg()
                    ):
                        tensors = convert(tensors, prepared, addresses)
                        break
            except (AttributeError, RuntimeError, TypeError):  # no tensor, or no plain memory
                self._check(tensors)
                raise
            if elsewhere and torch.cuda.current_device() != index:
                with torch.cuda.device(index):
                    return run(prepared, addresses)
            return run(prepared, addresses)

        return call

    def _runs(self) -> Run:
        """Return what allocates the outputs, waits for the inputs, and runs one context."""
        device, outputs, blocks, widened = self.device, self.outputs, self.blocks, self.widened
        pool, take, waits, index = self.pool, self._take, self.waits, self.index
        on_cuda, placeholder = self.on_cuda, self.placeholder.data_ptr()
        allocate = torch.empty_strided
        stream_of = torch._C._cuda_getCurrentRawStream if on_cuda else None

        def run(prepared: Prepared, addresses: list[int]) -> tuple[list[torch.Tensor], Any]:
            results = []
            for (shape, strides), (place, dtype) in zip(prepared.outputs, outputs):  # noqa: B905
                result = allocate(shape, strides, dtype=dtype, device=device)
                addresses[place] = result.data_ptr() or placeholder
                results.append(result)
            if stream_of is not None:
                stream = stream_of(index)
                if stream or not waits:
                    self._wait(stream)
            try:
                context = prepared.free.pop()
            except IndexError:
                context = take(prepared)
            try:
                done = context.execute(addresses if blocks == 1 else addresses * blocks)
            except BaseException:  # Ctrl-C too: a context out of its home would be lost
                pool.drop(context)
                raise
            if not done:
                pool.drop(context)
                raise BuildError(f"TensorRT failed to execute: {self.engine.library.log.take()}")
            prepared.free.append(context)
            if pool.waiting:
                pool.wake()
            for i, dtype in widened:
                results[i] = results[i].to(dtype)
            return results, prepared

        return run

    def with_profile(self, profile: int) -> Runner:
        """Return a runner on the same contexts that uses one profile only."""
        view = copy.copy(self)
        view.prepared, view.pinned = {}, profile
        view.call = view._by_hosts() if self.graph.hosts else view._closure()
        return view

    # Off the hot path -----------------------------------------------------------------------

    def _prepare(
        self, hosts: tuple[int, ...], key: Any, tensors: Sequence[torch.Tensor]
    ) -> Prepared:
        self._check(tensors)
        shapes = tuple(tuple(t.shape) for t in tensors)
        prepared = Prepared(self.graph, shapes, self.profile, self.pinned, hosts)
        prepared.hosts = [
            (place, torch.tensor([hosts[i]], dtype=dtype, device=where))
            for i, place, dtype, where in self.hosts
        ]
        self.profile = prepared.profile
        key = (hosts, key) if hosts else key
        _make_room(self.prepared)  # contexts stay in the pool, which knows each by its home
        return self.prepared.setdefault(key, prepared)

    def _take(self, prepared: Prepared) -> Context:
        """Return a context that has the profile, the shapes and the host inputs of a call."""
        stream = torch._C._cuda_getCurrentRawStream(self.index) if self.on_cuda else 0
        # An engine that asks for none of the Dims' sizes has one profile.
        profile = prepared.profile if prepared.profile < self.profiles else 0
        context = self.pool.take(prepared.free, profile, prepared.shapes, stream)
        for place, memory in prepared.hosts:
            # 8.6.0 asks the context for what shapes need before it looks at the binding list.
            name = self.engine.tensors[place][0]
            if not context.handle.set_tensor_address(name, memory.data_ptr()):
                self.pool.drop(context)
                lines = self.engine.library.log.take()
                raise BuildError(f"TensorRT refused the host input {name}: {lines}")
        return context

    def _wait(self, handle: int) -> None:
        """Order the call after what the current stream has produced so far."""
        refuse_capture()
        stream = self.streams.get(handle)
        if stream is None:
            stream = self.streams[handle] = torch.cuda.current_stream(self.index)
        stream.synchronize()

    def _check(self, tensors: Sequence[Any]) -> None:
        for value, tensor in zip(self.graph.inputs, tensors, strict=True):
            check_tensor(value.name, value.spec, tensor, self.device)

    def _convert(
        self, tensors: Sequence[torch.Tensor], prepared: Prepared, addresses: list[int]
    ) -> list[torch.Tensor]:
        """Return the inputs as TensorRT can read them, or say which cannot be."""
        self._check(tensors)
        ready = []
        for i, (tensor, (place, dtype)) in enumerate(zip(tensors, self.inputs, strict=True)):
            name = self.graph.inputs[i].name
            if tensor.dtype is not dtype:
                tensor = self._cast(name, tensor, dtype, prepared)
            why = "is not contiguous" if not tensor.is_contiguous() else ""
            if tensor.is_neg():
                why = "is a view that PyTorch negates when it is read"
            tensor = tensor.resolve_neg().contiguous()
            if self.on_cuda and tensor.data_ptr() & ALIGNMENT:
                why, tensor = "is not aligned to 256 bytes", tensor.clone()
            if why:
                _say_copied(f"{name} {why}", prepared)
            addresses[place] = tensor.data_ptr() or self.placeholder.data_ptr()
            ready.append(tensor)
        return ready

    def _cast(
        self, name: str, tensor: torch.Tensor, dtype: torch.dtype, prepared: Prepared
    ) -> torch.Tensor:
        """Return an int64 input as int32, where TensorRT has no int64, or an int32 one as int64."""
        result = tensor.to(dtype)
        if dtype is torch.int32 and (self.checks == "always" or name not in prepared.said):
            if bool((result != tensor).any()):
                raise InputError(
                    f"{name}: int64 values beyond {INT32.min} to {INT32.max}, and TensorRT "
                    f"{self.engine.library.target.version} has no int64"
                )
            prepared.said.add(name)
        return result


def _make_room(known: dict[Any, Any]) -> None:
    """Forget the oldest; other threads may do the same at the same time."""
    for oldest in list(known)[: max(0, len(known) - MAX_PREPARED + 1)]:
        known.pop(oldest, None)


def _beside(hosts: tuple[int, ...], find: Any) -> Any:
    """Return ``find`` for keys that stand beside values of the host inputs."""
    return lambda key: find((hosts, key))


def _with_hosts(run: Run) -> Run:
    """Return ``run`` that is given the addresses of the host inputs too."""

    def with_hosts(prepared: Prepared, addresses: list[int]) -> tuple[list[torch.Tensor], Any]:
        for place, memory in prepared.hosts:
            addresses[place] = memory.data_ptr()
        return run(prepared, addresses)

    return with_hosts


def refuse_capture() -> None:
    """Raise StreamError while the current stream is being captured."""
    if torch.cuda.is_current_stream_capturing():
        raise StreamError(
            "the current stream is being captured into a CUDA graph, which execute_v2 cannot be"
        )


def _say_copied(why: str, prepared: Prepared) -> None:
    if why not in prepared.said:
        prepared.said.add(why)
        warnings.warn(
            f"{why} and is copied on every such call; "
            "give a contiguous tensor that is not a slice of another",
            CopyWarning,
            stacklevel=5,
        )


def check_tensor(name: str, spec: Any, tensor: Any, device: torch.device) -> None:
    """Raise InputError unless a tensor fits its spec and device; int32 is taken for int64."""
    if not isinstance(tensor, torch.Tensor):
        raise InputError(f"{name}: expected a tensor {spec}, got {type(tensor).__name__}")
    require_dense(name, tensor)
    if tensor.dim() != spec.rank:
        raise InputError(f"{name}: expected {spec.rank} dims {spec}, got {tuple(tensor.shape)}")
    narrow = spec.dtype is torch.int64 and tensor.dtype is torch.int32
    if tensor.dtype is not spec.dtype and not narrow:
        raise InputError(
            f"{name}: expected {spec.dtype}, got {tensor.dtype}",
            hint=f"convert it with .to({spec.dtype})",
        )
    if tensor.device != device:
        raise InputError(
            f"{name}: expected a tensor on {device}, got one on {tensor.device}",
            hint=f'move it with .to("{device}")',
        )
