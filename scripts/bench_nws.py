"""The blocks engine beside one pl.Trainer per network: the neural weight space's networks, same plan, one thread each.

python scripts/bench_nws.py                   # two groups of a plan of the fixed architecture, four of the main set
python scripts/bench_nws.py --quick           # one of each
python scripts/bench_nws.py --stacking        # convolutions of K networks grouped into one, beside one by one

Each network trains for some epochs with the recipe's evaluations. The trainer has every advantage that costs its user
nothing: images in memory in one batched gather, channels-last tensors, no logger, checkpoint or bar, the same augmented
batches handed to it ready made, torch.optim. Groups are those of a plan of 300 networks on digits, at even distances from
the costliest to the cheapest; the engine trains a group as it does in a generation, the trainer its networks one by one.
Group by group in turn; the ratio is of the sums.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings

EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--stacking", action="store_true")
    arguments = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"

    import torch

    from metanet.generation.native import load_kernel, variants
    from metanet.machine import describe_machine

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.filterwarnings("ignore")
    print(describe_machine(1))
    if arguments.stacking:
        stacking()
        return
    square = torch.rand(1024, 1024)
    product = max(_rate(lambda: square @ square, 2 * 1024**3) for _ in range(5))
    peak = load_kernel().multiply_add_rate(1.0) if variants() else product
    print(f"one core: torch's product of 1024 x 1024 {product / 1e9:.0f} GFLOP/s, multiply-adds in registers {peak / 1e9:.0f}")
    for name, count in (("nws_fixed_mini", 1 if arguments.quick else 2), ("nws_main_mini", 1 if arguments.quick else 4)):
        compare(name, count, peak)


def _rate(work, operations: float) -> float:
    began = time.perf_counter()
    work()
    return operations / (time.perf_counter() - began)


def stacking(networks: int = 4, batch: int = 64) -> None:
    """Forward and backward passes of the three convolutional blocks, of K networks as groups of one stack or one by one."""
    import torch
    from torch import nn

    def blocks(filter_size: int, width: int, k: int) -> nn.Module:
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [
                nn.Conv2d(k * inputs, k * outputs, filter_size, padding="same", groups=k),
                nn.BatchNorm2d(k * outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        return nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def rate(module: nn.Module, channels: int, passes: int) -> float:
        x = torch.rand(batch, channels, 32, 32).contiguous(memory_format=torch.channels_last)
        best = float("inf")
        for _ in range(4):
            began = time.perf_counter()
            for _ in range(passes):
                module(x).sum().backward()
            best = min(best, time.perf_counter() - began)
        return networks * batch / best

    print(f"three convolutional blocks, batch {batch}, network-images/s of one core: {networks} networks stacked, one by one")
    for filter_size, width in ((3, 8), (5, 4), (5, 8), (7, 12)):
        stacked, alone = (
            rate(blocks(filter_size, width, networks), 3 * networks, 1),
            rate(blocks(filter_size, width, 1), 3, networks),
        )
        print(
            f"  filters {filter_size}, width {width}: {stacked:,.0f}, {alone:,.0f}: {stacked / alone:.2f} times as fast stacked"
        )


def compare(name: str, count: int, peak: float) -> None:
    """Train some groups of a recipe's plan both ways."""
    import numpy as np

    from metanet.cli.compose import compose
    from metanet.data_modules.images import load_images
    from metanet.generation.plan import make_plan
    from metanet.generation.recipes import create_recipe
    from metanet.generation.training import train_rows

    config = compose("generate", {"recipe": name, "out": "z"})["recipe"] | {"epochs": EPOCHS}
    recipe = create_recipe(**config)
    images = recipe.prepare(load_images("digits"))
    plan = make_plan(recipe, images.facts(), 300, engine="blocks")
    ours = theirs = operations = 0.0
    train_rows(plan, plan.group(0).head(1), images, {"accelerator": "cpu"})  # warms both up
    trainer(plan, plan.group(0).head(1), images)
    networks = 0
    for number in np.linspace(0, plan.groups - 1, count + 2)[1:-1].round().astype(int).tolist():
        rows = plan.group(number)
        networks += len(rows)
        began = time.perf_counter()
        group = train_rows(plan, rows, images, {"accelerator": "cpu"})
        ours += time.perf_counter() - began
        evaluated = sum(len(getattr(group.data, f"{part}_labels")) for part in ("train", "validation", "test"))
        steps = len(group.data.batches) * group.data.batches.batch_size
        for k in range(len(rows)):
            theirs += trainer(plan, rows.iloc[k : k + 1].reset_index(drop=True), images)
            per_image = (
                2.0 * plan.networks[rows["layout_id"].iloc[k]].multiply_adds
            )  # forward; the backward pass costs twice as much
            operations += per_image * (3 * steps * EPOCHS + evaluated * (EPOCHS + 1))
    print(f"{name}: {networks} networks in {count} groups, {EPOCHS} epochs of training and evaluation each")
    print(
        f"  blocks {ours / networks:.2f} s a network, pl.Trainer {theirs / networks:.2f} s: {theirs / ours:.2f} times the trainer"
    )
    print(f"  {operations / ours / 1e9:.0f} GFLOP/s, {operations / ours / peak:.0%} of the latter")


