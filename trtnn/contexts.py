"""The execution contexts of an engine: one call at a time on each, kept where they are ready."""

from __future__ import annotations

import threading
from typing import Any

from trtnn.engine import Engine
from trtnn.errors import InputError

Shapes = tuple[tuple[int, ...], ...]


class Context:
    """One of TensorRT's execution contexts, with the profile and the input shapes it has.

    Between calls it lies in ``home``, a list that all contexts with its shapes share: taking one
    and putting it back are single list operations, which no other thread can see half done.
    """

    __slots__ = ("allocations", "execute", "handle", "home", "profile", "shapes")

    def __init__(self, handle: Any, home: list[Context]) -> None:
        self.handle, self.execute, self.home = handle, handle.execute_v2, home
        self.profile = int(handle.active_optimization_profile)
        self.shapes: Shapes | None = None
        self.allocations: Any = None


class Pool:
    """Up to ``limit`` contexts of one engine.

    A context with a call's shapes is taken from its home without a lock. Otherwise ``take`` gives
    one with the call's profile before one that has to change it, a new one before a wait.

    Args:
        dynamic: Place among the inputs, and name, of each input whose shape must be set.
    """

    def __init__(self, engine: Engine, dynamic: list[tuple[int, str]], limit: int) -> None:
        self.engine, self.dynamic, self.limit = engine, dynamic, limit
        self.contexts: list[Context] = []
        self.waiting = 0
        self.returned = threading.Condition()
        # Made at once, so that an engine that cannot run here says so when it is loaded.
        first = self._create()
        first.home.append(first)

    def take(self, home: list[Context], profile: int, shapes: Shapes, stream: int) -> Context:
        """Return a context with these shapes, which nobody else uses until it is ``put`` back.

        Args:
            home: Where contexts with these shapes lie between calls.
            stream: The CUDA stream on which a profile is changed, as a number.

        Raises:
            InputError: TensorRT refuses the shapes.
            BuildError: TensorRT cannot make a context or change its profile.
        """
        context = self._any(profile)
        context.home = []  # whatever happens below, nobody finds it under its old shapes
        try:
            if context.profile != profile:
                context.shapes = None
                context.profile = -1
                self.engine.library.select_profile(context.handle, profile, stream)
                context.profile = profile
            self._set_shapes(context, shapes)
        except BaseException:
            context.shapes = None
            self.put(context)
            raise
        context.home = home
        return context

    def put(self, context: Context) -> None:
        """Give a context back."""
        context.home.append(context)
        if self.waiting:
            self.wake()

    def wake(self) -> None:
        """Let a waiting call look for a context again."""
        with self.returned:
            self.returned.notify()

    def drop(self, context: Context) -> None:
        """Forget a context that failed."""
        with self.returned:
            self.contexts.remove(context)
            self.returned.notify()

    def _any(self, profile: int) -> Context:
        with self.returned:
            self.waiting += 1
            try:
                while True:
                    context = self._idle(profile)
                    if context is not None:
                        return context
                    self.returned.wait()
            finally:
                self.waiting -= 1

    def _idle(self, profile: int) -> Context | None:
        """Return a context out of some home, or a new one; None where all are in use."""
        least = sorted(self.contexts, key=lambda c: c.profile != profile)
        full = len(self.contexts) >= self.limit
        for context in least:
            if context.profile != profile and not full:
                break
            try:
                context.home.remove(context)
            except ValueError:  # in use
                continue
            return context
        return None if full else self._create()

    def _create(self) -> Context:
        context = Context(self.engine.library.context(self.engine.handle), [])
        self.contexts.append(context)
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
