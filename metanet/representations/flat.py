"""Flat weights: the vector itself, or the part of some layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.zoo.layout import Layout, TensorSpec


def flat(weights: np.ndarray, layout: Layout, layers: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """The weights W, or those of some layers W_l (Unterthiner et al. 2020, section 4.3).

    Shapes: weights (N, D) -> (N, F), F = D or the sum of the layers' sizes; a view where all is taken. Columns are named by
    their place in PyTorch's order, in whatever order the axes of a tensor lie in the vector.

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.flat import flat
        >>> layout = Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, -0.5]])  # one network
        >>> values, names = flat(weights, layout, ["fc"])
        >>> values.shape, names[-1]
        ((1, 8), 'fc.bias[1]')
    """
    tensors = layout.select(layers or layout.layers)
    names = [f"{t.label}[{i}]" for t in tensors for i in _positions(t)]
    if len(tensors) == len(layout.tensors):
        return weights, names
    return np.concatenate([weights[:, t.start : t.stop] for t in tensors], axis=1), names


def _positions(tensor: TensorSpec) -> list[int]:
    index = np.arange(tensor.stop - tensor.start)
    return (index if tensor.axes is None else index.reshape(tensor.shape).transpose(tensor.axes).ravel()).tolist()
