"""What TensorRT cannot express, with the reason and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trtnn.ops.op import REFUSED

__all__: list[str] = []

T = torch.Tensor
L = torch.linalg
S = torch.special


def _refuse(reason: str, hint: str, *callables: Callable[..., Any]) -> None:
    REFUSED.update(dict.fromkeys(callables, (reason, hint)))


_refuse(
    "TensorRT has no layer that factors or inverts a matrix",
    "of parameters alone it is computed when the model is compiled; else compute it before the "
    "call, and give the model the result",
    *(L.inv, L.inv_ex, torch.inverse, T.inverse, L.pinv, torch.pinverse, T.pinverse, L.tensorinv),
    *(L.det, torch.det, T.det, L.slogdet, torch.slogdet, T.slogdet, torch.logdet, T.logdet),
    *(L.solve, L.solve_ex, L.solve_triangular, torch.triangular_solve, T.triangular_solve),
    *(L.lstsq, L.tensorsolve, L.cholesky, L.cholesky_ex, torch.cholesky, T.cholesky),
    *(torch.cholesky_inverse, T.cholesky_inverse, torch.cholesky_solve, T.cholesky_solve),
    *(L.lu, L.lu_factor, L.lu_factor_ex, L.lu_solve, torch.functional.lu, T.lu, torch.lu_solve),
    *(T.lu_solve, torch.lu_unpack, L.ldl_factor, L.ldl_factor_ex, L.ldl_solve, L.qr, torch.qr),
    *(T.qr, torch.geqrf, T.geqrf, torch.ormqr, T.ormqr, torch.orgqr, T.orgqr),
    *(L.householder_product, L.svd, torch.svd, T.svd, L.svdvals, L.eig, L.eigvals, L.eigh),
    *(L.eigvalsh, L.matrix_rank, L.cond, L.matrix_exp, torch.matrix_exp, T.matrix_exp),
)
_refuse(
    "how many different entries there are depends on the data",
    "compare each with each: (x[:, None] == x).sum(1) counts how often each stands",
    *(torch.unique, T.unique, torch.unique_consecutive, T.unique_consecutive),
)
_refuse(
    "how many counts it gives depends on the data",
    "count what is known to occur: (x[:, None] == torch.arange(n)).sum(0)",
    *(torch.bincount, T.bincount),
)
_refuse(
    "TensorRT has no layer that counts entries by bins",
    "use torch.histc, or torch.bucketize and a sum of comparisons",
    *(torch.histogram, T.histogram, torch.histogramdd),
)
_refuse(
    "a graph has one path, whatever the data",
    "use torch.where instead of a branch, or return the comparison: (x == y).all()",
    *(torch.equal, T.equal, torch.allclose, T.allclose),
)
_refuse(
    "how many steps it takes depends on the data",
    "compute it before the call; of sizes, math.gcd and // do",
    *(torch.gcd, T.gcd, torch.lcm, T.lcm),
)
_refuse(
    "TensorRT has no view of the bits of a float",
    "compute it before the call",
    *(torch.frexp, T.frexp, torch.nextafter, T.nextafter),
)
_refuse(
    "TensorRT has no layer for it, and no short composition is exact",
    "of parameters alone it is computed when the model is compiled; else compute it before the "
    "call, and give the model the result",
    *(torch.lgamma, T.lgamma, torch.digamma, T.digamma, torch.polygamma, T.polygamma),
    *(torch.mvlgamma, T.mvlgamma, torch.igamma, T.igamma, torch.igammac, T.igammac),
    *(torch.i0, T.i0, S.i0e, S.i1, S.i1e, S.ndtri, S.zeta, S.airy_ai, S.spherical_bessel_j0),
    *(S.i0, S.gammaln, S.digamma, S.psi, S.polygamma, S.multigammaln, S.gammainc, S.gammaincc),
    *(S.bessel_j0, S.bessel_j1, S.bessel_y0, S.bessel_y1, S.modified_bessel_i0),
    *(S.modified_bessel_i1, S.modified_bessel_k0, S.modified_bessel_k1),
    *(S.scaled_modified_bessel_k0, S.scaled_modified_bessel_k1, S.chebyshev_polynomial_t),
    *(S.chebyshev_polynomial_u, S.chebyshev_polynomial_v, S.chebyshev_polynomial_w),
    *(S.hermite_polynomial_h, S.hermite_polynomial_he, S.laguerre_polynomial_l),
    *(S.legendre_polynomial_p, S.shifted_chebyshev_polynomial_t),
    *(S.shifted_chebyshev_polynomial_u, S.shifted_chebyshev_polynomial_v),
    S.shifted_chebyshev_polynomial_w,
)
