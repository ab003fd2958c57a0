"""Rows of operators on the bits of integers."""

from __future__ import annotations

import operator

import torch

from tests.rows import B, Row, S, T
from trtnn.errors import UnsupportedError

LONG, INT, BYTE = torch.int64, torch.int32, torch.uint8
# The powers of 2 that it needs are beyond the int32 that 8.6 has for int64.
WIDE = {"8.6": "int32"}

ROWS: list[Row] = [
    Row(lambda x: (x & 1, x & 0x7C, x | -8, x ^ 5, ~x), T(B, S, dtype=LONG), name="known bits"),
    Row(lambda x: x & 0xAA, T(B, dtype=BYTE, low=0, high=256), name="known bits of uint8"),
    Row(operator.and_, T(B, S, dtype=INT), T(S, dtype=INT), name="and of int32"),
    Row(operator.xor, T(B, dtype=LONG), T(B, dtype=LONG), unsupported=WIDE, name="xor of int64"),
    Row(lambda x, y: (x.char() | y.char()).int(), T(B, dtype=INT), T(S, 1, dtype=INT), name="int8"),
    Row(operator.and_, T(3), T(3), raises=UnsupportedError, name="bits of floats"),
    Row(lambda x: (x << 2, x >> 1, x >> 40), T(B, S, dtype=INT), name="known shifts"),
    Row(torch.bitwise_left_shift, T(B, dtype=INT), T(S, 1, dtype=INT, low=-1, high=40)),
    Row(torch.bitwise_right_shift, T(B, dtype=INT), T(S, 1, dtype=INT, low=-1, high=40)),
    Row(lambda x: 3 << x, T(B, dtype=BYTE, low=0, high=9), name="shift of a number"),
]
