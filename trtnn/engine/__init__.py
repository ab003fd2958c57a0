"""The engine: from a network to a plan, and new weights for it."""
