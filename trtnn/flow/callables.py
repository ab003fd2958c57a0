"""The operators below ``torch.cond`` and its kin, which a trace sees, and what they mean."""

from __future__ import annotations

from torch._higher_order_ops.cond import cond_op

from trtnn.flow.conditional import torch_cond
from trtnn.tracing.calls import HOLDING

HOLDING[cond_op] = torch_cond
