"""A graph transformer: neurons attend to the neurons that they read and that read them, by way of the weights between.

Relational attention (Diao and Loynd 2023, as Kofinas et al. 2024 use it on neural graphs), over the edges of the graph alone:
a key and a value are what the other neuron says plus what the weight says. The weight's share is never written out: each neuron
asks weights by a query in their own space, and what is attended to is averaged there, so that a head costs two products a weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from metanet.constraints import Count
from metanet.data_modules.networks import NetworkPart
from metanet.errors import MetanetError
from metanet.models.encoder import Encoder, EncoderNetwork
from metanet.models.weight_space import NodeInput, Readout, SlotLinear, TapLinear, WeightUpdate, over_readers, over_sources
from metanet.representations.slots import Architecture, Slots


class GraphTransformer(Encoder):
    """Relational attention on graphs of neurons.

    Args:
        layers: of attention.
        channels: features of a weight; a neuron has twice as many.
        heads: of attention; they share a neuron's features.
        base: of :class:`metanet.models.encoder.Encoder`.

    Raises:
        MetanetError: ``heads`` does not divide the features of a neuron.
    """

    name = "graph_transformer"

    def __init__(self, layers: Count = 2, channels: Count = 24, heads: Count = 4, **base: Any) -> None:
        super().__init__(**base)
        if 2 * channels % heads:
            raise MetanetError(f"model.heads={heads}: give a number that divides the {2 * channels} features of a neuron")
        self.layers, self.channels, self.heads = layers, channels, heads

    def create_encoder(self) -> EncoderNetwork:
        return TransformerNetwork(self.slots, self.layers, self.channels, self.heads)


class RelationalAttention(nn.Module):
    """Neurons (B, n, 2 C) and weights (B, out, in, C) -> what each neuron attends to, (B, n, 2 C) of every stage."""

    def __init__(self, slots: Slots, channels: int, heads: int) -> None:
        super().__init__()
        width = 2 * channels
        self.heads, self.size = heads, width // heads
        self.query = SlotLinear(slots.groups, width, width)
        self.key, self.value = SlotLinear(slots.groups, width, width), SlotLinear(slots.groups, width, width)
        # of weights, towards what reads and towards what is read
        self.ask = nn.ModuleList(SlotLinear(slots.groups, width, heads * channels) for _ in range(2))
        self.hear = nn.ModuleList(nn.Linear(heads * channels, width, bias=False) for _ in range(2))
        self.out = SlotLinear(slots.groups, width, width)

    def forward(self, architecture: Architecture, neurons: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
        queries, keys, values = (
            [m(n, g).unflatten(2, (self.heads, self.size)) for n, g in zip(neurons, architecture.groups, strict=True)]
            for m in (self.query, self.key, self.value)
        )  # (B, n, h, d) each
        scores: list[list[Tensor]] = [[(q * k).sum(-1, keepdim=True)] for q, k in zip(queries, keys, strict=True)]  # its own
        sent: list[list[tuple[Tensor, Tensor | None, int, bool]]] = [[(v, None, 0, True)] for v in values]
        for own, edge in zip(weights, architecture.edges, strict=True):
            for direction, here, there in ((0, edge.writes, edge.reads), (1, edge.reads, edge.writes)):
                between = own if direction == 0 or edge.depthwise else own.transpose(1, 2)  # (B, here, there, C)
                asked = self.ask[direction](neurons[here], architecture.groups[here]).unflatten(2, (self.heads, -1))
                score = torch.matmul(asked, between.transpose(2, 3))  # (B, here, h, there)
                if edge.depthwise:
                    score = score + (queries[here] * keys[there]).sum(-1, keepdim=True)
                else:
                    score = score + torch.matmul(queries[here].transpose(1, 2), keys[there].permute(0, 2, 3, 1)).transpose(1, 2)
                scores[here].append(score)
                sent[here].append((values[there], between, direction, edge.depthwise))
        for a, b in architecture.added:
            for here, there in ((b, a), (a, b)):
                scores[here].append((queries[here] * keys[there]).sum(-1, keepdim=True))
                sent[here].append((values[there], None, 0, True))
        after = []
        for parts, others, group in zip(scores, sent, architecture.groups, strict=True):
            shares = (torch.cat(parts, 3) / self.size**0.5).softmax(3).split([p.shape[3] for p in parts], 3)
            heard = [self._heard(share, *other) for share, other in zip(shares, others, strict=True)]
            after.append(self.out(torch.stack(heard).sum(0), group))
        return after

    def _heard(self, share: Tensor, values: Tensor, between: Tensor | None, direction: int, one_to_one: bool) -> Tensor:
        """Shares (B, n, h, m) of values (B, m, h, d), and of weights (B, n, m, C) -> (B, n, 2 C)."""
        heard = share * values if one_to_one else torch.matmul(share.transpose(1, 2), values.transpose(1, 2)).transpose(1, 2)
        if between is None:
            return heard.flatten(2)
        return heard.flatten(2) + self.hear[direction](torch.matmul(share, between).flatten(2))


class Block(nn.Module):
    """Attention, then a hidden layer a neuron and an update of each weight, all residual; the last block updates no weights."""

    def __init__(self, slots: Slots, channels: int, heads: int, last: bool) -> None:
        super().__init__()
        width = 2 * channels
        self.norm_neurons, self.norm_weights, self.norm_hidden = nn.LayerNorm(width), nn.LayerNorm(channels), nn.LayerNorm(width)
        self.attention = RelationalAttention(slots, channels, heads)
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.update = None if last else WeightUpdate(slots, channels)

    def forward(
        self, architecture: Architecture, neurons: list[Tensor], weights: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        normed, kernels = [self.norm_neurons(n) for n in neurons], [self.norm_weights(w) for w in weights]
        heard = self.attention(architecture, normed, kernels)
        neurons = [n + h for n, h in zip(neurons, heard, strict=True)]
        neurons = [n + self.hidden(self.norm_hidden(n)) for n in neurons]
        if self.update is not None:
            weights = [w + own for w, own in zip(weights, self.update(architecture, normed, kernels), strict=True)]
        return neurons, weights


class TransformerNetwork(EncoderNetwork):
    """(B, D) -> (B, groups * 2 C)."""

    def __init__(self, slots: Slots, layers: int, channels: int, heads: int) -> None:
        super().__init__()
        width = 2 * channels
        self.taps, self.inputs = TapLinear(slots, channels), NodeInput(slots, width)
        self.read, self.reader = SlotLinear(slots.count, width, width), SlotLinear(slots.count, width, width)
        self.blocks = nn.ModuleList(Block(slots, channels, heads, last=i == layers - 1) for i in range(layers))
        self.readout = Readout(slots, width, width)
        self.width = self.readout.width

    def forward(self, part: NetworkPart) -> Tensor:
        architecture, weights = part.architecture, part.weights
        kernels = []
        neurons = self.inputs(architecture, weights)
        for taps, edge, slot in zip(architecture.kernels(weights), architecture.edges, architecture.slots, strict=True):
            values = functional.relu(self.taps(taps, edge, slot))
            neurons[edge.writes] = neurons[edge.writes] + self.read(over_sources(values), slot)
            neurons[edge.reads] = neurons[edge.reads] + self.reader(over_readers(values, edge), slot)
            kernels.append(values)
        for block in self.blocks:
            neurons, kernels = block(architecture, neurons, kernels)
        return self.readout(architecture, [functional.relu(n) for n in neurons])
