"""Flat weights: the vector itself, or the part of some layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.zoo.layout import Layout


def flat(weights: np.ndarray, layout: Layout, layers: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """The weights W, or those of some layers W_l (Unterthiner et al. 2020, section 4.3).

    Shapes: weights (N, D) -> (N, F), F = D or the sum of the layers' sizes; a view where all is taken.
    """
    tensors = layout.select(layers or layout.layers)
    names = [f"{t.label}[{i}]" for t in tensors for i in range(t.stop - t.start)]
    if len(tensors) == len(layout.tensors):
        return weights, names
    return np.concatenate([weights[:, t.start : t.stop] for t in tensors], axis=1), names
