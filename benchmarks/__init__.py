"""Benchmarks: ratios measured in one run, with device and versions, written as JSON."""
