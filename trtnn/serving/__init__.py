"""Many rows and many clients: a model as what Ray Data and Ray Serve make one of for each actor."""

from __future__ import annotations

from trtnn.serving.deployment import ray_deployment
from trtnn.serving.predictor import RayPredictor

__all__ = ["RayPredictor", "ray_deployment"]
