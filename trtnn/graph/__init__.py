"""The graph: a frozen program that prints, checks and hashes itself; PyTorch runs it; passes."""
