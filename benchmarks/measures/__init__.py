"""The measurements: a file for each, or for what several have in common."""
