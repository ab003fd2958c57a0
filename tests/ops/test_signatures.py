"""Every callable that trtnn stands for takes the arguments that PyTorch's own signature has."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.overrides

import trtnn
import trtnn.vocabulary  # whose import fills the table
from trtnn.errors import UnsupportedError
from trtnn.graph.interpreter import run
from trtnn.ops.op import TABLE
from trtnn.tracing import calls
from trtnn.tree import flatten

TORCH = Path(torch.__file__).parent
# What the recorder answers for all callables: memory, devices and gradients.
EVERYWHERE = {"out", "names", "device", "layout", "pin_memory", "requires_grad", "memory_format"}


class Form(NamedTuple):
    """One way to call a torch callable: the names of its arguments."""

    positional: tuple[str, ...]
    keywords: tuple[str, ...]
    rest: str | None

    @staticmethod
    def of(function: Callable[..., Any]) -> Form:
        parameters = inspect.signature(function).parameters.values()

        def names(*kinds: Any) -> tuple[str, ...]:
            return tuple(p.name for p in parameters if p.kind in kinds)

        P = inspect.Parameter
        positional = names(P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)
        return Form(positional, names(P.KEYWORD_ONLY), next(iter(names(P.VAR_POSITIONAL)), None))


@cache
def stubs(file: str, owner: str | None = None) -> dict[str, list[Form]]:
    """Return the forms of each function in one of the type stubs that PyTorch brings."""
    body = ast.parse((TORCH / file).read_text()).body
    if owner is not None:
        body = next(n for n in body if isinstance(n, ast.ClassDef) and n.name == owner).body
    found: dict[str, list[Form]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            given = node.args
            positional = tuple(a.arg for a in (*given.posonlyargs, *given.args))
            keywords = tuple(a.arg for a in given.kwonlyargs)
            rest = given.vararg.arg if given.vararg else None
            found.setdefault(node.name, []).append(Form(positional, keywords, rest))
    return found


def forms(function: Any) -> list[Form]:
    """Return PyTorch's own ways to call one of its callables; none for operators and getters."""
    name = calls.name_of(function)
    if name.endswith("__"):
        return []
    found = torch.overrides.get_testing_overrides().get(function)
    for home, file, owner in (
        (torch.Tensor, "_C/__init__.pyi", "TensorBase"),
        (torch, "_C/_VariableFunctions.pyi", None),
        (torch.nn.functional, "nn/functional.pyi", None),
    ):
        if getattr(home, name, None) is function and name in stubs(file, owner):
            return stubs(file, owner)[name]
    return [Form.of(found or function)]


# Forms that PyTorch deprecates, or that mean something else, each with its reason.
OTHER_FORMS = {
    "add(input, alpha, other)": "deprecated; refused, as three operands are too many",
    "sub(input, alpha, other)": "deprecated; refused, as three operands are too many",
    "subtract(input, other, alpha)": "of the stubs only; refused, as three operands are too many",
    "rsub(input, other, alpha)": "of the stubs only; refused, as three operands are too many",
    "addmm(beta, input, alpha, mat1, mat2)": "deprecated; refused, as five operands are too many",
    "addmm(beta, input, mat1, mat2)": "deprecated; refused, as four operands are too many",
    "baddbmm(beta, input, alpha, batch1, batch2)": "deprecated; refused, as addmm's",
    "baddbmm(beta, input, batch1, batch2)": "deprecated; refused, as addmm's",
    "addbmm(beta, input, alpha, batch1, batch2)": "deprecated; refused, as addmm's",
    "addbmm(beta, input, batch1, batch2)": "deprecated; refused, as addmm's",
    "addmv(beta, input, alpha, mat, vec)": "deprecated; refused, as addmm's",
    "addmv(beta, input, mat, vec)": "deprecated; refused, as addmm's",
    "addr(beta, input, alpha, vec1, vec2)": "deprecated; refused, as addmm's",
    "addr(beta, input, vec1, vec2)": "deprecated; refused, as addmm's",
    "addcmul(input, value, tensor1, tensor2)": "deprecated; refused, as four operands are too many",
    "addcdiv(input, value, tensor1, tensor2)": "deprecated; refused, as addcmul's",
    "repeat_interleave(repeats)": "counts alone: refused, as the counts are missing",
    "var(input, unbiased)": "told from a dim by its type",
    "std(input, unbiased)": "told from a dim by its type",
    "var_mean(input, unbiased)": "told from a dim by its type",
    "std_mean(input, unbiased)": "told from a dim by its type",
    "max(input, other)": "told from a dim by its type",
    "min(input, other)": "told from a dim by its type",
    "view(input, dtype)": "told from a size by its type",
    "view_copy(input, dtype)": "told from a size by its type",
    "scatter(input, dim, index, value)": "told from a tensor by its type",
    "linalg_diagonal(input, offset, dim1, dim2)": "of the testing table only",
    "arange(end)": "one bound alone is the end",
    "new_ones(input, size, dtype, device, requires_grad, pin_memory)": "of the stubs only",
    "linalg_vector_norm(input, ord, dim, keepdim, out, dtype)": "of the testing table only",
    "linalg_matrix_norm(input, ord, dim, keepdim, out, dtype)": "of the testing table only",
    "linalg_norm(input, ord, dim, keepdim, out, dtype)": "of the testing table only",
    "linalg_vecdot(input, other, dim, out)": "of the testing table only",
    "linalg_cross(input, other, dim, out)": "of the testing table only",
    "linalg_vander(x, N)": "of the testing table only",
    "to(input, other, non_blocking, copy)": "told by the type of the first",
    "to(input, dtype, non_blocking, copy)": "told by the type of the first",
    "to(input, device, dtype, non_blocking, copy)": "told by the type of the first",
}
PACKED = "data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional"
OTHER_FORMS |= {
    f"{name}({PACKED})": "of a packed sequence; told by the type of the fourth"
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
}
# Arguments that trtnn lacks: a typed error names them.
REFUSED = {("mm", "out_dtype"), ("bmm", "out_dtype"), ("addmm", "out_dtype"),
           ("baddbmm", "out_dtype"), ("spmm", "out_dtype")}  # fmt: skip


