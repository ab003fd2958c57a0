"""What is known of an engine's results: how far off they were, or why nobody looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

OFF = "verify=False"


@dataclass(frozen=True)
class Measured:
    """How far one output was from its reference at worst, by one norm.

    Attributes:
        error: Of the engine.
        rounding: Of the graph in the engine's own types.
        bar: What the engine is allowed.
    """

    output: int
    norm: str
    error: float
    rounding: float
    bar: float

    @property
    def times(self) -> float:
        """How many times the bar the error is."""
        return self.error / self.bar if self.bar else float("inf") if self.error else 0.0

    def __str__(self) -> str:
        return (
            f"output {self.output}: {self.norm} {self.error:.2g}, allowed {self.bar:.2g} "
            f"(rounding alone {self.rounding:.2g})"
        )


@dataclass(frozen=True)
class Verified:
    """Whether an engine ran beside its graph, and what was found; false where it is not verified.

    Attributes:
        why: Why it is not verified; empty where it is.
        measured: The worst of each output and norm.
        sizes: The sizes that were run.
        notes: What the numbers do not speak for.
        seconds: How long it took.

    >>> print(Verified(why="no GPU here"))
    not verified: no GPU here
    """

    why: str = ""
    measured: tuple[Measured, ...] = ()
    sizes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return not self.why

    def __str__(self) -> str:
        lines = [f"not verified: {self.why}" if self.why else "verified"]
        if self.sizes:
            lines[0] += f", in {self.seconds:.2g} s, at {'; '.join(self.sizes)}"
        return "\n  ".join([*lines, *map(str, self.measured), *self.notes])

    def described(self) -> dict[str, Any]:
        """Return it as plain data, which a manifest holds."""
        facts = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items()}

    @staticmethod
    def of(described: Mapping[str, Any]) -> Verified:
        """Return what ``described`` gave."""
        measured = tuple(Measured(**facts) for facts in described["measured"])
        sizes, notes = (tuple(described[name]) for name in ("sizes", "notes"))
        return Verified(described["why"], measured, sizes, notes, described["seconds"])
