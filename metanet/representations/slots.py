"""Architectures as encoders of raw weights see them: kernels, neurons, and the slots that learned parameters belong to.

A batch of B weight vectors of one architecture is taken apart by its wiring into kernels (B, out, in, P), P taps between
two neurons, and vectors of the neurons (B, n, 5). Whatever is learned belongs to a *slot*: a layer of its own where all
training networks have the same layers, else a role (first, middle or last; convolution, fully connected or depthwise) that
any architecture has. No shape of a slot depends on the number of neurons, so one encoder reads networks of any width.

Shapes: B networks, n neurons of a stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metanet.errors import MetanetError
from metanet.representations.graph import VECTORS
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import KINDS, Edge, Wiring, wire

PLACES = ("first", "middle", "last")
ROLES = tuple(f"{place} {kind}" for kind in KINDS for place in PLACES)
FREQUENCIES = 4  # of the positions of inputs and outputs


def sides(edge: Edge) -> tuple[int, int]:
    """Height and width of the taps between two neurons; a flattened map that is no square is a line."""
    if len(edge.tensor.shape) > 2:
        height, *rest = edge.tensor.shape[2:]
        return height, int(np.prod(rest))
    side = isqrt(edge.each)
    return (side, side) if side * side == edge.each else (1, edge.each)


@dataclass(frozen=True)
class Slots:
    """Which learned parameters belong to which kernel.

    Attributes:
        layers: the kind of every kernel and what it reads, where all training networks have the same layers; None where
            they differ, and slots are :data:`ROLES`.
        grids: height and width of each slot's taps, the largest in training.
        scales: a typical size of the values of each slot: kernel, then the neurons' vectors, (S, 6).
    """

    layers: tuple[tuple[str, int, int], ...] | None
    grids: tuple[tuple[int, int], ...]
    scales: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, samples: list[tuple[Layout, np.ndarray]]) -> Slots:
        """From layouts with some weight vectors (n, D) of each."""
        wirings = [wire(layout) for layout, _ in samples]
        found = {tuple(_facts(edge) for edge in wiring.edges) for wiring in wirings}
        layers = found.pop() if len(found) == 1 else None
        count = len(ROLES) if layers is None else len(layers)
        draft = cls(layers, ((1, 1),) * count, ((1.0,) * (1 + len(VECTORS)),) * count)
        grids = [(1, 1)] * count
        sizes: dict[tuple[int, int], list[float]] = {}
        for wiring, (_, vectors) in zip(wirings, samples, strict=True):
            slots = draft.numbers(wiring)
            for edge, slot in zip(wiring.edges, slots, strict=True):
                grids[slot] = tuple(np.maximum(grids[slot], sides(edge)).tolist())
            for tensor, slot, kind in draft.tensors(wiring):
                values = np.abs(vectors[:, tensor.start : tensor.stop])
                if values.any():
                    sizes.setdefault((slot, kind), []).append(float(np.median(values[values > 0])))
        scales = [[1.0] * (1 + len(VECTORS)) for _ in range(count)]
        for (slot, kind), medians in sizes.items():
            scales[slot][kind] = float(np.exp(np.mean(np.log(medians))))
        return cls(layers, tuple(grids), tuple(map(tuple, scales)))

    @property
    def count(self) -> int:
        """S."""
        return len(self.grids)

    @property
    def groups(self) -> int:
        """Groups that stages are pooled in: each stage by itself where layers are the same, else the inputs and the roles."""
        return self.count + 1

    def numbers(self, wiring: Wiring) -> list[int]:
        """The slot of each kernel.

        Raises:
            MetanetError: layers of another sequence than the training networks'.
        """
        facts = tuple(_facts(edge) for edge in wiring.edges)
        if self.layers is None:
            last = len(facts) - 1
            places = [0 if i == 0 else 2 if i == last else 1 for i in range(len(facts))]
            return [ROLES.index(f"{PLACES[p]} {kind}") for p, (kind, _, _) in zip(places, facts, strict=True)]
        if facts != self.layers:
            raise MetanetError(
                f"the layers {', '.join(wiring.layout.layers)} are not those of the training networks (their kernels: "
                f"{', '.join(kind for kind, _, _ in self.layers)}); train on a zoo of mixed architectures to judge any"
            )
        return list(range(len(facts)))

    def tensors(self, wiring: Wiring) -> list[tuple[Any, int, int]]:
        """Each tensor with its slot and its place among the scales."""
        slot = {e.tensor.layer: s for e, s in zip(wiring.edges, self.numbers(wiring), strict=True)}
        owned = zip(wiring.layout.tensors, wiring.layout.owners, strict=True)
        return [(t, slot[owner], 0 if t.kind == "kernel" else 1 + VECTORS.index(t.kind)) for t, owner in owned]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"layers": self.layers, "grids": self.grids, "scales": self.scales}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Slots:
        """The inverse of :meth:`to_json`."""
        layers = values["layers"] and tuple((kind, a, b) for kind, a, b in values["layers"])
        grids = tuple((height, width) for height, width in values["grids"])
        return cls(layers, grids, tuple(map(tuple, values["scales"])))


def _facts(edge: Edge) -> tuple[str, int, int]:
    return edge.kind, edge.reads, edge.writes


class Architecture:
    """A layout as the encoders see it.

    Attributes:
        edges: its kernels, with ``slots`` the slot of each.
        nodes: neurons of each stage.
        groups: of each stage, see :attr:`Slots.groups`.
        added: pairs of stages that residual connections add.
        ends: the stages of the inputs and of the outputs.
    """

    def __init__(self, layout: Layout, slots: Slots) -> None:
        wiring = wire(layout)
        self.layout, self.wiring, self.edges, self.added = layout, wiring, wiring.edges, wiring.added
        self.slots = slots.numbers(wiring)
        self.nodes = wiring.widths
        self.groups = [0, *(1 + slot for slot in self.slots)]
        self.ends = 0, wiring.outputs
        self.scales = np.ones(layout.size, np.float32)
        for tensor, slot, kind in slots.tensors(wiring):
            self.scales[tensor.start : tensor.stop] = slots.scales[slot][kind]
        self._vectors: list[list[tuple[int, int, int]]] = [[] for _ in self.nodes]
        for tensor, stage in wiring.vectors():
            self._vectors[stage].append((VECTORS.index(tensor.kind), tensor.start, tensor.stop))

    def squashed(self, weights: np.ndarray) -> np.ndarray:
        """asinh(w / scale) of weight vectors (N, D): about linear for usual values, logarithmic for large ones."""
        return np.arcsinh(weights / self.scales)

    def kernels(self, weights: Tensor) -> list[Tensor]:
        """(B, D) -> the taps of each kernel, (B, out, in, P); of depthwise ones (B, n, 1, P)."""
        named = self.layout.unflatten(weights)
        return [named[e.tensor.name].reshape(len(weights), e.tensor.shape[0], e.fan_in, -1) for e in self.edges]

    def vectors(self, weights: Tensor) -> list[Tensor]:
        """(B, D) -> what the neurons of each stage carry, 0 where they carry nothing, (B, n, 5)."""
        found = []
        for size, parts in zip(self.nodes, self._vectors, strict=True):
            values = weights.new_zeros(len(weights), size, len(VECTORS))
            for place, start, stop in parts:
                values[:, :, place] = weights[:, start:stop]
            found.append(values)
        return found

    @cached_property
    def edge_index(self) -> Tensor:
        """Source and target of every edge, numbered over all stages, kernel by kernel; then residual connections: (2, E)."""
        return torch.from_numpy(np.concatenate(self.wiring.ends(), 1))

    @cached_property
    def places(self) -> list[Tensor | None]:
        """Waves over the positions of inputs and outputs (n, 2 F); None for hidden stages, whose order means nothing."""
        waves: list[Tensor | None] = [None] * len(self.nodes)
        for stage in self.ends:
            share = (torch.arange(self.nodes[stage]) + 0.5) / self.nodes[stage]
            angle = torch.pi * share[:, None] * 2.0 ** torch.arange(FREQUENCIES)
            waves[stage] = torch.cat([angle.cos(), angle.sin()], 1)
        return waves
