"""The call that costs nothing: its source is written for a number of inputs and of outputs.

A loop over one tensor costs as much as all that is done with it, so the loops are unrolled. One
function is written for a model; what shapes decide is an entry, a tuple that it unpacks.
"""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch.autograd.graph import increment_version

from trtnn.run.guards import guard
from trtnn.run.launching import take_detour
from trtnn.run.prepared import Prepared, make_room
from trtnn.run.runner import ALIGNMENT, Runner
from trtnn.run.streams import refuse_capture

Entry = tuple[Any, ...]
MAX_OUTPUTS = 1024  # pairs of addresses of inputs and outputs that were found apart
RESULTS: dict[type | None, str] = {None: "{}", tuple: "({},)", list: "[{}]"}

TEMPLATE = """
def call(*args, {out}**named):
    {entry} = state.entry
    try:
        {inputs}, = args
        {fits}
        if not fits:
            entry = find(args, named, {outs})
            if entry is None:
                return general(args, named, {given})
            {entry} = entry
    except (AttributeError, TypeError, ValueError):  # no tensor, or not so many
        return general(args, named, {given})
    {input_addresses}
    if {elsewhere}({any_address}) & {low_bits} or not ({every_address}):
        return general(args, named, {given})
    {before}
    {memory}
    {wait}
    {run}
    {record}
    return {result}
"""
RUN = """try:
        context = free.pop()
    except IndexError:
        context = take(known, stream)
    try:
        {execute}
    except BaseException:
        drop(context)
        raise
    if not done:
        fail(context)
    free.append(context)
    if pool.waiting:
        pool.wake()"""
# A graph that others pushed out, or that a refit gave up, is captured anew.
FIND_GRAPH = """graph = graphs.get(known.prepared.graph_key)
    if graph is None:
        return general(args, named, {given})"""
REPLAY = """if not graph.run(({inputs},), ({results},)):
        return general(args, named, {given})"""
FITS = "fits = {here}not (named or {nested}) and check({inputs})"
FITS_INTO = """if out is None:
            fits = {here}not (named or {nested}) and check({inputs})
        else:
            {take}
            plain = {here}{right_kind}not (named or {nested} or {nested_outputs})
            fits = plain and check_into({inputs}, {results})"""
ALLOCATE = "y{i} = allocate(shape{i}, strides{i}, dtype=dtype{i}, device=device)"
INTO = """if out is None:
        {allocate}
        {new_addresses}
    else:
        {addresses}
        if ({pointers}) not in apart:
            return general(args, named, out)
        {written}"""
# Memory that PyTorch gives again call after call need not be told again.
ENQUEUE = """where = ({where},)
        done = True
        if context.where != where:
            done = {located}
            context.where = where
        done = done and {launch}"""
# The legacy default stream's number is 0.
LAUNCH = {
    False: "context.enqueue(stream)",
    True: "(context.enqueue(stream) if stream else detour(context))",
}
WAIT = {
    "sync": """number = current(index)
    if {condition}:
        wait(number)""",
    "async": """if capturing():
        refuse_capture()""",
    "graph": """if current(index) and capturing():  # the default stream is never captured
        refuse_capture()""",
}


