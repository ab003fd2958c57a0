"""What programs are made of: forms of expressions and of writes, with holes for operands.

A hole is filled by the function of its name in ``holes.HOLES``. The first tensor is one of

    x any tensor, n any number, f a floating number, i an integer, b a bool, o a number but no NaN

and the others fit it: ``like`` is a tensor that broadcasts with it, or a number, ``twin`` a tensor
of its dtype that does, ``cond`` a bool that does.

Rounding may differ between eager and a graph that computes another way, so what a step of a
function would make of it must be known: a form with a jump takes values that are exact.
"""

from __future__ import annotations

from tests.fuzz import families

# Exact of exact values, and continuous: rounding stays what it was.
KEEPING = """
{n} + {like}
{n} - {like}
{n} * {like}
{like} - {n}
{like} * {n}
-{n}
{n}.abs()
torch.relu({f})
{f}.clamp({scalar}, {scalar})
{n}.clamp(min={scalar})
{n}.clamp(max={like})
torch.maximum({n}, {twin})
torch.minimum({n}, {twin})
torch.where({cond}, {n}, {like})
torch.where({cond}, {like}, {n})
{n}.masked_fill({cond}, {scalar})
torch.add({n}, {like}, alpha={scalar})
torch.sub({n}, {twin}, alpha=2)
torch.rsub({n}, {scalar})
{n}.square()
{n} ** 2
{n}.sum()
{n}.sum({axis}, {keep})
{n}.sum({axes}, {keep})
{n}.amax({axis}, {keep})
{n}.amin({axes}, {keep})
{n}.max({axis}).values
{n}.min()
{n}.cumsum({axis})
{n}.prod({axis})
F.leaky_relu({f}, 0.25)
F.hardtanh({f})
F.relu6({f})
{f} @ {twin}.transpose(-1, -2)
torch.matmul({f}, {f})
{f}.diff(dim={axis})
torch.outer({n}.flatten(), {n}.flatten())
torch.tril({n})
torch.triu({n}, diagonal=1)
{n}.topk(1, {axis}).values
{x}.transpose({axis}, {axis})
{x}.permute({permutation})
{x}.unsqueeze({new_axis})
{x}.squeeze()
{x}.squeeze({axis})
{x}.flatten()
{x}.flatten({axis})
{x}.reshape({shape})
{x}.reshape({shape})
{x}.view({shape})
{x}.view_as({twin})
{x}.expand_as({twin})
{x}.expand({count}, *{x}.shape)
torch.broadcast_to({x}, {twin}.shape)
{x}[{index}]
{x}[{index}]
{x}[{index}]
{x}.select({axis}, 0)
{x}.narrow({axis}, 0, {count})
{x}.narrow({axis}, 1, {size})
{x}.unbind({axis})[0]
{x}.chunk(2, {axis})[0]
{x}.split(2, {axis})[-1]
{x}.movedim({axis}, {axis})
{x}.swapaxes({axis}, {axis})
{x}.mT
{x}.unflatten({axis}, (1, -1))
{x}.flip({axis})
{x}.roll({count}, {axis})
{x}.repeat({count}, *[1] * {x}.ndim)
{x}.tile(({count},))
{x}.repeat_interleave(2, {axis})
torch.cat([{x}, {twin}], {axis})
torch.cat([{x}, {x}[:0]])
torch.stack([{x}, {twin}], {axis})
torch.stack([{x}, {x}])
torch.broadcast_tensors({x}, {twin})[0]
F.pad({n}, (1, 0))
F.pad({n}, (0, {count}), value={scalar})
F.pad({n}, (-1, 1))
{x}.contiguous()
{x}.clone()
{x}.detach()
torch.zeros_like({x})
torch.ones_like({x})
torch.full_like({n}, {scalar})
{x}.new_zeros({twin}.shape)
{x}.gather({axis}, torch.zeros_like({x}, dtype=torch.int64))
{x}.index_select({axis}, torch.tensor([0, 0]))
{x} if {size} > 1 else {x}
{n} * {size}
{n} + {size}
{n}.to(torch.float32)
{n}.float()
{i}.half()
{b}.to(torch.{dtype})
{b}.int()
{i} + {b}
{b} * {like}
~{b}
{b} & {cond}
{b} | {cond}
{b} ^ {cond}
{b}.any()
{b}.all({axis}, {keep})
{b}.any({axis}, {keep})
{b}.sum({axis})
torch.logical_and({b}, {cond})
"""

# Continuous, and rounding adds to it.
ROUNDING = """
{f}.exp()
{f}.sigmoid()
{f}.tanh()
{f}.sin()
{f}.cos()
{f}.erf()
{f}.atan()
F.gelu({f})
F.silu({f})
F.elu({f})
F.selu({f})
F.softplus({f})
F.hardswish({f})
F.hardsigmoid({f})
F.mish({f})
F.logsigmoid({f})
F.softsign({f})
{f}.softmax({axis})
{f}.log_softmax({axis})
{f}.mean()
{f}.mean({axis}, {keep})
{f}.mean({axes})
{f}.var({axis}, unbiased=False)
F.layer_norm({f}.clamp(-4, 4), {f}.shape[-1:])
{f} / 3
{f} / {size}
{i} / 4
{f} * 0.3
self.bias.exp()
{f} + 1e5
{f} * -1e4
self.linear({f})
self.norm({f})
F.avg_pool1d({f}, 2)
F.max_pool1d({f}, 2)
F.scaled_dot_product_attention({o}, {twin}, {twin})
{f}.half()
{f}.to(torch.{float_dtype})
"""

