"""Norms of each layer, kernel and bias apart (Unterthiner et al. 2020, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.zoo.layout import Layout


def _norms(weights: np.ndarray, layout: Layout, layers: Sequence[str], order: int) -> tuple[np.ndarray, list[str]]:
    tensors = layout.select(layers or layout.layers)
    columns = [np.linalg.norm(weights[:, t.start : t.stop], ord=order, axis=1) for t in tensors]
    return np.stack(columns, axis=1), [f"{t.label}.l{order}" for t in tensors]


def norms_l1(weights: np.ndarray, layout: Layout, layers: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """Sum of absolute values of each tensor: (N, D) -> (N, T), T = 8 for the small CNN.

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.norms import norms_l1
        >>> layout = Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, -0.5]])  # one network
        >>> values, names = norms_l1(weights, layout)
        >>> dict(zip(names, values[0].round(2).tolist()))
        {'fc.kernel.l1': 21.0, 'fc.bias.l1': 1.0}
    """
    return _norms(weights, layout, layers, 1)


def norms_l2(weights: np.ndarray, layout: Layout, layers: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """Euclidean norm of each tensor: (N, D) -> (N, T), T = 8 for the small CNN.

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.norms import norms_l2
        >>> layout = Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, -0.5]])  # one network
        >>> values, names = norms_l2(weights, layout)
        >>> dict(zip(names, values[0].round(2).tolist()))
        {'fc.kernel.l2': 9.54, 'fc.bias.l2': 0.71}
    """
    return _norms(weights, layout, layers, 2)
