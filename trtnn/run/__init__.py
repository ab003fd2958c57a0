"""Running: from an engine to a callable on torch tensors."""
