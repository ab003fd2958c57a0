"""Triton kernels as layers: what is checked when they are traced, and what TensorRT is given.

A stand-in for Triton compiles here, and Triton itself where it is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import trtnn
from tests import double
from tests.cache.test_key import GPU
from tests.double.sizes import evaluate
from tests.ops.test_ops import check_lowering, library_of
from trtnn.cache.engines import engine_key
from trtnn.compiler import optimize
from trtnn.engine.builder import build
from trtnn.errors import AbsentError, OptionError, ShapeError, TrtnnError, UnsupportedError
from trtnn.graph.graph import Graph
from trtnn.lower.plugins import keys_of
from trtnn.options import BuildOptions
from trtnn.trt.library import TensorRT
from trtnn.trt.triton_kernels import compiled, with_parameters

BATCH = trtnn.Dim("batch", 1, 2, 4)
INPUT = trtnn.Input((BATCH, 100))
PTX = """.visible .entry scaled(
	.param .u64 .ptr .global .align 1 scaled_param_0,
	.param .u32 scaled_param_1,
	.param .u64 .ptr .global .align 1 scaled_param_2,
	.param .u64 .ptr .global .align 1 scaled_param_3
)
{ ld.param.b64 %rd1, [scaled_param_0]; }"""


@dataclass
class Kernel:
    """What ``triton.jit`` returns, as far as it is asked."""

    names: str
    cache_key: str = "one"

    @property
    def __name__(self) -> str:
        return "scaled"

    @property
    def arg_names(self) -> list[str]:
        return [name.lower() for name in self.names.split()]

    @property
    def params(self) -> list[Any]:
        return [
            SimpleNamespace(name=name.lower(), is_constexpr=name.isupper())
            for name in self.names.split()
        ]


@dataclass
class Compiler:
    """A stand-in for ``triton.compiler``: it keeps what it was asked."""

    asked: list[Any] = field(default_factory=list)

    def compile(self, source: Any, target: Any, options: Any) -> Any:
        self.asked.append((source, options))
        metadata = SimpleNamespace(name="scaled", num_warps=options["num_warps"], shared=64)
        return SimpleNamespace(metadata=metadata, asm={"ptx": PTX})


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made: Any = ModuleType("triton.compiler")
    compiler = Compiler()
    made.compile, made.ASTSource = compiler.compile, lambda **told: told
    monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    monkeypatch.setitem(sys.modules, "triton.compiler", made)
    return compiler


def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


def blocks(a: dict[str, Any]) -> tuple[Any, ...]:
    return ((a["n"] + a["block"] - 1) // a["block"],)


def op(kernel: str = "x n y BLOCK", grid: Any = blocks, infer: Any = torch.empty_like) -> Any:
    return trtnn.triton_op(Kernel(kernel), grid, infer=infer, reference=doubled, num_warps=2)


def scale(x: torch.Tensor) -> torch.Tensor:
    return op()(x, n=x.numel(), block=128) + 1


def graph_of(function: Any) -> Graph:
    return trtnn.trace(function, [INPUT])


def test_a_kernel_is_compiled_into_the_plan(triton: Compiler) -> None:
    graph = graph_of(scale)
    for version in ("10", "11"):
        check_lowering(graph, version, list(graph.dims))
        library = library_of(version)
        (key,) = keys_of(graph)
        assert key.namespace == "trtnn" and key.name.startswith("scaled_")
        assert not library.plugins.in_plan([key], BuildOptions())[0]["needed"]
    told, options = triton.asked[0]
    assert told["signature"] == {"x": "*fp32", "n": "i32", "y": "*fp32", "block": "constexpr"}
    assert told["constexprs"] == {"block": 128} and options == {"num_warps": 2, "num_stages": 3}
    x = torch.ones(3, 100)
    assert torch.equal(scale(x), 2 * x + 1)
    model = trtnn.compile(scale, inputs=[INPUT], backend="reference")
    assert torch.equal(model(x), 2 * x + 1)


class Sizes(dict[str, int]):
    """Every size of an input that is dynamic."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> int:
        return 3


