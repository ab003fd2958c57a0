"""What the tracer must know about torch callables beyond their meaning: names and kinds."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from trtnn.graph.program import change
from trtnn.ops.slicing import items_of

T = torch.Tensor


def _getters(*names: str) -> frozenset[Any]:
    return frozenset(getattr(T, name).__get__ for name in names)


INFORMATION = frozenset(
    {
        *_getters("shape", "dtype", "device", "ndim", "is_cuda", "is_cpu", "layout", "is_nested"),
        *_getters("requires_grad", "is_sparse", "is_quantized", "is_leaf", "is_meta", "grad"),
        *_getters("is_mkldnn", "is_xla", "is_mps", "is_xpu", "nbytes", "itemsize", "grad_fn"),
        *(T.size, T.dim, T.ndimension, T.numel, T.nelement, T.element_size, T.is_floating_point),
        *(T.is_complex, T.is_signed, T.get_device, torch.numel, torch.is_floating_point),
        *(torch.is_complex, torch.is_signed, T.is_inference, torch.is_inference, T.is_conj),
        *(T.is_neg, T.__hash__, torch.is_tensor, T.is_shared, T.is_same_size),
    }
)
"""Answered by the wrapper itself: PyTorch's own attributes of a tensor without storage."""

VIEWS = frozenset(
    {
        *(T.view, T.view_as, T.transpose, torch.transpose, T.permute, torch.permute, T.t, torch.t),
        *(T.__getitem__, T.select, torch.select, T.narrow, torch.narrow, T.expand, T.expand_as),
        *(T.unsqueeze, torch.unsqueeze, T.squeeze, torch.squeeze, T.chunk, torch.chunk, T.split),
        *(torch.split, T.unbind, torch.unbind, T.unflatten, torch.unflatten, T.detach),
        *(torch.detach, T.movedim, torch.movedim, T.swapaxes, torch.swapaxes, T.swapdims),
        *(torch.swapdims, T.split_with_sizes, torch.split_with_sizes, T.tensor_split, T.diagonal),
        *(torch.tensor_split, torch.broadcast_to, torch.diagonal, T.unfold, T.as_strided),
        *(torch.as_strided, T.hsplit, T.vsplit, T.dsplit, torch.hsplit, torch.vsplit, torch.dsplit),
        *(
            T.broadcast_to,
            torch.broadcast_tensors,
            T.reshape_as,
            *_getters("T", "mT", "H", "mH", "data", "real", "imag"),
            *(torch.view_as_complex, torch.view_as_real, torch.real, torch.imag),
        ),
    }
)
"""Results share memory with the first operand."""

SAME = frozenset(
    {
        *(T.to, T.type, T.type_as, T.float, T.half, T.bfloat16, T.double, T.int, T.long, T.bool),
        *(T.byte, T.char, T.short, T.detach, torch.detach, T.cpu, T.cuda),
        *_getters("data", "real"),
        *(torch.positive, T.positive, T.__pos__, torch.conj, T.conj, torch.conj_physical),
        *(T.conj_physical, torch.resolve_conj, T.resolve_conj, torch.resolve_neg, T.resolve_neg),
        torch.real,
    }
)
"""Where the result is the first operand itself, PyTorch's is too."""

COPIES = frozenset(
    {
        *(T.clone, torch.clone, T.repeat, torch.tile, T.tile, torch.cat, torch.concat, T.flip),
        *(torch.concatenate, torch.stack, T.repeat_interleave, torch.repeat_interleave),
        *(torch.flip, torch.nn.functional.pad, torch.hstack, torch.vstack, torch.dstack),
        *(T.index_select, torch.index_select, T.gather, torch.gather, T.roll, torch.roll),
        *(getattr(torch, name) for name in dir(torch) if name.endswith("_copy")),
        *(T.narrow_copy, torch.column_stack, torch.row_stack, torch.block_diag, torch.rot90),
        *(T.rot90, T.diag_embed, torch.diag_embed, T.diagflat, torch.diagflat, torch.fliplr),
        *(T.fliplr, torch.flipud, T.flipud, torch.tensor, T.take, torch.take, T.take_along_dim),
        *(torch.take_along_dim, T.index_put, torch.index_put, T.scatter, torch.scatter, T.put),
    }
)
"""Results never share memory with an operand, even where the graph's value is the same."""

RANDOM = frozenset(
    (
        "rand randn randint rand_like randn_like randint_like randperm normal bernoulli "
        "multinomial poisson uniform_ normal_ random_ exponential_ bernoulli_ cauchy_ "
        "geometric_ log_normal_"
    ).split()
)
ASKS_VALUE = frozenset(
    (
        "item tolist __bool__ __int__ __float__ __index__ __complex__ numpy __array__ "
        "__len__ data_ptr storage untyped_storage __contains__ __iter__ "
        "is_nonzero stride storage_offset __reversed__ __format__ is_contiguous __repr__ __dlpack__"
    ).split()
)


HOLDING: dict[Any, Callable[..., Any]] = {}
"""What takes functions that become graphs in an op, and its meaning; filled by ``flow``."""

STAYS = frozenset(("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine"))
"""What a graph holds of known values, too: TensorRT is to know that weights are quantized."""

LAYOUT = frozenset(("is_contiguous", "stride", "storage_offset"))
"""What is asked of a tensor's place in memory, and known without its value."""

ANSWERED = frozenset(("__iter__", "__reversed__", "__repr__", "__format__"))
"""What every tensor answers without its value."""

