"""The Lightning module that trains K stacked networks at once.

One (K, D) parameter holds the group. A training step walks over tiles of networks and images that
fit the cache, sums the gradient, and lets one stacked optimizer step each network by its own rule
and rate. A network whose loss or weights stop being finite is marked, set to zero and left out;
the others never notice.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional

from data_modules.images import ImageDataModule, scale_pixels
from metanet.generation.dropout import DropoutNoise
from metanet.generation.initializers import initial_weights
from metanet.generation.networks import SmallCNN, StepNoise
from metanet.generation.optimizers import StackedOptimizer

# Activations of one tile on a CPU core: about 4 MB of float32, the working set that measured fastest.
CPU_TILE_ACTIVATIONS = 900_000
CPU_TILE_IMAGES = 64


@dataclass(frozen=True)
class Snapshot:
    """All networks of the group after some epoch."""

    epoch: int
    step: int
    weights: np.ndarray | None  # (K, D), None where only metrics were taken
    alive: np.ndarray  # (K,)
    metrics: dict[str, np.ndarray]  # train/test accuracy and loss, each (K,)


class GroupModule(pl.LightningModule):
    """K networks of one architecture, activation and set of training images.

    Args:
        network: the architecture.
        table: the plan's rows of this group; networks with one optimizer side by side.
        data: images on the training device.
        epochs: length of the training; the last epoch is always a snapshot.
        snapshots: epochs whose weights are kept.
        evaluate_every: measure accuracies also every so many epochs.
        on_progress: called after each epoch with the training images times networks done in it.
    """

    def __init__(
        self,
        network: SmallCNN,
        table: pd.DataFrame,
        data: ImageDataModule,
        epochs: int,
        snapshots: tuple[int, ...],
        evaluate_every: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.table, self.data = network, table, data
        self.epochs, self.snapshot_epochs, self.evaluate_every = epochs, {*snapshots, epochs}, evaluate_every
        self.on_progress = on_progress
        (self.activation,) = table["hp.activation"].unique()
        columns = table[["hp.w_init", "hp.init_std", "seed"]].itertuples(index=False)
        vectors = [initial_weights(network.layout, w_init, float(std), int(seed)) for w_init, std, seed in columns]
        self.weights = torch.nn.Parameter(torch.from_numpy(np.stack(vectors)))
        self.alive = np.ones(len(table), bool)
        self.epochs_run = np.zeros(len(table), np.int64)
        self.snapshots: list[Snapshot] = []
        self.seconds = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One stacked optimizer for the group."""
        rates = torch.from_numpy(self.table["hp.learning_rate"].to_numpy(np.float64, copy=True))
        return StackedOptimizer(self.weights, self.table["hp.optimizer"].tolist(), rates)

    def on_train_start(self) -> None:
        self._began = time.perf_counter()
        kernel = torch.zeros(self.network.layout.size, dtype=torch.float64)
        for spec in self.network.layout.tensors:
            kernel[spec.start : spec.stop] = float(spec.kind == "kernel")
        l2 = torch.from_numpy(self.table["hp.l2reg"].to_numpy(np.float64, copy=True))
        self.decay = (2 * l2[:, None] * kernel).to(self.weights)  # gradient of l2 * sum(kernel ** 2), (K, D)
        rates = self.table["hp.dropout"].to_numpy(np.float64)
        self.noise = DropoutNoise(rates, self.table["seed"].to_numpy(), self.device) if rates.any() else None
        self.weights.grad = torch.zeros_like(self.weights)
        self.epoch_loss = self.weights.new_zeros(len(self.table))
        self._keep_snapshot(0)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One optimizer step of every network on one shared batch; returns the losses, shape (K,)."""
        images, labels = batch
        gradient, step = self.weights.grad, self.global_step
        assert gradient is not None
        gradient.zero_()
        losses = torch.zeros_like(self.epoch_loss)
        layers = range(self.network.num_layers)
        multipliers = [self.noise.multipliers(step, i) for i in layers] if self.noise else []
        for part in self._image_tiles(len(labels)):
            prepared = self.network.prepare(images[part])
            fields = [
                self.noise.field(step, i, part.start * units, (part.stop - part.start) * units) if self.noise else None
                for i, units in enumerate(self.network.units)
            ]
            for networks in self._network_tiles(part.stop - part.start):
                tile = self.weights.detach()[networks].requires_grad_()
                noise = StepNoise(self.noise, fields, multipliers, networks) if self.noise else None  # type: ignore[arg-type]
                logits = self.network.logits(tile, prepared, self.activation, noise)
                loss = _cross_entropy(logits, labels[part]).sum(1) / len(labels)
                gradient[networks] += torch.autograd.grad(loss.sum(), tile)[0]
                losses[networks] += loss.detach()
        gradient.addcmul_(self.weights.detach(), self.decay)
        self.optimizers().step()  # type: ignore[union-attr]
        self.epoch_loss += losses
        return losses

    def on_train_epoch_end(self) -> None:
        epoch = self.current_epoch + 1
        finite = torch.isfinite(self.weights.detach()).all(1) & torch.isfinite(self.epoch_loss)
        self.epochs_run[self.alive] = epoch
        self._mask(~finite.cpu().numpy())
        self.epoch_loss.zero_()
        if epoch in self.snapshot_epochs or (self.evaluate_every and epoch % self.evaluate_every == 0):
            self._keep_snapshot(epoch)
        if self.on_progress is not None:
            batches = self.data.batches
            self.on_progress(len(batches) * batches.batch_size * len(self.table))

    def on_train_end(self) -> None:
        self.seconds = time.perf_counter() - self._began

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy and mean cross-entropy of each network in evaluation mode, float64 of shape (K,) each.

        Args:
            images: bytes (n, H, W, C).
            labels: (n,).
        """
        correct = torch.zeros(len(self.table), dtype=torch.int64, device=self.device)
        loss = torch.zeros(len(self.table), dtype=torch.float64, device=self.device)
        for part in self._image_tiles(len(labels)):
            prepared = self.network.prepare(scale_pixels(images[part]).to(self.weights.dtype))
            for networks in self._network_tiles(part.stop - part.start):
                logits = self.network.logits(self.weights[networks], prepared, self.activation)
                correct[networks] += (logits.argmax(2) == labels[part]).sum(1)
                loss[networks] += _cross_entropy(logits, labels[part]).sum(1, dtype=torch.float64)
        return (correct.double() / len(labels)).cpu().numpy(), (loss / len(labels)).cpu().numpy()

    def _keep_snapshot(self, epoch: int) -> None:
        metrics: dict[str, np.ndarray] = {}
        for part in ("train", "test"):
            images, labels = getattr(self.data, f"{part}_images"), getattr(self.data, f"{part}_labels")
            metrics[f"{part}_accuracy"], metrics[f"{part}_loss"] = self.evaluate(images, labels)
        self._mask(~np.isfinite(metrics["train_loss"] + metrics["test_loss"]))
        kept = self.weights.detach().cpu().numpy().copy() if epoch in self.snapshot_epochs else None
        self.snapshots.append(Snapshot(epoch, self.global_step, kept, self.alive.copy(), metrics))

    @torch.no_grad()
    def _mask(self, broken: np.ndarray) -> None:
        """Mark networks that stopped being finite and take them out of the computation."""
        broken = broken & self.alive
        if not broken.any():
            return
        self.alive &= ~broken
        rows = torch.from_numpy(broken).to(self.device)
        self.weights[rows] = 0.0
        optimizer = self.trainer.optimizers[0]
        assert isinstance(optimizer, StackedOptimizer)
        optimizer.rates[rows] = 0.0
        for (_, part), state in zip(optimizer.slices, optimizer.states, strict=True):
            for value in state.values():
                value[rows[part]] = 0.0

    def _image_tiles(self, count: int) -> Iterator[slice]:
        size = CPU_TILE_IMAGES if self.device.type == "cpu" else 4096
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def _network_tiles(self, images: int) -> Iterator[slice]:
        count = len(self.table)
        if self.device.type == "cpu":
            tiles = -(-count // max(1, CPU_TILE_ACTIVATIONS // (images * sum(self.network.units))))
        else:
            tiles = 1
        ends = np.linspace(0, count, min(tiles, count) + 1).round().astype(int)
        return (slice(int(a), int(b)) for a, b in itertools.pairwise(ends))


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Per network and image: (K, B, classes), (B,) -> (K, B)."""
    count, batch, classes = logits.shape
    flat = functional.cross_entropy(logits.reshape(-1, classes), labels.repeat(count), reduction="none")
    return flat.view(count, batch)
