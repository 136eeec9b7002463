"""A network as tokens: one for each neuron, all that it reads and carries, cut to a width; any architecture gives the same kind.

A neuron's row is its bias, its batch normalisation and its fan-in; rows longer than the width go on in further tokens. Sets
and transformers of any architecture can eat them. The order within a fan-in is that of the neurons that are read, so tokens of
hidden layers are invariant only to what a model makes of them; the encoders of :mod:`metanet.models` read kernels instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metanet.representations.graph import VECTORS
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import KINDS, wire

FACTS = ("layer", "kind", "neuron", "chunk", "last_layer")
WIDTH = 64


@dataclass(frozen=True)
class Tokens:
    """T tokens of W values of an architecture.

    Attributes:
        positions: of each value in a weight vector, -1 where there is none: (T, W).
        facts: of each token :data:`FACTS`: the layer's number, its kind (index in :data:`metanet.zoo.wiring.KINDS`),
            which of its neurons, which part of its row, and whether it is the last layer: int64 (T, 5).
    """

    positions: np.ndarray
    facts: np.ndarray

    @classmethod
    def of(cls, layout: Layout, width: int = WIDTH) -> Tokens:
        """The tokens of an architecture.

        Raises:
            MetanetError: a tensor that :func:`metanet.zoo.wiring.wire` cannot place.
        """
        wiring = wire(layout)
        named = layout.unflatten(np.arange(layout.size))
        carried = [np.full((width, len(VECTORS)), -1) for width in wiring.widths]
        for tensor, stage in wiring.vectors():
            carried[stage][:, VECTORS.index(tensor.kind)] = named[tensor.name]
        positions, facts = [], []
        for number, edge in enumerate(wiring.edges):
            rows = np.hstack([carried[edge.writes], named[edge.tensor.name].reshape(edge.tensor.shape[0], -1)])
            chunks = -(-rows.shape[1] // width)
            rows = np.pad(rows, ((0, 0), (0, chunks * width - rows.shape[1])), constant_values=-1)
            positions.append(rows.reshape(-1, width))
            neuron, chunk = np.divmod(np.arange(len(rows) * chunks), chunks)
            kind = np.full(len(neuron), KINDS.index(edge.kind))
            last = np.full(len(neuron), int(edge is wiring.edges[-1]))
            facts.append(np.stack([np.full(len(neuron), number), kind, neuron, chunk, last], 1))
        return cls(np.concatenate(positions), np.concatenate(facts))

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Weight vectors (N, D) -> float32 (N, T, W), 0 where there is no value."""
        padded = np.concatenate([weights, np.zeros((len(weights), 1), weights.dtype)], axis=1)
        return padded[:, self.positions].astype(np.float32, copy=False)
