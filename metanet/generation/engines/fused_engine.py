"""The fused engine's group: networks one after another, each on a core of its own for an epoch."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metanet.errors import MetanetError
from metanet.generation.engines import Engine
from metanet.generation.group import GroupModule
from metanet.generation.native import MOST_CLASSES, kernel_order, load_kernel, variants
from metanet.generation.networks import SmallCNN
from metanet.generation.plan import Plan

RULE_CODES = {"sgd": 0, "momentum": 1, "adam": 2, "rmsprop": 3}
ACTIVATION_CODES = {"relu": 0, "tanh": 1}
WIDTHS = (8, 16, 32)
CHANNELS = (1, 3)
# Networks train one after another, so a group is what a kill may cost: about so many multiply-adds of training.
GROUP_WORK = 1.2e13
GROUP_BOUNDS = (4, 128)


def float32_alone(trainer: dict[str, Any]) -> str | None:
    """Why the fused engines cannot train at another precision."""
    given = trainer.get("precision")
    return None if given in (None, 32, "32", "32-true") else f"it has float32, not trainer.precision={given}"


class FusedEngine(Engine):
    """One small CNN a core, the whole step out of its cache."""

    name = "fused"
    measured_networks = 2
    threaded = True

    def refusal(self, plan: Plan, trainer: dict[str, Any]) -> str | None:
        if (asked := trainer.get("accelerator", "auto")) not in ("auto", "cpu"):
            return f"it runs on the CPU, not on trainer.accelerator={asked}"
        return float32_alone(trainer) or plan.first_reason(why_not)

    def group(self, plan: Plan, rows: pd.DataFrame, threads: int, *shared: Any) -> FusedGroup:
        return FusedGroup(plan.network(rows, SmallCNN), *shared, threads=threads)

    def group_size(self, work: float) -> int:
        return int(np.clip(GROUP_WORK / work, *GROUP_BOUNDS))

    def accelerator(self, trainer: dict[str, Any]) -> str:
        return "cpu"


def why_not(network: object) -> str | None:
    """Why the fused engine cannot train a network; None where it can."""
    if not variants():
        return "it was not built (no C++20 compiler at installation)"
    if not isinstance(network, SmallCNN) or (network.kernel, network.stride) != (3, 2):
        return "it trains the networks of recipe=small_cnn only"
    if network.num_units not in WIDTHS:
        return f"it has widths {', '.join(map(str, WIDTHS))}, not {network.num_units}"
    if network.input_shape[2] not in CHANNELS:
        return f"it reads images of 1 or 3 channels, not {network.input_shape[2]}"
    if network.classes > MOST_CLASSES:
        return f"it has at most {MOST_CLASSES} classes, not {network.classes}"
    return None


class FusedGroup(GroupModule):
    """K small CNNs; see :class:`metanet.generation.group.GroupModule` for the rest.

    What Lightning sees as a batch is the order of one epoch. Networks never meet, so threads decide nothing about the
    result.

    Args:
        network: the architecture.
        threads: networks that train at once.
        variant: instruction set, by default the fastest here.

    Raises:
        MetanetError: the kernel cannot train the network here.
    """

    def __init__(
        self,
        network: SmallCNN,
        table: pd.DataFrame,
        *arguments: Any,
        threads: int = 1,
        variant: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(table, *arguments, **settings)
        if (reason := why_not(network)) is not None:
            raise MetanetError(f"the fused engine cannot train this network: {reason}")
        kernel = load_kernel(variant)
        self.network = network
        order = kernel_order(network)
        self._kept = np.flatnonzero(order >= 0)
        self._positions = order[self._kept]
        initial = np.stack([network.initial(row) for row in table.to_dict("records")])
        # torch's memory lies at 64-byte boundaries, and a row is a multiple of 64 bytes.
        self.weights, self._mean, self._square = (torch.zeros(len(table), len(order)).numpy() for _ in range(3))
        self.weights[:, self._kept] = initial[:, self._positions]
        (activation,) = table["hp.activation"].unique()
        self._activation = ACTIVATION_CODES[activation]
        self._rules = [RULE_CODES[name] for name in table["hp.optimizer"]]
        self._rows = table[["hp.learning_rate", "hp.l2reg", "hp.dropout"]].to_numpy(float)
        self._seeds = table["dropout_seed"].tolist()
        self._losses = np.zeros(len(table))
        self._threads = threads
        self._kernels: queue.SimpleQueue[Any] = queue.SimpleQueue()
        height, width, channels = network.input_shape
        for _ in range(threads):
            self._kernels.put(kernel.Network(height, width, channels, network.num_layers, network.num_units, network.classes))

    def configure_optimizers(self) -> None:
        """None: the kernel steps."""

    def train_dataloader(self) -> EpochOrders:
        return EpochOrders(self)

    def on_train_start(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads)
        super().on_train_start()

    def teardown(self, stage: str) -> None:
        if hasattr(self, "_pool"):
            self._pool.shutdown()

    def training_step(self, order: Tensor, batch_idx: int) -> Tensor:
        """One epoch of every network; returns the epoch's mean losses, shape (K,)."""
        images, labels = self.data.train_images.numpy(), self.data.train_labels.numpy()
        batch = self.data.batches.batch_size

        def train(kernel: Any, k: int) -> None:
            rate, l2reg, dropout = self._rows[k]
            self._losses[k] = kernel.train(
                *(self.weights[k], self._mean[k], self._square[k], images, labels, order.numpy(), batch, self.steps),
                *(self._rules[k], self._activation, rate, l2reg, dropout, self._seeds[k]),
            )

        self._each(train)
        steps = len(order) // batch
        self.steps += steps
        return torch.from_numpy(self._losses / steps)

    def vectors(self) -> np.ndarray:
        vectors = np.empty((len(self.table), self.network.layout.size), np.float32)
        vectors[:, self._positions] = self.weights[:, self._kept]
        return vectors

    def finite(self) -> np.ndarray:
        return np.isfinite(self.weights).all(1) & np.isfinite(self._losses)

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        correct, loss = np.zeros(len(self.table)), np.zeros(len(self.table))

        def evaluate(kernel: Any, k: int) -> None:
            correct[k], loss[k] = kernel.evaluate(self.weights[k], images.numpy(), labels.numpy(), self._activation)

        self._each(evaluate)
        return correct / len(labels), loss / len(labels)

    def forget(self, rows: np.ndarray) -> None:
        self.weights[rows] = 0.0

    def _each(self, work: Callable[[Any, int], None]) -> None:
        """Hand the networks that are finite to the threads, a kernel to each."""

        def one(k: int) -> None:
            kernel = self._kernels.get()
            try:
                work(kernel, k)
            finally:
                self._kernels.put(kernel)

        networks = np.flatnonzero(self.alive).tolist()
        list(map(one, networks) if self._threads == 1 else self._pool.map(one, networks))


class EpochOrders:
    """One item an epoch: the order of its images, int64 (steps * batch,)."""

    def __init__(self, group: GroupModule) -> None:
        self.batches = group.data.batches

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Tensor]:
        yield self.batches.next_order()
