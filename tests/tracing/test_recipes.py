"""Recipes: what a graph's constants are with other parameters, without tracing again."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from tests.tracing.traced import X
from tests.zoo import MODELS
from trtnn import InputError, TraceError, trace
from trtnn.graph.graph import Graph
from trtnn.graph.passes import fold_norms
from trtnn.sizes.dims import Dim
from trtnn.tracing.signature import Input

F = nn.functional
BATCH = Dim("batch", 1, 2, 4)


def shaken(module: nn.Module) -> nn.Module:
    """Return a copy with other random parameters, buffers included."""
    other = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(3)
    for tensor in (*other.parameters(), *other.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return other


def assert_follows(graph: Graph, module: nn.Module, fresh: Graph, other: nn.Module) -> None:
    """Assert that ``graph`` recomputed for ``other`` has the constants of a fresh trace of it."""
    assert graph.text() == fresh.text()
    found = list(graph.recompute(other.state_dict()).values())
    wanted = [constant.tensor for constant in fresh.constants.values()]
    assert len(found) == len(wanted) > 0
    assert all(map(torch.equal, found, wanted))
    back = graph.recompute(module.state_dict())
    assert all(torch.equal(back[v], c.tensor) for v, c in graph.constants.items())


@pytest.mark.parametrize(
    "name", ["resnet18", "swin_t", "vit_b_16", "convnext_tiny", "bert_encoder"]
)
def test_models_follow_their_parameters_before_and_after_norms_are_folded(name: str) -> None:
    model = MODELS["small"][name]
    module = model.build().eval()
    inputs = [Input((BATCH, *t.shape[1:]), t.dtype) for t in model.inputs(2, 1)]
    other = shaken(module)
    graph, fresh = trace(module, inputs), trace(other, inputs)
    assert_follows(graph, module, fresh, other)
    assert_follows(fold_norms(graph), module, fold_norms(fresh), other)


class Host(nn.Module):
    """A module whose forward is the row's function of itself and ``x``."""

    def __init__(self, function: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.arange(6.0))
        self.tied = self.weight
        self.matrix = nn.Parameter(torch.linspace(0, 1, 36).view(6, 6))
        self.register_buffer("shift", torch.ones(6))
        self.register_buffer("hidden", torch.full((6,), 2.0), persistent=False)
        self.plain = torch.full((6,), 3.0)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def in_place(self: Any, x: torch.Tensor) -> Any:
    t = torch.zeros(6)
    y = x + t
    t[:3] = self.weight[:3]
    y = y * t
    t.add_(self.shift).view(2, 3)[1].mul_(2)
    u = t.clone()
    t.zero_()
    return y + u + t


def views(self: Any, x: torch.Tensor) -> Any:
    rows = self.matrix.t().unbind(0)
    return x @ self.matrix + rows[1] + self.matrix[2] + self.matrix.diagonal()


def traced_row(self: Any, x: torch.Tensor) -> Any:
    t = self.matrix * 2
    y = x @ t
    t[1] = x[0]
    return y + (x @ t) * self.plain * self.hidden


def array_written_later(self: Any, x: torch.Tensor) -> Any:
    array = numpy.ones(6, dtype=numpy.float32)
    t = torch.tensor(array).mul_(self.weight)
    array[:] = 5
    return x * t


RECIPES: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "chain": lambda self, x: x * (self.weight * 2 + self.shift).exp(),
    "shared": lambda self, x: x * self.weight + self.tied,
    "in place": in_place,
    "an array written later": array_written_later,
    "views": views,
    "a traced value in a computed one": traced_row,
    "out": lambda self, x: x + torch.add(self.weight, self.shift, out=torch.zeros(6)),
    "linear": lambda self, x: F.linear(x, self.matrix.double().float(), self.weight),
    "no longer itself": lambda self, x: (
        x + self.weight.data + self.weight.detach().view(2, 3)[0, 0]
    ),
    "iterated": lambda self, x: x + sum(row * row for row in self.matrix),
    "cut by a size": lambda self, x: x + (self.matrix * 2)[: x.shape[0]].sum(0),
    "an expand to the same shape": lambda self, x: x + self.weight.expand_as(x[0]),
    "a view of the same shape": lambda self, x: x + self.weight.view_as(x[0]),
    "a reshape to the same shape": lambda self, x: x + self.weight.reshape_as(x[0]),
    "broadcast": lambda self, x: x + torch.broadcast_tensors(self.weight, x[0])[0],
    "joined with nothing": lambda self, x: x + torch.cat([self.weight, x[0, :0]]),
    "like another": lambda self, x: x + self.weight.type_as(x) + self.weight.to(x),
    "same decision": lambda self, x: x * self.weight if self.shift.max() > 0.05 else x,
}


