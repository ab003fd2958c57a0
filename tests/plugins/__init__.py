"""Layers that TensorRT does not have: of its registry, of libraries, and written in Python."""
