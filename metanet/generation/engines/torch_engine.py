"""The torch engine: K stacked networks in one pass, on any device.

One (K, D) parameter holds the group. A training step walks over tiles of networks and images that
fit the cache, sums the gradient, and lets one stacked optimizer step each network by its own rule
and rate. A network whose loss or weights stop being finite is marked, set to zero and left out;
the others never notice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from metanet.data_modules.images import scale_pixels
from metanet.generation.dropout import DropoutNoise
from metanet.generation.engines import Engine
from metanet.generation.group import StackedGroup
from metanet.generation.networks import StackedNetwork, StepNoise
from metanet.generation.optimizers import StackedOptimizer
from metanet.generation.plan import Plan

# Activations of one tile on a CPU core: about 4 MB of float32, the working set that measured fastest.
CPU_TILE_ACTIVATIONS = 900_000
CPU_TILE_IMAGES = 64


class TorchEngine(Engine):
    """K stacked networks in one pass, on any device."""

    name = "torch"

    def refusal(self, plan: Plan, trainer: dict[str, Any]) -> str | None:
        return None if plan.of(StackedNetwork) else "it stacks the networks of recipes small_cnn and mlp"

    def group(self, plan: Plan, rows: pd.DataFrame, threads: int, *shared: Any) -> TorchGroup:
        return TorchGroup(plan.network(rows, StackedNetwork), *shared)


class TorchGroup(StackedGroup):
    """K stacked networks of one architecture; see :class:`metanet.generation.group.StackedGroup` for the rest.

    Args:
        network: the architecture.
    """

    def __init__(self, network: StackedNetwork, table: pd.DataFrame, *arguments: Any, **settings: Any) -> None:
        super().__init__(table, *arguments, **settings)
        self.network = network
        (self.activation,) = table["hp.activation"].unique()
        vectors = [network.initial(row) for row in table.to_dict("records")]
        self.weights = torch.nn.Parameter(torch.from_numpy(np.stack(vectors)))

    def on_train_start(self) -> None:
        kernel = torch.zeros(self.network.layout.size, dtype=torch.float64)
        for spec in self.network.layout.tensors:
            kernel[spec.start : spec.stop] = float(spec.kind == "kernel")
        l2 = torch.from_numpy(self.table["hp.l2reg"].to_numpy(np.float64, copy=True))
        self.decay = (2 * l2[:, None] * kernel).to(self.weights)  # gradient of l2 * sum(kernel ** 2), (K, D)
        rates = self.table["hp.dropout"].to_numpy(np.float64)
        self.noise = DropoutNoise(rates, self.table["dropout_seed"].to_numpy(), self.device) if rates.any() else None
        super().on_train_start()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One optimizer step of every network on one shared batch; returns the losses, shape (K,)."""
        images, labels = batch
        gradient, step = self.weights.grad, self.steps
        assert gradient is not None
        gradient.zero_()
        losses = torch.zeros_like(self.epoch_loss)
        layers = range(len(self.network.units))
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
                loss = cross_entropy(logits, labels[part]).sum(1) / len(labels)
                gradient[networks] += torch.autograd.grad(loss.sum(), tile)[0]
                losses[networks] += loss.detach()
        gradient.addcmul_(self.weights.detach(), self.decay)
        self.optimizers().step()  # type: ignore[union-attr]
        self.epoch_loss += losses
        self.steps += 1
        return losses

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        correct = torch.zeros(len(self.table), dtype=torch.int64, device=self.device)
        loss = torch.zeros(len(self.table), dtype=torch.float64, device=self.device)
        for part in self._image_tiles(len(labels)):
            prepared = self.network.prepare(scale_pixels(images[part]).to(self.weights.dtype))
            for networks in self._network_tiles(part.stop - part.start):
                logits = self.network.logits(self.weights[networks], prepared, self.activation)
                correct[networks] += (logits.argmax(2) == labels[part]).sum(1)
                loss[networks] += cross_entropy(logits, labels[part]).sum(1, dtype=torch.float64)
        return (correct.double() / len(labels)).cpu().numpy(), (loss / len(labels)).cpu().numpy()

    @torch.no_grad()
    def forget(self, rows: np.ndarray) -> None:
        broken = torch.from_numpy(rows).to(self.device)
        self.weights[broken] = 0.0
        optimizer = self.trainer.optimizers[0]
        assert isinstance(optimizer, StackedOptimizer)
        optimizer.rates[broken] = 0.0
        for (_, part), state in zip(optimizer.slices, optimizer.states, strict=True):
            for value in state.values():
                value[broken[part]] = 0.0

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


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Per network and image: (K, B, classes), (B,) -> (K, B)."""
    count, batch, classes = logits.shape
    flat = functional.cross_entropy(logits.reshape(-1, classes), labels.repeat(count), reduction="none")
    return flat.view(count, batch)