@dataclass(frozen=True)
class Kind:
    """What decides the source of a call.

    Attributes:
        order: The addresses in the engine's order, as names: ``a0`` of an input, ``b0`` of an
            output.
        names: The engine's tensors, in the same order.
        result: The class of the result; None for a tensor.
    """

    inputs: int
    outputs: int
    order: tuple[str, ...]
    names: tuple[str, ...]
    result: type | None
    execution: str
    blocks: int
    cuda: bool
    waits: bool
    takes_out: bool
    elsewhere: bool

    @property
    def words(self) -> dict[str, str]:
        """What the templates are filled with first."""
        xs, ys = [f"x{i}" for i in range(self.inputs)], [f"y{i}" for i in range(self.outputs)]
        entry = [*ENTRY, *(f"shape{i}, strides{i}" for i in range(self.outputs))]
        pointers = [*(f"a{i}" for i in range(self.inputs)), *(f"b{i}" for i in range(self.outputs))]
        allocate = [ALLOCATE.format(i=i) for i in range(self.outputs)]
        comma = "" if self.result is None else ","
        out, graph = self.takes_out, self.execution == "graph"
        addresses = "; ".join(f"b{i} = {y}.data_ptr()" for i, y in enumerate(ys))
        outputs = "out" if self.result else f"({', '.join(ys)},)"
        # PyTorch's guard ends the process on a nested tensor.
        return {
            "entry": ", ".join(entry),
            "inputs": ", ".join(xs),
            "results": ", ".join(ys),
            "nested": " or ".join(f"{x}.is_nested" for x in xs),
            "nested_outputs": " or ".join(f"{y}.is_nested" for y in ys),
            "pointers": ", ".join(pointers),
            "input_addresses": "; ".join(f"a{i} = {x}.data_ptr()" for i, x in enumerate(xs)),
            "addresses": addresses,
            # A graph's results are copied, by what PyTorch sees itself.
            "new_addresses": "" if graph else addresses,
            "written": "" if graph else f"written({outputs})",
            "here": "current(index) == stream and "
            if self.cuda and self.execution == "async"
            else "",
            "given": "out" if self.takes_out else "None",
            "right_kind": ""
            if self.result is None
            else f"type(out) is {self.result.__name__} and ",
            "take": f"{', '.join(ys)}{comma} = out",
            "allocate": f"\n{' ' * (8 if self.takes_out else 4)}".join(allocate),
            "record": "\n    ".join(
                [
                    *(f"{x}.record_stream(known.stream)" for x in xs),
                    *(f"if out is not None: {y}.record_stream(known.stream)" for y in ys if out),
                ]
            ),
        }

    @property
    def execute(self) -> str:
        """The statements that run a context."""
        if self.execution == "sync":
            return f"done = context.execute([{', '.join(self.order * self.blocks)}])"
        located = [
            f"context.locate({name!r}, {address})"
            for name, address in zip(self.names, self.order, strict=True)
        ]
        return ENQUEUE.format(
            where=", ".join(self.order),
            located=" and ".join(located),
            launch=LAUNCH[self.cuda],
        )

    def source(self) -> str:
        """Return the source of the function that makes a call."""
        words, out = self.words, self.takes_out
        if not self.cuda or self.execution != "async":
            words["record"] = ""
        wait = WAIT[self.execution].format(**words, condition="number" if self.waits else "True")
        if self.execution == "graph":
            before, run = FIND_GRAPH.format(**words), REPLAY.format(**words)
        else:
            before, run = "", RUN.format(execute=self.execute)
        result = RESULTS[self.result].format(words["results"])
        body = TEMPLATE.format(
            **words,
            out="out=None, " if out else "",
            outs=f"None if out is None else ({words['results']},)" if out else "None",
            fits=(FITS_INTO if out else FITS).format(**words),
            every_address=" and ".join(f"a{i}" for i in range(self.inputs)),
            any_address=" | ".join(f"a{i}" for i in range(self.inputs)),
            low_bits=ALIGNMENT if self.cuda else 0,
            elsewhere="device_now() != index or " if self.elsewhere else "",
            memory=(INTO if out else "{allocate}\n    {new_addresses}").format(**words),
            wait=wait if self.cuda else "",
            before=before,
            run=run,
            result=f"{result} if out is None else out" if out and self.result else result,
        )
        parameters = [*FIXED, *(f"dtype{i}" for i in range(self.outputs))]
        lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
        return f"def make({', '.join(parameters)}):\n{lines}\n    return call\n"


@lru_cache
def _code(kind: Kind) -> Any:
    """Compile the function that makes a model's call."""
    source = kind.source()
    # Beside this file, so that no line of it is taken for the user's.
    key = f"{kind.execution}-{kind.inputs}-{kind.outputs}-{abs(hash(source))}"
    file = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"<hot {key}>")
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    return compile(source, file, "exec")


FIXED = (
    "state find general take drop fail detour graphs pool current index wait capturing "
    "refuse_capture device_now allocate written device"
).split()
ENTRY = "check check_into apart free stream known".split()


class Known(NamedTuple):
    """What an entry has beside: the shapes' decisions, and the stream as an object."""

    prepared: Prepared
    stream: torch.cuda.Stream | None


