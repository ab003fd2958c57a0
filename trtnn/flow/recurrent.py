"""Recurrent networks: the part of a step that knows its input at once, the rest step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import dropout, linear

from trtnn.flow.loops import scan
from trtnn.flow.packing import packed_of, repacked
from trtnn.ops.op import TensorT, shape_of, torch_function

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh"]

UNROLLED = 8
"""Up to as many steps of a static length are written one after the other, and no loop."""

States = tuple[TensorT, ...]
Step = Callable[[TensorT, States, Sequence[Any]], States]


def _lstm_step(gates: TensorT, states: States, weights: Sequence[Any]) -> States:
    """Return the next hidden and cell state; ``gates`` is the part of the input, and all biases."""
    hidden, cell = states
    i, f, g, o = (gates + linear(hidden, weights[1])).chunk(4, -1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    hidden = torch.sigmoid(o) * torch.tanh(cell)
    return (linear(hidden, weights[4]) if weights[4] is not None else hidden), cell


def _gru_step(gates: TensorT, states: States, weights: Sequence[Any]) -> States:
    (hidden,) = states
    given = gates.chunk(3, -1)
    kept = linear(hidden, weights[1], weights[3]).chunk(3, -1)
    reset, update = (torch.sigmoid(a + b) for a, b in zip(given[:2], kept[:2], strict=True))
    new = torch.tanh(given[2] + reset * kept[2])
    return (new + update * (hidden - new),)


def _rnn_step(function: Callable[[TensorT], TensorT]) -> Step:
    def step(gates: TensorT, states: States, weights: Sequence[Any]) -> States:
        return (function(gates + linear(states[0], weights[1])),)

    return step


def _of_input(x: TensorT, weights: Sequence[Any], step: Step) -> TensorT:
    """Return what the gates have of the input, and the biases as far as these only add up."""
    bias, other = weights[2], weights[3]
    if bias is not None and step is not _gru_step:
        bias = bias + other
    return linear(x, weights[0], bias)


def _layer(
    x: TensorT,
    states: States,
    weights: Sequence[Any],
    step: Step,
    dim: int,
    valid: TensorT | None,
    *,
    reverse: bool,
) -> tuple[TensorT, States]:
    """Return the hidden states of all steps, stacked along ``dim``, and the last states.

    Args:
        valid: Which steps a sequence has, (steps, batch, 1); the others leave its states alone.
    """
    rows = [_of_input(x, weights, step)] + ([] if valid is None else [valid])
    length = shape_of(x)[dim]

    def once(carry: Any, row: Sequence[TensorT]) -> Any:
        after = step(row[0], carry, weights)
        if valid is not None:
            pairs = zip(after, carry, strict=True)
            after = tuple(torch.where(row[1], new, old) for new, old in pairs)
        return after, after[0]

    if not isinstance(length, int) or length > UNROLLED:
        last, stacked = scan(once, states, rows, dim=dim, reverse=reverse)
        return stacked, last
    found = []
    for index in reversed(range(length)) if reverse else range(length):
        states, output = once(states, [x.select(dim, index) for x in rows])
        found.append(output)
    return torch.stack(found[::-1] if reverse else found, dim), states


def _network(
    step: Step,
    x: TensorT,
    states: States,
    parameters: Sequence[Any],
    told: Any,
    valid: TensorT | None = None,
) -> tuple[TensorT, States]:
    """Run the layers of a recurrent network, both ways where it is bidirectional."""
    biased, layers, rate, training, both, batch_first = told
    dim, ways = (1 if batch_first else 0), (2 if both else 1)
    each = len(parameters) // (layers * ways)
    last: list[States] = []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            place = layer * ways + way
            weights = _weights(parameters[place * each : (place + 1) * each], biased=biased)
            first = tuple(state.select(0, place) for state in states)
            output, ends = _layer(x, first, weights, step, dim, valid, reverse=bool(way))
            outputs.append(output)
            last.append(ends)
        x = torch.cat(outputs, -1) if both else outputs[0]
        if rate and layer < layers - 1:
            x = dropout(x, rate, training)
    return x, tuple(torch.stack(ends) for ends in zip(*last, strict=True))


def _weights(given: Sequence[Any], *, biased: bool) -> list[Any]:
    """Return weights of input and state, their biases, and the projection: None where absent."""
    rest = list(given[4:] if biased else given[2:])
    return [*given[:2], *(given[2:4] if biased else (None, None)), *(rest or [None])]


def _states(hx: Any) -> States:
    return (hx,) if isinstance(hx, torch.Tensor) else tuple(hx)


def _called(name: str, step: Step) -> Callable[..., Any]:
    """Return the function that stands for ``torch.lstm`` or its kin, as ``torch.nn`` calls it."""

    def network(
        input: TensorT,
        hx: Any,
        params: Any,
        has_biases: Any,
        num_layers: Any,
        dropout: Any,
        train: Any,
        bidirectional: Any,
        batch_first: Any = None,
    ) -> Any:
        told = (has_biases, num_layers, dropout, train, bidirectional, batch_first)
        if isinstance(has_biases, bool):
            output, states = _network(step, input, _states(hx), params, told)
            return (output, *states)
        # (data, batch_sizes, hx, params, has_biases, ...): a packed sequence
        packed = packed_of(name, input)
        told, valid = (*told[1:], False), packed.valid[:, :, None]
        output, states = _network(step, packed.padded, _states(params), has_biases, told, valid)
        return (repacked(packed, output), *states)

    network.__name__ = network.__qualname__ = name
    network.__doc__ = f"Run ``torch.{name}``, as the modules of ``torch.nn`` call it."
    return network


def _cell(name: str, step: Step) -> Callable[..., Any]:
    def cell(
        input: TensorT, hx: Any, w_ih: TensorT, w_hh: TensorT, b_ih: Any = None, b_hh: Any = None
    ) -> Any:
        weights = [w_ih, w_hh, b_ih, b_hh, None]
        states = tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        after = step(_of_input(input, weights, step), states, weights)
        return after if step is _lstm_step else after[0]

    cell.__name__ = cell.__qualname__ = name
    cell.__doc__ = f"Compute ``torch.{name}``: one step."
    return cell


_tanh, _relu = _rnn_step(torch.tanh), _rnn_step(torch.relu)
lstm = torch_function(torch.lstm)(_called("lstm", _lstm_step))
gru = torch_function(torch.gru)(_called("gru", _gru_step))
rnn_tanh = torch_function(torch.rnn_tanh)(_called("rnn_tanh", _tanh))
rnn_relu = torch_function(torch.rnn_relu)(_called("rnn_relu", _relu))
lstm_cell = torch_function(torch.lstm_cell)(_cell("lstm_cell", _lstm_step))
gru_cell = torch_function(torch.gru_cell)(_cell("gru_cell", _gru_step))
rnn_tanh_cell = torch_function(torch.rnn_tanh_cell)(_cell("rnn_tanh_cell", _tanh))
rnn_relu_cell = torch_function(torch.rnn_relu_cell)(_cell("rnn_relu_cell", _relu))
