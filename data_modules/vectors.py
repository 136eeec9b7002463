"""Feature vectors for meta-models: whole in memory, batched by one indexed gather."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor


class VectorBatches:
    """Shuffled batches (x (B, F), y (B,)) of one epoch after another; the last batch may be smaller."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, seed: int | None) -> None:
        self.x, self.y, self.batch_size = x, y, batch_size
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.y)
        order = torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)
        for batch in order.split(self.batch_size):
            yield self.x[batch], self.y[batch]


class VectorDataModule(pl.LightningDataModule):
    """Training and validation vectors.

    Args:
        x: features, shape (N, F).
        y: targets, shape (N,): float for a regression, int64 for a classification.
        validation: the same for the validation part, or None.
        seed: of the shuffling.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train = VectorBatches(*_tensors(x, y), batch_size, seed)
        self.validation = None if validation is None else VectorBatches(*_tensors(*validation), len(validation[1]), None)

    def train_dataloader(self) -> VectorBatches:
        """Shuffled batches."""
        return self.train

    def state_dict(self) -> dict[str, Any]:
        """Of the shuffling."""
        assert self.train.generator is not None
        return {"shuffling": self.train.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.train.generator is not None
        self.train.generator.set_state(state_dict["shuffling"].cpu())

    def val_dataloader(self) -> VectorBatches | list[None]:
        """The validation part as one batch; nothing where there is none."""
        return [] if self.validation is None else self.validation


def _tensors(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
    labels = torch.from_numpy(np.ascontiguousarray(y))
    return torch.from_numpy(np.ascontiguousarray(x, np.float32)), labels if labels.dtype == torch.int64 else labels.float()
