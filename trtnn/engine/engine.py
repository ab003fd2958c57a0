"""The engine: a plan that TensorRT has read, ready to make contexts, and to take new weights."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trtnn.engine.verified import Verified
from trtnn.errors import BuildError
from trtnn.graph.graph import Graph
from trtnn.graph.program import Program, Slot
from trtnn.lower.recipes import Recipes, Stored
from trtnn.trt.library import TensorRT


@dataclass(eq=False)
class Refittable:
    """What an engine needs to be refitted.

    Attributes:
        mode: The build option ``refit``.
        stripped: Whether the plan was built without weights.
        recipes: None of an engine from the cache, until they are needed.
        graph: As it was lowered, where there are no recipes.
        same: Computes what may not change, and the SHA-256 of each.
    """

    mode: str
    stripped: bool
    recipes: Recipes | None
    graph: Graph | None
    same: tuple[Program, Mapping[Slot, bytes]] | None


class Engine:
    """A TensorRT engine, ready to make contexts, and the plan it came from.

    Attributes:
        timing_cache: What the build measured, for the next one; None of a deserialized plan, and
            of one built without a timing cache.
        timing_digest: The SHA-256 of the timing cache that the build started from.
        refittable: How new weights are made; None of an engine that takes none.
        verified: What is known of its results; None where nobody was to look.
        debug: The names of its debug tensors.
    """

    timing_cache: bytes | None = None
    timing_digest: str | None = None
    refittable: Refittable | None = None
    verified: Verified | None = None
    debug: tuple[str, ...] = ()

    def __init__(
        self, plan: Any, library: TensorRT | None = None, *, host_code: bool = False
    ) -> None:
        self.library = library if library is not None else TensorRT()
        # A build's own memory until somebody asks for bytes: a second copy costs as much again.
        self._plan: Any = plan
        self._host_code = host_code
        self._changing = threading.Lock()
        self._opening = threading.Lock()
        self._broken = ""
        self._closed = b""  # what a closed engine is opened from
        self.runtime, self._handle = self.library.deserialize(plan, host_code=host_code)
        self.tensors = self.library.tensors(self._handle)

    @property
    def handle(self) -> Any:
        """TensorRT's engine, opened again if it was closed.

        Raises:
            BuildError: A refit failed half-way, or TensorRT does not open the plan again.
        """
        if self._broken:
            raise BuildError(self._broken, search=False)
        found = self._handle
        return self._opened() if found is None else found

    def _opened(self) -> Any:
        with self._opening:
            if self._handle is None:
                opened = self.library.deserialize(self._closed, host_code=self._host_code)
                self.runtime, self._handle = opened
                self._closed = b""
            return self._handle

    def close(self) -> None:
        """Let go what the engine has on the GPU, while nothing runs on it; keep its plan.

        What asks for ``handle`` opens it again, on the current GPU.

        Raises:
            BuildError: A refit failed half-way.
        """
        if self._handle is not None:
            whole, _ = self.whole_plan, self.plan  # a stripped engine has two
            with self._opening:
                self._closed = whole
                self._handle = self.runtime = None

    @property
    def kept(self) -> list[Any]:
        """TensorRT's objects, none of them opened for it."""
        return [self._handle, self.runtime]

    @property
    def plan(self) -> bytes:
        """The plan with the weights of now; a stripped one, which has none."""
        with self._changing:
            if self._plan is None or self._broken:
                self._plan = self.library.serialize(self.handle, stripped=self._stripped)
            elif not isinstance(self._plan, bytes):
                self._plan = bytes(self._plan)
            plan: bytes = self._plan
            return plan

    @property
    def whole_plan(self) -> bytes:
        """The plan with the weights of now, also where ``plan`` has none."""
        return self.library.serialize(self.handle) if self._stripped else self.plan

    @property
    def _stripped(self) -> bool:
        return self.refittable is not None and self.refittable.stripped

    def strip(self) -> None:
        """Let ``plan`` be one without the weights that this engine was read with."""
        self._plan = None

    def refit(self, weights: Mapping[str, Stored], needed: Iterable[str]) -> None:
        """Replace weights by name, while nothing runs on the engine.

        Args:
            needed: The names that TensorRT has to know.

        Raises:
            BuildError: TensorRT refused them. Where it began to replace them, the engine is lost.
        """
        contents = {name: stored.content for name, stored in weights.items()}
        refitter = self.library.refitter(self.handle, contents, needed)
        with self._changing:  # nobody serializes a mix of old and new
            if not refitter.refit_cuda_engine():
                self._broken = (
                    "the engine is unusable: TensorRT could not refit it, and it may have old and "
                    f"new weights: {self.library.log.take()}"
                )
                raise BuildError(self._broken, hint="compile the module again", search=False)
            if not self._stripped:
                self._plan = None

    @staticmethod
    def deserialize(plan: bytes, library: TensorRT | None = None) -> Engine:
        """Return the engine of a plan made by ``serialize`` on this GPU and TensorRT.

        Raises:
            BuildError: The plan is damaged, or from another TensorRT or GPU.
        """
        if not isinstance(plan, bytes) or not plan:
            raise BuildError(
                f"deserialize: expected the bytes of a plan, got {type(plan).__name__}"
            )
        return Engine(plan, library)

    def copy(self) -> Engine:
        """Return the same engine once more, with its weights of now, on the current GPU."""
        other = Engine(self.whole_plan, self.library, host_code=self._host_code)
        other._plan = self._plan
        other.timing_cache, other.timing_digest = self.timing_cache, self.timing_digest
        other.refittable, other.verified = self.refittable, self.verified
        return other

    def serialize(self) -> bytes:
        """Return the plan, as TensorRT's own tools (trtexec, Triton) read it."""
        return self.plan

    def __repr__(self) -> str:
        names = ", ".join(name for name, _, _ in self.tensors)
        return f"Engine({self.library.target.name}: {names})"
