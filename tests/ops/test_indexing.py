"""Every combination of index kinds against PyTorch, and indices that are out of range."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import trtnn
from trtnn.errors import ShapeError
from trtnn.graph.interpreter import run
from trtnn.sizes.dims import Dim

LONG, BOOL = torch.int64, torch.bool
SHAPE = (3, 3, 3, 3)
KINDS: dict[str, Any] = {
    "int": -2,
    "slice": slice(1, None),
    "None": None,
    "...": Ellipsis,
    "list": [2, 0],
    "scalar": torch.tensor(-1),
    "vector": torch.tensor([0, -2]),
    "matrix": torch.tensor([[1, 0], [-1, 2]]),
    "mask": torch.tensor([True, False, True]),
    "mask of two dims": torch.tensor([[True, False, False], [False, False, True], [False] * 3]),
}
MASKS = {"mask", "mask of two dims"}
TRACED = [name for name, index in KINDS.items() if isinstance(index, torch.Tensor)]


def taken(length: int, *, known: bool) -> list[tuple[str, ...]]:
    """Return combinations that PyTorch takes: all up to three indices if traced, else some.

    How many entries a traced mask picks is not known, so beside one no other tensor of a dim fits.
    """
    combinations = list(itertools.product(KINDS, repeat=length))
    if len(combinations) > (most := 150 if known else 1000):
        combinations = random.Random(length).sample(combinations, most)
    x = torch.zeros(SHAPE)
    found = []
    for names in combinations:
        tensors = set(names) & {*MASKS, "list", "vector", "matrix"}
        if names.count("...") > 1 or (not known and tensors & MASKS and len(tensors) > 1):
            continue
        try:
            x[tuple(KINDS[n] for n in names)]
        except (IndexError, RuntimeError):
            continue
        found.append(names)
    assert len(found) > 5
    return found


@pytest.mark.parametrize("known", [False, True], ids=["traced", "known"])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_combination_equals_torch(length: int, known: bool) -> None:
    combinations = taken(length, known=known)

    def forward(x: torch.Tensor, *indices: torch.Tensor) -> list[torch.Tensor]:
        given = KINDS if known else {**KINDS, **dict(zip(TRACED, indices, strict=True))}
        return [x[tuple(given[n] for n in names)] for names in combinations]

    x = torch.arange(81.0).reshape(SHAPE)
    indices = [KINDS[name] for name in TRACED]
    graph = trtnn.trace(forward, [trtnn.Input(t.shape, t.dtype) for t in (x, *indices)])
    results, _ = run(graph, [x, *indices])
    for names, result, wanted in zip(combinations, results, forward(x, *indices), strict=True):
        assert result.shape == wanted.shape and torch.equal(result, wanted), names


SCALAR, VECTOR = KINDS["scalar"], KINDS["vector"]
SEQUENCES: list[Any] = [
    [SCALAR, VECTOR],
    [slice(None), 0],
    [None, 1],
    [[0, 1], [1, 0]],
    ([0, 1], (1, 0)),
    ((0, 1),),
    [],
    range(2),
    ([[0, 1], [1, 0]],),
]


@pytest.mark.parametrize("index", SEQUENCES, ids=map(str, range(len(SEQUENCES))))
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_sequence_is_read_as_torch_reads_it(index: Any) -> None:
    x = torch.arange(60.0).reshape(3, 4, 5)
    graph = trtnn.trace(lambda x: x[index], [trtnn.Input(x.shape)])
    (result,), _ = run(graph, [x])
    assert result.shape == x[index].shape and torch.equal(result, x[index])


N = Dim("n", 1, 3, 9)


def vector(*values: int) -> torch.Tensor:
    return torch.tensor(values)


OUTSIDE: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "scalar": (lambda x, i: x[i], (torch.tensor(3),)),
    "scalar from the end": (lambda x, i: x[i], (torch.tensor(-4),)),
    "vector": (lambda x, i: x[:, i], (vector(0, 4),)),
    "vector from the end": (lambda x, i: x[:, i], (vector(0, -5),)),
    "the second of two": (lambda x, i, j: x[i, j], (vector(0, 1), vector(0, 4))),
    "the first of two": (lambda x, i, j: x[i, j], (vector(0, -4), vector(0, 1))),
    "two scalars": (lambda x, i, j: x[i, j], (torch.tensor(0), torch.tensor(4))),
    "two apart": (lambda x, i, j: x[i, :, j], (vector(0, 1), vector(0, 5))),
    "beside a mask": (lambda x, i: x[:, torch.ones(4, dtype=BOOL), i], (vector(5),)),
    "a known one beside": (lambda x, i: x[i, torch.tensor([0, 1])], (vector(0, 3),)),
    "gather": (lambda x, i: torch.gather(x[0], 0, i[:, None]), (vector(4),)),
    "gather, negative": (lambda x, i: torch.gather(x[0], 0, i[:, None]), (vector(-1),)),
    "index_select": (lambda x, i: x.index_select(1, i), (vector(0, 4),)),
    "index_select, negative": (lambda x, i: x.index_select(1, i), (vector(0, -1),)),
    "embedding": (lambda x, i: F.embedding(i, x[0]), (vector(0, 4),)),
    "embedding, negative": (lambda x, i: F.embedding(i, x[0]), (vector(0, -1),)),
}


@pytest.mark.parametrize("first", [3, N], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", OUTSIDE.values(), ids=OUTSIDE)
def test_reference_raises_where_torch_does(case: Any, first: Any) -> None:
    function, indices = case
    x = torch.arange(60.0).reshape(3, 4, 5)
    with pytest.raises((IndexError, RuntimeError)):
        function(x, *indices)
    inputs = [trtnn.Input((first, 4, 5)), *(trtnn.Input(i.shape, LONG) for i in indices)]
    model = trtnn.compile(function, inputs=inputs, backend="reference")
    with pytest.raises(IndexError, match="is out of bounds for dimension"):
        model(x, *indices)


KNOWN_OUTSIDE: dict[str, Callable[[torch.Tensor], Any]] = {
    "list": lambda x: x[[0, 3]],
    "list from the end": lambda x: x[:, [-5]],
    "two lists": lambda x: x[[0, 1], [0, 4]],
    "scalar": lambda x: x[torch.tensor(3)],
    "index_select": lambda x: x.index_select(1, torch.tensor([4])),
    "index_select, negative": lambda x: x.index_select(1, torch.tensor([-1])),
    "gather": lambda x: torch.gather(x[0], 0, torch.tensor([[4]])),
    "gather, negative": lambda x: torch.gather(x[0], 0, torch.tensor([[-1]])),
    "embedding": lambda x: F.embedding(torch.tensor([4]), x[0]),
    "embedding, negative": lambda x: F.embedding(torch.tensor([-1]), x[0]),
}


@pytest.mark.parametrize("function", KNOWN_OUTSIDE.values(), ids=KNOWN_OUTSIDE)
def test_known_index_out_of_range_is_refused_while_tracing(function: Callable[..., Any]) -> None:
    with pytest.raises(ShapeError, match=r"out of range for size [34]"):
        trtnn.trace(function, [trtnn.Input((3, 4, 5))])


M = Dim("m", 1, 3, 9)
MISFITS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...], str]] = {
    "another Dim": (lambda x, m: x[m], (N, 2), (M,), "size m, the indexed dim n"),
    "a static size": (lambda x, m: x[m], (N, 2), (3,), "size 3, the indexed dim n"),
    "a static dim": (lambda x, m: x[m], (3, 2), (N,), "size n, the indexed dim 3"),
    "one more": (lambda x, m: x[m], (N, 2), (N + 1,), "indexed dim n"),
    "the second dim": (lambda x, m: x[:, m], (M, N), (M,), "size m, the indexed dim n"),
    "of two dims": (lambda x, m: x[m], (N, N), (N, M), "dim 1 of the mask has size m"),
}


@pytest.mark.parametrize("case", MISFITS.values(), ids=MISFITS)
def test_mask_of_another_size_is_refused(case: Any) -> None:
    function, shape, mask, text = case
    with pytest.raises(ShapeError, match=text):
        trtnn.trace(function, [trtnn.Input(shape), trtnn.Input(mask, BOOL)])


def test_mask_of_what_a_mask_picks_fits() -> None:
    graph = trtnn.trace(
        lambda x, m: x[m][x[m].sum(1) > 0],
        [trtnn.Input((N, 4)), trtnn.Input((N,), BOOL)],
    )
    x, m = torch.randn(5, 4), torch.tensor([True, False, True, True, False])
    (result,), _ = run(graph, [x, m])
    assert torch.equal(result, x[m][x[m].sum(1) > 0])
