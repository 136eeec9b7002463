"""A network as a graph, read from its layout alone.

Nodes are neurons: the inputs, and every output of every kernel. A directed edge goes from each neuron to each that reads it and
carries all the weights between the two: the taps of a convolution, or the positions of a flattened map. Residual connections
are edges without weights. A node carries its bias and its entries of batch normalisation.

A :class:`Graph` holds where in a weight vector each of these numbers lies, so that two gathers turn any batch of vectors
of one architecture into the features of its nodes and edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metanet.zoo.layout import Layout
from metanet.zoo.wiring import KINDS, wire

if TYPE_CHECKING:
    from torch_geometric.data import Data

VECTORS = ("bias", "bn_scale", "bn_shift", "bn_mean", "bn_var")
ROLES = ("input", "hidden", "output")
EDGES = (*KINDS, "added")


@dataclass(frozen=True)
class Graph:
    """Nodes V, edges E, at most P weights an edge.

    Attributes:
        layout: of the vectors that it reads.
        stages: of each node, how many kernels lie before it in the vector; the inputs' is 0: (V,).
        roles: index in :data:`ROLES`, (V,).
        places: which input or output a node is, 0 for hidden ones, whose order means nothing: (V,).
        node_positions: of each node's :data:`VECTORS` in the vector, -1 where it has none: (V, 5).
        edges: source and target, sorted by target: (2, E).
        kinds: index in :data:`EDGES`, (E,).
        edge_stages: the stage that an edge leads to, (E,).
        edge_positions: of each edge's weights in the vector, -1 after the last: (E, P).
    """

    layout: Layout
    stages: np.ndarray
    roles: np.ndarray
    places: np.ndarray
    node_positions: np.ndarray
    edges: np.ndarray
    kinds: np.ndarray
    edge_stages: np.ndarray
    edge_positions: np.ndarray

    @classmethod
    def of(cls, layout: Layout) -> Graph:
        """The graph of an architecture.

        Raises:
            MetanetError: a tensor that :func:`metanet.zoo.wiring.wire` cannot place.
        """
        wiring = wire(layout)
        stages = np.repeat(np.arange(len(wiring.stages)), wiring.widths)
        first = np.searchsorted(stages, np.arange(len(wiring.stages)))
        roles = np.where(stages == 0, 0, np.where(stages == wiring.outputs, 2, 1))
        places = np.where(roles == 1, 0, np.arange(len(stages)) - first[stages])
        named = layout.unflatten(np.arange(layout.size))
        node_positions = np.full((len(stages), len(VECTORS)), -1)
        for tensor, stage in wiring.vectors():
            start = first[stage]
            node_positions[start : start + tensor.shape[0], VECTORS.index(tensor.kind)] = named[tensor.name]
        kernels = [named[e.tensor.name].reshape(e.tensor.shape[0] * e.fan_in, -1) for e in wiring.edges]
        positions = kernels + [np.full((wiring.widths[a], 1), -1) for a, _ in wiring.added]
        most = max(p.shape[1] for p in positions)
        padded = np.concatenate([np.pad(p, ((0, 0), (0, most - p.shape[1])), constant_values=-1) for p in positions])
        kinds = [EDGES.index(e.kind) for e in wiring.edges] + [EDGES.index("added")] * len(wiring.added)
        of_edge = np.repeat(kinds, [len(p) for p in positions])
        edges = np.concatenate(wiring.ends(), 1)
        order = np.argsort(edges[1], kind="stable")
        edges = edges[:, order]
        return cls(layout, stages, roles, places, node_positions, edges, of_edge[order], stages[edges[1]], padded[order])

    def node_values(self, weights: np.ndarray) -> np.ndarray:
        """Weight vectors (N, D) -> what their nodes carry, 0 where they carry nothing: float32 (N, V, 5)."""
        return _gather(weights, self.node_positions)

    def edge_values(self, weights: np.ndarray) -> np.ndarray:
        """Weight vectors (N, D) -> what their edges carry, 0 after the last weight: float32 (N, E, P)."""
        return _gather(weights, self.edge_positions)

    def data(self, weights: np.ndarray) -> Data:
        """One weight vector (D,) as a torch_geometric ``Data``.

        It has x (V, 5), edge_index (2, E), edge_attr (E, P), and stage, role and place of nodes, kind of edges.
        """
        import torch
        from torch_geometric.data import Data

        return Data(
            x=torch.from_numpy(self.node_values(weights[None])[0]),
            edge_index=torch.from_numpy(self.edges),
            edge_attr=torch.from_numpy(self.edge_values(weights[None])[0]),
            stage=torch.from_numpy(self.stages),
            role=torch.from_numpy(self.roles),
            place=torch.from_numpy(self.places),
            kind=torch.from_numpy(self.kinds),
        )


def _gather(weights: np.ndarray, positions: np.ndarray) -> np.ndarray:
    values = np.concatenate([weights, np.zeros((len(weights), 1), weights.dtype)], axis=1)
    return values[:, positions].astype(np.float32, copy=False)  # position -1 is the zero behind the last value
