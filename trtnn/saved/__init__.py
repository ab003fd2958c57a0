"""Saved models: one file with a plan and its manifest, and whether it fits this machine."""