def remember_apart(entry: Entry, addresses: tuple[int, ...]) -> None:
    """Remember that inputs and outputs at these addresses do not overlap."""
    apart = entry[ENTRY.index("apart")]
    make_room(apart, MAX_OUTPUTS)
    apart[addresses] = None


def fits(entry: Entry, tensors: Sequence[Any], outputs: Sequence[Any] | None) -> bool:
    """Say whether an entry is one for these inputs, and these outputs of the caller."""
    if outputs is None:
        return bool(entry[0](*tensors))
    return bool(entry[1](*tensors, *outputs))


class State:
    """The entry of the last call; ``NEVER`` before the first."""

    __slots__ = ("entry",)

    def __init__(self, outputs: int) -> None:
        self.entry: Entry = (_never, _never, {}, [], 0, None, *([None] * (2 * outputs)))


def _never(*args: Any) -> bool:
    return False


def can_be_hot(runner: Runner, result: type | None) -> bool:
    """Say whether calls of a runner can take the hot path at all."""
    same = [v.spec.dtype is runner.outputs[i][1] for i, v in enumerate(runner.graph.outputs)]
    return (
        type(runner) is Runner
        and result in RESULTS
        and bool(runner.inputs)
        and not runner.graph.hosts
        and all(same)
    )


def _kind_of(runner: Runner, result: type | None, *, takes_out: bool) -> Kind:
    tensors = runner.engine.tensors
    order = [""] * len(tensors)
    for letter, places in (("a", runner.inputs), ("b", runner.outputs)):
        for i, (place, _) in enumerate(places):
            order[place] = f"{letter}{i}"
    return Kind(
        inputs=len(runner.inputs),
        outputs=len(runner.outputs),
        order=tuple(order),
        names=tuple(name for name, _, _ in tensors),
        result=result,
        execution=runner.execution,
        blocks=runner.blocks,
        cuda=runner.on_cuda,
        waits=runner.streams.waits,
        takes_out=takes_out,
        elsewhere=runner.elsewhere,
    )


def make_hot(
    runner: Runner,
    result: type | None,
    *,
    state: State,
    find: Callable[..., Entry | None],
    general: Callable[..., Any],
    takes_out: bool,
) -> Any:
    """Return a model's call.

    Args:
        result: The class of the result: tuple or list of all outputs, or None for one tensor.
        state: Holds the entry of the last call.
        find: Returns the entry of a call that is not like the last one, if there is one.
        general: Runs what is not hot.
    """
    streams, names = runner.streams, dict[str, Any]()
    exec(_code(_kind_of(runner, result, takes_out=takes_out)), names)
    given = {
        "state": state,
        "find": find,
        "general": general,
        "take": lambda known, stream: runner.take(known.prepared, stream),
        "drop": runner.pool.drop,
        "fail": runner.fail,
        "detour": partial(take_detour, streams),
        "graphs": runner.graphs,
        "pool": runner.pool,
        "current": streams.current,
        "index": streams.index,
        "wait": streams.wait,
        "capturing": getattr(torch._C, "_cuda_isCurrentStreamCapturing", None),
        "refuse_capture": refuse_capture,
        "device_now": getattr(torch._C, "_cuda_getDevice", None),
        "allocate": torch.empty_strided,
        # The public name looks at the class of its argument in 0.15 us.
        "written": getattr(torch._C, "_increment_version", increment_version),
        "device": runner.device,
        **{f"dtype{i}": dtype for i, (_, dtype) in enumerate(runner.outputs)},
    }
    return names["make"](**given)


def entry_for(
    runner: Runner, prepared: Prepared, tensors: Sequence[torch.Tensor], outputs: Any
) -> Entry | None:
    """Return the entry for calls like one that just ended; None where they cannot be hot.

    Args:
        outputs: The call's output tensors.
    """
    if not all(t.numel() for t in (*tensors, *outputs)):
        return None  # no memory, no address
    if not all(runner.is_ready(i, tensor) for i, tensor in enumerate(tensors)):
        return None
    stream = runner.streams.number() if runner.execution == "async" else None
    named = runner.streams.object(stream) if stream is not None and runner.on_cuda else None
    known = Known(prepared, named)
    layouts = [part for layout in prepared.outputs for part in layout]
    both = guard([*tensors, *outputs])
    return (guard(tensors), both, {}, prepared.home(stream), stream, known, *layouts)
