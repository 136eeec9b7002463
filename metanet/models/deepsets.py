"""DeepSets over neurons: every network is a row of sets of neurons, every neuron a set of weights (Zaheer et al. 2017).

A neuron is what it reads, what reads it, its bias and batch normalisation; each of the two sets of weights is pooled, since
its order is that of other hidden neurons. Neurons are pooled by stage, stages side by side.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from metanet.constraints import Count
from metanet.data_modules.networks import NetworkPart
from metanet.models.encoder import Encoder, EncoderNetwork
from metanet.models.weight_space import NodeInput, Readout, SlotLinear, TapLinear, over_readers, over_sources
from metanet.representations.slots import Slots


class DeepSets(Encoder):
    """Two pools: of the weights about a neuron, of the neurons of a stage.

    Args:
        channels: of what is learned of a weight; a neuron has twice as many.
        base: of :class:`metanet.models.encoder.Encoder`.
    """

    name = "deepsets"

    def __init__(self, channels: Count = 64, **base: Any) -> None:
        super().__init__(**base)
        self.channels = channels

    def create_encoder(self) -> EncoderNetwork:
        return DeepSetsNetwork(self.slots, self.channels)


class DeepSetsNetwork(EncoderNetwork):
    """(B, D) -> (B, groups * C)."""

    def __init__(self, slots: Slots, channels: int) -> None:
        super().__init__()
        self.taps = TapLinear(slots, channels)
        self.inputs = NodeInput(slots, 2 * channels)
        self.read = SlotLinear(slots.count, 2 * channels, 2 * channels)
        self.reader = SlotLinear(slots.count, 2 * channels, 2 * channels)
        self.neuron = SlotLinear(slots.groups, 2 * channels, 2 * channels)
        self.readout = Readout(slots, 2 * channels, channels)
        self.width = self.readout.width

    def forward(self, part: NetworkPart) -> Tensor:
        architecture, weights = part.architecture, part.weights
        states = self.inputs(architecture, weights)
        for taps, edge, slot in zip(architecture.kernels(weights), architecture.edges, architecture.slots, strict=True):
            values = functional.relu(self.taps(taps, edge, slot))  # (B, out, in, C)
            states[edge.writes] = states[edge.writes] + self.read(over_sources(values), slot)
            states[edge.reads] = states[edge.reads] + self.reader(over_readers(values, edge), slot)
        for a, b in architecture.added:
            states[a], states[b] = states[a] + states[b], states[b] + states[a]
        states = [self.neuron(functional.relu(s), g) for s, g in zip(states, architecture.groups, strict=True)]
        return self.readout(architecture, [functional.relu(state) for state in states])
