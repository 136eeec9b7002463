"""Network-images per second of the engines against one pl.Trainer per network, on the same plan.

The baseline is given its best case: the whole set in memory as floats, batched indexing, no logger,
checkpoint or bar, the l2 term as the optimizer's weight decay, the same evaluations at the same
epochs, and the same initial weights. All sides run in one process on one thread, group by group in
turn, so that a drifting machine meets all; more cores serve all alike. GFLOP/s count multiply-adds of
training alone (forward, weight and data gradients), as a share of a register-only multiply-add loop.

    python scripts/bench_generate.py                    # digits 16x16 batch 64; MNIST 28x28 batch 512 where it is there
    python scripts/bench_generate.py --data digits --networks 32
    python scripts/bench_generate.py --linear           # does four times the networks cost four times the time?
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from metanet.cli.compose import compose
from metanet.data_modules.images import ImageDataModule, ImageSet, load_images, scale_pixels
from metanet.data_modules.sources import data_root
from metanet.generation.engines.choice import refusal
from metanet.generation.native import load_kernel, variants
from metanet.generation.plan import Plan, images_per_epoch, make_plan
from metanet.generation.recipes import create_recipe
from metanet.generation.training import train_rows
from metanet.lightning import quiet_trainer
from metanet.machine import describe_machine

# Full recipes with fewer epochs, so that the baseline ends: (verb's config, overrides, networks).
SETTINGS = {
    "digits": ("quickstart", {}, 192),
    "mnist": ("generate", {"recipe": "small_cnn", "recipe.epochs": "3", "recipe.snapshots": "[0]"}, 32),
}


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

    def __init__(self, network: nn.Module, row: dict[str, Any], evaluations: set[int], sets: list[tuple[Tensor, Tensor]]) -> None:
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
    network, accuracies = plan.network(table), []
    for row in table.to_dict("records"):
        module = network.module(row["hp.activation"], row["hp.dropout"])
        module.load_state_dict(network.layout.unflatten(torch.from_numpy(network.initial(row))))
        lightning = OneNetwork(module, row, set(plan.recipe.snapshots), [train, test])
        batches = Batches(*train, data.batches.batch_size)
        with quiet_trainer({"accelerator": "cpu"}, plan.recipe.epochs, threads=1) as trainer:
            trainer.fit(lightning, train_dataloaders=batches)
        accuracies.append(lightning.accuracy)
    return accuracies


def compare(data: str, networks: int | None) -> None:
    """Print one table: a row a group, then the sums."""
    verb, overrides, default = SETTINGS[data]
    config = compose(verb, overrides | {"data": data})
    images = load_images(data)
    recipe = create_recipe(**config["recipe"])
    plans = {e: make_plan(recipe, images.facts(), networks or default, group_size=32, engine=e) for e in ("fused", "torch")}
    engines = [e for e, plan in plans.items() if refusal(plan, e, {}) is None]
    plan = plans["torch"]
    for group in range(plan.groups - 1, plan.groups):  # warm up all sides
        rows = plan.group(group).head(1)
        for engine in engines:
            train_rows(plans[engine], rows, images, {"accelerator": "cpu"})
        one_trainer_per_network(plan, rows, images)
    table = []
    for group in range(plan.groups):
        rows = plan.group(group)
        line = {
            "activation": rows["hp.activation"].iloc[0],
            "fraction": rows["hp.train_fraction"].iloc[0],
            "networks": len(rows),
            "net-images": int(images_per_epoch(rows, recipe, plan.data).sum()) * recipe.epochs,
        }
        for engine in engines:
            began = time.perf_counter()
            module = train_rows(plans[engine], rows, images, {"accelerator": "cpu"})
            line[f"{engine} s"] = time.perf_counter() - began
            line[f"{engine} accuracy"] = float(np.mean(module.snapshots[-1].metrics["test_accuracy"]))
        began = time.perf_counter()
        line["trainer accuracy"] = float(np.mean(one_trainer_per_network(plan, rows, images)))
        line["trainer s"] = time.perf_counter() - began
        table.append(line)
    frame = pd.DataFrame(table)
    height, width, _ = images.shape
    network = plan.network(plan.group(0))
    size = f"{network.layout.size} weights, {network.multiply_adds} multiply-adds forward"
    print(f"\n{data} {height}x{width}, batch {recipe.batch_size}, {recipe.epochs} epochs, dropout, evaluations included; {size}")
    print(frame.to_string(index=False, float_format="%.3g"))
    total = frame["net-images"].sum()
    flops = 2 * (3 * network.multiply_adds - network.units[0] * 9 * images.shape[2])
    peak = load_kernel().multiply_add_rate(1.0) if variants() else None
    for side in (*engines, "trainer"):
        seconds, accuracy = frame[f"{side} s"].sum(), np.average(frame[f"{side} accuracy"], weights=frame["networks"])
        name = {"trainer": "one pl.Trainer a network", "fused": f"fused ({variants()[0]})" if variants() else ""}.get(side, side)
        share = f" = {total / seconds * flops / peak:.0%} of the peak" if peak else ""
        print(
            f"{name}: {total / seconds / 1e3:.1f}k net-images/s a core, {total / seconds * flops / 1e9:.1f} GFLOP/s{share}, "
            f"mean test accuracy {accuracy:.4f}, {frame['trainer s'].sum() / seconds:.2f} times the trainer"
        )
    if peak:
        print(f"peak: {peak / 1e9:.0f} GFLOP/s of a register-only multiply-add loop on one core")
        _kernel_alone(plan, images, flops, peak)


def _kernel_alone(plan: Plan, images: ImageSet, flops: int, peak: float) -> None:
    """The training steps without evaluation and Lightning, one thread and all cores."""
    plan = make_plan(plan.recipe, plan.data, 64, engine="fused")
    for activation in ("relu", "tanh"):
        groups = [plan.group(g) for g in range(plan.groups)]
        rows = max((g for g in groups if g["hp.activation"].iloc[0] == activation), key=lambda g: g["hp.train_fraction"].iloc[0])
        for threads in (1, os.cpu_count() or 1):
            clock = _Clock()
            train_rows(plan, rows, images, {"accelerator": "cpu", "max_epochs": 2}, (clock,), threads)
            rate = 2 * images_per_epoch(rows, plan.recipe, plan.data).sum() / clock.seconds / threads
            print(
                f"steps alone, {activation}, threads {threads}: {rate / 1e3:.1f}k net-images/s a core, "
                f"{rate * flops / 1e9:.1f} GFLOP/s = {rate * flops / peak:.0%} of the peak"
            )


class _Clock(pl.Callback):
    """Adds up the time of the training steps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_batch_start(self, *_: object) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.began


