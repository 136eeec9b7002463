"""A graph network on neurons and weights: torch_geometric's message passing with features of edges that are learned on too.

Neural graphs (Kofinas et al. 2024) with two aggregators of principal neighbourhood aggregation (Corso et al. 2020):
messages run along the weights and against them, each neuron takes their mean and spread, and each weight learns of
the neurons at its ends.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import MessagePassing

from metanet.constraints import Count
from metanet.data_modules.networks import NetworkPart
from metanet.models.encoder import Encoder, EncoderNetwork
from metanet.models.weight_space import NodeInput, Readout, TapLinear
from metanet.representations.slots import Slots

AGGREGATORS = ("mean", "std")


class GNN(Encoder):
    """Message passing on graphs of neurons.

    Args:
        layers: rounds of messages.
        channels: features of a weight and of a neuron.
        base: of :class:`metanet.models.encoder.Encoder`.
    """

    name = "gnn"

    def __init__(self, layers: Count = 2, channels: Count = 32, **base: Any) -> None:
        super().__init__(**base)
        self.layers, self.channels = layers, channels

    def create_encoder(self) -> EncoderNetwork:
        return GNNNetwork(self.slots, self.layers, self.channels)


class Messages(MessagePassing):
    """Messages along edges in one direction, pooled at each node.

    Shapes: nodes (V, C), edges (E, C) -> (V, 2 C).
    """

    def __init__(self, channels: int, flow: str) -> None:
        super().__init__(aggr=list(AGGREGATORS), flow=flow)
        self.sender, self.receiver = nn.Linear(channels, channels, bias=False), nn.Linear(channels, channels, bias=False)
        self.edge = nn.Linear(channels, channels)

    def forward(self, nodes: Tensor, index: Tensor, edges: Tensor) -> Tensor:
        return self.propagate(index, sender=self.sender(nodes), receiver=self.receiver(nodes), edge=self.edge(edges))

    def message(self, sender_j: Tensor, receiver_i: Tensor, edge: Tensor) -> Tensor:
        return functional.relu(sender_j + receiver_i + edge)


class Round(nn.Module):
    """Messages in both directions, then an update of nodes (V, C) and edges (E, C), residual both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_nodes, self.norm_edges = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.forwards, self.backwards = Messages(channels, "source_to_target"), Messages(channels, "target_to_source")
        self.node = nn.Sequential(
            nn.Linear((1 + 2 * len(AGGREGATORS)) * channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels)
        )
        self.edge = nn.Linear(channels, channels)
        self.source, self.target = nn.Linear(channels, channels, bias=False), nn.Linear(channels, channels, bias=False)

    def forward(self, nodes: Tensor, index: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        x, e = self.norm_nodes(nodes), self.norm_edges(edges)
        nodes = nodes + self.node(torch.cat([x, self.forwards(x, index, e), self.backwards(x, index, e)], 1))
        ends = self.source(x).index_select(0, index[0]) + self.target(x).index_select(0, index[1])
        return nodes, edges + functional.relu(self.edge(e) + ends)


class GNNNetwork(EncoderNetwork):
    """(B, D) -> (B, groups * 2 C)."""

    def __init__(self, slots: Slots, layers: int, channels: int) -> None:
        super().__init__()
        self.taps, self.inputs = TapLinear(slots, channels), NodeInput(slots, channels)
        self.added = nn.Parameter(torch.zeros(channels))
        self.rounds = nn.ModuleList(Round(channels) for _ in range(layers))
        self.last = Messages(channels, "source_to_target")
        self.join = nn.Linear((1 + len(AGGREGATORS)) * channels, 2 * channels)
        self.readout = Readout(slots, 2 * channels, 2 * channels)
        self.width = self.readout.width

    def forward(self, part: NetworkPart) -> Tensor:
        architecture, weights = part.architecture, part.weights
        count = len(weights)
        kernels = zip(architecture.kernels(weights), architecture.edges, architecture.slots, strict=True)
        parts = [self.taps(taps, edge, slot).flatten(1, 2) for taps, edge, slot in kernels]
        index = architecture.edge_index.to(weights.device)
        if extra := index.shape[1] - sum(p.shape[1] for p in parts):
            parts.append(self.added.expand(count, extra, -1))
        edges = torch.cat(parts, 1).flatten(0, 1)  # (B E, C)
        nodes = torch.cat(self.inputs(architecture, weights), 1)  # (B, V, C)
        offsets = torch.arange(count, device=index.device) * nodes.shape[1]
        index = (index.unsqueeze(1) + offsets[:, None]).flatten(1)  # (2, B E)
        nodes = nodes.flatten(0, 1)
        for step in self.rounds:
            nodes, edges = step(nodes, index, edges)
        nodes = functional.relu(self.join(torch.cat([nodes, self.last(nodes, index, edges)], 1)))
        return self.readout(architecture, list(nodes.view(count, -1, nodes.shape[1]).split(architecture.nodes, 1)))
