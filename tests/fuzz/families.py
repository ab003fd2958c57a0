"""More forms of programs, as ``language`` writes them: what scatters, sorts, contracts, stacks."""

from __future__ import annotations

KEEPING = """
{n}.index_fill({axis}, torch.tensor([0]), {scalar})
{n}.scatter({axis}, torch.zeros_like({n}, dtype=torch.int64), {scalar})
{n}.scatter_add({axis}, torch.zeros_like({n}, dtype=torch.int64), {n})
{n}.scatter_reduce({axis}, torch.zeros_like({n}, dtype=torch.int64), {n}, 'amax')
{n}.index_add({axis}, torch.tensor([0]), {n}.narrow({axis}, 0, 1))
{x}.diagonal()
torch.diag_embed({x})
torch.trace({n})
{n}.sort({axis}).values
{n}.kthvalue(1, {axis}).values
{o}.median({axis}).values
{n}.cummax({axis}).values
torch.aminmax({n}, dim={axis}).max
torch.einsum('...i->...', {n})
torch.einsum('...i,...i->...', {n}, {twin})
torch.kron({n}, {twin})
torch.lerp({f}, {twin}, 0.5)
torch.addcmul({n}, {twin}, {twin})
torch.nan_to_num({f})
torch.trapezoid({f}, dim={axis})
{i} << 1
{i} >> 1
{i} & 3
~{i}
{x}.unfold({axis}, 2, 1)
torch.hstack([{x}, {twin}])
torch.dstack([{x}, {twin}])
torch.atleast_2d({x})
torch.block_diag({x}, {twin})
torch.rot90({x})
torch.take({x}, torch.tensor([0, -1]))
torch.meshgrid({x}, {twin}, indexing='ij')[0]
F.one_hot({index_tensor}, 3)
"""

ROUNDING = """
{f}.expm1()
{f}.logsumexp({axis})
torch.logaddexp({f}, {twin})
torch.sinc({f})
torch.cdist({f}, {twin})
torch.hypot({f}, {twin})
torch.linalg.vector_norm({f}, 2, {axis})
torch.special.erfcx({f})
"""

JUMPING = """
torch.fmod({n}, {divisor})
{f}.frac()
torch.copysign({f}, {twin})
torch.heaviside({n}, {twin})
F.threshold({n}, 0, 1)
F.hardshrink({f})
torch.isclose({f}, {twin})
torch.isin({n}, torch.tensor([0, 1]))
torch.bucketize({n}, torch.tensor([0.0, 1.0]))
torch.count_nonzero({n}, {axis})
{n}.argsort({axis}, stable=True)
torch.quantile({o}, 0.5)
"""

EDGED = """
{f}.log1p()
torch.xlogy({f}, {twin})
torch.addcdiv({f}, {twin}, {twin})
torch.special.entr({f})
F.normalize({f}, dim={axis})
F.cosine_similarity({f}, {twin}, {axis})
"""

WRITING = """
{n}[{cond}] = {scalar}
{n}[{index}] += {like}
{n}[{index}] = {n}[{index}]
{n}.index_fill_({axis}, torch.tensor([0]), {scalar})
{n}.index_add_({axis}, torch.tensor([0]), {n}.narrow({axis}, 0, 1))
{n}.scatter_({axis}, torch.zeros_like({n}, dtype=torch.int64), {scalar})
{n}.diagonal().add_(1)
{n}.fill_diagonal_({scalar})
{n}.tril_()
"""
