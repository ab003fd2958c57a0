"""What a build of the double tells while it lasts: to a progress monitor, or to the log alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.double.facts import Violation

# Phases of 10 and 11, each in the one before it, with their steps.
PHASES = (("Building Engine", 3), ("Computing profile costs", 4), ("Timing graph nodes", 2))


def meanwhile(target: Any, callback: Callable[[str], Any] | None) -> None:
    """Let a callback run during every build of a module: before each step, or log line on 8.6."""
    target._surface.meanwhile = callback


def lines(network: Any) -> Iterator[tuple[str, str]]:
    """Yield what 8.6 logs in the course of a build, with its severities."""
    count = len(network._layers)
    yield "VERBOSE", f"Original: {count} layers"
    yield "VERBOSE", "Graph construction completed in 0.001 seconds."
    yield "INFO", "Graph optimization time: 0.002 seconds."
    for layer in network._layers:
        yield "VERBOSE", f"=============== Computing costs for {layer._name}"
        yield "VERBOSE", f"--------------- Timing Runner: {layer._name} (Cask[0x80000009])"
    yield "VERBOSE", "Formats and tactics selection completed in 1.5 seconds."
    yield "INFO", "Total Activation Memory: 0"
    yield "VERBOSE", "Engine generation completed in 1.6 seconds."


def tell(builder: Any, network: Any, config: Any) -> bool:
    """Tell of a build; False where the monitor stops it."""
    surface = builder._surface
    callback = surface.meanwhile or (lambda name: None)
    if surface.major == 8:
        for severity, line in lines(network):
            callback(line)
            try:
                builder._log(severity, line)
            except BaseException as error:
                raise Violation(f"{error!r} would cross TensorRT out of ILogger.log") from error
        return True
    monitor = config.progress_monitor
    if monitor is None:
        for name, _ in PHASES:
            callback(name)
        return True
    return nested(monitor, callback, 0)


def nested(monitor: Any, callback: Callable[[str], Any], depth: int) -> bool:
    """Run one phase and, in its first step, the one below it; False as soon as a step says so."""
    if depth == len(PHASES):
        return True
    name, steps = PHASES[depth]
    ask(monitor, "phase_start", name, PHASES[depth - 1][0] if depth else None, steps)
    going = True
    for step in range(steps):
        callback(name)
        going = (step > 0 or nested(monitor, callback, depth + 1)) and ask(
            monitor, "step_complete", name, step
        )
        if not going:
            break
    ask(monitor, "phase_finish", name)
    return going


def ask(monitor: Any, event: str, *facts: Any) -> Any:
    """Call a monitor as C++ does: nothing may be raised, and an answer has its type."""
    try:
        answer = getattr(monitor, event)(*facts)
    except BaseException as error:
        raise Violation(f"{error!r} would cross TensorRT out of {event}") from error
    if not isinstance(answer, bool if event == "step_complete" else type(None)):
        raise Violation(f"{event} returned {answer!r}")
    return answer
