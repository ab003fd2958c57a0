"""Graph to graph functions, applied in the order in which ``compiler.py`` lists them."""

from trtnn.passes.absorb import absorb_expands
from trtnn.passes.decompose import decompose
from trtnn.passes.equal import merge_equal
from trtnn.passes.fold import fold_norms
from trtnn.passes.pads import absorb_pads
from trtnn.passes.refuse import refuse_data
from trtnn.passes.shuffles import merge_shuffles

__all__ = [
    "absorb_expands",
    "absorb_pads",
    "decompose",
    "fold_norms",
    "merge_equal",
    "merge_shuffles",
    "refuse_data",
]
