"""Probing: what meta-models look at, and what leaves them alone."""
