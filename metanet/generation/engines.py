"""Engines: what trains a group. All take the same plan and give the same networks but for rounding and dropout bits.

    torch      K stacked networks in one pass; any device; the reference
    blocks     networks of convolution, normalisation and pooling, one after another; any device
    module     any nn.Module, one after another, through torch (recipes of your own)
    fused      one small CNN a core, the whole step out of its cache
    fused_cuda one small CNN a thread block of a GPU, out of its shared memory

``auto`` measures those that can train the plan for a moment and takes the fastest; a zoo records the choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch

from data_modules.images import ImageDataModule, ImageMix, ImageSet, unit_pixels
from metanet.errors import MetanetError, did_you_mean
from metanet.generation.blocks_group import BlocksGroup
from metanet.generation.fused import why_not
from metanet.generation.fused.cuda import CudaGroup, why_not_cuda
from metanet.generation.fused.group import FusedGroup
from metanet.generation.group import GroupModule
from metanet.generation.memory import keep_freed_memory
from metanet.generation.module_group import ModuleGroup
from metanet.generation.networks import SmallCNN
from metanet.generation.plan import Plan, images_per_epoch
from metanet.generation.recipes import ModuleRecipe, NWSRecipe
from metanet.generation.torch_group import TorchGroup
from metanet.lightning import quiet_trainer

ENGINES = ("torch", "blocks", "module", "fused", "fused_cuda")
MEASURED_SECONDS = 0.3  # of each engine, when a plan is made
MEASURED_NETWORKS = {"torch": 32, "fused": 2, "fused_cuda": 512}


def train_rows(
    plan: Plan,
    rows: pd.DataFrame,
    images: ImageSet | ImageMix,
    trainer: dict[str, Any],
    callbacks: Any = (),
    threads: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> GroupModule:
    """Train some networks of one group through pl.Trainer.fit.

    Args:
        rows: of the plan, one group or a part of it.
        trainer: arguments of pl.Trainer.
        threads: networks that the fused engine trains at once.
        on_progress: called with the training images times networks of each epoch.
    """
    recipe = plan.recipe
    settings = dict(trainer)
    limit = settings.pop("limit_train_batches", None)
    if plan.engine == "fused":
        settings["accelerator"] = "cpu"
    with quiet_trainer(settings, recipe.epochs, callbacks, threads=1) as lightning:
        device, epochs = lightning.strategy.root_device, lightning.max_epochs
        assert epochs is not None
        if device.type == "cpu":
            torch.set_flush_denormal(True)
            keep_freed_memory()
        fraction = float(rows["hp.train_fraction"].iloc[0]) if "hp.train_fraction" in rows else 1.0
        batch_size = int(rows["hp.batch_size"].iloc[0])
        own = images.of(rows["hp.dataset"].iloc[0])
        protocol: dict[str, Any] = {}
        if isinstance(recipe, NWSRecipe):
            balanced = own.name in recipe.balanced
            protocol = {"validation": recipe.validation, "balanced": balanced, "scale": unit_pixels}
        data = ImageDataModule(own, batch_size, fraction, plan.seed, device, recipe.train_images, limit, **protocol)
        snapshots = [e for e in recipe.snapshots if e <= epochs]
        shared: Any = (rows, data, epochs, snapshots, recipe.evaluate_every, on_progress)
        group: GroupModule
        if plan.engine == "module":
            group = ModuleGroup(plan.modules(rows), plan.layouts[rows["layout_id"].iloc[0]], *shared)
        elif plan.engine == "blocks":
            assert isinstance(recipe, NWSRecipe)
            group = BlocksGroup(plan.architectures(rows), recipe, *shared)
        elif plan.engine == "fused":
            network = plan.network(rows)
            assert isinstance(network, SmallCNN)
            group = FusedGroup(network, *shared, threads=threads)
        elif plan.engine == "fused_cuda":
            network = plan.network(rows)
            assert isinstance(network, SmallCNN)
            group = CudaGroup(network, *shared)
        else:
            group = TorchGroup(plan.network(rows), *shared)
        lightning.fit(group)
    return group


def refusal(plan: Plan, engine: str, trainer: dict[str, Any]) -> str | None:
    """Why an engine cannot train a plan; None where it can."""
    if isinstance(plan.recipe, NWSRecipe) or engine == "blocks":
        both = isinstance(plan.recipe, NWSRecipe) and engine == "blocks"
        return None if both else "the recipes of the neural weight space, and they alone, have engine=blocks"
    own_modules = isinstance(plan.recipe, ModuleRecipe)
    if engine == "module":
        return None if own_modules else "it is for recipes of your own, given by path"
    if own_modules:
        return "a recipe of your own has engine=module"
    if engine == "torch":
        return None
    accelerator = trainer.get("accelerator", "auto")
    if accelerator not in ("auto", "cpu") and engine == "fused":
        return f"it runs on the CPU, not on trainer.accelerator={accelerator}"
    if accelerator not in ("auto", "gpu", "cuda") and engine == "fused_cuda":
        return f"it runs on a CUDA device, not on trainer.accelerator={accelerator}"
    if trainer.get("precision") not in (None, 32, "32", "32-true"):
        return f"it has float32, not trainer.precision={trainer['precision']}"
    check = why_not if engine == "fused" else why_not_cuda
    return next((reason for network in plan.networks.values() if (reason := check(network)) is not None), None)


def choose_engine(
    requested: str, plan_for: Callable[[str], Plan], images: ImageSet | ImageMix, trainer: dict[str, Any], workers: int = 1
) -> tuple[str, dict[str, float]]:
    """The engine of a zoo, and training images times networks per second of those that were measured.

    Args:
        requested: a name in :data:`ENGINES`, or ``auto``.
        plan_for: the plan as an engine would have it.
        workers: cores that an engine on the CPU will use; one is measured.

    Raises:
        MetanetError: for an unknown engine, or one that cannot train the plan.
    """
    if requested != "auto":
        if requested not in ENGINES:
            raise MetanetError(f"no engine '{requested}'{did_you_mean(requested, ('auto', *ENGINES))}")
        if (reason := refusal(plan_for(requested), requested, trainer)) is not None:
            raise MetanetError(f"engine={requested} cannot train this zoo here: {reason}; a new zoo may take engine=auto")
        return requested, {}
    plans = {engine: plan_for(engine) for engine in ENGINES}
    able = [engine for engine, plan in plans.items() if refusal(plan, engine, trainer) is None]
    if len(able) == 1:
        return able[0], {}
    rates: dict[str, float] = {}
    for engine in able:
        on_gpu = engine == "fused_cuda" or (
            trainer.get("accelerator", "auto") != "cpu" and torch.cuda.is_available() and engine != "fused"
        )
        try:
            rates[engine] = round(measure(plans[engine], images, trainer) * (1 if on_gpu else workers))
        except Exception:
            if engine == "torch":  # the reference has no excuse
                raise
    return max(rates, key=lambda engine: rates[engine]), rates


def measure(plan: Plan, images: ImageSet | ImageMix, trainer: dict[str, Any]) -> float:
    """Training images times networks per second of one process on the plan's costliest group, evaluations left out."""
    rows = plan.group(0).head(MEASURED_NETWORKS[plan.engine])
    images = images.of(rows["hp.dataset"].iloc[0])
    small = replace(images, test_images=images.test_images[:1], test_labels=images.test_labels[:1])
    batch = int(min(rows["hp.batch_size"].iloc[0], images_per_epoch(rows, plan.recipe, plan.data)[0]))
    seconds, batches, done = 0.0, 1, 0
    while seconds < MEASURED_SECONDS:
        bounds = {"max_epochs": 1, "limit_train_batches": batches}
        clock = _StepClock()
        train_rows(plan, rows, small, trainer | bounds, (clock,))
        seconds, done = clock.seconds, batches
        if batches * batch >= images_per_epoch(rows, plan.recipe, plan.data)[0]:
            break
        batches = max(2 * batches, int(batches * MEASURED_SECONDS / max(seconds, 1e-3)))
    available = int(images_per_epoch(rows, plan.recipe, plan.data)[0])
    return min(done * batch, available) * len(rows) / seconds


class _StepClock(pl.Callback):
    """Adds up the time of the training steps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._began