ADDRESSES = frozenset(("data_ptr", "storage", "untyped_storage", "__dlpack__"))
"""What has no meaning in a graph, of known values too."""

AUTOGRAD = frozenset(
    "requires_grad_ detach_ requires_grad.__set__ grad.__set__ retain_grad register_hook".split()
)
"""What concerns gradients only, of which a graph has none."""

RESHAPING = frozenset(
    (
        "squeeze_ unsqueeze_ t_ transpose_ swapaxes_ swapdims_ resize_ resize_as_ "
        "resize_as_sparse_ set_ as_strided_ rename_ names.__set__ sparse_resize_"
    ).split()
)
"""What gives a tensor another shape, other memory or names in place, and its views none of it."""

NAMES = {
    "axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other",
    "self": "input", "axis0": "dim0", "axis1": "dim1", "train": "training",
    "split_size": "split_size_or_sections", "indices": "indices_or_sections",
    "element": "elements", "test_element": "test_elements", "input": "tensor", "tensor": "input",
    "sections": "indices_or_sections", "tensor_indices_or_sections": "indices_or_sections",
}  # fmt: skip
"""Other names that PyTorch has for an argument, some of them for NumPy's sake."""


@lru_cache(maxsize=4096)
def name_of(function: Any) -> str:
    """Return the bare name of a torch callable; a property's access is ``name.__get__``."""
    name = str(getattr(function, "__name__", function))
    if name in ("__get__", "__set__"):
        owner = getattr(function, "__self__", None)
        return f"{getattr(owner, '__name__', '')}.{name}"
    return name


@lru_cache(maxsize=4096)
def out_of_place(function: Any) -> Any | None:
    """Return the callable that an in-place one stands for: ``Tensor.add`` for ``Tensor.add_``."""
    name = name_of(function)
    if name.startswith("__i") and name.endswith("__"):
        return getattr(T, f"__{name[3:]}", None) or getattr(T, name[3:-2], None)
    if name.endswith("_") and not name.endswith("__"):
        base = name[:-1]
        for home in (T, torch.nn.functional, torch):
            if getattr(home, name, None) is function or home is torch:
                found = getattr(home, base, None)
                if found is not None:
                    return found
    return None


INSTEAD = {
    "fused_moving_avg_obs_fake_quant": (
        "use torch.ao.quantization.FakeQuantize, and disable_observer: the fused one finds its "
        "scales anew on each call"
    ),
}


def instead_of(name: str) -> str:
    """Return what to write where a call has no lowering."""
    return INSTEAD.get(name.rstrip("_"), "write it with other torch functions")


def is_mutating(function: Any) -> bool:
    """Say whether a call writes to its first operand."""
    name = name_of(function)
    if name.endswith(".__set__"):
        return name not in ("requires_grad.__set__", "grad.__set__")
    in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
    return in_place or name in ("__setitem__", "__delitem__") or _is_augmented(name)


def _is_augmented(name: str) -> bool:
    operators = "add sub mul truediv floordiv mod pow and or xor lshift rshift matmul div"
    return name.startswith("__i") and name[3:-2] in operators.split()


@lru_cache(maxsize=1024)
def signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of one of our own functions."""
    return inspect.signature(function)


def asks_in_place(function: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Say whether ``inplace=True`` was given to one of our functions, by name or position."""
    parameters = signature(function).parameters
    if "inplace" not in parameters:
        return False
    if "inplace" in kwargs:
        return bool(kwargs["inplace"])
    position = list(parameters).index("inplace")
    return len(args) > position and bool(args[position])


def named(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments as one of our functions takes them, given as PyTorch takes them.

    What a function takes as varargs, PyTorch also takes by name: ``reshape(x, shape=(2, 3))``.
    """
    if not kwargs:
        return args, kwargs
    parameters = signature(function).parameters
    other = {k: name for k, name in NAMES.items() if k not in parameters and name in parameters}
    kwargs = {other.get(k, k): v for k, v in kwargs.items()}
    rest = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    if rest in kwargs:
        last = kwargs.pop(rest)
        before = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        args = (*args, *(kwargs.pop(name) for name in before[len(args) :]), last)
    return args, kwargs


def plain(value: Any) -> Any:
    """Return arguments with NumPy's scalars as the numbers that PyTorch reads them as."""
    numpy = sys.modules.get("numpy")
    return value if numpy is None else change(value, numpy.generic, _number)


def _number(scalar: Any) -> Any:
    # A truth value of NumPy's is a floating point number to PyTorch.
    return float(scalar) if isinstance(scalar.item(), bool) else scalar.item()


def accepts(function: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Say whether one of our functions takes these arguments."""
    try:
        signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def first_operand(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Return the argument that an in-place call writes, given by position or by name."""
    return args[0] if args else kwargs.get(next(iter(signature(function).parameters), ""))


def copies_by_index(index: Any) -> bool:
    """Say whether ``x[index]`` is a copy: an index is a list, an array or a mask."""
    copying = (list, tuple, range, bool)
    return any(isinstance(i, copying) or getattr(i, "ndim", 0) > 0 for i in items_of(index))


def has_symbolic_sizes(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(has_symbolic_sizes, value))
    if isinstance(value, dict):
        return any(map(has_symbolic_sizes, value.values()))
    if isinstance(value, slice):
        return any(map(has_symbolic_sizes, (value.start, value.stop, value.step)))
    return isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))
