"""Without torch: a saved model on NumPy arrays."""

from trtnn.host.model import HostModel as HostModel
