"""Singular values of each layer's kernel, which no order of its neurons changes.

A kernel is a matrix (outputs, all that one output reads). Beside its largest singular values: the entropy of their squares
(as shares), the stable rank (Frobenius over spectral norm, squared), and the logarithm of the Frobenius norm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.representations.chunks import in_chunks
from metanet.representations.neurons import TINY, fan_ins
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import wire

LARGEST = 16
PRECISION = 1e-7  # of singular values, relative to the largest


def spectra(weights: np.ndarray, layout: Layout, layers: Sequence[str] = (), threads: int = 1) -> tuple[np.ndarray, list[str]]:
    """Logarithms of singular values and what they come to: (N, D) -> float64 (N, F).

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.spectra import spectra
        >>> hidden = [("a.weight", "a", "kernel", (2, 3)), ("a.bias", "a", "bias", (2,))]
        >>> layout = Layout.build([*hidden, ("b.weight", "b", "kernel", (1, 2))])
        >>> weights = np.array([[3.0, 0.0, 4.0, 0.0, 1.0, 0.0, 0.5, -0.5, 1.0, 2.0]])  # one network
        >>> values, names = spectra(weights, layout)
        >>> names[0], round(float(np.exp(values[0, 0])), 3)
        ('a.sv1', 5.0)
    """
    wiring = wire(layout)
    edges = wiring.edges_of(layers)
    names = []
    for edge in edges:
        outputs, *rest = edge.tensor.shape
        count = min(LARGEST, outputs, int(np.prod(rest)))
        names += [f"{edge.tensor.layer}.sv{i + 1}" for i in range(count)]
        names += [f"{edge.tensor.layer}.{word}" for word in ("sv_entropy", "stable_rank", "frobenius")]

    def columns(rows: np.ndarray) -> np.ndarray:
        return np.hstack([spectrum(fan_ins(rows, wiring, edge)) for edge in edges])

    return in_chunks(weights, columns, threads), names


def spectrum(matrices: np.ndarray, largest: int = LARGEST) -> np.ndarray:
    """Log singular values, falling, entropy, stable rank, log norm: (N, m, n) -> float64 (N, min(largest, m, n) + 3)."""
    squares = np.square(singular_values(matrices))
    total = squares.sum(1, keepdims=True) + TINY**2
    share = squares / total
    entropy = -(share * np.log(share + TINY)).sum(1, keepdims=True)
    stable = total / (squares[:, :1] + TINY**2)
    floor = PRECISION**2 * squares[:, :1] + TINY**2  # what is smaller is rounding, and no feature
    return np.hstack([0.5 * np.log(np.maximum(squares[:, :largest], floor)), entropy, stable, 0.5 * np.log(total)])


def singular_values(matrices: np.ndarray) -> np.ndarray:
    """All of them, falling: (N, m, n) -> float64 (N, min(m, n)).

    Roots of the eigenvalues of the smaller Gram matrix: several times as fast as a decomposition of the matrices, and exact to
    about :data:`PRECISION` of the largest.
    """
    matrices = matrices.astype(np.float64)
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.transpose(0, 2, 1)
    eigenvalues = np.linalg.eigvalsh(matrices @ matrices.transpose(0, 2, 1))
    return np.sqrt(np.clip(eigenvalues[:, ::-1], 0, None))
