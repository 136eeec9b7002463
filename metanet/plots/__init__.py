"""Figures: one function each, a frame and axes in, the axes out."""
