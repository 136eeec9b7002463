"""Representations: pure functions (weights, layout) -> (array, names), and their unions."""
