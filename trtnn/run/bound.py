"""Bound calls: inputs and outputs fixed once, so that a call is TensorRT's own and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from trtnn.errors import BuildError, InputError, UnsupportedError
from trtnn.run.contexts import immortal
from trtnn.run.launching import capture, enqueue, place
from trtnn.run.prepared import Prepared
from trtnn.run.streams import refuse_capture

if TYPE_CHECKING:
    from trtnn.run.runner import Runner

Make = Callable[[Any], Callable[[], Any]]
ASLEEP = object()


class BoundCall:
    """A model's call on fixed memory: ``bound()`` reads the same inputs, writes the same outputs.

    Write new values into the inputs, call, and read the outputs: they are the same tensors each
    time, and each call overwrites them, which autograd does not see. Only the stream is checked: a
    call waits for it as ``model(x)`` does, and one that is being captured is refused. Calls from
    several threads run one after another. A bound call has an execution context, and its scratch
    memory, of its own.

    Attributes:
        outputs: What every call returns.
    """

    __slots__ = ("__call__", "__weakref__", "outputs")

    def __init__(self, call: Callable[[], Any], outputs: Any) -> None:
        self.outputs = outputs
        self.__call__ = call  # type: ignore[method-assign]  # found by calls, since it is a slot

    if TYPE_CHECKING:

        def __call__(self) -> Any: ...

    def __deepcopy__(self, memo: Any) -> NoReturn:
        raise _not_copied()

    def __copy__(self) -> NoReturn:
        raise _not_copied()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise _not_copied()


def _not_copied() -> UnsupportedError:
    return UnsupportedError(
        "a bound call cannot be copied or pickled: it holds an execution context and memory",
        hint="bind once more: model.bind(...)",
    )


class Held:
    """What one bound call runs, alone; between calls it lies in ``ready``.

    Args:
        memory: The inputs and outputs, which must live as long.
        make: Makes it: at first, and after each refit.
    """

    __slots__ = (
        *("__weakref__", "asleep", "error", "make", "memory", "on_device", "pool", "ready"),
        "stream",
    )

    def __init__(
        self, runner: Runner, memory: Sequence[torch.Tensor], make: Callable[[], Any]
    ) -> None:
        self.pool, self.memory, self.make = runner.pool, memory, make
        self.stream: int | None = None  # that may still be running it
        self.error: BaseException | None = None  # why there is nothing to run
        self.asleep = False  # the next call makes it
        self.on_device = runner.on_device
        self.ready: list[Any] = [make()]
        self.pool.holders.add(self)

    def take(self) -> Any:
        """Wait for another thread's call, or a refit, to end."""
        self.pool.require_own_process()
        found = self.pool.wait_for(self._found)
        if found is ASLEEP:
            return self._awakened()
        if found is self.error:
            raise BuildError("a bound call could not be made anew: bind once more") from self.error
        return found

    def _found(self) -> Any:
        if self.asleep and self.pool.owner is None:
            self.asleep = False
            self.pool.lenders += 1  # so that nobody closes the engine meanwhile
            return ASLEEP
        return self.ready.pop() if self.ready else self.error

    def _awakened(self) -> Any:
        """Make what runs; it stays asleep where that fails, so that the next call tries again."""
        try:
            with self.on_device():
                return self.make()
        except BaseException:
            self.asleep = True
            raise
        finally:
            with self.pool.returned:
                self.pool.lenders -= 1
                self.pool.returned.notify_all()

    def rest(self) -> None:
        """Leave it to the next call to make it."""
        self.asleep = self.error is None

    def release(self) -> None:
        """Give up what runs, once it has ended."""
        if self.error is None and not self.asleep:
            self._settle()
            self.take()
            self._settle()  # what ran meanwhile

    def renew(self) -> None:
        """Make it anew, unless the next call does; what goes wrong is raised by that."""
        if self.asleep:
            return
        try:
            made, self.error = self.make(), None
        except BaseException as error:
            self.error = error
        else:
            if not self.ready:
                self.ready.append(made)
        with self.pool.returned:
            self.pool.returned.notify_all()

    def abandon(self) -> None:
        """Leave it to the parent process."""
        for thing in self.ready:
            immortal(thing)
        self.ready.clear()

    def _settle(self) -> None:
        if self.stream is not None:
            self.pool.settle(self.stream)
        self.stream = None

    def __del__(self) -> None:
        # The memory of inputs and outputs may be reused from here on.
        if not sys.is_finalizing() and self.ready:
            self._settle()


