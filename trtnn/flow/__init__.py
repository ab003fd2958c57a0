"""Ops that hold graphs: a choice of two, a loop, and the recurrent networks that are loops."""
