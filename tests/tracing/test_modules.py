"""Modules: paths, calls, keys, attributes and flags as they were, training, device."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

import trtnn
from tests.tracing.traced import S, X, check, refused
from trtnn import Dim, Input, TraceError, UnsupportedError, trace

Forward = Callable[[Any, torch.Tensor], Any]


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> Any:
        return self.act(x)


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.items = nn.ModuleList([Inner(), Inner()])
        self.tail = nn.Sequential(nn.Linear(6, 6), Inner())
        self.again = self.items[0]
        self.named = nn.ModuleDict({"key": Inner()})

    def forward(self, x: torch.Tensor) -> Any:
        for item in self.items:
            x = item(x)
        return self.named["key"](self.again(self.tail(x))) + 1


def test_nodes_carry_path_class_and_call() -> None:
    graph = check(Outer())
    found = [(n.origin.path, n.origin.module_class, n.origin.call) for n in graph.nodes]
    assert list(dict.fromkeys(found)) == [
        ("items.0.act", "ReLU", 0),
        ("items.1.act", "ReLU", 0),
        ("tail.0", "Linear", 0),
        ("tail.1.act", "ReLU", 0),
        ("items.0.act", "ReLU", 1),
        ("named.key.act", "ReLU", 0),
        ("", "Outer", 0),
    ]
    assert {n.origin.source.file for n in graph.nodes if n.origin.source} == {__file__}


def test_hooks_run_inside_the_trace() -> None:
    module = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    module[0].register_forward_hook(lambda module, args, output: output * 2)
    module[1].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    check(module)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.two.weight = self.one.weight
        self.register_buffer("hidden", torch.ones(6), persistent=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.two(self.one(x)) * self.hidden.data


def test_parameters_have_their_key_and_shared_ones_come_once() -> None:
    for function in (Tied(), Tied().forward):
        graph = trace(function, [X])
        keys = [c.key for c in graph.constants.values()]
        assert keys == ["one.weight", "one.bias", "two.bias", "hidden"]
        assert "one.weight" in str(graph)


class Host(nn.Module):
    """A module with state of every kind, whose forward is the row's."""

    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(6, 6)
        self.register_buffer("count", torch.zeros(6))
        self.number, self.cache = 0, None
        self.table: dict[str, Any] = {}
        self.deep = {"a": {"b": [1]}}
        self.helper = SimpleNamespace(cache=None, calls=[])
        self.hidden = [nn.Linear(6, 6)]
        self.queue: deque[int] = deque()

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)

    def state(self) -> str:
        parts = (self, self.linear, self.hidden[0], self.helper)
        return repr([(dict(vars(part)), id(vars(part))) for part in parts])


def put(name: str, value: Callable[[torch.Tensor], Any]) -> Forward:
    def forward(self: Any, x: torch.Tensor) -> Any:
        path, _, last = name.rpartition(".")
        setattr(self.get_submodule(path) if path else self, last, value(x))
        return x * 1

    return forward


def append(reach: Callable[[Any], Any]) -> Forward:
    def forward(self: Any, x: torch.Tensor) -> Any:
        reach(self).append((x,))
        return x * 1

    return forward


def set_helper(self: Any, x: torch.Tensor) -> Any:
    self.helper.cache = x
    return x * 1


def set_hidden(self: Any, x: torch.Tensor) -> Any:
    self.hidden[0].cache = x
    return x * 1


def set_table(self: Any, x: torch.Tensor) -> Any:
    self.table["k"] = x
    return x * 1


def parameter(x: torch.Tensor) -> Any:
    return nn.Parameter(torch.zeros(6, 6))


KEPT: dict[str, tuple[Forward, str]] = {
    "attribute": (put("cache", torch.relu), "'cache'"),
    "of a submodule": (put("linear.cache", torch.relu), "'linear.cache'"),
    "buffer": (put("count", lambda x: x[0]), "'count'"),
    "parameter": (put("linear.weight", parameter), "'linear.weight'"),
    "known": (put("cache", lambda x: torch.ones(6)), "'cache'"),
    "dict": (set_table, "\"table['k']\""),
    "deep list": (append(lambda self: self.deep["a"]["b"]), "\"deep['a']['b'][1][0]\""),
    "helper": (set_helper, "'helper.cache'"),
    "helper's list": (append(lambda self: self.helper.calls), "'helper.calls[0][0]'"),
    "module in a list": (set_hidden, "'hidden[0].cache'"),
}


@pytest.mark.parametrize("name", KEPT)
def test_an_attribute_that_keeps_a_traced_tensor_is_named_and_restored(name: str) -> None:
    function, text = KEPT[name]
    module = Host(function)
    before = module.state()
    with pytest.raises(TraceError) as caught:
        trace(module, [X])
    assert f"keeps a traced tensor in the attribute {text}" in str(caught.value)
    assert module.state() == before


def change_everything(self: Any, x: torch.Tensor) -> Any:
    self.number += 1
    self.table["a"] = 1
    self.deep["a"]["b"].append(2)
    self.helper.calls.append(3)
    self.queue.append(4)
    self.eval()
    self.linear.weight.requires_grad_(False)
    self.linear.added = nn.ReLU()
    del self.cache
    return x * 1


def change_everything_and_raise(self: Any, x: torch.Tensor) -> Any:
    change_everything(self, x)
    raise ValueError("mine")


