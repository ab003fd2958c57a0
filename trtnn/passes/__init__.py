"""Graph to graph functions, applied in the order in which ``compiler.py`` lists them."""

from trtnn.passes.absorb import absorb_expands
from trtnn.passes.decompose import decompose
from trtnn.passes.fold import fold_norms
from trtnn.passes.shuffles import merge_shuffles

__all__ = ["absorb_expands", "decompose", "fold_norms", "merge_shuffles"]
