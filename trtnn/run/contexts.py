"""The execution contexts of an engine: one call at a time on each, kept where they are ready."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol, TypeVar

from trtnn.engine.engine import Engine
from trtnn.errors import BackendError, InputError
from trtnn.run.arena import Arena

Shapes = tuple[tuple[int, ...], ...]
Found = TypeVar("Found")


class Holder(Protocol):
    """What keeps a context of its own, outside the pool's homes: a bound call, a CUDA graph."""

    def release(self) -> None:
        """Forget the context; nobody is using it."""

    def renew(self) -> None:
        """Take a new one, where that cannot wait for the next call."""

    def rest(self) -> None:
        """Take a new one with the next call: the engine is closed until then."""

    def abandon(self) -> None:
        """Leave it to the parent process, after a fork: no call into CUDA may be made."""


class Context:
    """One of TensorRT's execution contexts, with the profile and the input shapes it has.

    Between calls it lies in ``home``, a list that all contexts with its shapes share: taking one
    and putting it back are single list operations, which no other thread can see half done.

    Attributes:
        stream: The CUDA stream that may still be running it, or, for 0, that waits for the one
            which does; None where every call has waited.
        detour: Gives its work to the legacy default stream; made when it is first needed.
        where: The addresses that ``locate`` gave its tensors, in the engine's order; None if
            unknown. ``execute`` has its own.
    """

    __slots__ = (
        "allocations",
        "capturable",
        "detour",
        "enqueue",
        "execute",
        "handle",
        "home",
        "locate",
        "profile",
        "shapes",
        "stream",
        "where",
    )

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.home: list[Context] = []
        self.execute: Callable[[list[int]], bool] = handle.execute_v2
        self.enqueue: Callable[[int], bool] = handle.execute_async_v3
        # TensorRT for RTX tells whether a stream can be captured; nothing else can be asked.
        self.capturable: Callable[[int], bool] = getattr(
            handle, "is_stream_capturable", lambda stream: True
        )
        self.locate: Callable[[str, int], bool] = handle.set_tensor_address
        self.profile = int(handle.active_optimization_profile)
        self.shapes: Shapes | None = None
        self.allocations: Any = None
        self.detour: Callable[[], bool] | None = None
        self.stream: int | None = None
        self.where: tuple[int, ...] | None = None


