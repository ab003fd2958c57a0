"""Random weights under which every part of a network shows in its output.

PyTorch's default initialisation is no oracle: vit_b_16 returns exactly 0, mobilenet_v2 about 1e-8,
and removing every batch norm moves resnet18 by 5e-5. Here a dropped bias, norm, layer scale or
position table is far above the tolerance of a comparison (tests/test_lively.py measures it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Draw = Callable[[nn.Module, torch.Tensor, torch.Generator], torch.Tensor]
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def _normal(deviation: float) -> Draw:
    """Return a drawer of N(0, deviation ** 2)."""

    def draw(_: nn.Module, old: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(old.shape, generator=generator) * deviation

    return draw


def _uniform(low: float, high: float) -> Draw:
    """Return a drawer of U(low, high)."""

    def draw(_: nn.Module, old: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.rand(old.shape, generator=generator) * (high - low) + low

    return draw


def _weight(owner: nn.Module, old: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw N(0, 2 / fan_in): the variance that keeps a signal's size through a ReLU."""
    if isinstance(owner, _ConvTransposeNd):
        fan_in = old[:, 0].numel() // owner.groups
    elif type(owner).__name__ == "Conv1D":
        fan_in = len(old)
    else:
        fan_in = old[0].numel()
    return torch.randn(old.shape, generator=generator) * math.sqrt(2 / fan_in)


BIAS = _normal(0.01)
TABLE = _normal(1.0)
SCALE = _uniform(0.5, 1.5)
LAYER_SCALE = _uniform(0.1, 0.5)

# Which modules' own parameters are drawn how. The first row whose classes match decides.
BY_MODULE: list[tuple[tuple[type[nn.Module], ...], dict[str, Draw]]] = [
    ((_ConvNd, nn.Linear, nn.Bilinear), {"weight": _weight, "bias": BIAS}),
    (NORMS, {"weight": SCALE, "bias": BIAS}),
    ((nn.Embedding,), {"weight": TABLE}),
    (
        (nn.MultiheadAttention,),
        {
            "in_proj_weight": _weight,
            "q_proj_weight": _weight,
            "k_proj_weight": _weight,
            "v_proj_weight": _weight,
            "in_proj_bias": BIAS,
        },
    ),
]

# Modules of libraries that are not imported here, because that takes seconds.
BY_CLASS_NAME: dict[str, dict[str, Draw]] = {
    "Conv1D": {"weight": _weight, "bias": BIAS},  # transformers' linear layer: weight is (in, out)
}

# Parameters that a library's module holds without a layer of their own.
BY_NAME: dict[str, Draw] = {
    "layer_scale": LAYER_SCALE,  # torchvision's CNBlock
    "gamma": LAYER_SCALE,  # timm's ConvNeXt and LayerScale
    "class_token": TABLE,  # torchvision's VisionTransformer
    "cls_token": TABLE,
    "pos_embedding": TABLE,  # torchvision's Encoder
    "pos_embed": TABLE,
    "relative_position_bias_table": TABLE,  # torchvision's and timm's Swin
}


def _drawer(owner: nn.Module, name: str) -> Draw | None:
    """Return how parameter ``name`` of ``owner`` is drawn, None if no rule names it."""
    for classes, draws in BY_MODULE:
        if isinstance(owner, classes):
            return draws.get(name)
    return BY_CLASS_NAME.get(type(owner).__name__, BY_NAME).get(name)


def _own_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Yield path, owner, name and parameter, a parameter shared by several modules once."""
    seen: set[nn.Parameter] = set()
    for path, owner in module.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield f"{path}.{name}".lstrip("."), owner, name, parameter


def closing_norm(block: nn.Module) -> nn.Module | None:
    """Return the norm that ends the residual branch of ``block``, None where none does.

    Known are the blocks of ResNets (``downsample`` beside ``bn2`` or ``bn3``) and the inverted
    residuals of MobileNets and EfficientNets (``use_res_connect``).
    """
    if hasattr(block, "downsample"):
        return getattr(block, "bn3", getattr(block, "bn2", None))
    if getattr(block, "use_res_connect", False):
        norms = [part for part in block.modules() if isinstance(part, _BatchNorm)]
        return norms[-1] if norms else None
    return None


def _calibrate(module: nn.Module, example_inputs: tuple[torch.Tensor, ...]) -> None:
    """Take the batch norms' statistics from one forward, and leave all in eval mode."""
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    if norms:
        batch = example_inputs[0].shape[0]
        if batch < 4:
            raise ValueError(f"lively: batch {batch}, expected >= 4 for batch statistics")
    try:
        for norm in norms:
            norm.train()
            norm.momentum = 1.0  # the statistics become those of this batch alone
        if norms:
            module(*example_inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()


@torch.no_grad()
def lively(module: nn.Module, example_inputs: tuple[torch.Tensor, ...], seed: int = 0) -> nn.Module:
    """Redraw every parameter of ``module`` in place and return it in eval mode.

    Convolution and linear weights are N(0, 2 / fan_in), biases have standard deviation 0.01, norm
    scales are U(0.5, 1.5), layer scales U(0.1, 0.5), and embeddings, class tokens, position tables
    and relative position bias tables N(0, 1). The norm that ends a residual branch is drawn from
    U(0.1, 0.3), so that float16 stays finite and accurate in deep networks. Batch statistics are
    those of ``example_inputs`` (batch >= 4).

    The same seed gives the same weights on every device. Raises ValueError for a parameter that
    no rule names, before anything is changed.

    >>> layer = lively(nn.Linear(8, 4), (torch.zeros(4, 8),), seed=1)
    >>> layer.training, bool(layer.weight.std() > 0.3)
    (False, True)
    """
    plan: list[tuple[nn.Parameter, nn.Module, Draw]] = []
    closing = {closing_norm(block) for block in module.modules()}
    for path, owner, name, parameter in _own_parameters(module):
        draw = _drawer(owner, name)
        if draw is None:
            raise ValueError(f"lively: no rule for {path} of {type(owner).__name__}: add one")
        if owner in closing and name == "weight":
            draw = _uniform(0.1, 0.3)
        plan.append((parameter, owner, draw))
    generator = torch.Generator().manual_seed(seed)
    for parameter, owner, draw in plan:
        parameter.copy_(draw(owner, parameter, generator))
    _calibrate(module, example_inputs)
    return module