def text_of(function: Any, form: Form) -> str:
    """Return a form as a call with its positional arguments."""
    given = ["input" if name == "self" else name for name in form.positional]
    return f"{calls.name_of(function)}({', '.join(given)})"


CASES = [(function, form) for function in TABLE for form in forms(function)]


def taken(meaning: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what one of our functions takes each argument for."""
    args, kwargs = calls.named(meaning, args, kwargs)
    bound = calls.signature(meaning).bind(*args, **kwargs).arguments
    rest = {p.name for p in calls.signature(meaning).parameters.values() if p.kind is p.VAR_KEYWORD}
    loose = {k: v for name in rest for k, v in bound.pop(name, {}).items()}
    found = {k: v[0] if isinstance(v, tuple) and len(v) == 1 else v for k, v in bound.items()}
    return {**found, **{k: v for k, v in loose.items() if k in EVERYWHERE}}


def complaints(function: Any, form: Form) -> list[str]:
    """Say which arguments of a form end where they do not belong, or nowhere."""
    meaning, name = TABLE[function], calls.name_of(function)
    parameters = calls.signature(meaning).parameters
    known = EVERYWHERE | {n for f, n in REFUSED if f == name}
    positional = tuple(n for n in form.positional if n not in known)
    found = []

    def belongs(given: str) -> str:
        if given == "self" == form.positional[0]:
            return next(iter(parameters))
        return given if given in parameters else calls.NAMES.get(given, given)

    for count in range(len(positional) + 1):
        first, later = positional[:count], positional[count:]
        named = {n: n for n in (*later, *(k for k in form.keywords if k not in known))}
        if count == 0 and "self" in named:
            continue  # of a method
        try:
            result = taken(meaning, first, dict(named))
        except TypeError as error:
            found.append(f"{first} by position, {tuple(named)} by name: {error}")
            continue
        for given in (*first, *named):
            if result.get(belongs(given)) != given:
                found.append(f"{given} of {first} by position, {tuple(named)} by name: {result}")
    if form.rest and not any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        found.append(f"*{form.rest} is not taken")
    return found


@pytest.mark.parametrize(("function", "form"), CASES, ids=[text_of(*case) for case in CASES])
def test_takes_what_torch_takes(function: Any, form: Form) -> None:
    if text_of(function, form) not in OTHER_FORMS:
        assert complaints(function, form) == []


def test_the_check_reads_signatures_and_finds_what_is_missing() -> None:
    assert len(CASES) > 450 and sum(bool(form.rest) for _, form in CASES) > 8
    lacking = Form(("input", "dim", "descending"), ("stable",), None)
    found = complaints(torch.Tensor.sum, lacking)
    assert any("descending" in text for text in found) and any("stable" in text for text in found)
    swapped = complaints(torch.where, Form(("input", "condition", "other"), (), None))
    assert any("condition of" in text for text in swapped)


@pytest.mark.parametrize("text", OTHER_FORMS)
def test_an_exception_is_needed(text: str) -> None:
    found = [case for case in CASES if text_of(*case) == text]
    assert any(complaints(*case) for case in found)


N = trtnn.Dim("n", 1, 3, 6)
HALF = torch.float16
BY_TYPE: dict[str, Callable[[torch.Tensor], Any]] = {
    "var": lambda x: (x.var(False), x.var(unbiased=False), torch.var(x, 1, False, True)),
    "std": lambda x: (x.std(False), torch.std(x, unbiased=False), x.std(0, False)),
    "max": lambda x: (torch.max(x, x * 2), torch.max(x, other=-x), x.max(other=-x)),
    "min": lambda x: (torch.min(x, x * 2), torch.min(x, other=-x), x.min(other=-x)),
    "view": lambda x: (x.view(torch.float32), x.view(dtype=torch.float32), x.view(size=(-1,))),
    "arange": lambda x: tuple(
        torch.arange(*args, **named)
        for args, named in [
            ((x.shape[0],), {}),
            ((), {"end": x.shape[0]}),
            ((1, x.shape[0] + 1), {}),
            ((1,), {"end": x.shape[0]}),
            ((), {"start": 1, "end": x.shape[0] + 1, "step": 2}),
        ]
    ),
    "to": lambda x: (x.to(HALF), x.to(dtype=HALF), x.to("cpu", HALF), x.to(x.half(), False, True)),
    "to a device": lambda x: (x.to("cpu"), x.to(torch.device("cpu"), HALF, True), x.to(x.half())),
    "type": lambda x: (x.type(HALF, True), x.type(dtype=HALF, non_blocking=True)),
    "reshape": lambda x: (x.reshape(shape=(4, -1)), torch.reshape(input=x, shape=[-1])),
    "permute": lambda x: (x.permute(dims=(1, 0)), torch.permute(input=x, dims=(1, 0))),
    "expand": lambda x: (x.expand(size=(2, -1, 4)), x.expand(torch.Size([2, -1, 4]))),
    "repeat": lambda x: (x.repeat(repeats=(2, 1)), x.repeat(torch.Size([2, 1])), x.repeat(2, 1)),
    "tile": lambda x: (torch.tile(x, dims=(2,)), x.tile(dims=(2, 1)), x.tile(2, 1)),
    "flip": lambda x: (torch.flip(x, dims=(0,)), x.flip(dims=[1]), x.flip(0, 1)),
    "squeeze": lambda x: tuple(
        x[None, :, None].squeeze(*args, **named)
        for args, named in [((0, 2), {}), (((0, 2),), {}), ((), {"dim": (0, 2)}), ((-2,), {})]
    ),
    "sum": lambda x: (x.sum(axis=0, keepdims=True), x.sum((0, 1)), x.sum([1], True)),
    "swapaxes": lambda x: (x.swapaxes(axis0=0, axis1=1), x.transpose(dim0=0, dim1=1)),
    "softmax": lambda x: (torch.softmax(x, 1, HALF), x.log_softmax(1, HALF), x.softmax(dim=0)),
    "where": lambda x: (x.where(x > 0, x * 2), (x > 0).where(x > 1, x < 2), x.where(x > 0, 0.0)),
    "split": lambda x: (
        x.split(split_size=2, dim=1),
        torch.split(tensor=x, dim=1, split_size_or_sections=[1, 3]),
    ),
    "tensor_split": lambda x: (
        x.tensor_split(sections=2, dim=1),
        x.tensor_split(indices=(1,), dim=1),
    ),
    "zeros": lambda x: (torch.zeros(size=(x.shape[0],)), x.new_ones(size=(x.shape[0], 2))),
    "embedding": lambda x: torch.embedding(x, torch.tensor([0, 0]), -1, False, False),
    "scatter": lambda x: (
        x.scatter(1, torch.tensor([[0]]), 2.0),
        x.scatter(1, torch.tensor([[0]]), value=2.0),
        x.scatter(1, torch.tensor([[0]]), 2.0, reduce="add"),
    ),
    "hsplit": lambda x: (x.hsplit(1, 2), x.hsplit([1]), x.vsplit(sections=1), x.hsplit(2)),
    "dropout": lambda x: (torch.dropout(x, p=0.5, train=False), torch.dropout(x, 0.5, False)),
}


@pytest.mark.parametrize("function", BY_TYPE.values(), ids=BY_TYPE)
def test_form_equals_torch(function: Callable[[torch.Tensor], Any]) -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    graph = trtnn.trace(function, [trtnn.Input((N, 4))])
    results, _ = run(graph, [x])
    wanted, _ = flatten(function(x))
    for leaf, expected in zip(graph.leaves, wanted, strict=True):
        torch.testing.assert_close(results[leaf], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["mm", "bmm"])
def test_argument_that_trtnn_lacks_is_named(name: str) -> None:
    inputs = [trtnn.Input((2, 2, 2)[-2 if name == "mm" else -3 :])] * 2
    with pytest.raises(UnsupportedError, match="out_dtype"):
        trtnn.trace(lambda x, y: getattr(torch, name)(x, y, out_dtype=torch.float32), inputs)


@pytest.mark.parametrize("factory", [torch.zeros, torch.ones])
def test_a_layout_that_is_not_dense_is_refused(factory: Any) -> None:
    with pytest.raises(UnsupportedError, match="sparse_coo"):
        trtnn.trace(
            lambda x: factory(x.shape[0], layout=torch.sparse_coo).to_dense(),
            [trtnn.Input((N, 4))],
        )
