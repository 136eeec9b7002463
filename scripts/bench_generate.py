"""Network-images per second of the group engine against one pl.Trainer per network, on the same plan.

The baseline is given its best case: the whole set in memory as floats, batched indexing, no logger,
checkpoint or bar, the l2 term as the optimizer's weight decay, the same evaluations at the same
epochs, and the same initial weights. Both sides run in one process on one thread, group by group in
turn, so that a drifting machine meets both; more cores serve both alike, a process each.

    python scripts/bench_generate.py            # digits 16x16, batch 64, 256 networks
    python scripts/bench_generate.py --quick    # half the groups, of each 3 networks for the trainers
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from machine import describe_machine
from torch import Tensor, nn
from torch.nn import functional

from data_modules.images import ImageDataModule, ImageSet, load_images, scale_pixels
from metanet.cli.compose import compose
from metanet.generation.initializers import initial_weights
from metanet.generation.plan import Plan, make_plan
from metanet.generation.recipes import create_recipe
from metanet.generation.runner import Job, train_group
from metanet.lightning import quiet_trainer


class Batches:
    """Float images (B, C, H, W) by one gather, in the engine's order."""

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int) -> None:
        self.images, self.labels, self.batch_size = images, labels, batch_size

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels))[: len(self) * self.batch_size]
        for batch in order.view(len(self), self.batch_size):
            yield self.images[batch], self.labels[batch]


class OneNetwork(pl.LightningModule):
    """An ordinary module with an ordinary optimizer."""

    def __init__(self, network: nn.Module, row: pd.Series, evaluations: set[int], sets: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.network, self.row, self.evaluations, self.sets = network, row, evaluations, sets
        self.accuracy = float("nan")

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return functional.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = list(self.network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 2 * self.row["hp.l2reg"]},
            {"params": [p for p in parameters if p.ndim == 1]},
        ]
        rate = self.row["hp.learning_rate"]
        if self.row["hp.optimizer"] == "adam":
            return torch.optim.Adam(groups, rate, eps=1e-7)
        if self.row["hp.optimizer"] == "rmsprop":
            return torch.optim.RMSprop(groups, rate, alpha=0.9, eps=1e-7)
        return torch.optim.SGD(groups, rate)

    def on_train_start(self) -> None:
        self.evaluate()

    def on_train_epoch_end(self) -> None:
        if self.current_epoch + 1 in self.evaluations:
            self.evaluate()

    @torch.no_grad()
    def evaluate(self) -> None:
        self.network.eval()
        for images, labels in self.sets:
            logits = self.network(images)
            functional.cross_entropy(logits, labels)
            self.accuracy = float((logits.argmax(1) == labels).float().mean())
        self.network.train()


def one_trainer_per_network(plan: Plan, table: pd.DataFrame, images: ImageSet) -> list[float]:
    """Train a group's networks one after another; returns their test accuracies."""
    row = table.iloc[0]
    data = ImageDataModule(images, int(row["hp.batch_size"]), float(row["hp.train_fraction"]), plan.seed)
    train, test = (
        (scale_pixels(x).permute(0, 3, 1, 2).contiguous(), y)
        for x, y in ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    )
    accuracies = []
    for _, row in table.iterrows():
        network = plan.network.module(row["hp.activation"], row["hp.dropout"])
        vector = initial_weights(plan.network.layout, row["hp.w_init"], row["hp.init_std"], row["seed"])
        network.load_state_dict(plan.network.layout.unflatten(torch.from_numpy(vector)))
        module = OneNetwork(network, row, set(plan.recipe.snapshots), [train, test])
        batches = Batches(*train, data.batches.batch_size)
        with quiet_trainer({"accelerator": "cpu"}, plan.recipe.epochs, threads=1) as trainer:
            trainer.fit(module, train_dataloaders=batches)
        accuracies.append(module.accuracy)
    return accuracies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--data", default="digits", help="image set; others than digits need METANET_DATA")
    parser.add_argument("--networks", type=int, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = compose("quickstart", {"data": arguments.data})
    images = load_images(arguments.data)
    n = arguments.networks or 256
    plan = make_plan(create_recipe(**config["recipe"]), images.facts(), n)
    job = Job(plan, None, None, {"accelerator": "cpu"}, ())
    train_group(job, images, plan.groups - 1)  # warm up both sides
    one_trainer_per_network(plan, plan.group(plan.groups - 1).head(1), images)
    rows = []
    for group in range(plan.groups):
        table = plan.group(group)
        if arguments.quick and table["hp.activation"].iloc[0] == ("tanh" if group % 2 else "relu"):
            continue
        sample = table.iloc[:: max(1, len(table) // 3)] if arguments.quick else table
        count, sample_count = plan.network_images(table), plan.network_images(sample)
        began = time.perf_counter()
        result = train_group(job, images, group)
        middle = time.perf_counter()
        single = one_trainer_per_network(plan, sample, images)
        ended = time.perf_counter()
        last = result.snapshots.groupby("network_id").tail(1).set_index("network_id")["test_accuracy"]
        pairs = last.reindex(sample["network_id"]).to_numpy(), np.array(single)
        rows.append(
            {
                "group": group,
                "activation": table["hp.activation"].iloc[0],
                "fraction": table["hp.train_fraction"].iloc[0],
                "networks": len(table),
                "net-images": count,
                "engine k/s": count / (middle - began) / 1e3,
                "trainer k/s": sample_count / (ended - middle) / 1e3,
                "ratio": (ended - middle) / sample_count / (middle - began) * count,
                "engine accuracy": np.nanmean(pairs[0]),
                "trainer accuracy": pairs[1].mean(),
                "engine s": middle - began,
                "trainer s": (ended - middle) * count / sample_count,
            }
        )
    frame = pd.DataFrame(rows)
    height, width, _ = images.shape
    print(describe_machine(1))
    settings = f"batch {plan.recipe.batch_size}, {plan.recipe.epochs} epochs, dropout"
    size = f"{plan.network.layout.size} weights, {plan.network.multiply_adds} multiply-adds"
    print(f"{arguments.data} {height}x{width}, {settings}; {int(frame['networks'].sum())} networks of {size}")
    print(frame.drop(columns=["engine s", "trainer s"]).to_string(index=False, float_format="%.3g"))
    total, engine, trainer = frame["net-images"].sum(), frame["engine s"].sum(), frame["trainer s"].sum()
    weights = frame["networks"] / frame["networks"].sum()
    for side, label, seconds in (("engine", "group engine", engine), ("trainer", "one pl.Trainer a network", trainer)):
        accuracy = (frame[f"{side} accuracy"] * weights).sum()
        print(f"{label}: {total / seconds / 1e3:.1f}k net-images/s a core, mean test accuracy {accuracy:.4f}")
    print(f"ratio: {trainer / engine:.2f}")


if __name__ == "__main__":
    main()
