"""Whole networks for encoders: weight vectors of any architectures, batched architecture by architecture.

A batch holds the vectors of each architecture as one matrix, so that networks of one zoo are one dense batch, and a mixed zoo's
are as many as it has architectures. Vectors that fit are kept in memory, squashed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from metanet.representations.canonical import canonical
from metanet.representations.slots import Architecture, Slots
from metanet.zoo.zoo import View

KEPT_VALUES = 1 << 28  # weights that are kept in memory: 1 GiB


@dataclass
class NetworkPart:
    """Some networks of one architecture.

    Attributes:
        weights: their vectors (b, D), squashed but where raw ones were asked for.
        context: what was given for their layout, see :class:`Networks`.
        activations: of each of them, (b,).
    """

    architecture: Architecture
    weights: Tensor
    context: Any
    activations: np.ndarray


@dataclass
class NetworkBatch:
    """Some networks, by architecture.

    Attributes:
        parts: each architecture's, in turn.
        rows: their positions in the view, (B,), in the order of the parts.
        beside: further inputs (B, F), rows in the order of the parts; None without.
        codes: of each target, (B,).
    """

    parts: list[NetworkPart]
    rows: np.ndarray
    beside: Tensor | None
    codes: dict[str, Tensor]

    def __len__(self) -> int:
        return sum(len(part.weights) for part in self.parts)

    def to(self, device: torch.device) -> NetworkBatch:
        """The same on another device."""
        return NetworkBatch(
            [replace(part, weights=part.weights.to(device)) for part in self.parts],
            self.rows,
            None if self.beside is None else self.beside.to(device),
            {name: codes.to(device) for name, codes in self.codes.items()},
        )


class Networks:
    """The vectors of a view, read when asked for.

    Args:
        architectures: what the encoders know of each layout, by id; those of this view are added.
        raw: whether vectors are left as they are; else they are squashed.
        contexts: what goes with the parts of each layout, by id.
        canonical: bring scales and signs of hidden neurons to one form first, see :mod:`metanet.representations.canonical`.
    """

    def __init__(
        self,
        view: View,
        slots: Slots,
        architectures: dict[str, Architecture],
        raw: bool = False,
        contexts: Mapping[str, Any] | None = None,
        canonical: bool = False,
    ) -> None:
        self.view, self.architectures, self.raw, self.contexts = view, architectures, raw, contexts or {}
        self.canonical = canonical
        frame = view.frame
        self.activations = (
            frame["hp.activation"].to_numpy(dtype=object) if "hp.activation" in frame else np.full(len(view), None, dtype=object)
        )
        self.layout_ids = view.frame["layout_id"].to_numpy(dtype=object)
        for layout_id in np.unique(self.layout_ids):
            if layout_id not in architectures:
                architectures[layout_id] = Architecture(view.zoo.layouts[layout_id], slots)
        sizes = {layout_id: a.layout.size for layout_id, a in architectures.items()}
        self._kept: dict[str, np.ndarray] = {}
        self._rank = np.zeros(len(view), np.int64)  # of each snapshot among those of its layout
        values = sum(sizes[layout_id] for layout_id in self.layout_ids)
        for layout_id in np.unique(self.layout_ids):
            own = np.flatnonzero(self.layout_ids == layout_id)
            self._rank[own] = np.arange(len(own))
            if values <= KEPT_VALUES:
                vectors = view.zoo.read(view.rows[own], sizes[layout_id])
                self._kept[layout_id] = self._ready(layout_id, vectors, own)

    def __len__(self) -> int:
        return len(self.view)

    def _ready(self, layout_id: str, vectors: np.ndarray, index: np.ndarray) -> np.ndarray:
        if self.canonical:
            vectors = canonical(vectors, self.architectures[layout_id].layout, self.activations[index])
        return vectors if self.raw else self.architectures[layout_id].squashed(vectors)

    def read(self, index: np.ndarray) -> tuple[list[NetworkPart], np.ndarray]:
        """Some snapshots (B,) by architecture, and the order (B,) of their rows."""
        parts, order = [], []
        ids = self.layout_ids[index]
        for layout_id in dict.fromkeys(ids.tolist()):
            own = index[ids == layout_id]
            architecture = self.architectures[layout_id]
            if layout_id in self._kept:
                vectors = self._kept[layout_id][self._rank[own]]
            else:
                vectors = self._ready(layout_id, self.view.zoo.read(self.view.rows[own], architecture.layout.size), own)
            context = self.contexts.get(layout_id)
            parts.append(NetworkPart(architecture, torch.from_numpy(vectors), context, self.activations[own]))
            order.append(own)
        return parts, np.concatenate(order)


class NetworkBatches:
    """Batches of one epoch after another, shuffled where there is a seed.

    Args:
        codes: of each target, (N,).
        beside: further inputs, (N, F).
    """

    def __init__(
        self,
        networks: Networks,
        codes: dict[str, np.ndarray],
        batch_size: int,
        seed: int | None = None,
        beside: np.ndarray | None = None,
    ) -> None:
        self.networks, self.batch_size, self.beside = networks, batch_size, beside
        self.codes = {k: v if v.dtype == np.int64 else v.astype(np.float32) for k, v in codes.items()}
        self.rng = None if seed is None else np.random.default_rng(seed)

    @property
    def facts(self) -> list[Any]:
        """What is batched, in tables and arrays."""
        return [self.networks.view.frame, self.codes, self.beside]

    def __len__(self) -> int:
        return -(-len(self.networks) // self.batch_size)

    def __iter__(self) -> Iterator[NetworkBatch]:
        count = len(self.networks)
        order = np.arange(count) if self.rng is None else self.rng.permutation(count)
        for index in np.array_split(order, len(self)):
            parts, rows = self.networks.read(index)
            beside = None if self.beside is None else torch.from_numpy(self.beside[rows])
            yield NetworkBatch(parts, rows, beside, {k: torch.from_numpy(v[rows]) for k, v in self.codes.items()})


class NetworkDataModule(pl.LightningDataModule):
    """Training and validation batches of networks."""

    def __init__(self, train: NetworkBatches, validation: NetworkBatches | None = None) -> None:
        super().__init__()
        self.train, self.validation = train, validation

    def train_dataloader(self) -> NetworkBatches:
        """Shuffled batches."""
        return self.train

    def state_dict(self) -> dict[str, Any]:
        """Of the shuffling, where there is any."""
        return {} if self.train.rng is None else {"shuffling": self.train.rng.bit_generator.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.train.rng is not None:
            self.train.rng.bit_generator.state = state_dict["shuffling"]

    def val_dataloader(self) -> NetworkBatches | list[None]:
        """The validation part; nothing where there is none."""
        return [] if self.validation is None else self.validation

    def transfer_batch_to_device(self, batch: NetworkBatch, device: torch.device, dataloader_idx: int) -> NetworkBatch:
        return batch.to(device)
