"""What values are computed in: precision, quantization."""
