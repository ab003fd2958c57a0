"""What each node is computed in where a precision is asked for, and that results stay right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import trtnn
from tests.zoo import MODELS, build_lively
from trtnn.errors import OptionError
from trtnn.graph.graph import Graph
from trtnn.graph.interpreter import run
from trtnn.precision.policy import Precision
from trtnn.precision.typing import typed

X = trtnn.Input((2, 4, 8), name="x")
HALF, BFLOAT = torch.float16, torch.bfloat16
LONG = "deeplabv3_resnet50"  # nine seconds, of the ops that resnet50 has
ERROR = {"fp16": 2e-2, "bf16": 1e-1}  # of random networks of 100 layers; one has 1.4e-2 and 9.5e-2


def types(graph: Graph) -> str:
    """Write what each node gives, casts as arrows: ``MatrixMultiply half, -> float``."""
    short = {torch.float32: "float", HALF: "half", BFLOAT: "bfloat"}
    lines = []
    for node in graph.nodes:
        kind = getattr(node.op, "kind", "") or node.op.name
        dtype = node.outputs[0].spec.dtype
        lines.append(
            f"-> {short.get(dtype, dtype)}"
            if kind == "Cast"
            else f"{kind} {short.get(dtype, dtype)}"
        )
    return ", ".join(line for line in lines if not line.startswith(("Shuffle", "Slice")))


def linear(x: torch.Tensor) -> torch.Tensor:
    return x @ torch.eye(8)


def rms_norm(x: torch.Tensor) -> torch.Tensor:
    y = linear(x)
    return linear(y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6))


def own_layer_norm(x: torch.Tensor) -> torch.Tensor:
    y = linear(x)
    z = y - y.mean(-1, keepdim=True)
    return linear(z / torch.sqrt((z * z).mean(-1, keepdim=True) + 1e-6))


def norm_by_moments(x: torch.Tensor) -> torch.Tensor:
    y = linear(x)
    mean = y.mean(-1, keepdim=True)
    variance = (y * y).mean(-1, keepdim=True) - mean**2
    return linear((y - mean) * torch.rsqrt(variance + 1e-6))


def residual_of_a_norm(x: torch.Tensor) -> torch.Tensor:
    y = linear(x)
    z = linear(y)
    return linear(y + z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True) + 1e-6))


def attention(x: torch.Tensor) -> torch.Tensor:
    q = linear(x)
    return ((q @ q.transpose(1, 2)) * 0.5).softmax(-1) @ q


def masked_attention(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    q = linear(x)
    least = torch.finfo(torch.float32).min
    scores = q @ q.transpose(1, 2) + (1 - mask[:, None, :].to(x.dtype)) * least
    return scores.softmax(-1) @ q


def gelu_new(x: torch.Tensor) -> torch.Tensor:
    y = linear(x)
    return 0.5 * y * (1 + torch.tanh(0.8 * (y + 0.044715 * torch.pow(y, 3.0))))


CASES: dict[str, tuple[Callable[..., Any], str]] = {
    "linear": (linear, "-> half, MatrixMultiply half, -> float"),
    "softmax": (
        lambda x: linear(x).softmax(-1),
        "-> half, MatrixMultiply half, -> float, Softmax float",
    ),
    "attention": (
        attention,
        "-> half, MatrixMultiply half, MatrixMultiply half, PROD half, Softmax half, "
        "MatrixMultiply half, -> float",
    ),
    "rms_norm": (
        rms_norm,
        "-> half, MatrixMultiply half, -> float, PROD float, AVG float, SUM float, SQRT float, "
        "RECIP float, PROD float, -> half, MatrixMultiply half, -> float",
    ),
    "own layer_norm": (
        own_layer_norm,
        "-> half, MatrixMultiply half, -> float, AVG float, SUB float, PROD float, AVG float, "
        "SUM float, SQRT float, DIV float, -> half, MatrixMultiply half, -> float",
    ),
    "norm by moments": (
        norm_by_moments,
        "-> half, MatrixMultiply half, -> float, AVG float, PROD float, AVG float, PROD float, "
        "SUB float, SUB float, SUM float, SQRT float, RECIP float, PROD float, -> half, "
        "MatrixMultiply half, -> float",
    ),
    "a residual meets a norm": (
        residual_of_a_norm,
        "-> half, MatrixMultiply half, MatrixMultiply half, -> float, PROD float, AVG float, "
        "SUM float, SQRT float, RECIP float, PROD float, -> half, SUM half, MatrixMultiply half, "
        "-> float",
    ),
    "gelu_new": (
        gelu_new,
        "-> half, MatrixMultiply half, PROD half, PROD half, PROD half, PROD half, SUM half, "
        "PROD half, TANH half, SUM half, PROD half, -> float",
    ),
    "exp": (
        lambda x: linear(x).exp().reshape(8, 8) * 2,
        "-> half, MatrixMultiply half, -> float, EXP float, PROD float",
    ),
    "layer_norm": (
        lambda x: F.layer_norm(linear(x), (8,)),
        "-> half, MatrixMultiply half, Normalization half, -> float",
    ),
    "an integer": (
        lambda x: linear(x) * (linear(x) > 0).int(),
        "-> half, MatrixMultiply half, MatrixMultiply half, GREATER torch.bool, -> torch.int32, "
        "-> half, PROD half, -> float",
    ),
    "scalars": (
        lambda x: linear(x) * 1e9 / 1e9,
        "-> half, MatrixMultiply half, PROD half, DIV half, -> float",
    ),
    "nothing low": (lambda x: (x + 1).sum(-1), "SUM float, SUM float"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_each_node_is_computed_in(name: str) -> None:
    function, expected = CASES[name]
    graph = trtnn.trace(function, [X])
    found = typed(graph, Precision("fp16")).graph
    assert types(found) == expected
    assert types(typed(graph, Precision("bf16")).graph) == expected.replace("half", "bfloat")


def results(graph: Graph, inputs: Any) -> list[torch.Tensor]:
    return run(graph, list(inputs))[0]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", [n for n in MODELS["small"] if n != LONG])
def test_the_zoo_stays_right(name: str, precision: str) -> None:
    model = MODELS["small"][name]
    inputs = model.inputs(2, 1)
    graph = trtnn.trace(build_lively(model), [trtnn.Input(tuple(x.shape), x.dtype) for x in inputs])
    low = typed(graph, Precision(precision)).graph
    assert [v.spec for v in low.outputs] == [v.spec for v in graph.outputs]
    for given, wanted in zip(results(low, inputs), results(graph, inputs), strict=True):
        if wanted.is_floating_point():
            assert float((given - wanted).norm() / wanted.norm()) < ERROR[precision]


def test_no_value_is_cast_and_cast_back() -> None:
    for name in ("bert_encoder", "swin_t", "efficientnet_b0"):
        model = MODELS["small"][name]
        inputs = [trtnn.Input(tuple(x.shape), x.dtype) for x in model.inputs(2, 1)]
        graph = typed(trtnn.trace(build_lively(model), inputs), Precision("fp16")).graph
        casts = [n for n in graph.nodes if n.op.name == "Cast"]
        makers = {v: n for n in casts for v in n.outputs}
        assert not [n for n in casts if n.inputs[0] in makers]


def test_a_mask_is_bounded_and_the_attention_stays_low() -> None:
    inputs = [X, trtnn.Input((2, 4), torch.int64, name="mask")]
    graph = trtnn.trace(masked_attention, inputs)
    low = typed(graph, Precision("fp16")).graph
    assert "Softmax half" in types(low) and "Softmax float" not in types(low)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])
    x = torch.randn(2, 4, 8).clamp(
        -1, 1
    )  # where nothing is seen, scores below 8 make no difference
    given, wanted = results(low, (x, mask)), results(graph, (x, mask))
    torch.testing.assert_close(given, wanted, atol=5e-3, rtol=5e-3)


def test_an_infinite_mask_stays_infinite() -> None:
    bias = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1) > 0, float("-inf"))

    def forward(x: torch.Tensor) -> torch.Tensor:
        q = linear(x)
        return (q @ q.transpose(1, 2) + bias).softmax(-1)

    graph = trtnn.trace(forward, [X])
    (result,) = results(typed(graph, Precision("fp16")).graph, [torch.randn(2, 4, 8)])
    assert torch.equal(result == 0, (bias != 0).expand(2, 4, 4))


class Net(trtnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.second(self.first(x)))


LINEAR = "MatrixMultiply half, SUM half"
WIDE = "-> half, MatrixMultiply half, SUM half, -> float, MatrixMultiply float, SUM float"
NORM = "-> float, Normalization float"
REST = ", Normalization float"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"modules": {"second": "fp32"}}, WIDE + REST),
        ({"modules": {"s*": "fp32"}}, WIDE + REST),
        ({"classes": {nn.LayerNorm: "fp32"}}, f"-> half, {LINEAR}, {LINEAR}, {NORM}"),
        ({"keep": ("layer_norm",)}, f"-> half, {LINEAR}, {LINEAR}, {NORM}"),
        ({"classes": {"Linear": "fp32"}}, f"{LINEAR}, {LINEAR}".replace("half", "float") + REST),
        ({"outputs": "low"}, f"-> half, {LINEAR}, {LINEAR}, Normalization half"),
        ({"inputs": "low"}, f"{LINEAR}, {LINEAR}, Normalization half, -> float"),
    ],
)  # fmt: skip
def test_overrides(given: dict[str, Any], expected: str) -> None:
    graph = trtnn.trace(Net(), [X])
    assert types(typed(graph, Precision("fp16", **given)).graph) == expected


def test_a_module_states_its_own() -> None:
    net = Net()
    net.precision = "fp16"
    graph = trtnn.trace(net, [X])
    assert types(typed(graph, Precision()).graph).count("half") == 6
    net.precision = "fp64"
    with pytest.raises(OptionError, match=r"Net\.precision: expected one of fp32, fp16, bf16"):
        trtnn.trace(net, [X])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"modules": {"third": "fp32"}}, "precision.modules: nothing is called 'third'; there are"),
        ({"classes": {nn.Conv2d: "fp32"}}, "precision.classes: nothing is called 'Conv2d'"),
        ({"keep": ("Softmaxx",)}, "precision.keep: nothing is called 'Softmaxx'"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_there_is_refused(given: dict[str, Any], text: str) -> None:
    graph = trtnn.trace(Net(), [X])
    with pytest.raises(OptionError, match=text):
        typed(graph, Precision("fp16", **given))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"dtype": "int8"}, "precision.dtype: expected one of tf32, fp32, fp16, bf16, got 'int8'"),
        ({"modules": {"a": "half"}}, r"precision.modules\['a'\]: expected one of"),
        ({"modules": ["a"]}, "precision.modules: expected a dict"),
        ({"keep": "Softmax"}, "precision.keep: expected names of ops"),
        ({"inputs": "high"}, "precision.inputs: expected one of keep, low"),
    ],
)
def test_wrong_words_are_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        Precision(**given)


def compiled(module: Any, **how: Any) -> Any:
    return trtnn.compile(module, backend="reference", **how)


def test_compile_takes_it() -> None:
    net, x = Net(), torch.randn(2, 4, 8)
    with torch.no_grad():
        wanted = net(x)
    for precision in ("tf32", "fp32", "fp16", Precision("bf16", modules={"norm": "fp32"})):
        y = compiled(net, inputs=[X], precision=precision)(x)
        assert y.dtype == torch.float32
        torch.testing.assert_close(y, wanted, atol=0.1, rtol=0.1)
    low = compiled(net, inputs=[X], precision=Precision("fp16", inputs="low", outputs="low"))
    assert low(x.half()).dtype == HALF
    with pytest.raises(trtnn.InputError, match=r"x: expected .*float16"):
        low(x)
    lazy = compiled(net, precision=Precision("fp16", inputs="low"))
    assert lazy(x.half()).dtype == torch.float32


@pytest.mark.parametrize("word", ["int8", "fp8"])
def test_quantized_types_name_quantize(word: str) -> None:
    with pytest.raises(OptionError, match=r"trtnn\.quantize"):
        compiled(Net(), inputs=[X], precision=word)


def test_a_half_module_stays_as_it_is_typed() -> None:
    half = trtnn.trace(Net().half(), [trtnn.Input((2, 4, 8), HALF)])
    for word in ("tf32", "fp32", "fp16"):
        assert types(typed(half, Precision(word)).graph) == types(half)
    island = typed(half, Precision("fp16", modules={"second": "fp32"})).graph
    assert types(island).count("float") == 3


def test_a_refit_reaches_what_was_cast() -> None:
    net, x = Net(), torch.randn(2, 4, 8)
    model = compiled(net, inputs=[X], precision="fp16")
    other = Net()
    model.refit(other.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(x), other(x), atol=5e-3, rtol=5e-3)
