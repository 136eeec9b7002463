"""What the encoders of raw weights are made of: learned maps of kernels and neurons that know no order of hidden neurons.

Shapes: B networks, n neurons of a stage, ``out`` neurons that read ``in`` others, P taps between two, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from metanet.representations.graph import VECTORS
from metanet.representations.slots import FREQUENCIES, Architecture, Slots, sides
from metanet.zoo.wiring import Edge


class SlotLinear(nn.Module):
    """One linear map a slot: (..., a) -> (..., b)."""

    def __init__(self, slots: int, before: int, after: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(slots, after, before))
        self.bias = nn.Parameter(torch.zeros(slots, after)) if bias else None
        nn.init.uniform_(self.weight, -(3.0**0.5) / before**0.5, 3.0**0.5 / before**0.5)

    def forward(self, x: Tensor, slot: int) -> Tensor:
        return functional.linear(x, self.weight[slot], None if self.bias is None else self.bias[slot])


class TapLinear(nn.Module):
    """One linear map of taps a slot: (B, out, in, P) -> (B, out, in, C).

    The map is learned on the slot's grid. Smaller convolutions take its middle, as if they were padded with zeros; flattened
    maps of other sides take it resampled.
    """

    def __init__(self, slots: Slots, channels: int) -> None:
        super().__init__()
        self.grids = slots.grids
        self.maps = nn.ParameterList()
        for height, width in slots.grids:
            bound = 3.0**0.5 / (height * width) ** 0.5
            self.maps.append(nn.Parameter(torch.empty(channels, height, width).uniform_(-bound, bound)))
        self.bias = nn.Parameter(torch.zeros(slots.count, channels))

    def forward(self, taps: Tensor, edge: Edge, slot: int) -> Tensor:
        return functional.linear(taps, self.kernel(edge, slot), self.bias[slot])

    def kernel(self, edge: Edge, slot: int) -> Tensor:
        """The map for taps of this kernel's sides, (C, P)."""
        learned, (height, width), own = self.maps[slot], self.grids[slot], sides(edge)
        if own != (height, width):
            if len(edge.tensor.shape) > 2 and own[0] <= height and own[1] <= width:
                top, left = (height - own[0]) // 2, (width - own[1]) // 2
                learned = learned[:, top : top + own[0], left : left + own[1]]
            else:
                share = height * width / (own[0] * own[1])
                learned = functional.interpolate(learned[None], own, mode="bilinear", align_corners=False)[0] * share
        return learned.flatten(1)


class NodeInput(nn.Module):
    """What neurons carry, and their place where they have one: (B, n, 5) -> (B, n, C) of every stage."""

    def __init__(self, slots: Slots, channels: int) -> None:
        super().__init__()
        self.vectors = SlotLinear(slots.groups, len(VECTORS), channels)
        self.places = SlotLinear(2, 2 * FREQUENCIES, channels, bias=False)

    def forward(self, architecture: Architecture, weights: Tensor) -> list[Tensor]:
        states = []
        for stage, values in enumerate(architecture.vectors(weights)):
            state = self.vectors(values, architecture.groups[stage])
            waves = architecture.places[stage]
            if waves is not None:
                state = state + self.places(waves.to(state), architecture.ends.index(stage))
            states.append(state)
        return states


def reading(state: Tensor) -> Tensor:
    """States of the neurons that read, beside every weight: (B, out, C) -> (B, out, 1, C)."""
    return state.unsqueeze(2)


def source(state: Tensor, edge: Edge) -> Tensor:
    """States of the neurons that are read, beside every weight: (B, in, C) -> (B, 1, in, C); depthwise (B, n, 1, C)."""
    return state.unsqueeze(2) if edge.depthwise else state.unsqueeze(1)


def over_sources(values: Tensor) -> Tensor:
    """Mean and largest over what each neuron reads: (B, out, in, C) -> (B, out, 2 C)."""
    return torch.cat([values.mean(2), values.amax(2)], -1)


def over_readers(values: Tensor, edge: Edge) -> Tensor:
    """The same over what reads each neuron: (B, out, in, C) -> (B, in, 2 C)."""
    dim = 2 if edge.depthwise else 1
    return torch.cat([values.mean(dim), values.amax(dim)], -1)


def over_neurons(state: Tensor) -> Tensor:
    """Mean, largest and spread over the neurons of a stage: (B, n, C) -> (B, 3 C)."""
    mean = state.mean(1)
    spread = ((state - mean.unsqueeze(1)).square().mean(1) + 1e-6).sqrt()
    return torch.cat([mean, state.amax(1), spread], -1)


class WeightUpdate(nn.Module):
    """What weights (B, out, in, C) learn of the neurons (B, n, 2 C) at their ends, and of themselves."""

    def __init__(self, slots: Slots, channels: int) -> None:
        super().__init__()
        self.own = SlotLinear(slots.count, channels, channels)
        self.of_reader = SlotLinear(slots.count, 2 * channels, channels, bias=False)
        self.of_source = SlotLinear(slots.count, 2 * channels, channels, bias=False)

    def forward(self, architecture: Architecture, neurons: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
        learned = []
        for own, edge, slot in zip(weights, architecture.edges, architecture.slots, strict=True):
            ends = reading(self.of_reader(neurons[edge.writes], slot)) + source(self.of_source(neurons[edge.reads], slot), edge)
            learned.append(functional.relu(self.own(own, slot) + ends))
        return learned


class Readout(nn.Module):
    """Stages side by side, by group; a group of several stages is their mean, one without any is zero.

    (B, n, C) of every stage -> (B, :attr:`width`).
    """

    def __init__(self, slots: Slots, channels: int, after: int) -> None:
        super().__init__()
        self.groups, self.after = slots.groups, after
        self.linear = SlotLinear(slots.groups, 3 * channels, after)
        self.width = slots.groups * after

    def forward(self, architecture: Architecture, states: list[Tensor]) -> Tensor:
        pooled: list[list[Tensor]] = [[] for _ in range(self.groups)]
        for state, group in zip(states, architecture.groups, strict=True):
            pooled[group].append(functional.relu(self.linear(over_neurons(state), group)))
        empty = states[0].new_zeros(len(states[0]), self.after)
        return torch.cat([torch.stack(own).mean(0) if own else empty for own in pooled], -1)
