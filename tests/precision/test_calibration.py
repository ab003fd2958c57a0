"""Histograms and what each method makes of them."""

from __future__ import annotations

import pytest
import torch

from trtnn.errors import InputError
from trtnn.precision.calibration import BINS, METHODS, Histogram


def histogram(*batches: torch.Tensor) -> Histogram:
    found = Histogram()
    for batch in batches:
        found.add("x", batch)
    return found


def normal(count: int = 20000, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def test_batches_of_growing_range_are_counted_once_each() -> None:
    parts = [normal() * factor for factor in (0.0, 0.01, 1.0, 30.0, 0.5)]
    found = histogram(*parts)
    every = torch.cat(parts).abs()
    assert found.counts is not None
    assert float(found.counts.sum()) == len(every)
    assert found.amax("max") == float(every.max())
    middle = BINS // 2
    edge = found.end * middle / BINS
    assert abs(float(found.counts[:middle].sum()) - int((every < edge).sum())) <= 2


def test_percentile_is_that_of_all_entries() -> None:
    x = torch.arange(1, 100_001) / 1000.0
    assert abs(histogram(x).amax("percentile") - 99.99) < 100 / BINS


def test_outliers_move_max_alone() -> None:
    x = torch.cat([normal(100_000), torch.tensor([100.0])])
    found = histogram(x)
    assert found.amax("max") == 100.0
    assert 60.0 < found.amax("mse") < 99.0  # its square is large
    for method in ("entropy", "percentile"):
        assert 2.0 < found.amax(method) < 10.0, method


@pytest.mark.parametrize("method", METHODS)
def test_the_scale_loses_little_of_a_normal_value(method: str) -> None:
    x = normal()
    scale = histogram(x).amax(method) / 127
    y = torch.fake_quantize_per_tensor_affine(x, scale, 0, -128, 127)
    assert float((x - y).norm() / x.norm()) < 0.04


def test_mse_is_least_of_all() -> None:
    x = normal() ** 3
    found = histogram(x)

    def loss(method: str) -> float:
        y = torch.fake_quantize_per_tensor_affine(x, found.amax(method) / 127, 0, -128, 127)
        return float((x - y).square().sum())

    assert loss("mse") <= min(map(loss, METHODS)) * 1.02


def test_entropy_is_that_of_the_definition() -> None:
    """The divergence, bin by bin in plain Python, as TensorRT's documentation tells it."""
    counts = [float(n) for n in torch.histc(normal(4000).abs(), 256, 0, 4)]
    counts[0] = counts[1]
    best, least = 0, float("inf")
    for used in range(128, 257):
        reference = counts[:used]
        reference[-1] += sum(counts[used:])
        levels: dict[int, list[int]] = {}
        for i in range(used):
            levels.setdefault(min(i * 128 // used, 127), []).append(i)
        candidate = [0.0] * used
        for members in levels.values():
            filled = [i for i in members if counts[i] > 0]
            for i in filled:
                candidate[i] = sum(counts[m] for m in members) / len(filled)
        p, q = sum(reference), sum(candidate)
        pairs = [(a / p, b / q) for a, b in zip(reference, candidate, strict=True) if b > 0]
        if candidate[-1] == 0 and reference[-1] / p > 1e-4:
            pairs.append((reference[-1] / p, 1e-4))
        divergence = sum(a * float(torch.tensor(a / b).log()) for a, b in pairs)
        if divergence < least - 1e-9:
            best, least = used, divergence
    given = METHODS["entropy"](torch.histc(normal(4000).abs(), 256, 0, 4).double().numpy(), 4.0)
    assert abs(given - best * 4 / 256) <= 4 / 256


def test_only_zeros_and_nothing_have_no_size() -> None:
    for method in METHODS:
        assert histogram(torch.zeros(5)).amax(method) == 0.0
        assert histogram(torch.zeros(0)).amax(method) == 0.0


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(InputError, match="layer/op holds NaN or infinity"):
        Histogram().add("layer/op", torch.tensor([1.0, value]))


def test_half_overflow_is_not_made() -> None:
    assert histogram(torch.full((4,), 60000.0).half()).amax("max") == 60000.0
