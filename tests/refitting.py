"""Modules that are refitted, engines of the double for them, and the weights that these have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision import models

import trtnn
from tests import double
from tests.zoo import MODELS
from trtnn import Input, InputError, TraceError
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.engine.engine import Engine
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT

F = nn.functional
VERSIONS = ("8.6", "10", "11")
REFIT = BuildOptions(refit="refit")
free = contextlib.nullcontext  # nothing runs


class Computing(nn.Module):
    """A module whose forward computes with its parameters before it uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(12, 12), nn.Linear(12, 12)
        self.table = nn.Parameter(torch.randn(3, 4))
        self.norm = nn.BatchNorm1d(24)
        self.register_buffer("order", torch.tensor([2, 0, 1]))
        self.register_buffer("hidden", torch.full((12,), 2.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = torch.cat([self.query.weight, self.key.weight])
        both = F.linear(x, weight, torch.cat([self.query.bias, self.key.bias]).double().to(x.dtype))
        first = F.linear(x, weight[:12], self.hidden.to(x.dtype))  # starts where the whole does
        table = self.table.softmax(-1).view(-1) + self.table.t().reshape(-1)
        return self.norm(both * 3.0)[:, :12] + first * table + self.query.weight[0]


class Equal(nn.Module):
    """Small parameters that are equal at the build, to each other and to a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(4), nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.ones(()))
        self.tied = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x) + torch.ones(4, dtype=x.dtype)) * self.scale
        return x * self.tied + 1.0


class Scaled(nn.Module):
    """Norms that no convolution can take, and convolutions of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.BatchNorm2d(4), nn.BatchNorm2d(6)
        self.conv = nn.Conv2d(4, 8, 3, bias=False)
        self.up = nn.ConvTranspose2d(8, 6, 2)
        self.groups = nn.GroupNorm(2, 6)
        self.line = nn.Conv1d(6, 6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.groups(self.after(self.up(self.conv(torch.relu(self.before(x))))))
        return self.line(x.flatten(2))


class Packed(nn.Module):
    """Queries, keys and values of one product, which is split before it is lowered."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(12, 36)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 6)).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v)


def swin() -> nn.Module:
    return models.SwinTransformer([4, 4], 12, [2, 2], [2, 4], [4, 4], stochastic_depth_prob=0.0)


def vit() -> nn.Module:
    return models.VisionTransformer(32, 16, 2, 2, 24, 48)


IMAGE, ROW = (2, 3, 32, 32), (2, 12)
BERT = MODELS["small"]["bert_encoder"]
MODULES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "resnet18": (models.resnet18, IMAGE),
    "bert": (BERT.build, None),
    "swin": (swin, IMAGE),
    "vit": (vit, IMAGE),
    "packed": (Packed, (2, 5, 12)),
    "computing": (Computing, ROW),
    "equal": (Equal, (2, 4)),
    "scaled": (Scaled, (2, 4, 6, 6)),
}


def inputs_of(name: str, dtype: torch.dtype) -> list[Input]:
    shape = MODULES[name][1]
    if shape is None:
        return [Input(tuple(t.shape), t.dtype) for t in BERT.inputs(2, 1)]
    return [Input(shape, dtype)]


def built(version: str, module: Any, inputs: list[Input], options: BuildOptions = REFIT) -> Engine:
    library = TensorRT(double.load(version))
    return build(optimize(trtnn.trace(module, inputs), library), library, options)


def contents(engine: Engine) -> dict[str, Any]:
    """Return type, count and bytes of the weights that the double's engine has now, by name."""
    return dict(engine.handle._weights)


class Small(nn.Module):
    """What the rows of errors refit."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.unused = nn.Linear(4, 4), nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(4)
        self.gate = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.linear(x))
        return torch.relu(x) if self.gate > 0 else x

    def get_extra_state(self) -> Any:
        return "no tensor"

    def set_extra_state(self, state: Any) -> None:
        pass


X = [Input((2, 4))]


class Twins(nn.Module):
    """Two parameters that are always equal."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((2, 4), number))
        self.second = nn.Parameter(torch.full((2, 4), number))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + self.first, x - self.second


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "missing": ({"linear.bias": None}, InputError, "missing 'linear.bias'"),
    "unexpected": ({"linear.other": torch.ones(1)}, InputError, "unexpected 'linear.other'"),
    "shape": ({"linear.bias": torch.ones(5)}, InputError, r"'linear.bias' is \(5,\)"),
    "dtype": ({"linear.bias": torch.ones(4).half()}, InputError, "float16, expected"),
    "no tensor": ({"linear.bias": 3}, InputError, "'linear.bias' is int, expected a tensor"),
    "decision": ({"gate": -torch.ones(1)}, TraceError, "would not compute the same graph"),
}


def entered() -> Any:
    raise AssertionError("running calls were waited for, though nothing was to be replaced")