class Pool:
    """Up to ``limit`` contexts of one engine, and those that bound calls and CUDA graphs hold.

    A context with a call's shapes is taken from its home without a lock. Otherwise ``take`` gives
    one with the call's profile before one that has to change it, a new one before a wait.

    Args:
        dynamic: Place among the inputs, and name, of each input whose shape must be set.
        settle: Waits for a CUDA stream, given as a number.
        arena: The memory that all contexts share; each has its own without one.
    """

    def __init__(
        self,
        engine: Engine,
        dynamic: list[tuple[int, str]],
        limit: int,
        settle: Callable[[int], None],
        arena: Arena | None = None,
    ) -> None:
        self.engine, self.dynamic, self.limit = engine, dynamic, limit
        self.settle, self.arena = settle, arena
        self.contexts: list[Context] = []
        self.holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        self.waiting = self.lenders = self.scans = 0
        self.owner: int | None = None  # the thread that keeps all others out
        self.process = os.getpid()
        self._renew_locks()
        _living.add(self)
        # Made at once, so that an engine that cannot run here says so when it is loaded.
        self._open()

    def take(
        self,
        home: list[Context],
        profile: int,
        shapes: Shapes,
        stream: int,
        *,
        on: int | None = None,
    ) -> Context:
        """Return a context with these shapes, which nobody else uses until it is ``put`` back.

        Args:
            home: Where contexts with these shapes lie between calls.
            stream: The CUDA stream on which a profile is changed, as a number.
            on: The stream that will still be running it when the call returns; None where the
                call waits. A context that another stream may be running is waited for.

        Raises:
            InputError: TensorRT refuses the shapes.
            BuildError: TensorRT cannot make a context or change its profile.
            BackendError: This process was forked from the one that made the engine.
        """
        context = self._any(profile, on)
        context.home = []  # whatever happens below, nobody finds it under its old shapes
        try:
            self.prepare(context, profile, shapes, stream, on=on)
        except BaseException:
            context.shapes = None
            self.put(context)
            raise
        context.home = home
        return context

    def _renew_locks(self) -> None:
        lock = threading.Lock()
        self.returned, self.scanned = threading.Condition(lock), threading.Condition(lock)

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Let a holder be made and listed: not while weights change, and before they do."""
        self.require_own_process()
        me = threading.get_ident()
        with self.returned:
            while self.owner not in (None, me):
                self.returned.wait()
            self.lenders += 1
        try:
            yield
        finally:
            with self.returned:
                self.lenders -= 1
                self.returned.notify_all()

    def lend(self, profile: int, shapes: Shapes, stream: int) -> Context:
        """Return a new context for a holder, beyond the limit; ``holders`` must know of it."""
        self.require_own_process()
        context = self._create()
        self.prepare(context, profile, shapes, stream)
        return context

    def prepare(
        self,
        context: Context,
        profile: int,
        shapes: Shapes,
        stream: int,
        *,
        on: int | None = None,
    ) -> None:
        """Give a context a profile and input shapes; it must be in nobody's use."""
        if context.stream is not None and context.stream != on:
            self.settle(context.stream)
        context.stream = on
        context.where = None
        if context.profile != profile:
            context.shapes = None
            context.profile = -1
            self.engine.library.select_profile(context.handle, profile, stream)
            if on is None:
                self.settle(stream)  # execute_v2 runs on a stream of its own
            context.profile = profile
        self._set_shapes(context, shapes)

    def put(self, context: Context) -> None:
        """Give a context back."""
        context.home.append(context)
        if self.waiting:
            self.wake()

    def wake(self) -> None:
        """Let all that wait look for a context, before the caller may take it again itself."""
        with self.returned:
            all_looked = self.scans + self.waiting
            self.returned.notify_all()
            while self.waiting and self.scans < all_looked:
                self.scanned.wait()

    def wait_for(self, find: Callable[[], Found | None]) -> Found:
        """Return what ``find`` finds, as soon as it finds something; it is called in the lock."""
        with self.returned:
            self.waiting += 1
            try:
                while True:
                    found = find()
                    self._looked()
                    if found is not None:
                        return found
                    self.returned.wait()
            finally:
                self.waiting -= 1
                self._looked()

    def _looked(self) -> None:
        self.scans += 1
        self.scanned.notify_all()

    def drop(self, context: Context) -> None:
        """Forget a context that failed, once nothing runs on it."""
        if context.stream is not None:
            self.settle(context.stream)
        with self.returned:
            if context in self.contexts:
                self.contexts.remove(context)
            self.returned.notify_all()

    def turn(self) -> AbstractContextManager[Any]:
        """Return what to enter around a call that runs its context itself: the arena's lock."""
        return nullcontext() if self.arena is None else self.arena.lock

    @contextmanager
    def exclusive(self, *, reopen: bool = True) -> Iterator[None]:
        """Wait for all calls, keep new ones waiting, and make all contexts anew afterwards.

        Args:
            reopen: At once, and not with the calls that need them.
        """
        self.require_own_process()
        released: list[Holder] = []
        with self.returned:
            while self.owner is not None:
                self.returned.wait()
            self.owner = threading.get_ident()
        try:
            self._empty()
            for holder in list(self.holders):
                released.append(holder)
                holder.release()
            yield
        finally:
            try:
                for holder in released:
                    (holder.renew if reopen else holder.rest)()
                with self.returned:
                    if reopen and not self.contexts:
                        self._open()
            finally:  # where the engine is lost, those that wait are to hear of it
                with self.returned:
                    self.owner = None
                    self.returned.notify_all()

    def _empty(self) -> None:
        """Wait until every context is back, and drop them all; none, if that is interrupted."""
        resting: list[Context] = []

        def collect() -> bool | None:
            for context in self.contexts:
                if context not in resting and _removed(context.home, context):
                    resting.append(context)
            return True if len(resting) == len(self.contexts) and not self.lenders else None

        try:
            self.wait_for(collect)
            for context in resting:
                if context.stream is not None:
                    self.settle(context.stream)
        except BaseException:
            for context in resting:
                context.home.append(context)
            raise
        self.contexts.clear()

    def require_own_process(self) -> None:
        """Raise BackendError in a process that was forked: CUDA does not work there."""
        if os.getpid() != self.process:
            raise BackendError(
                "this process was forked from the one that made the engine; CUDA does not survive "
                "a fork",
                hint='start processes with multiprocessing.get_context("spawn"), and load there',
            )

    def abandon(self) -> None:
        """Leave everything to the parent process: in a fork no call into CUDA may be made."""
        for context in self.contexts:
            context.home.clear()
            context.stream = None
        self._renew_locks()  # another thread may have held them
        self.waiting, self.lenders, self.owner = 0, 0, None
        kept = [*self.engine.kept, *self.contexts]
        for holder in list(self.holders):
            holder.abandon()
        for handle in kept:
            immortal(handle)

    def __del__(self) -> None:
        # A context and its home refer to each other; the GPU's memory is not to wait for a
        # garbage collection.
        for context in getattr(self, "contexts", ()):
            if context.stream is not None and not sys.is_finalizing():
                self.settle(context.stream)
            context.home.clear()

    def _any(self, profile: int, on: int | None) -> Context:
        self.require_own_process()
        return self.wait_for(lambda: self._idle(profile, on) if self.owner is None else None)

    def _idle(self, profile: int, on: int | None) -> Context | None:
        """Return a context out of some home, or a new one; None where all are in use."""

        def costs(context: Context) -> tuple[bool, bool]:
            return context.profile != profile, context.stream not in (None, on)

        full = len(self.contexts) >= self.limit
        for context in sorted(self.contexts, key=costs):
            if any(costs(context)) and not full:
                break
            if _removed(context.home, context):
                return context
        if full:
            return None
        context = self._create()
        self.contexts.append(context)
        return context

    def _open(self) -> None:
        first = self._create()
        self.contexts.append(first)
        first.home.append(first)

    def _create(self) -> Context:
        library = self.engine.library
        context = Context(library.context(self.engine.handle, own=self.arena is None))
        if self.arena is not None:
            lend = partial(library.lend_memory, context.handle)
            context.execute = self.arena.executing(context.execute, lend)
            context.enqueue = self.arena.executing(context.enqueue, lend)
        return context

    def _set_shapes(self, context: Context, shapes: Shapes) -> None:
        before = context.shapes
        for i, name in self.dynamic:
            if before is not None and before[i] == shapes[i]:
                continue
            if not context.handle.set_input_shape(name, shapes[i]):
                lines = self.engine.library.log.take()
                raise InputError(f"{name}: TensorRT refused the shape {shapes[i]}: {lines}")
        context.shapes = shapes


def _removed(home: list[Context], context: Context) -> bool:
    """Take a context out of its home; False where it is in use."""
    try:
        home.remove(context)
    except ValueError:
        return False
    return True


def immortal(handle: Any) -> None:
    """Keep an object for ever: its destructor would call CUDA."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))


_living: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_living):
        pool.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
