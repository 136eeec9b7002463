"""What all engines share: the Lightning module of one group of networks.

The epochs belong to the engine (:mod:`torch_group`, :mod:`module_group`, :mod:`fused.group`); snapshots, metrics,
networks that stop being finite, and progress are the same for all and live here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor

from metanet.data_modules.images import ImageBatches, ImageDataModule
from metanet.generation.optimizers import StackedOptimizer


@dataclass(frozen=True)
class Snapshot:
    """All networks of the group after some epoch."""

    epoch: int
    step: int
    weights: np.ndarray | Sequence[np.ndarray | None] | None  # (K, D), or K vectors; None where only metrics were taken
    alive: np.ndarray  # (K,)
    metrics: dict[str, np.ndarray]  # train, validation and test accuracy and loss, each (K,)


class GroupModule(pl.LightningModule):
    """K networks that share architecture, activation and training images.

    An engine gives :meth:`train_dataloader`, :meth:`training_step`, :meth:`vectors`, :meth:`finite`,
    :meth:`evaluate`, :meth:`forget` and counts :attr:`steps`.

    Args:
        table: the plan's rows of this group; networks with one optimizer side by side.
        data: images on the training device.
        epochs: length of the training; the last epoch is always a snapshot.
        snapshots: epochs whose weights are kept.
        evaluate_every: measure accuracies also every so many epochs.
        on_progress: called after each epoch with the training images times networks done in it.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        data: ImageDataModule,
        epochs: int,
        snapshots: Iterable[int],
        evaluate_every: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.table, self.data = table, data
        self.epochs, self.snapshot_epochs, self.evaluate_every = epochs, {*snapshots, epochs}, evaluate_every
        self.on_progress = on_progress
        self.alive = np.ones(len(table), bool)
        self.epochs_run = np.zeros(len(table), np.int64)
        self.stopped_by = np.full(len(table), "epochs", dtype="<U16")
        self.snapshots: list[Snapshot] = []
        self.steps = 0
        self.seconds = 0.0

    # ------------------------------------------------------------------------------------ what an engine gives

    def vectors(self) -> np.ndarray:
        """The weights now, float32 (K, D) in layout order, a copy."""
        raise NotImplementedError

    def finite(self) -> np.ndarray:
        """Whether weights and the epoch's loss of each network are finite, (K,); begins a new epoch's loss."""
        raise NotImplementedError

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy and mean cross-entropy of each network in evaluation mode, float64 of shape (K,) each.

        Args:
            images: bytes (n, H, W, C).
            labels: (n,).
        """
        raise NotImplementedError

    def forget(self, rows: np.ndarray) -> None:
        """Take the networks at a mask (K,) out of the computation for good."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------ what Lightning calls

    def on_train_start(self) -> None:
        self._began = time.perf_counter()
        self._keep_snapshot(0)

    def on_train_epoch_end(self) -> None:
        epoch = self.current_epoch + 1
        self.epochs_run[self.alive] = epoch
        self._mask(~self.finite())
        if epoch in self.snapshot_epochs or (self.evaluate_every and epoch % self.evaluate_every == 0):
            self._keep_snapshot(epoch)
        if self.on_progress is not None:
            batches = self.data.batches
            self.on_progress(len(batches) * batches.batch_size * len(self.table))

    @property
    def lengths(self) -> np.ndarray:
        """Epochs from the first to the last snapshot of each network, (K,); what its progress counts."""
        return np.full(len(self.table), self.epochs)

    @property
    def network_seconds(self) -> np.ndarray:
        """Seconds of each network's training, (K,): equal shares of the group's."""
        return np.full(len(self.table), self.seconds / len(self.table))

    def on_train_end(self) -> None:
        self.seconds = time.perf_counter() - self._began

    def _measure(self) -> dict[str, np.ndarray]:
        """Accuracy and loss on each part of the images, (K,) each; networks that are not finite from here on are masked."""
        metrics: dict[str, np.ndarray] = {}
        for part in ("train", "validation", "test"):
            images, labels = getattr(self.data, f"{part}_images"), getattr(self.data, f"{part}_labels")
            if len(labels):
                metrics[f"{part}_accuracy"], metrics[f"{part}_loss"] = self.evaluate(images, labels)
        self._mask(~np.isfinite(metrics["train_loss"] + metrics["test_loss"]))
        return metrics

    def _keep_snapshot(self, epoch: int) -> None:
        metrics = self._measure()
        kept = self.vectors() if epoch in self.snapshot_epochs else None
        self.snapshots.append(Snapshot(epoch, self.steps, kept, self.alive.copy(), metrics))
        self._log(epoch, metrics)

    def _log(self, epoch: int, metrics: dict[str, np.ndarray], measured: np.ndarray | None = None) -> None:
        """Means over the networks that are finite and were measured, for callbacks that read ``trainer.callback_metrics``."""
        of = self.alive if measured is None else self.alive & measured
        if not of.any():
            return
        means: dict[str, Any] = {name: float(values[of].mean()) for name, values in metrics.items()}
        self.trainer.callback_metrics.update({name: Tensor([value]) for name, value in means.items()})

    def _mask(self, broken: np.ndarray) -> None:
        broken = broken & self.alive
        if broken.any():
            self.alive &= ~broken
            self.forget(broken)


class StackedGroup(GroupModule):
    """A group in one parameter (K, D), with one optimizer that steps each row by its own rule and rate.

    Attributes:
        weights: the parameter; an engine sets it.
        epoch_loss: sum of each network's losses in this epoch, (K,).
    """

    weights: torch.nn.Parameter

    def train_dataloader(self) -> ImageBatches:
        return self.data.train_dataloader()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rates = torch.from_numpy(self.table["hp.learning_rate"].to_numpy(np.float64, copy=True))
        return StackedOptimizer(self.weights, self.table["hp.optimizer"].tolist(), rates)

    def on_train_start(self) -> None:
        self.weights.grad = torch.zeros_like(self.weights)
        self.epoch_loss = self.weights.new_zeros(len(self.table))
        super().on_train_start()

    def vectors(self) -> np.ndarray:
        return self.weights.detach().cpu().numpy().astype(np.float32)

    def finite(self) -> np.ndarray:
        finite = torch.isfinite(self.weights.detach()).all(1) & torch.isfinite(self.epoch_loss)
        self.epoch_loss.zero_()
        return finite.cpu().numpy()