@pytest.mark.parametrize("name", RECIPES)
def test_what_forward_computes_follows_the_parameters(name: str) -> None:
    module = Host(RECIPES[name])
    other = shaken(module)
    other.hidden = module.hidden  # no key of state_dict has it: it stays what it was
    assert_follows(trace(module, [X]), module, trace(other, [X]), other)


def test_state_that_does_not_fit_is_named() -> None:
    module = Host(lambda self, x: x * (self.weight * 2) + self.shift)
    graph, state = trace(module, [X]), module.state_dict()
    assert set(state) == {"weight", "tied", "matrix", "shift"}

    def complaint(**changes: Any) -> str:
        given = {k: v for k, v in {**state, **changes}.items() if v is not None}
        with pytest.raises(InputError) as caught:
            graph.recompute(given)
        return caught.value.message

    assert complaint(shift=None) == "state: missing 'shift'"
    assert complaint(extra=torch.ones(1)) == "state: unexpected 'extra'"
    assert complaint(weight=None, tied=None) == "state: missing 'weight'"
    assert complaint(tied=torch.ones(6)) == "state: 'weight' and 'tied' are one tensor, but differ"
    text = "state: 'shift' is (5,) torch.float32, expected (6,) torch.float32"
    assert complaint(shift=torch.ones(5)) == text
    assert "torch.float16" in complaint(shift=torch.ones(6).half())
    graph.recompute({k: v for k, v in state.items() if k not in ("tied", "matrix")})


DECISIONS: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "item": lambda self, x: x * 2 if self.weight[1].item() > 3 else x,
    "bool": lambda self, x: x * 2 if self.weight.max() > 3 else x,
    "tolist": lambda self, x: x * self.weight.tolist()[2],
    "numpy": lambda self, x: x * float(self.weight.detach().numpy()[2]),
    "int": lambda self, x: x[:, : int(self.weight[2])],
    "shape": lambda self, x: x + (self.weight > 1).nonzero().sum(),
    "an index that is checked": lambda self, x: x[:, self.weight.long()],
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_that_would_be_another_is_an_error_at_its_line(name: str) -> None:
    module = Host(DECISIONS[name])
    graph = trace(module, [X])
    graph.recompute(module.state_dict())
    other = {**module.state_dict(), "weight": torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, -1.0])}
    other["tied"] = other["weight"]
    with pytest.raises(TraceError) as caught:
        graph.recompute(other)
    assert "would not compute the same graph" in str(caught.value)
    assert "test_recipes.py" in str(caught.value)
    assert "self.weight" in str(caught.value)


def test_recompute_writes_nothing_and_ignores_strides() -> None:
    module = Host(lambda self, x: in_place(self, x) + self.matrix.view(36)[:6])
    graph = trace(module, [X])
    constants = [c.tensor.clone() for c in graph.constants.values()]
    state = {k: v.t().contiguous().t() for k, v in shaken(module).state_dict().items()}
    before = {k: v.clone() for k, v in state.items()}
    first, second = (list(graph.recompute(state).values()) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert all(torch.equal(state[k], v) for k, v in before.items())
    assert all(map(torch.equal, constants, (c.tensor for c in graph.constants.values())))


def test_the_program_is_no_part_of_text_and_hash_and_keeps_only_what_is_needed() -> None:
    def with_more(self: Any, x: torch.Tensor) -> Any:
        (self.matrix @ self.matrix).sum()  # nothing needs it
        return x * (self.weight * 2)

    plain = trace(Host(lambda self, x: x * (self.weight * 2)), [X])
    more = trace(Host(with_more), [X])
    assert plain.text() == more.text() and plain.hash() == more.hash()
    assert len(plain.program.steps) == len(more.program.steps) == 1
    assert [leaf.names for leaf in more.program.leaves.values()] == [("weight", "tied")]
    assert all(leaf.value is None for leaf in more.program.leaves.values())


def test_a_trace_keeps_no_tensor_that_nothing_needs() -> None:
    gone = []

    def forward(self: Any, x: torch.Tensor) -> Any:
        doubled = self.matrix * 2
        gone.append(weakref.ref(doubled._trtnn_known))
        total = doubled.sum()
        del doubled
        assert gone[0]() is None
        return x * total

    kept = []
    trace(Host(lambda self, x: (kept.append(x), forward(self, x))[1]), [X])
    recorder = kept[0]._trtnn_recorder
    assert recorder.interned == {} and recorder.known.leaves == {}


def test_constants_without_parameters_have_no_recipe() -> None:
    graph = trace(Host(lambda self, x: x * torch.ones(6).cumsum(0) + self.plain), [X])
    assert [c.slot for c in graph.constants.values()] == [None, None]
    assert graph.program.steps == () and graph.program.leaves == {}
