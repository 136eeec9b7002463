"""Whole networks for encoders: weight vectors of any architectures, batched architecture by architecture.

A batch holds the vectors of each architecture as one matrix, so that networks of one zoo are one dense batch, and a mixed zoo's
are as many as it has architectures. Vectors that fit are kept in memory, squashed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from metanet.representations.slots import Architecture, Slots
from metanet.zoo.view import View

KEPT_VALUES = 1 << 28  # weights that are kept in memory: 1 GiB


@dataclass
class NetworkBatch:
    """Some networks, by architecture.

    Attributes:
        parts: an architecture and the squashed vectors of its networks (b, D), in turn.
        beside: further inputs (B, F), rows in the order of the parts; None without.
        codes: of each target, (B,).
    """

    parts: list[tuple[Architecture, Tensor]]
    beside: Tensor | None
    codes: dict[str, Tensor]

    def __len__(self) -> int:
        return sum(len(weights) for _, weights in self.parts)

    def to(self, device: torch.device) -> NetworkBatch:
        """The same on another device."""
        return NetworkBatch(
            [(architecture, weights.to(device)) for architecture, weights in self.parts],
            None if self.beside is None else self.beside.to(device),
            {name: codes.to(device) for name, codes in self.codes.items()},
        )


class Networks:
    """The vectors of a view, read when asked for.

    Args:
        architectures: what the encoders know of each layout, by id; those of this view are added.
    """

    def __init__(self, view: View, slots: Slots, architectures: dict[str, Architecture]) -> None:
        self.view, self.architectures = view, architectures
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
                self._kept[layout_id] = architectures[layout_id].squashed(vectors)

    def __len__(self) -> int:
        return len(self.view)

    def read(self, index: np.ndarray) -> tuple[list[tuple[Architecture, Tensor]], np.ndarray]:
        """Some snapshots (B,) by architecture, and the order (B,) of their rows."""
        parts, order = [], []
        ids = self.layout_ids[index]
        for layout_id in dict.fromkeys(ids.tolist()):
            own = index[ids == layout_id]
            architecture = self.architectures[layout_id]
            if layout_id in self._kept:
                vectors = self._kept[layout_id][self._rank[own]]
            else:
                vectors = architecture.squashed(self.view.zoo.read(self.view.rows[own], architecture.layout.size))
            parts.append((architecture, torch.from_numpy(vectors)))
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

    def __len__(self) -> int:
        return -(-len(self.networks) // self.batch_size)

    def __iter__(self) -> Iterator[NetworkBatch]:
        count = len(self.networks)
        order = np.arange(count) if self.rng is None else self.rng.permutation(count)
        for index in np.array_split(order, len(self)):
            parts, rows = self.networks.read(index)
            beside = None if self.beside is None else torch.from_numpy(self.beside[rows])
            yield NetworkBatch(parts, beside, {k: torch.from_numpy(v[rows]) for k, v in self.codes.items()})


class NetworkDataModule(pl.LightningDataModule):
    """Training and validation batches of networks."""

    def __init__(self, train: NetworkBatches, validation: NetworkBatches | None = None) -> None:
        super().__init__()
        self.train, self.validation = train, validation

    def train_dataloader(self) -> NetworkBatches:
        """Shuffled batches."""
        return self.train

    def val_dataloader(self) -> NetworkBatches | list[None]:
        """The validation part; nothing where there is none."""
        return [] if self.validation is None else self.validation

    def transfer_batch_to_device(self, batch: NetworkBatch, device: torch.device, dataloader_idx: int) -> NetworkBatch:
        return batch.to(device)