def trainer(plan, rows, images) -> float:
    """Seconds of one pl.Trainer on one network."""
    import pytorch_lightning as pl
    import torch
    from torch.nn import functional

    from metanet.data_modules.images import ImageDataModule, unit_pixels
    from metanet.generation.augmentation import augment
    from metanet.lightning import quiet_trainer

    row = rows.iloc[0]
    network = plan.networks[row["layout_id"]]
    module = network.module(row["hp.activation"])
    state = network.layout.unflatten(network.initial(row.to_dict()))
    module.load_state_dict({n: torch.from_numpy(v) for n, v in state.items()}, strict=False)
    module = module.to(memory_format=torch.channels_last)
    data = ImageDataModule(
        images, int(row["hp.batch_size"]), 1.0, plan.seed, "cpu", plan.recipe.train_images, validation=plan.recipe.validation
    )
    batches, total = [], 0.0
    for _ in range(EPOCHS):
        epoch = []
        for batch in data.batches.next_order().view(len(data.batches), -1):
            x = unit_pixels(data.train_images[batch]).permute(0, 3, 1, 2)
            if row["hp.augmentation"]:
                began = time.perf_counter()
                x = augment(x, torch.Generator()).contiguous(memory_format=torch.channels_last)
                total += time.perf_counter() - began
            epoch.append((x, data.train_labels[batch]))
        batches.append(epoch)
    optimizers = {
        "adam": lambda p: torch.optim.Adam(p, row["hp.learning_rate"]),
        "rmsprop": lambda p: torch.optim.RMSprop(p, row["hp.learning_rate"], alpha=0.9, eps=1e-10),
        "momentum": lambda p: torch.optim.SGD(p, row["hp.learning_rate"], momentum=0.95),
    }

    class Batches:  # a list would be taken for several loaders
        def __init__(self, batches) -> None:
            self.batches = batches

        def __len__(self) -> int:
            return len(self.batches)

        def __iter__(self):
            return iter(self.batches)

    class Alone(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def configure_optimizers(self):
            optimizer = optimizers[row["hp.optimizer"]](self.module.parameters())
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.96)]

        def train_dataloader(self):
            return Batches(batches[self.current_epoch])

        def training_step(self, batch, _):
            return functional.cross_entropy(self.module(batch[0]), batch[1])

        def on_train_start(self) -> None:
            self.measure()

        def on_train_epoch_end(self) -> None:
            self.measure()

        @torch.no_grad()
        def measure(self) -> None:
            self.module.eval()
            for part in ("train", "validation", "test"):
                x, y = getattr(data, f"{part}_images"), getattr(data, f"{part}_labels")
                for start in range(0, len(y), 256):
                    outputs = self.module(unit_pixels(x[start : start + 256]).permute(0, 3, 1, 2))
                    functional.cross_entropy(outputs, y[start : start + 256])
                    outputs.argmax(1).eq(y[start : start + 256]).sum()
            self.module.train()

    began = time.perf_counter()
    with quiet_trainer({"accelerator": "cpu", "reload_dataloaders_every_n_epochs": 1}, EPOCHS, (), threads=1) as lightning:
        lightning.fit(Alone())
    return total + time.perf_counter() - began


if __name__ == "__main__":
    main()
