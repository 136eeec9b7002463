"""The group of the blocks engine: networks of any architecture on one stream of batches, each until it stops.

The networks of a group see the same batches, and those that augment see the same augmented ones, so that images are
gathered and moved once. Otherwise they never meet: each has its own vector, optimizer and dropout, and leaves when its
training ends. Batches follow from the plan's seed and the epoch alone, dropout from the network's seed and the step, so
the grouping decides nothing.
"""

from __future__ import annotations

import tempfile
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from metanet.data_modules.images import ImageBatches
from metanet.generation.augmentation import augment
from metanet.generation.blocks import logits
from metanet.generation.dropout import mix
from metanet.generation.engines import Engine
from metanet.generation.group import GroupModule, Snapshot
from metanet.generation.nws import NWSNetwork
from metanet.generation.optimizers import StackedOptimizer
from metanet.generation.plan import Plan
from metanet.generation.recipes.nws import NWSRecipe
from metanet.generation.stopping import EarlyStopping

GROUP = 8  # networks share batches and their augmentation, nothing else
EVALUATION_BATCH = 128  # the activations of more leave the cache (measured: 43 against 35 microseconds an image)


class BlocksEngine(Engine):
    """Networks of the neural weight space, one after another on one stream of batches."""

    name = "blocks"
    measured_networks = GROUP

    def refusal(self, plan: Plan, trainer: dict[str, Any]) -> str | None:
        return None if plan.of(NWSNetwork) else "it trains the recipes of the neural weight space alone"

    def group(self, plan: Plan, rows: pd.DataFrame, threads: int, *shared: Any) -> BlocksGroup:
        assert isinstance(plan.recipe, NWSRecipe)
        return BlocksGroup(plan.networks_of(rows, NWSNetwork), plan.recipe, *shared)

    def group_size(self, work: float) -> int:
        return GROUP


