"""PyTorch's names for views that are copies: ``view_copy``, ``permute_copy``, and so on."""

from __future__ import annotations

import torch

from trtnn.ops.diagonals import diagonal
from trtnn.ops.joining import split, split_with_sizes, unbind
from trtnn.ops.lookups import narrow_at, unfold
from trtnn.ops.movement import detach, expand, permute, squeeze, t, transpose, unsqueeze, view
from trtnn.ops.op import torch_function
from trtnn.ops.slicing import select

torch_function(torch.alias_copy, torch.detach_copy)(detach)
torch_function(torch.diagonal_copy)(diagonal)
torch_function(torch.expand_copy)(expand)
torch_function(torch.narrow_copy, torch.Tensor.narrow_copy)(narrow_at)
torch_function(torch.permute_copy)(permute)
torch_function(torch.select_copy)(select)
torch_function(torch.split_copy)(split)
torch_function(torch.split_with_sizes_copy)(split_with_sizes)
torch_function(torch.squeeze_copy)(squeeze)
torch_function(torch.t_copy)(t)
torch_function(torch.transpose_copy)(transpose)
torch_function(torch.unbind_copy)(unbind)
torch_function(torch.unfold_copy)(unfold)
torch_function(torch.unsqueeze_copy)(unsqueeze)
torch_function(torch.view_copy)(view)