def linear() -> None:
    """Time and peak memory of ``metanet generate`` at n and 4n networks, three times in turn."""
    print("\ncost of more networks: digits 16x16, batch 64, 20 epochs, metanet generate from start to end")
    seconds: dict[int, list[float]] = {1000: [], 4000: []}
    memory: dict[int, float] = {}
    for n in [*seconds] * 3:
        with tempfile.TemporaryDirectory() as folder:
            words = ["generate", "data=digits", f"n={n}", "recipe.epochs=20", "recipe.batch_size=64", f"out={folder}/zoo"]
            code = "import resource; from metanet.cli.main import main\n"
            code += f"main({words!r}); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
            began = time.perf_counter()
            out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
            seconds[n].append(time.perf_counter() - began)
            memory[n] = max(memory.get(n, 0.0), int(out.split()[-1]) / 2**10)
    for n, times in seconds.items():
        print(
            f"n={n}: median {statistics.median(times):.1f} s of {', '.join(f'{t:.1f}' for t in times)}; peak {memory[n]:.0f} MiB"
        )
    small, large = seconds
    ratio = statistics.median(seconds[large]) / statistics.median(seconds[small])
    print(
        f"{large // small} times the networks: {ratio:.2f} times the time, "
        f"{memory[large] / memory[small]:.2f} times the peak memory"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(SETTINGS), default=None, help="one image set only")
    parser.add_argument("--networks", type=int, default=None)
    parser.add_argument("--linear", action="store_true", help="the cost of more networks only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_machine(1))
    if arguments.linear:
        linear()
        return
    for data in [arguments.data] if arguments.data else SETTINGS:
        if data != "digits" and not (data_root(None) / data).is_dir():
            print(f"\n{data}: not measured; its files are not in {Path('$METANET_DATA') / data}")
            continue
        compare(data, arguments.networks)


if __name__ == "__main__":
    main()
