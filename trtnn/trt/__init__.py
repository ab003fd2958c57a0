"""TensorRT itself: ``library`` alone imports one, or knows a version."""
