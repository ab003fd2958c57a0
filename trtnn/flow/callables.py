"""The operators below ``torch.cond`` and its kin, which a trace sees, and what they mean."""

from __future__ import annotations

from torch._higher_order_ops.cond import cond_op
from torch._higher_order_ops.scan import scan_op
from torch._higher_order_ops.while_loop import while_loop_op

import trtnn.flow.recurrent  # noqa: F401 - which gives torch.lstm and its kin their meaning
from trtnn.flow.conditional import torch_cond
from trtnn.flow.loops import torch_scan, torch_while_loop
from trtnn.tracing.calls import HOLDING

HOLDING[cond_op] = torch_cond
HOLDING[scan_op] = torch_scan
HOLDING[while_loop_op] = torch_while_loop