def bind(
    runner: Runner,
    prepared: Prepared,
    tensors: Sequence[torch.Tensor],
    into: Sequence[torch.Tensor] | None,
) -> tuple[list[torch.Tensor], Make]:
    """Return the outputs of a bound call, and what makes it, given its result.

    Raises:
        InputError: TensorRT cannot read an input where it is.
    """
    require_in_place(runner, tensors)
    inputs = list(tensors)
    results = runner.allocate(prepared, into)
    outputs = into
    if outputs is None:
        pairs = zip(results, runner.graph.outputs, strict=True)
        outputs = [t if t.dtype is v.spec.dtype else t.to(v.spec.dtype) for t, v in pairs]
    copies = [(o, t) for o, t in zip(outputs, results, strict=True) if o is not t]
    call = WAYS[runner.execution](runner, prepared, inputs, results)

    def make(result: Any) -> Callable[[], Any]:
        plain = call(result)
        if not copies:
            return plain

        def with_copies() -> Any:
            plain()
            for output, narrow in copies:
                output.copy_(narrow)
            return result

        return with_copies

    return list(outputs), make


def require_in_place(runner: Runner, tensors: Sequence[Any]) -> None:
    """Raise InputError unless TensorRT can read every input where it is."""
    runner.check(tensors)
    for i, tensor in enumerate(tensors):
        if runner.is_ready(i, tensor):
            continue
        dtype, form = runner.inputs[i][1], runner.formats[i]
        layout = "contiguous" if form is torch.contiguous_format else f"in {form}"
        raise InputError(
            f"{runner.graph.inputs[i].name}: bind reads it in place: expected {dtype}, {layout}, "
            f"aligned to 256 bytes; got {tensor.dtype}, strides {tensor.stride()}, at "
            f"{tensor.data_ptr():#x}",
            hint="bind a tensor that is so, and copy new values into it",
        )


Way = Callable[["Runner", Prepared, list[torch.Tensor], list[torch.Tensor]], Make]


def at_once(
    runner: Runner, prepared: Prepared, inputs: list[torch.Tensor], results: list[torch.Tensor]
) -> Make:
    """Bind ``execute_v2``."""
    held = Held(runner, [*inputs, *results], lambda: runner.lend(prepared))
    addresses = runner.addresses(prepared, inputs, results) * runner.blocks
    pool, ready, fail = runner.pool, held.ready, runner.fail
    current, index = runner.streams.current, runner.streams.index
    waits, wait = runner.streams.waits, runner.streams.wait

    def make(result: Any) -> Callable[[], Any]:
        def call() -> Any:
            if current is not None:
                number = current(index)
                if number or not waits:
                    wait(number)
            try:
                context = ready.pop()
            except IndexError:
                context = held.take()
            try:
                done = context.execute(addresses)
            finally:
                ready.append(context)
                if pool.waiting:
                    pool.wake()
            if not done:
                fail(context)
            return result

        return call

    return make


def on_stream(
    runner: Runner, prepared: Prepared, inputs: list[torch.Tensor], results: list[torch.Tensor]
) -> Make:
    """Bind ``execute_async_v3``."""

    def placed() -> Any:
        context = runner.lend(prepared)
        place(runner, context, runner.addresses(prepared, inputs, results))
        return context

    held = Held(runner, [*inputs, *results], placed)
    pool, ready, streams, on_cuda = runner.pool, held.ready, runner.streams, runner.on_cuda

    def make(result: Any) -> Callable[[], Any]:
        def call() -> Any:
            if on_cuda:
                refuse_capture()
            number = streams.number()
            try:
                context = ready.pop()
            except IndexError:
                context = held.take()
            try:
                if number != held.stream:
                    if held.stream is not None:
                        streams.settle(held.stream)
                    held.stream = number
                done = enqueue(runner, context, number)
            finally:
                ready.append(context)
                if pool.waiting:
                    pool.wake()
            if not done:
                runner.fail(context)
            return result

        return call

    return make


def by_graph(
    runner: Runner, prepared: Prepared, inputs: list[torch.Tensor], results: list[torch.Tensor]
) -> Make:
    """Bind the replay of a CUDA graph of these very buffers; the engine runs twice to make it."""
    if runner.on_cuda:
        refuse_capture()
    first = capture(runner, prepared, inputs, results)
    if first is None:
        return on_stream(runner, prepared, inputs, results)
    found = [first]

    def captured() -> Any:
        made = found.pop() if found else capture(runner, prepared, inputs, results)
        if made is None:
            raise runner.failure()
        return made

    held = Held(runner, [*inputs, *results], captured)
    pool, ready = runner.pool, held.ready
    current, index = runner.streams.current, runner.streams.index

    def make(result: Any) -> Callable[[], Any]:
        def call() -> Any:
            number = 0
            if current is not None:
                number = current(index)
                if number:
                    refuse_capture()
            try:
                graph = ready.pop()
            except IndexError:
                graph = held.take()
            held.stream = number
            try:
                graph.replay()
            finally:
                ready.append(graph)
                if pool.waiting:
                    pool.wake()
            return result

        return call

    return make


WAYS: dict[str, Way] = {"sync": at_once, "async": on_stream, "graph": by_graph}
