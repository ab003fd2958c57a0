"""What is measured: the cases, one a row, and the networks."""
