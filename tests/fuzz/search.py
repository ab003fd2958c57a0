"""Look for programs that do what none may, shrink what is found, and count what was refused."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.judging import Verdict, judge
from tests.fuzz.programs import Program
from tests.fuzz.strategy import programs

# Programs of a round: one seed of Hypothesis.
ROUND = 200


class Found(Exception):
    """A find, for Hypothesis to shrink."""


@dataclass
class Search:
    """What a search has seen: how programs ended, why they were refused, and each find once."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    finds: list[tuple[int, Program, Verdict]] = field(default_factory=list)
    until: float = float("inf")

    def round(self, number: int, count: int = ROUND) -> None:
        """Try ``count`` programs of a seed; add what is found, shrunk."""
        last: list[tuple[Program, Verdict]] = []

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(programs())
        def attempt(program: Program) -> None:
            if time.monotonic() > self.until and not last:
                return
            verdict = judge(program)
            if not last:
                self.outcomes[verdict.outcome] += 1
                if verdict.outcome == "refused":
                    self.reasons[verdict.kind] += 1
            if verdict.outcome != "find" or self.is_known(program, verdict):
                return
            if last and last[0][1].kind != verdict.kind:
                return  # another find, which another round will meet
            last[1:] = [(program, verdict)]
            last[:1] = last[:1] or [(program, verdict)]
            raise Found

        try:
            attempt()
        except Found:  # which Hypothesis describes; the program says it better
            self.finds.append((number, *trimmed(*last[-1])))

    def is_known(self, program: Program, verdict: Verdict) -> bool:
        """Say whether a program breaks the same rule as a find, with all that this one took."""
        forms = {statement.form for statement in program.statements}
        return any(
            verdict.kind == known.kind and forms.issuperset(s.form for s in shrunk.statements)
            for _, shrunk, known in self.finds
        )

    def report(self) -> str:
        """Write the finds as Python that can be pasted, and the shares of all programs."""
        total = sum(self.outcomes.values())
        lines = [f"{total} programs: {len(self.finds)} finds"]
        lines += [f"  {n / total:6.1%} {outcome}" for outcome, n in self.outcomes.most_common()]
        lines += ["refused, most often:"]
        lines += [f"  {n:5} {reason}" for reason, n in self.reasons.most_common(12)]
        return "\n".join(lines)


def explained(number: int, program: Program, verdict: Verdict) -> str:
    """Return a find as Python: what is wrong as a comment, and the program."""
    sizes = dict(verdict.sizes or {})
    told = "\n".join(f"# {line}" for line in verdict.text.splitlines() if line)
    return f"# seed {number}: {verdict.kind}, at {sizes}\n{told}\n{program.script(sizes)}"


def trimmed(program: Program, verdict: Verdict) -> tuple[Program, Verdict]:
    """Leave out every result, statement and operand without which the find is still one."""
    changed = True
    while changed:
        changed = False
        for shorter in shortened(program):
            again = judge(shorter)
            if (again.outcome, again.kind) == ("find", verdict.kind):
                program, verdict, changed = shorter, again, True
                break
    return program, verdict


def shortened(program: Program) -> list[Program]:
    """Return the programs with one thing less."""
    found = []
    for name in ("results", "statements", "operands"):
        parts = getattr(program, name)
        least = 1 if name == "results" else 0
        for i in reversed(range(len(parts) if len(parts) > least else 0)):
            found.append(replace(program, **{name: parts[:i] + parts[i + 1 :]}))
    used = {size for operand in program.operands for size in operand.shape}
    dims = tuple(dim for dim in program.dims if dim.name in used)
    return [*found, replace(program, dims=dims)] if dims != program.dims else found


def main(minutes: float, first: int) -> int:
    """Search for some minutes, one seed after another; print each find as it comes."""
    print(f"seeds from {first} on: SEED={first} repeats this run", flush=True)
    search = Search(until=time.monotonic() + 60 * minutes)
    number = first
    while time.monotonic() < search.until:
        known = len(search.finds)
        search.round(number)
        for find in search.finds[known:]:
            print(explained(*find), flush=True)
        number += 1
    print(search.report())
    return 1 if search.finds else 0


if __name__ == "__main__":
    minutes, *seeds = map(float, sys.argv[1:])
    sys.exit(main(minutes, int(seeds[0]) if seeds else time.time_ns() % 10**6))
