"""The eight measures of Eilertsen et al. 2020 (section 5.1), of values and of their finite differences: 16.

Mean, variance, skewness (third standardised moment; 0 where all values are alike) and percentiles 1, 25, 50, 75 and 99.
Of the whole vector, or of every kind of weight of every layer: 480 for the neural weight space's fixed architecture,
whose last layer, being without batch normalisation, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.representations.chunks import in_chunks
from metanet.zoo.layout import Layout, TensorSpec

MEASURES = ("mean", "var", "skew", "p1", "p25", "p50", "p75", "p99")
_PERCENTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def measure_names(prefix: str = "") -> list[str]:
    """Names of the 16 columns; those of the differences end in ``_d``."""
    return [f"{prefix}{m}{end}" for end in ("", "_d") for m in MEASURES]


def eight_measures(values: np.ndarray) -> np.ndarray:
    """The eight measures of each row: (N, m) -> float64 (N, 8); percentiles by linear interpolation. No values give zeros."""
    if not values.shape[1]:
        return np.zeros((len(values), len(MEASURES)))
    ordered = np.sort(values, axis=1)
    mean = values.mean(1, dtype=np.float64)
    centred = values - mean[:, None]
    square = centred * centred
    variance = square.mean(1)
    third = np.einsum("nm,nm->n", square, centred) / values.shape[1]
    alike = ordered[:, 0] == ordered[:, -1]
    skewness = np.divide(third, variance**1.5, out=np.zeros_like(third), where=~alike & (variance > 0))
    columns = [mean, np.where(alike, 0.0, variance), skewness]
    for share in _PERCENTILES:
        position = share * (values.shape[1] - 1)
        below = int(position)
        low, high = ordered[:, below], ordered[:, min(below + 1, values.shape[1] - 1)]
        columns.append(low + (high - low).astype(np.float64) * (position - below))
    return np.stack(columns, axis=1)


def sixteen_measures(values: np.ndarray) -> np.ndarray:
    """The eight measures of each row and of its differences: (N, m) -> float64 (N, 16).

    Of a slice, which knows no tensors, differences are taken across their boundaries too.
    """
    return np.hstack([eight_measures(values), eight_measures(np.diff(values, axis=1))])


def layer_measures(
    weights: np.ndarray, layout: Layout, layers: Sequence[str] = (), threads: int = 1
) -> tuple[np.ndarray, list[str]]:
    """The 16 measures of each tensor of some layers: (N, D) -> float64 (N, 16 T); by default of those with batch normalisation.

    Where no layer has one, all layers are taken. Differences are within a tensor, in the order of the vector.

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.measures import layer_measures
        >>> layout = Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, -0.5]])  # one network
        >>> values, names = layer_measures(weights, layout)
        >>> values.shape, names[:3], names[-1]
        ((1, 32), ['fc.kernel.mean', 'fc.kernel.var', 'fc.kernel.skew'], 'fc.bias.p99_d')
    """
    tensors = layout.select(layers) if layers else _normalised(layout)

    def of_each(rows: np.ndarray) -> np.ndarray:
        return np.hstack([sixteen_measures(rows[:, t.start : t.stop]) for t in tensors])

    return in_chunks(weights, of_each, threads), [name for t in tensors for name in measure_names(f"{t.label}.")]


def global_measures(
    weights: np.ndarray, layout: Layout, layers: Sequence[str] = (), threads: int = 1
) -> tuple[np.ndarray, list[str]]:
    """The 16 measures of the whole vector, or of some layers together: (N, D) -> float64 (N, 16).

    Differences are within each tensor.

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.measures import global_measures
        >>> layout = Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, -0.5]])  # one network
        >>> values, names = global_measures(weights, layout)
        >>> dict(zip(names[:4], values[0].round(2).tolist()))
        {'mean': 2.62, 'var': 4.55, 'skew': 0.13, 'p1': -0.43}
    """
    tensors = layout.select(layers or layout.layers)

    def of_all(rows: np.ndarray) -> np.ndarray:
        parts = [rows[:, t.start : t.stop] for t in tensors]
        steps = [np.diff(part, axis=1) for part in parts]
        return np.hstack([eight_measures(np.concatenate(p, axis=1)) for p in (parts, steps)])

    return in_chunks(weights, of_all, threads), measure_names()


def _normalised(layout: Layout) -> tuple[TensorSpec, ...]:
    """The tensors of layers with batch normalisation, which may be a layer of its own behind its kernel's."""
    owned = list(zip(layout.tensors, layout.owners, strict=True))
    chosen = {owner for t, owner in owned if t.kind.startswith("bn_")}
    return tuple(t for t, owner in owned if owner in chosen) or layout.tensors