def globals_now() -> list[Any]:
    hooks = torch.nn.modules.module
    flags = {n: v for n, v in vars(torch.compiler).items() if n.endswith("_flag")}
    states = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype())
    modes = torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()
    autocast = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")
    counts = [len(hooks._global_forward_hooks), len(hooks._global_forward_pre_hooks)]
    return [flags, states, modes, autocast, counts, torch.compiler.is_compiling()]


@pytest.mark.parametrize("function", [change_everything, change_everything_and_raise])
def test_every_global_attribute_and_flag_is_as_it_was(function: Forward) -> None:
    module = Host(function)
    before, outside = module.state(), globals_now()
    if function is change_everything:
        with pytest.raises(TraceError, match="forward changes"):
            trace(module, [X])
    else:
        with pytest.raises(ValueError, match="mine"):
            trace(module, [X])
    assert module.state() == before and globals_now() == outside
    assert module.deep == {"a": {"b": [1]}} and list(module.queue) == []
    assert module.linear.weight.requires_grad and module.training and module.cache is None


def test_weight_norm_that_sets_an_attribute_to_what_it_was_is_taken() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        check(nn.utils.weight_norm(nn.Linear(6, 6)))
    check(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)))


def test_libraries_see_that_they_are_compiled() -> None:
    seen = []

    def forward(x: torch.Tensor) -> Any:
        seen.append((torch.compiler.is_compiling(), torch.compiler.is_exporting()))
        seen.append((torch.compiler.is_dynamo_compiling(), torch.jit.is_tracing()))
        return x * 1

    trace(forward, [X])
    assert seen == [(True, True), (False, False)]
    assert not torch.compiler.is_compiling() and not torch.compiler.is_exporting()


class Dropping(trtnn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(p)

    def forward(self, x: torch.Tensor) -> Any:
        return self.drop(x * 2)


class Normed(trtnn.Module):
    def __init__(self, **arguments: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, **arguments)

    def forward(self, x: torch.Tensor) -> Any:
        return self.norm(x)


TRAINING = {
    "dropout": (Dropping(0.5), "drop"),
    "batch norm": (Normed(), "BatchNorm1d 'norm' in training mode"),
}


@pytest.mark.parametrize("name", TRAINING)
def test_training_is_an_error_only_where_it_matters(name: str) -> None:
    module, text = TRAINING[name]
    assert ".eval()" in str(refused(module, text))


def test_a_fresh_module_compiles() -> None:
    alike = (Dropping(0.0), nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)))
    for module in (*alike, Normed(track_running_stats=False)):
        assert module.training
        check(module)
    check(Dropping(0.5).eval())


def test_a_lazy_parameter_is_named() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch said until 2.12 that they may change
        module = nn.LazyLinear(6)
    with pytest.raises(TraceError, match="weight has no shape yet"):
        trace(module, [X])


def switched(x: torch.Tensor) -> torch.Tensor:
    torch.set_autocast_enabled("cpu", True)  # <- here
    try:
        return x @ x.T
    finally:
        torch.set_autocast_enabled("cpu", False)


def test_a_switch_is_not_a_region() -> None:
    assert "with torch.autocast" in str(refused(switched, "torch.set_autocast_enabled"))
    assert not torch.is_autocast_enabled("cpu")


def test_bert_traces_for_a_device_that_is_not_here() -> None:
    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    batch, length = Dim("batch", 1, 2, 4), Dim("length", 1, 8, 16)
    ids = Input((batch, length), torch.int64)
    model = BertModel(config).eval()
    graph = trace(model, {"input_ids": ids, "attention_mask": ids}, device="cuda:0")
    assert graph.outputs[0].spec.shape == (batch, length, 32)
    (assumption,) = graph.assumptions  # asked by the library, not by its user
    assert assumption.source is not None and "transformers" in assumption.source.file
    assert {c.tensor.device.type for c in graph.constants.values()} == {"cpu"}


def on_device(x: torch.Tensor) -> torch.Tensor:
    assert x.device == torch.device("cuda:0") and x.is_cuda
    y = x.to("cuda:0").cuda().cuda(0).to(x.device).to(device="cuda", dtype=torch.float32)
    y = y + torch.arange(6, device="cuda", dtype=x.dtype) + torch.zeros(6, device=x.device).cuda()
    with torch.device("cuda:0"):
        return y + torch.ones(6).to("cuda:0")


AWAY: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "another index": (lambda x: x.to("cuda:1"), "device cuda:1 in a model compiled for cuda:0"),
    "cuda(1)": (lambda x: x.cuda(1), "device cuda:1"),
    "cpu": (lambda x: x.cpu(), "device cpu in a model compiled for cuda:0"),
    "meta": (lambda x: x.to("meta"), "device meta"),
    "factory": (lambda x: x + torch.zeros(6, device="cuda:1"), "device cuda:1"),
}


def test_the_compilations_device_is_the_identity() -> None:
    graph = trace(on_device, [X], device="cuda:0")
    assert {node.op.name for node in graph.nodes} == {"Elementwise"}


@pytest.mark.parametrize("name", AWAY)
def test_another_device_is_an_error(name: str) -> None:
    function, text = AWAY[name]
    with pytest.raises(UnsupportedError) as caught:
        trace(function, [X], device="cuda:0")
    assert text in str(caught.value) and "test_modules.py" in str(caught.value)


def test_parameters_made_in_inference_mode() -> None:
    with torch.inference_mode():
        module = nn.Linear(6, 6)
        trace(module, [X])
    graph = trace(lambda x: module(x) + (module.weight * 2).sum(), [X])
    assert graph.constants and S.name == "seq"
