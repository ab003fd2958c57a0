"""What of PyTorch's vocabulary trtnn knows: its operator database, traced and run beside eager."""
