"""Rows of the ops that move entries."""

from __future__ import annotations

import torch

from tests.rows import B, C, Row, S, T
from trtnn.errors import ShapeError, UnsupportedError
from trtnn.sizes.dims import Dim

HALF = torch.float16
Z = Dim("rows", 0, 2, 4)

ROWS: list[Row] = [
    Row(torch.reshape, T(B, 6), (-1, 2, 3)),
    Row(torch.Tensor.reshape, T(2, S, 4), 2, -1),
    Row(lambda x: x.view(*x.shape[:2], 2, 4), T(B, S, 8), name="view heads"),
    Row(torch.Tensor.view, T(6, dtype=HALF), 2, 3),
    Row(torch.Tensor.view, T(1), (), name="view to a scalar"),
    Row(torch.Tensor.view, T(4), torch.int32, raises=UnsupportedError),
    Row(torch.reshape, T(4), (3,), raises=ShapeError),
    Row(torch.flatten, T(B, 3, 2, 2), 1),
    Row(torch.flatten, T(), name="flatten a scalar"),
    Row(torch.unflatten, T(B, 12), 1, (3, -1)),
    Row(torch.squeeze, T(1, B, 1), -1),
    Row(torch.unsqueeze, T(B, 3), 1),
    Row(torch.permute, T(B, S, 2, dtype=HALF), (2, 0, 1)),
    Row(torch.transpose, T(B, S, 2), 1, -1),
    Row(torch.t, T(2, S)),
    Row(lambda x: x.mT, T(B, 2, S), name="mT"),
    Row(torch.movedim, T(1, 2, 3, 4, 1, 2, 1, 2), (0, 3), (5, 1), name="movedim rank 8"),
    Row(torch.clone, T(B, 2)),
    Row(torch.clone, T(dtype=HALF), name="clone a scalar"),
    Row(torch.clone, T(B, S, dtype=torch.int64), name="clone int64"),
    Row(torch.Tensor.expand, T(3, 1), 2, -1, 4),
    Row(torch.Tensor.expand, T(B, 1, 2, dtype=HALF), -1, 3, -1),
    Row(lambda x, y: x.expand_as(y), T(1, S), T(B, S), name="expand_as"),
    Row(torch.Tensor.repeat, T(B, 2), 2, 3),
    Row(torch.repeat_interleave, T(B, 2), 2, 1),
    Row(lambda x: x.expand(x.shape[1], -1, 3), T(S, 1), name="expand to its own size"),
    Row(lambda x: x.unflatten(1, (2, x.shape[1] // 2)), T(B, 2 * S), name="unflatten by half"),
    Row(lambda x: x.reshape(x.shape[0], -1), T(B, S, S), name="reshape of a square"),
    Row(lambda x: x.view(x.numel()), T(B, S, 2), name="numel"),
    Row(lambda x: x.repeat(1, x.shape[1]), T(B, S), name="repeat by a size"),
    Row(
        lambda x: x.view(x.shape[0] // 4, 4, -1).permute(1, 0, 2).flatten(1),
        T(4 * B, S),
        name="windows",
    ),
    Row(torch.reshape, T(4), (-1, -1), raises=ShapeError, name="reshape with two free sizes"),
    Row(torch.reshape, T(4), (2, -3), raises=ShapeError, name="reshape to a negative size"),
    Row(torch.reshape, T(2, 0), (-1, 0), raises=ShapeError, name="reshape with -1 beside a 0"),
    Row(
        lambda x: x.reshape(-1, x.shape[1]), T(4, Z), raises=ShapeError, name="-1 beside perhaps 0"
    ),
    Row(lambda x: x.reshape(-1, 4), T(Z, 4), name="reshape of perhaps nothing"),
    Row(torch.reshape, T(4), (-1, 3), raises=ShapeError, name="reshape that does not divide"),
    Row(lambda x: x[:, 2:].reshape(3, 0), T(2, 2), name="reshape of nothing"),
    Row(lambda x: torch.cat([x[:, 2:].reshape(0, 2), x]), T(B, 2), name="nothing and something"),
    Row(torch.Tensor.view, T(B, 2), torch.float32, name="view as its own type"),
    Row(torch.Tensor.view_as, T(B, 6), T(B, 2, 3)),
    Row(torch.Tensor.reshape_as, T(B, 6), T(B, 2, 3)),
    Row(torch.flatten, T(2, 3), 1, 0, raises=ShapeError),
    Row(torch.squeeze, T(B, 1), raises=ShapeError, name="squeeze of a Dim that may be 1"),
    Row(torch.squeeze, T(1, 2, 1), name="squeeze of all"),
    Row(lambda x: x.t().t(), T(B, 3), name="transposes that cancel"),
    Row(lambda x: x.view(-1, 6).view(x.shape), T(2, 3), name="reshapes that cancel"),
    Row(lambda x: (x + 1, (x + 1).t().t()), T(B, 3), name="a sum, and turned twice"),
    Row(lambda x: (lambda a: (a, a.t().t(), a.t()))(x * 2), T(B, 3), name="one result thrice"),
    Row(lambda x: x.repeat_interleave(1, 0), T(B, 3), name="each once"),
    Row(lambda x, c: (c, c.t().t(), x, x), T(B, 3), C(2, 2), name="constants and inputs"),
    Row(lambda x: (x.int(), x.long(), x.long()), T(B, dtype=torch.int32), name="kinds of integers"),
    Row(lambda x: torch.ones(()), T(B), name="a constant alone"),
    Row(torch.squeeze, T(1, 2, 1), (0, 1), name="squeeze of a dim that is not 1"),
    Row(torch.permute, T(2, 3), (0, 0), raises=ShapeError),
    Row(torch.t, T(1, 2, 3), raises=UnsupportedError),
    Row(lambda x: x.mT, T(3), raises=ShapeError, name="mT of a vector"),
    Row(torch.movedim, T(2, 3), (0, 1), (1,), raises=ShapeError),
    Row(torch.movedim, T(2, 3), (0, 0), (0, 1), raises=ShapeError, name="movedim of a dim twice"),
    Row(lambda x: x.contiguous().detach() * 2, T(B, 2), name="contiguous, detach"),
    Row(torch.Tensor.expand, T(2, 3), 3, raises=ShapeError),
    Row(torch.Tensor.expand, T(3), -1, 3, raises=ShapeError, name="expand with -1 in front"),
    Row(torch.Tensor.expand, T(2), 3, raises=ShapeError, name="expand of size 2"),
    Row(torch.broadcast_to, T(3, 1), (2, 3, 4)),
    Row(torch.Tensor.repeat, T(2, 3), 2, raises=ShapeError),
    Row(torch.repeat_interleave, T(3), T(3, dtype=torch.int64), raises=UnsupportedError),
    Row(lambda x: x.t().reshape(2, 3).t(), T(2, 3), name="transposes around a reshape"),
    Row(lambda x: x.view(3, 2).t().t().view(2, 3) + 1, T(2, 3), name="shuffles that cancel"),
    Row(lambda x: x.view(3, 2).t().reshape(2, 3), T(2, 3), name="reshapes around a transpose"),
    Row(lambda x: x.flatten(1), T(Z, S, 3), name="rows that may be none, flattened"),
    Row(lambda x: x.flatten(0, 1).t(), T(Z, S, 3), name="rows that may be none, merged and turned"),
    Row(lambda x, y: x.expand(3, -1, -1) + y, T(B, S), T(3, B, S), name="expand, then add"),
    Row(lambda x, y: x.expand(3, -1, -1) + y, T(B, S), T(1, B, S), name="expand that is needed"),
]