class BlocksGroup(GroupModule):
    """K networks of the neural weight space; see :class:`metanet.generation.group.GroupModule` for the rest.

    Args:
        networks: the architecture of each row.
        recipe: the protocol.
    """

    def __init__(
        self, networks: Sequence[NWSNetwork], recipe: NWSRecipe, table: pd.DataFrame, *arguments: Any, **settings: Any
    ) -> None:
        super().__init__(table, *arguments, **settings)
        self.networks, self.recipe = networks, recipe
        rows = table.to_dict("records")
        vectors = [network.initial(row) for network, row in zip(networks, rows, strict=True)]
        self.weights = nn.ParameterList(nn.Parameter(torch.from_numpy(vector)[None]) for vector in vectors)
        self.running = np.ones(len(table), bool)
        self.stopping = EarlyStopping(recipe.rules(), len(table))
        self._sizes = [[t.stop - t.start for t in network.layout.tensors] for network in networks]
        self._activations = table["hp.activation"].tolist()
        self._augmented = table["hp.augmentation"].astype(bool).to_numpy()
        self._losses = np.zeros(len(table))
        self._seeds = mix(table["dropout_seed"].to_numpy().astype(np.uint32)).tolist()
        self._own_seconds = np.zeros(len(table))
        self._measured: list[tuple[int, int, np.ndarray, dict[str, np.ndarray]]] = []

    def configure_optimizers(self) -> None:
        """None: every network has its own, of :mod:`metanet.generation.optimizers`."""

    def train_dataloader(self) -> ImageBatches:
        return self.data.train_dataloader()

    @property
    def network_seconds(self) -> np.ndarray:
        """Seconds of each network's own steps and evaluations, and an equal share of what the group does for all."""
        shared = max(self.seconds - self._own_seconds.sum(), 0.0)
        return self._own_seconds + shared / len(self.table)

    @property
    def lengths(self) -> np.ndarray:
        return np.maximum(self.epochs_run, 1)

    # ------------------------------------------------------------------------------------ training

    def on_train_start(self) -> None:
        rates = torch.from_numpy(self.table["hp.learning_rate"].to_numpy(np.float64, copy=True))
        self._optimizers = [
            StackedOptimizer(weights, [rule], rates[k : k + 1], self.recipe.constants)
            for k, (weights, rule) in enumerate(zip(self.weights, self.table["hp.optimizer"], strict=True))
        ]
        self._exported = tempfile.TemporaryFile()  # noqa: SIM115  # vectors of every epoch, of which few are kept
        self._places: list[list[int]] = [[] for _ in self.networks]
        self._generator = torch.Generator(self.device)
        super().on_train_start()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One optimizer step of every running network on one shared batch; returns the losses, shape (K,)."""
        images, labels = batch[0].permute(0, 3, 1, 2), batch[1]  # (B, C, H, W), channels last in memory
        moved = images
        if (self._augmented & self.running).any():
            key = f"{self.data.batches.seed}/{self.current_epoch}/{batch_idx}"
            generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
            moved = augment(images, generator, self.recipe.zoom).contiguous(memory_format=torch.channels_last)
        losses = np.zeros(len(self.table))
        for k in np.flatnonzero(self.running).tolist():
            began = time.perf_counter()
            losses[k] = self._step(k, moved if self._augmented[k] else images, labels)
            self._own_seconds[k] += time.perf_counter() - began
        self._losses += losses
        self.steps += 1
        return torch.from_numpy(losses)

    def _step(self, k: int, images: Tensor, labels: Tensor) -> float:
        network, weights = self.networks[k], self.weights[k]
        specs = network.layout.tensors
        leaf = weights.detach()[0].clone().requires_grad_()
        tensors = {t.name: part.view(t.shape) for t, part in zip(specs, leaf.split(self._sizes[k]), strict=True)}
        tensors |= self._statistics(k)
        self._generator.manual_seed(self._seeds[k] + self.steps)
        outputs = logits(network, tensors, images, self._activations[k], self._generator)
        loss = functional.cross_entropy(outputs, labels)
        weights.grad = torch.autograd.grad(loss, leaf)[0][None]
        self._optimizers[k].step()
        return float(loss.detach())

    def _statistics(self, k: int) -> dict[str, Tensor]:
        """Views of the running means and variances in a network's vector, which a training step moves on."""
        vector = self.weights[k].detach()[0]
        running = [t for t in self.networks[k].layout.tensors if t.kind in ("bn_mean", "bn_var")]
        return {t.name: vector[t.start : t.stop] for t in running}

    def on_train_epoch_end(self) -> None:
        for optimizer in self._optimizers:
            optimizer.rates *= self.recipe.learning_rate_decay
        self.epochs_run[self.running] = self.current_epoch + 1
        self._mask(~self.finite())
        self._keep_snapshot(self.current_epoch + 1)
        if self.on_progress is not None:
            batches = self.data.batches
            self.on_progress(len(batches) * batches.batch_size * len(self.table))
        if not self.running.any():
            self.trainer.should_stop = True

    def _keep_snapshot(self, epoch: int) -> None:
        """Export and evaluate every running network, then end the training of those that a rule stops."""
        ran = self.running.copy()
        metrics = self._measure()
        ran &= self.alive
        for k in np.flatnonzero(ran).tolist():
            self._places[k].append(self._exported.seek(0, 2))
            self._exported.write(self.weights[k].detach().cpu().numpy().astype("<f4").tobytes())
        self._measured.append((epoch, self.steps, ran, metrics))
        self._log(epoch, metrics, ran)
        reasons = self.stopping.update(metrics["validation_accuracy"])
        ended = ran & (reasons != "")
        self.stopped_by[ended] = reasons[ended]
        self.running &= ran & ~ended

    def on_train_end(self) -> None:
        """Thin the exports uniformly from the first to the last (section 3)."""
        keep = [
            set(np.linspace(0, max(len(p) - 1, 0), min(self.recipe.exports, len(p))).round().astype(int)) for p in self._places
        ]
        for number, (epoch, step, ran, metrics) in enumerate(self._measured):
            weights = [self._export(k, number) if ran[k] and number in keep[k] else None for k in range(len(self.table))]
            self.snapshots.append(Snapshot(epoch, step, weights, ran, metrics))
        self._exported.close()
        super().on_train_end()

    def _export(self, k: int, number: int) -> np.ndarray:
        self._exported.seek(self._places[k][number])
        return np.frombuffer(self._exported.read(4 * self.networks[k].layout.size), "<f4")

    # ------------------------------------------------------------------------------------ what the group asks for

    def finite(self) -> np.ndarray:
        finite = np.array([bool(torch.isfinite(w.detach()).all()) for w in self.weights]) & np.isfinite(self._losses)
        self._losses[:] = 0
        return finite

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        correct, loss = np.zeros(len(self.table)), np.zeros(len(self.table))
        for start in range(0, len(labels), EVALUATION_BATCH):
            part = self.data.scale(images[start : start + EVALUATION_BATCH]).to(self.weights[0].dtype).permute(0, 3, 1, 2)
            answers = labels[start : start + EVALUATION_BATCH]
            for k in np.flatnonzero(self.running & self.alive).tolist():
                began = time.perf_counter()
                tensors = self.networks[k].layout.unflatten(self.weights[k].detach()[0])
                outputs = logits(self.networks[k], tensors, part, self._activations[k])
                correct[k] += int((outputs.argmax(1) == answers).sum())
                loss[k] += float(functional.cross_entropy(outputs, answers, reduction="sum"))
                self._own_seconds[k] += time.perf_counter() - began
        return correct / len(labels), loss / len(labels)

    @torch.no_grad()
    def forget(self, rows: np.ndarray) -> None:
        self.running &= ~rows
        for k in np.flatnonzero(rows).tolist():
            self.weights[k].zero_()
