"""Products of neighbouring layers: what paths through a neuron come to, whatever the neurons' order.

The kernels' taps are summed, so that a convolution is a matrix (outputs, inputs); where a kernel reads a flattened map,
its positions are. Of the product of each kernel with one that reads it: its spectrum and the distribution of its entries. Of
all layers from the inputs to the outputs: the product itself, the outputs' mean taken off (softmax does not see it), and
the sum over paths of the products of squared weights (the path norm, Neyshabur et al. 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.representations.chunks import in_chunks
from metanet.representations.neurons import QUANTILES, TINY, by_source
from metanet.representations.spectra import spectrum
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import Edge, Wiring, wire

SPECTRUM = 10


def products(weights: np.ndarray, layout: Layout, layers: Sequence[str] = (), threads: int = 1) -> tuple[np.ndarray, list[str]]:
    """Spectra and quantiles of the products of layers: (N, D) -> float64 (N, F).

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.products import products
        >>> hidden = [("a.weight", "a", "kernel", (2, 3)), ("a.bias", "a", "bias", (2,))]
        >>> layout = Layout.build([*hidden, ("b.weight", "b", "kernel", (1, 2))])
        >>> weights = np.array([[3.0, 0.0, 4.0, 0.0, 1.0, 0.0, 0.5, -0.5, 1.0, 2.0]])  # one network
        >>> values, names = products(weights, layout)
        >>> names[0], round(float(np.exp(values[0, 0])), 3)  # of b.weight @ a.weight
        ('a>b.sv1', 5.385)
    """
    wiring = wire(layout)
    edges = wiring.edges_of(layers)
    pairs = [(a, b) for a in edges for b in edges if a.target == b.source and a is not b and not (a.depthwise or b.depthwise)]
    names: list[str] = []
    for a, b in pairs:
        names += _names(f"{a.tensor.layer}>{b.tensor.layer}", _rank(wiring, (a, b)))
    chain = _chain(wiring) if not layers else []
    if chain:
        names += [*_names("inputs>outputs", _centred_rank(wiring, chain)), "path_norm"]

    def columns(rows: np.ndarray) -> np.ndarray:
        summed = {edge.tensor.name: by_source(rows, wiring, edge).sum(3) for edge in {*edges, *chain} if not edge.depthwise}
        parts = [_of_product(summed[b.tensor.name] @ summed[a.tensor.name], _rank(wiring, (a, b))) for a, b in pairs]
        if chain:
            through = summed[chain[0].tensor.name]
            paths = np.square(by_source(rows, wiring, chain[0])).sum(3)
            for edge in chain[1:]:
                through = summed[edge.tensor.name] @ through
                paths = np.square(by_source(rows, wiring, edge)).sum(3) @ paths
            centred = through - through.mean(1, keepdims=True)
            parts += [_of_product(centred, _centred_rank(wiring, chain)), 0.5 * np.log(paths.sum((1, 2)) + TINY**2)[:, None]]
        return np.hstack(parts)

    return in_chunks(weights, columns, threads), names


def _chain(wiring: Wiring) -> list[Edge]:
    """Kernels from the inputs to the outputs, each reading the one before; empty where paths part."""
    chain: list[Edge] = []
    for edge in wiring.edges:
        if edge.depthwise or edge.source != (chain[-1].target if chain else 0):
            return []
        chain.append(edge)
    return chain


def _rank(wiring: Wiring, edges: Sequence[Edge]) -> int:
    """Singular values of a product that are not 0 whatever the weights, at most :data:`SPECTRUM`."""
    return min(SPECTRUM, *(wiring.sizes[kind] for edge in edges for kind in (edge.source, edge.target)))


def _centred_rank(wiring: Wiring, chain: Sequence[Edge]) -> int:
    return max(1, min(_rank(wiring, chain), wiring.sizes[chain[-1].target] - 1))


def _names(prefix: str, rank: int) -> list[str]:
    words = [f"sv{i + 1}" for i in range(rank)] + ["sv_entropy", "stable_rank", "frobenius"]
    return [f"{prefix}.{word}" for word in [*words, *(f"q{round(100 * q)}" for q in QUANTILES)]]


def _of_product(matrices: np.ndarray, rank: int) -> np.ndarray:
    flat = matrices.reshape(len(matrices), -1)
    return np.hstack([spectrum(matrices, rank), np.quantile(flat, QUANTILES, axis=1).T])
