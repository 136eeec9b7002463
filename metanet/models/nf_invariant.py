"""A neural functional network: layers that commute with the order of hidden neurons, then an invariant pool (Zhou et al. 2023).

Each layer maps features of weights and of neurons to others, linearly but for the ReLU behind: a weight sees itself and the
two neurons at its ends; a neuron sees itself, mean and maximum of its row and its column, and its whole stage. Inputs and
outputs keep their places (the hidden-neuron symmetry); kernels of a fully connected layer behind a flattened map are
taken by channel. Departures from the paper: the features of neurons are states of their own, which both their
bias and what is broadcast live in; maxima and spreads stand beside means; layers are residual with normalised features.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from metanet.constraints import Count
from metanet.data_modules.networks import NetworkPart
from metanet.models.encoder import Encoder, EncoderNetwork
from metanet.models.weight_space import (
    NodeInput,
    Readout,
    SlotLinear,
    TapLinear,
    WeightUpdate,
    over_neurons,
    over_readers,
    over_sources,
)
from metanet.representations.slots import Architecture, Slots


class NFInvariant(Encoder):
    """Equivariant layers on weights and neurons, pooled at the end.

    Args:
        layers: equivariant layers.
        channels: features of a weight; a neuron has twice as many.
        base: of :class:`metanet.models.encoder.Encoder`.
    """

    name = "nf_invariant"

    def __init__(self, layers: Count = 3, channels: Count = 16, **base: Any) -> None:
        super().__init__(**base)
        self.layers, self.channels = layers, channels

    def create_encoder(self) -> EncoderNetwork:
        return NFNetwork(self.slots, self.layers, self.channels)


class EquivariantLayer(nn.Module):
    """Features of weights (B, out, in, C) and of neurons (B, n, 2 C) -> the same, of every kernel and stage."""

    def __init__(self, slots: Slots, channels: int) -> None:
        super().__init__()
        self.update = WeightUpdate(slots, channels)
        self.row = SlotLinear(slots.count, 2 * channels, 2 * channels, bias=False)
        self.column = SlotLinear(slots.count, 2 * channels, 2 * channels, bias=False)
        self.neuron = SlotLinear(slots.groups, 2 * channels, 2 * channels)
        self.stage = SlotLinear(slots.groups, 6 * channels, 2 * channels, bias=False)
        self.norm_weights, self.norm_neurons = nn.LayerNorm(channels), nn.LayerNorm(2 * channels)

    def forward(
        self, architecture: Architecture, weights: list[Tensor], neurons: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        normed = [self.norm_neurons(n) for n in neurons]
        sums = [
            self.neuron(n, g) + self.stage(over_neurons(n), g).unsqueeze(1)
            for n, g in zip(normed, architecture.groups, strict=True)
        ]
        kernels = [self.norm_weights(values) for values in weights]
        for own, edge, slot in zip(kernels, architecture.edges, architecture.slots, strict=True):
            sums[edge.writes] = sums[edge.writes] + self.row(over_sources(own), slot)
            sums[edge.reads] = sums[edge.reads] + self.column(over_readers(own, edge), slot)
        for a, b in architecture.added:
            sums[a], sums[b] = sums[a] + sums[b], sums[b] + sums[a]
        after = [values + learned for values, learned in zip(weights, self.update(architecture, normed, kernels), strict=True)]
        return after, [n + functional.relu(s) for n, s in zip(neurons, sums, strict=True)]


class NFNetwork(EncoderNetwork):
    """(B, D) -> (B, groups * 2 C)."""

    def __init__(self, slots: Slots, layers: int, channels: int) -> None:
        super().__init__()
        self.taps, self.inputs = TapLinear(slots, channels), NodeInput(slots, 2 * channels)
        self.layers = nn.ModuleList(EquivariantLayer(slots, channels) for _ in range(layers))
        self.row = SlotLinear(slots.count, 2 * channels, 2 * channels)
        self.readout = Readout(slots, 2 * channels, 2 * channels)
        self.width = self.readout.width

    def forward(self, part: NetworkPart) -> Tensor:
        architecture, weights = part.architecture, part.weights
        kernels = zip(architecture.kernels(weights), architecture.edges, architecture.slots, strict=True)
        values = [self.taps(taps, edge, slot) for taps, edge, slot in kernels]
        neurons = self.inputs(architecture, weights)
        for layer in self.layers:
            values, neurons = layer(architecture, values, neurons)
        for own, edge, slot in zip(values, architecture.edges, architecture.slots, strict=True):
            neurons[edge.writes] = neurons[edge.writes] + self.row(over_sources(own), slot)
        return self.readout(architecture, [functional.relu(n) for n in neurons])
