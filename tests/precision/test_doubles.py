"""What is computed in float64: refused at its line, or computed in float32, at the border too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trtnn
from tests import real_builder
from tests.answering import let_answer
from tests.cache.test_compiling import World
from tests.double.surface import VERSIONS
from trtnn import OptionError, UnsupportedError
from trtnn.precision.policy import Precision
from trtnn.precision.typing import typed

DOUBLE = torch.float64
N = trtnn.Dim("n", 1, 4, 8)
X, WIDE = trtnn.Input((N, 8), name="x"), trtnn.Input((N, 8), DOUBLE, name="x")
P = trtnn.Input((N,), torch.int64, name="p")
SINGLE = Precision(float64="float32")
REFERENCE = {"backend": "reference"}


class Rotary(nn.Module):
    """Turns pairs by angles that are computed in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        rates = 1.0 / 10000 ** (torch.arange(0, 8, 2, dtype=DOUBLE) / 8)
        angles = p.double()[:, None] * rates  # <- float64
        cos, sin = angles.cos().float(), angles.sin().float()
        even, odd = self.linear(x).chunk(2, -1)
        return torch.cat([even * cos - odd * sin, even * sin + odd * cos], -1)


def masked(x: torch.Tensor) -> torch.Tensor:
    return x.masked_fill(x > 0, torch.finfo(x.dtype).min).softmax(-1)


def halved(x: torch.Tensor) -> torch.Tensor:
    return (x + torch.where(x > 0, torch.finfo(x.dtype).min / 2, x)).softmax(-1)


BUFFER = torch.arange(8, dtype=DOUBLE) / 3
ROWS: dict[str, tuple[Any, list[Any]]] = {
    "rotary": (Rotary(), [X, P]),
    "a module": (nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Softmax(-1)).double(), [WIDE]),
    "and back": (lambda x: (x.double() * 3).float() + x, [X]),
    "an output": (lambda x: x.double() / 3, [X]),
    "an input": (lambda x: x.float() / 3, [WIDE]),
    "an input as it is": (lambda x: (x, x * 2), [WIDE]),
    "a constant": (lambda x: (x * 2, BUFFER), [X]),
    "a buffer": (lambda x: x * BUFFER, [X]),
    "a number": (lambda x: torch.full((x.shape[0], 8), 0.1, dtype=DOUBLE) + x, [X]),
    "of integers": (lambda p: (p.double() / 3).floor().long() + (p.double() > 2), [P]),
    "least in a mask": (masked, [WIDE]),
    "half the least": (halved, [WIDE]),
    "conv and norm": (
        nn.Sequential(nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4)).double().eval(),
        [trtnn.Input((N, 4, 8), DOUBLE, name="x")],
    ),
}


