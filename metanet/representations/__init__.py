"""Representations: pure functions (weights, layout) -> (array, names)."""
