"""Tracing: ``forward`` on symbolic tensors, what each torch call means, and what is put back."""
