"""Lowering: a graph to TensorRT's layer calls, one node after another."""
