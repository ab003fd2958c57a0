"""Random programs against PyTorch: values, dtypes and shapes, or a typed error at its line."""
