"""Graph to graph functions, applied in the order in which ``compiler.py`` lists them."""

from trtnn.graph.passes.absorb import absorb_expands
from trtnn.graph.passes.constants import cast_constants
from trtnn.graph.passes.decompose import decompose
from trtnn.graph.passes.equal import merge_equal
from trtnn.graph.passes.fold import fold_norms
from trtnn.graph.passes.fused import part_regions
from trtnn.graph.passes.heads import split_heads
from trtnn.graph.passes.pads import absorb_pads
from trtnn.graph.passes.products import widen_products
from trtnn.graph.passes.quantized import fold_lone_weights, widen_quantized
from trtnn.graph.passes.refuse import refuse_data
from trtnn.graph.passes.shuffles import merge_shuffles

__all__ = [
    "absorb_expands",
    "absorb_pads",
    "cast_constants",
    "decompose",
    "fold_lone_weights",
    "fold_norms",
    "merge_equal",
    "merge_shuffles",
    "part_regions",
    "refuse_data",
    "split_heads",
    "widen_products",
    "widen_quantized",
]