def test_a_kernel_is_launched_by_the_sizes_of_its_inputs(triton: Compiler) -> None:
    def grid(a: dict[str, Any]) -> tuple[Any, ...]:
        return a["n"] % 7 + 1, torch.sym_max(a["x"].shape[0], 2), a["m"] // 2

    function = trtnn.triton_op(Kernel("x n m y"), grid, infer=lambda x: x.new_empty(4, 5))
    graph = graph_of(lambda x: function(x, n=3 * x.numel() + 1, m=torch.sym_min(x.shape[0], 9) + 1))
    library = TensorRT(double.load("11"))
    build(optimize(graph, library), library, BuildOptions())
    (key,) = keys_of(graph)
    name, code, launch, numbers = getattr(library.trt.plugin.op.trtnn, key.name).kernel

    def number(size: Any) -> int:
        made = size._size if hasattr(size, "_size") else size
        return int(evaluate(made, Sizes(), {}))

    n, m = 3 * 300 + 1, 4
    assert [number(x.value) for x in numbers._numbers] == [n, m]
    blocks = [number(getattr(launch, f"grid_{axis}")) for axis in "xyz"]
    assert blocks == [n % 7 + 1, 3, m // 2]
    assert (launch.block_x, launch.shared_mem) == (128, 64) and (name, code[:8]) == (
        "scaled",
        ".visible",
    )


def test_an_engine_is_kept_for_what_its_kernel_is_made_of(triton: Compiler) -> None:
    library = TensorRT(double.load("11"))

    def key(kernel: Kernel, block: int) -> str | None:
        function = trtnn.triton_op(kernel, (1,), infer=torch.empty_like)
        graph = optimize(graph_of(lambda x: function(x, n=3, block=block)), library)
        return engine_key(graph, library, BuildOptions(), tf32=True, gpu=dict(GPU))

    names = "x n y BLOCK"
    assert None not in (first := key(Kernel(names), 64), key(Kernel(names), 64))
    assert first == key(Kernel(names), 64)
    assert len({first, key(Kernel(names), 128), key(Kernel(names, "two"), 64)}) == 3


def test_an_older_tensorrt_takes_none() -> None:
    graph = graph_of(scale)
    text = "scaled_.* version 1: TensorRT 8.6.0 takes no kernel as a plugin; 10 and later do"
    with pytest.raises(UnsupportedError, match=text) as caught:
        check_lowering(graph, "8.6", list(graph.dims))
    assert "return op()(x, n=x.numel()" in str(caught.value)


Wrong = tuple[Any, type[TrtnnError], str]
WRONG: dict[str, Wrong] = {
    "a parameter that there is not": (
        lambda x: op()(x, m=1, n=1, block=1),
        OptionError,
        "there is no parameter 'm'; it has x, n, y, block",
    ),
    "a constant that is missing": (
        lambda x: op()(x, n=1),
        OptionError,
        "the constant 'block' is not given",
    ),
    "a constant that is a size": (
        lambda x: op()(x, n=1, block=x.shape[0]),
        OptionError,
        "the constant 'block' is batch; expected a number or a str",
    ),
    "a number that is a float": (
        lambda x: op()(x, n=1.5, block=1),
        OptionError,
        "the number 'n' is 1.5; expected an int, or a size",
    ),
    "a number that is too large": (
        lambda x: op()(x, n=x.numel() << 31, block=1),
        OptionError,
        "the number 'n' may be 858993459200, beyond 32 bits",
    ),
    "numbers after the results": (
        lambda x: op("x y n BLOCK")(x, n=1, block=1),
        OptionError,
        "its parameters are x, y, n; expected 1 inputs, then the numbers n, then 1 results, as",
    ),
    "an input too many": (
        lambda x: op(infer=lambda x, other: x)(x, x, n=1, block=1),
        OptionError,
        "its parameters are x, n, y; expected 2 inputs, then the numbers n, then 1 results, as",
    ),
    "a grid without blocks": (
        lambda x: op(grid=lambda a: (a["n"] // a["block"],))(x, n=x.numel(), block=256),
        ShapeError,
        "grid[0] is 25*batch//64, which may be 0",
    ),
    "a grid of four": (
        lambda x: op(grid=(1, 1, 1, 1))(x, n=1, block=1),
        OptionError,
        "expected a grid of one to three ints, got (1, 1, 1, 1)",
    ),
    "a size of no input": (
        lambda x: op()(x[:2], n=x.shape[0], block=1),
        UnsupportedError,
        "no input has the size batch, which it is launched by",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_are_checked_when_traced(name: str) -> None:
    function, kind, text = WRONG[name]

    def forward(x: torch.Tensor) -> Any:
        return function(x)  # <- here

    with pytest.raises(kind) as caught:
        trtnn.trace(forward, [trtnn.Input((BATCH, 100))])
    assert caught.value.message.startswith(f"triton_op scaled: {text}"), caught.value.message
    assert caught.value.where is not None


def test_what_is_no_kernel_is_refused() -> None:
    with pytest.raises(OptionError, match=r"expected a function under triton.jit, got function"):
        trtnn.triton_op(doubled, (1,), infer=torch.empty_like)
    with pytest.raises(OptionError, match="expected an int of 1 or more as num_warps, got 0"):
        trtnn.triton_op(Kernel("x y"), (1,), infer=torch.empty_like, num_warps=0)


def test_triton_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton.compiler", None)
    with pytest.raises(AbsentError, match="Triton cannot be imported"):
        compiled(Kernel("x y"), {"x": "*fp32", "y": "*fp32"}, {}, {})


def test_a_kernel_keeps_its_own_parameters_alone() -> None:
    """TensorRT gives no scratch memory: pointers to it would be read from nowhere."""
    kept = with_parameters(PTX, "scaled", 3)
    assert "scaled_param_2\n)" in kept and "scaled_param_3" not in kept
    assert with_parameters(PTX, "scaled", 4) == PTX
    used = PTX.replace("[scaled_param_0]", "[scaled_param_3]")
    with pytest.raises(UnsupportedError, match="triton_op scaled: the kernel needs scratch memory"):
        with_parameters(used, "scaled", 3)


KERNEL = """
import triton
import triton.language as tl

@triton.jit
def scaled(x, n, y, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, 2 * tl.load(x + at, mask=at < n), mask=at < n)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_triton_itself_compiles_what_it_is_told(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a GPU that is not here: three parameters of its own, whatever Triton adds."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    (tmp_path / "own_kernels.py").write_text(KERNEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    module: Any = importlib.import_module("own_kernels")
    cdiv = module.triton.cdiv
    function = trtnn.triton_op(
        module.scaled, lambda a: (cdiv(a["n"], a["BLOCK"]),), infer=torch.empty_like
    )
    graph = graph_of(lambda x: function(x, n=x.numel(), BLOCK=128))
    (written,) = (node.op.written for node in graph.nodes)  # type: ignore[attr-defined]
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    told = written.signature, written.constants, written.options
    made = compiled(written.kernel, *told, target)
    assert made.name == "scaled" and made.threads == 128
    assert made.ptx.partition(")")[0].count(".param") == 3
