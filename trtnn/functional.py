"""Every op as a function, on symbolic and on real tensors, with PyTorch's names and arguments."""

from trtnn.ops import *