# A step, or the edge of a domain: of exact values alone. The result is exact again.
JUMPING = """
{n} > {like}
{n} >= {like}
{n} == {like}
{n} != {like}
{like} < {n}
{n} == 0
{n}.sign()
{f}.floor()
{f}.ceil()
{f}.round()
{f}.trunc()
{n} // {divisor}
{n} % {divisor}
torch.remainder({n}, {divisor})
{i} // {like}
{i} % {like}
torch.div({n}, {divisor}, rounding_mode='trunc')
torch.floor_divide({n}, {divisor})
{o}.argmax({axis})
{o}.argmin({axis}, keepdim=True)
{o}.argmax()
{o}.max({axis}).indices
torch.isnan({f})
torch.isfinite({f})
torch.isinf({f})
{n}.to(torch.int64)
{n}.int()
{n}.long()
{x}.bool()
{x}.to({twin}.dtype)
{x}.to(torch.{dtype})
{n}.type_as({twin})
torch.logical_not({x})
{x}[{cond}]
torch.nonzero({x})
torch.tensor({scalar}) * {n}
self.embedding({index_tensor})
"""

# The edge of a domain, or a quotient: of exact values alone, and it rounds. Half to the power 0.5
# is sqrt on PyTorch's GPU and a power on its CPU, which differ at -0.0 and -inf.
EDGED = """
{n} / {like}
{like} / {n}
torch.div({n}, {divisor})
{f}.log()
{n}.abs().sqrt()
{f}.sqrt()
{f}.rsqrt()
{f}.reciprocal()
{f}.log2()
{f}.asin()
{f}.abs() ** {scalar}
{f} ** {count}
{scalar} ** {f}
{f} ** {like}
{f}.std({axis})
{f}.var(unbiased=True)
"""

# Known while tracing, alone or with a size.
MAKING = """
torch.zeros({count}, {count})
torch.ones({size})
torch.zeros({size}, {count}, dtype=torch.{dtype})
torch.full(({size},), {scalar})
torch.arange({size})
torch.arange({count}, dtype=torch.float32)
torch.arange(0, {size}, 2)
torch.arange({size}, 0, -1)
torch.tensor([[{scalar}], [{scalar}]])
torch.tensor({scalar})
torch.eye({count})
torch.linspace(0, 1, {count})
self.weight * 2
self.weight
self.weight[{count}]
self.weight.T
self.gain
self.bias
self.table
self.table + 1
self.mask
self.bias.view(2, 2)
self.weight.expand(2, 3, 4)
"""

# Writes: exact into what is exact, or it is exact no more.
WRITING = """
{n}.add_({like})
{n}.mul_({like})
{n}.sub_({scalar})
{n} += {like}
{n} -= {like}
{n} *= {like}
{f}.div_(2)
{f}.relu_()
{n}.clamp_(min={scalar})
{f}.neg_()
{x}.copy_({twin})
{x}.zero_()
{n}.fill_({scalar})
{n}.masked_fill_({cond}, {scalar})
{x}[{part}] = {twin}
{n}[{part}] = {scalar}
{n}[{part}] += {like}
{n}[{part}].add_(1)
{n}.select({axis}, 0).fill_({scalar})
{n}.transpose({axis}, {axis}).mul_(2)
{n}.view({shape}).add_(1)
{n}.reshape({shape}).mul_(2)
{n}[{index}] = {scalar}
{n}.t_()
{x}.unsqueeze_({new_axis})
{x}.squeeze_()
{x}.transpose_({axis}, {axis})
F.relu({f}, inplace=True)
{b}.logical_not_()
{b} &= {cond}
"""

SIZES = """
{x}.shape[{axis}]
{x}.size({axis})
{x}.numel()
{size} + 1
{size} * 2
{size} // 2
{size} - 1
{size} % 2
({size} + 3) // 4
max({size}, 2)
"""


def table(text: str) -> tuple[str, ...]:
    """Return the lines of a table."""
    return tuple(line for line in text.splitlines() if line)


# What a statement is drawn from, the simplest first; a kind as often as it stands here.
KINDS = {
    "keeping": (6, table(KEEPING + families.KEEPING)),
    "rounding": (2, table(ROUNDING + families.ROUNDING)),
    "jumping": (2, table(JUMPING + families.JUMPING)),
    "edged": (1, table(EDGED + families.EDGED)),
    "making": (2, table(MAKING)),
    "sizes": (1, table(SIZES)),
    "writing": (4, table(WRITING + families.WRITING)),
}

FLOATS = ("float32", "float16", "bfloat16")
INTEGERS = ("int64", "int32")
DTYPES = (*FLOATS, *INTEGERS, "bool")
# Plain ones first; the last are what a half or an integer cannot hold.
SCALARS = {
    "float": "1.0 0.5 2 -1 0.0 -2.5 np.float32(1.5) True 100.0 1e5 -1e9 float('inf')",
    "integer": "1 2 -1 0 3 5 True np.int64(2) 0.5 -1.5",
    "bool": "True False 1 0 2 0.5",
}
DIVISORS = {
    "float": "2.0 0.5 -1.5 3 0.25 float('inf')",
    "integer": "2 3 -2 1 -3 1.5",
    "bool": "2 1 1.5",
}
