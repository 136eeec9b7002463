"""What the neurons of each layer are like, whatever their order: distributions over neurons and correlations between them.

Of every neuron: the norm of its fan-in, the norm of its fan-out, the product of both (which scaling a ReLU neuron does not
change), its bias over its fan-in's norm, how much of its fan-in is its mean, batch normalisation's values; of every two
neurons of a layer the cosine of their fan-ins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.representations.chunks import in_chunks
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import Edge, Wiring, wire

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
TINY = 1e-12
_LOGS = ("bn_var",)  # positive, over many powers of ten


def neurons(weights: np.ndarray, layout: Layout, layers: Sequence[str] = (), threads: int = 1) -> tuple[np.ndarray, list[str]]:
    """Quantiles over the neurons of each layer, and correlations: (N, D) -> float64 (N, F).

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.neurons import neurons
        >>> hidden = [("a.weight", "a", "kernel", (2, 3)), ("a.bias", "a", "bias", (2,))]
        >>> layout = Layout.build([*hidden, ("b.weight", "b", "kernel", (1, 2))])
        >>> weights = np.array([[3.0, 0.0, 4.0, 0.0, 1.0, 0.0, 0.5, -0.5, 1.0, 2.0]])  # one network
        >>> values, names = neurons(weights, layout)
        >>> swapped = weights[:, [3, 4, 5, 0, 1, 2, 7, 6, 9, 8]]  # the two hidden neurons in the other order
        >>> np.allclose(values, neurons(swapped, layout)[0])
        True
    """
    wiring = wire(layout)
    edges = wiring.edges_of(layers)
    names = [name for edge in edges for name, _ in _of_layer(np.zeros((1, layout.size), np.float32), wiring, edge)]

    def columns(rows: np.ndarray) -> np.ndarray:
        return np.stack([values for edge in edges for _, values in _of_layer(rows, wiring, edge)], axis=1)

    return in_chunks(weights, columns, threads), names


def fan_ins(rows: np.ndarray, wiring: Wiring, edge: Edge) -> np.ndarray:
    """The weights that each neuron of a kernel reads: (N, D) -> float64 (N, neurons, fan-in)."""
    kernel = wiring.layout.unflatten(rows)[edge.tensor.name]
    return kernel.reshape(*kernel.shape[:2], -1).astype(np.float64)


def by_source(rows: np.ndarray, wiring: Wiring, edge: Edge) -> np.ndarray:
    """The same by the neuron that is read: (N, D) -> float64 (N, neurons, sources, weights between the two)."""
    read = fan_ins(rows, wiring, edge)
    return read.reshape(*read.shape[:2], wiring.sizes[edge.source], -1)


def fan_out_norms(rows: np.ndarray, wiring: Wiring, kind: int) -> np.ndarray | None:
    """Norms of all weights that read each neuron of a kind: (N, D) -> (N, neurons); None where nothing reads them."""
    reading = [edge for edge in wiring.edges if edge.source == kind and not edge.depthwise]
    if not reading:
        return None
    return np.sqrt(sum(np.square(by_source(rows, wiring, edge)).sum((1, 3)) for edge in reading))


def _of_layer(rows: np.ndarray, wiring: Wiring, edge: Edge) -> list[tuple[str, np.ndarray]]:
    """Named columns of one layer, each (N,)."""
    layer, read = edge.tensor.layer, fan_ins(rows, wiring, edge)
    stored = next(t.layer for t in wiring.layout.tensors if t.name == edge.tensor.name)  # ``layer`` may be first or last
    norm = np.sqrt(np.square(read).sum(2))
    per_neuron = {
        "in": np.log(norm + TINY),
        "dc": np.abs(read.sum(2)) / (norm * np.sqrt(read.shape[2]) + TINY),
    }
    if (out := fan_out_norms(rows, wiring, edge.target)) is not None:
        per_neuron["out"] = np.log(out + TINY)
        per_neuron["in_out"] = per_neuron["in"] + per_neuron["out"]
    for tensor, owner in zip(wiring.layout.tensors, wiring.layout.owners, strict=True):
        if owner == stored and tensor.kind != "kernel":
            values = rows[:, tensor.start : tensor.stop].astype(np.float64)
            if tensor.kind == "bias":
                values = values / (norm + TINY)
            per_neuron[tensor.kind] = np.log(np.abs(values) + TINY) if tensor.kind in _LOGS else values
    columns = []
    for name, values in per_neuron.items():
        spread = np.quantile(values, QUANTILES, axis=1)
        columns += [(f"{layer}.{name}.q{round(100 * q)}", own) for q, own in zip(QUANTILES, spread, strict=True)]
        if name != "in":
            columns.append((f"{layer}.{name}.r", _correlation(per_neuron["in"], values)))
    unit = read / (norm[..., None] + TINY)
    pairs = np.triu_indices(read.shape[1], 1)
    cosines = (unit @ unit.transpose(0, 2, 1))[:, pairs[0], pairs[1]] if len(pairs[0]) else np.zeros((len(rows), 1))
    spread = np.quantile(cosines, QUANTILES, axis=1)
    columns += [(f"{layer}.cosine.q{round(100 * q)}", own) for q, own in zip(QUANTILES, spread, strict=True)]
    return columns


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's over neurons, 0 where one is constant: (N, n), (N, n) -> (N,)."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    return (a * b).sum(1) / np.where(scale > TINY, scale, np.inf)