def made(inputs: list[Any], count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [[count if size is N else size for size in x.shape] for x in inputs]
    return [
        torch.randn(shape, generator=generator).to(x.dtype)
        if x.dtype.is_floating_point
        else torch.arange(count) * 7
        for x, shape in zip(inputs, shapes, strict=True)
    ]


def require_alike(found: Any, wanted: Any, tolerance: float = 2e-6) -> None:
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for given, right in pairs:
        torch.testing.assert_close(given, right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ROWS)
def test_float32_does_what_float64_did(name: str) -> None:
    function, inputs = ROWS[name]
    model = trtnn.compile(function, inputs=inputs, precision=SINGLE, **REFERENCE)
    inside = [node for node in model.graph.nodes if node.op.name != "Cast"]
    assert not [v for n in inside for v in (*n.inputs, *n.outputs) if v.spec.dtype == DOUBLE]
    given = made(inputs)
    require_alike(model(*given), function(*given))


@pytest.mark.parametrize("name", ROWS)
def test_the_real_builder_takes_it(name: str) -> None:
    function, inputs = ROWS[name]
    assert real_builder.build(typed(trtnn.trace(function, inputs), SINGLE).graph)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_what_was_float64_is_never_of_16_bits(precision: str) -> None:
    asked, given = Precision(precision, float64="float32"), made([X, P])
    net = Rotary()
    model = trtnn.compile(net, inputs=[X, P], precision=asked, **REFERENCE)
    types = {n.op.name: n.outputs[0].spec.dtype for n in model.graph.nodes}
    assert types["Unary"] == torch.float32 and types["MatrixMultiply"] == asked.low
    require_alike(model(*given), net(*given), 2e-2)
    assert "float64 in the module" in str(model.precision_report)
    wide = nn.Linear(8, 8).double()
    model = trtnn.compile(wide, inputs=[WIDE], precision=asked, **REFERENCE)
    require_alike(model(*made([WIDE])), wide(*made([WIDE])))
    after = trtnn.trace(lambda x: x.float() @ torch.eye(8), [WIDE])  # is float32, and may be low
    low = [n for n in typed(after, asked).graph.nodes if n.outputs[0].spec.dtype == asked.low]
    assert "MatrixMultiply" in [node.op.name for node in low]


@pytest.mark.parametrize("version", VERSIONS)
def test_calls_cast_at_the_border(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(version, tmp_path / "cache", monkeypatch)
    let_answer(monkeypatch)
    for name in ("rotary", "a module", "an output", "an input as it is", "of integers"):
        function, inputs = ROWS[name]
        model, _ = world.compile(function, inputs=inputs, precision=SINGLE)
        assert model.verified
        kinds = {dtype for _, _, dtype in model.engine.tensors}
        assert kinds <= {"float32", "int64", "int32"}
        given = made(inputs)
        require_alike(model(*given), function(*given))


BIG = torch.tensor([1e300, 1.0], dtype=DOUBLE)
REFUSED: dict[str, tuple[Any, list[Any], str]] = {
    "a cast": (lambda x: x.double() * 2, [X], "has no float64, which Cast takes or gives"),
    "a buffer": (lambda x: x * BUFFER, [X], "has no float64, which Cast takes or gives"),
    "an input": (lambda x: x.float(), [WIDE], "has no float64, which the input x is"),
    "an output": (lambda x: (x, BUFFER), [X], "has no float64, which Identity takes or gives"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_names_the_option_and_the_line(name: str) -> None:
    function, inputs, text = REFUSED[name]
    with pytest.raises(UnsupportedError, match=text) as caught:
        trtnn.compile(function, inputs=inputs, **REFERENCE)
    assert 'trtnn.Precision(float64="float32")' in str(caught.value)
    with pytest.raises(UnsupportedError) as caught:
        trtnn.compile(Rotary(), inputs=[X, P], precision="fp16", **REFERENCE)
    assert "angles = p.double()[:, None] * rates  # <- float64" in str(caught.value)


def test_what_is_only_known_in_float64_is_no_error() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x + BUFFER.sin()[: x.shape[0]].float()[:, None]

    model = trtnn.compile(forward, inputs=[X], **REFERENCE)
    (x,) = made([X])
    assert torch.equal(model(x), forward(x))


@pytest.mark.parametrize(
    "function",
    [lambda x: x * BIG[0], lambda x: x * torch.full((x.shape[0], 8), 1e300, dtype=DOUBLE)],
)
def test_a_number_beyond_float32_is_refused(function: Any) -> None:
    with pytest.raises(
        UnsupportedError, match=r"has no float64, and the constant 1e\+300 needs it"
    ):
        trtnn.compile(function, inputs=[WIDE], precision=SINGLE, **REFERENCE)


@pytest.mark.parametrize(("word", "far"), [("fp32", 3_000_001), ("fp16", 300_000_007)])
def test_check_holds_it_against_float64(word: str, far: int) -> None:
    net, (x,) = Rotary(), made([X])
    asked = Precision(word, float64="float32")
    for positions, right in ((torch.arange(3), True), (torch.arange(3) * far, False)):
        report = trtnn.check(net, x, positions, precision=asked, **REFERENCE)
        assert bool(report) is right
    assert report.node is not None and {"SIN", "COS"} & {*report.node.label.split()}


def test_only_two_words_are_taken() -> None:
    with pytest.raises(OptionError, match=r"precision.float64: expected one of error, float32"):
        Precision(float64="float16")
    assert str(SINGLE) == "tf32 (float64='float32')"
