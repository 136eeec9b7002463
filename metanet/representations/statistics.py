"""The seven weight statistics: mean, variance and percentiles 0, 25, 50, 75, 100.

Unterthiner et al. 2020, section 4.3: of the whole vector (S, 7 values) or of each layer, kernel
and bias apart (S_l, 56 values for the small CNN). The numbers are numpy's percentile, mean and var.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.representations.chunks import in_chunks
from metanet.zoo.layout import Layout

STATISTICS = ("mean", "var", "min", "q25", "median", "q75", "max")


def layer_statistics(
    weights: np.ndarray, layout: Layout, layers: Sequence[str] = (), threads: int = 1
) -> tuple[np.ndarray, list[str]]:
    """Seven statistics of each tensor of all or some layers: (N, D) -> float64 (N, 7 T).

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.statistics import layer_statistics
        >>> layout = Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, -0.5]])  # one network
        >>> values, names = layer_statistics(weights, layout)
        >>> values.shape, dict(zip(names[:4], values[0].round(2).tolist()))
        ((1, 14), {'fc.kernel.mean': 3.5, 'fc.kernel.var': 2.92, 'fc.kernel.min': 1.0, 'fc.kernel.q25': 2.25})
    """
    tensors = layout.select(layers or layout.layers)
    names = [f"{t.label}.{s}" for t in tensors for s in STATISTICS]
    return segment_statistics(weights, [(t.start, t.stop) for t in tensors], threads), names


def global_statistics(
    weights: np.ndarray, layout: Layout, layers: Sequence[str] = (), threads: int = 1
) -> tuple[np.ndarray, list[str]]:
    """Seven statistics of the whole vector, or of some layers taken together: (N, D) -> float64 (N, 7).

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.statistics import global_statistics
        >>> layout = Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, -0.5]])  # one network
        >>> values, names = global_statistics(weights, layout)
        >>> dict(zip(names, values[0].round(2).tolist()))
        {'mean': 2.62, 'var': 4.55, 'min': -0.5, 'q25': 0.88, 'median': 2.5, 'q75': 4.25, 'max': 6.0}
    """
    if layers:
        weights = np.concatenate([weights[:, t.start : t.stop] for t in layout.select(layers)], axis=1)
    return segment_statistics(weights, [(0, weights.shape[1])], threads), list(STATISTICS)


def segment_statistics(weights: np.ndarray, segments: Sequence[tuple[int, int]], threads: int = 1) -> np.ndarray:
    """Seven statistics of each segment [start, stop) of each row: (N, D) -> float64 (N, 7 * len(segments))."""
    return in_chunks(weights, lambda rows: np.hstack([_statistics(rows[:, a:b]) for a, b in segments]), threads)


def _statistics(values: np.ndarray) -> np.ndarray:
    """(n, m) -> (n, 7), percentiles by linear interpolation between order statistics."""
    ordered = np.sort(values, axis=1)
    columns = [values.mean(1), values.var(1)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        position = share * (values.shape[1] - 1)
        below = int(position)
        low, high = ordered[:, below], ordered[:, min(below + 1, values.shape[1] - 1)]
        weight = position - below
        gap = (high - low).astype(np.float64)
        columns.append(low + gap * weight if weight < 0.5 else high - gap * (1 - weight))
    return np.stack(columns, axis=1)
