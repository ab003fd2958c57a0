"""``trtnn.Module``: a ``torch.nn.Module`` whose ``forward`` is meant to be compiled."""

from __future__ import annotations

import torch


class Module(torch.nn.Module):
    """Base class of networks; called eagerly it is PyTorch, compiled it is TensorRT.

    Everything of ``torch.nn`` works inside, and any ``torch.nn.Module`` can be compiled as well.

    >>> class Double(Module):
    ...     def forward(self, x):
    ...         return x * 2
    >>> Double()(torch.tensor([1.0, 2.0]))
    tensor([2., 4.])

    Attributes:
        precision: What the module is computed in wherever it is compiled: ``"fp32"``, ``"fp16"``,
            ``"bf16"``, or None for what ``compile`` is told. In eager mode it changes nothing.
    """

    precision: str | None = None
    _trtnn_states_precision = True
