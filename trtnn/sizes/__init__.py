"""Sizes: integer expressions of Dims, their ranges, and the node behind a ``torch.SymInt``."""
