"""Rows of activations with slopes, thresholds or a gate, of dropout, and of losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.rows import B, C, Row, S, T
from trtnn.errors import OptionError, ShapeError, TraceError, UnsupportedError
from trtnn.ops.gates import scaled_tanh

HALF, LONG = torch.float16, torch.int64
CLASSES = T(B, dtype=LONG, low=0, high=5)

ROWS: list[Row] = [
    Row(F.cross_entropy, T(2, 4), T(4), raises=ShapeError, name="cross_entropy of other shares"),
    Row(F.prelu, T(B, 3, S), C(3, low=0.1, high=0.9)),
    Row(F.prelu, T(B, 3, S, dtype=HALF), C(1, dtype=HALF, low=0.1, high=0.9), name="prelu of one"),
    Row(F.prelu, T(B), T(1, low=0.1, high=0.9), name="prelu of a traced slope"),
    Row(F.prelu, T(), C(1, low=0.1, high=0.9), name="prelu of a scalar"),
    Row(F.prelu, T(2, 3), C(2), raises=ShapeError, name="prelu of other channels"),
    Row(F.threshold, T(B, S), 0.25, 0.0),
    Row(F.threshold, T(B, dtype=LONG), 2, 7, name="threshold of int64"),
    Row(
        scaled_tanh,
        T(B, S),
        1.5,
        0.5,
        oracle=lambda x, alpha, beta: alpha * torch.tanh(beta * x),
    ),
    Row(F.hardshrink, T(B, S), 0.7),
    Row(F.softshrink, T(B, S, dtype=HALF), 0.7),
    Row(F.glu, T(B, 4, S), 1),
    Row(F.glu, T(2, 3), raises=ShapeError, name="glu of an odd size"),
    Row(F.softmin, T(B, S), dim=1, dtype=HALF),
    Row(F.rrelu, T(B, S)),
    Row(F.rrelu, T(2), training=True, raises=TraceError, name="rrelu in training"),
    Row(lambda x: F.dropout2d(x, training=False) + 1, T(B, 2, 3, 3), name="dropout2d in eval"),
    Row(lambda x: F.alpha_dropout(x) + 1, T(B, S), name="alpha_dropout in eval"),
    Row(F.dropout, T(2), 0.5, raises=TraceError, name="dropout in training"),
    Row(F.mse_loss, T(B, S), T(B, S), weight=T(B, S, low=1.0, high=2.0)),
    Row(F.l1_loss, T(B, S), T(B, S), reduction="none"),
    Row(F.l1_loss, T(2), T(2), reduction="all", raises=OptionError, name="l1_loss of all"),
    Row(F.smooth_l1_loss, T(B, S), T(B, S), beta=0.5),
    Row(F.huber_loss, T(B, S), T(B, S), reduction="sum"),
    Row(F.kl_div, T(B, S), T(B, S, low=0.1, high=1.0), reduction="batchmean"),
    Row(F.binary_cross_entropy, T(B, low=0.1, high=0.9), T(B, low=0.0, high=1.0)),
    Row(F.binary_cross_entropy_with_logits, T(B, S), T(B, S), pos_weight=C(1, low=1.0, high=2.0)),
    Row(F.cross_entropy, T(B, 5), CLASSES, ignore_index=2),
    Row(F.cross_entropy, T(B, 5, S), T(B, 5, S), C(5, low=0.1, high=1.0), name="shares"),
    Row(F.nll_loss, T(B, 5), CLASSES, C(5, low=0.1, high=1.0), reduction="none"),
    Row(F.cross_entropy, T(2, 5), T(2, dtype=LONG), label_smoothing=0.1, raises=UnsupportedError),
]
