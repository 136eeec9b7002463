"""Training the groups of a plan: what each adds to the zoo, whatever process or machine trains it."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

from metanet.data_modules.images import ImageDataModule, ImageMix, ImageSet, load_images
from metanet.data_modules.sources import OnDownload
from metanet.errors import MetanetError
from metanet.generation.engines import ENGINES
from metanet.generation.group import GroupModule
from metanet.generation.memory import keep_freed_memory
from metanet.generation.plan import Plan
from metanet.generation.recipes import Recipe
from metanet.interrupts import check, held
from metanet.lightning import quiet_trainer

METRICS = ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
MOST_PARTS = 8  # of a group whose workers die, before it is given up


@dataclass(frozen=True)
class GroupResult:
    """What a trained group adds to the zoo; one weight vector a row of ``snapshots``."""

    group: int
    weights: list[np.ndarray]
    networks: pd.DataFrame
    snapshots: pd.DataFrame
    history: pd.DataFrame


@dataclass(frozen=True)
class Progress:
    """What :func:`generate` reports: units are training images times networks."""

    done: int
    total: int
    groups_done: int
    groups: int


@dataclass
class Job:
    """Everything a worker needs to train any group of a plan."""

    plan: Plan
    root: str | dict[str, str | None] | None
    train_limit: int | dict[str, int | None] | None
    size: int | dict[str, int | None] | None
    trainer: dict[str, Any]
    callbacks: Sequence[pl.Callback] = ()
    threads: int = 1

    @functools.cached_property
    def images(self) -> ImageSet | ImageMix:
        """Loaded where it is first asked for."""
        return load_all(self.plan.recipe, self.plan.data.name.split("+"), self.root, self.train_limit, self.size)


def load_all(
    recipe: Recipe,
    names: Sequence[str],
    root: str | dict[str, str | None] | None,
    train_limit: int | dict[str, int | None] | None,
    size: int | dict[str, int | None] | None,
    on_download: OnDownload | None = None,
) -> ImageSet | ImageMix:
    """The image sets of a zoo as its recipe's networks see them: one, or a mix; settings that differ stand by name."""

    def own(setting: Any, name: str) -> Any:
        return setting.get(name) if isinstance(setting, dict) else setting

    sets = {
        name: recipe.prepare(load_images(name, own(root, name), own(train_limit, name), own(size, name), on_download))
        for name in names
    }
    return next(iter(sets.values())) if len(sets) == 1 else ImageMix(sets)


@dataclass
class Reporter:
    """Adds up the progress of all groups."""

    plan: Plan
    groups: Sequence[int]  # those of this process's share
    committed: set[int]
    on_progress: Callable[[Progress], None] | None
    partial: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.total = sum(self._images(g) for g in self.groups)
        self.done = sum(self._images(g) for g in self.committed)
        self._report()

    def _images(self, group: int) -> int:
        return self.plan.network_images(self.plan.group(group))

    def advance(self, group: int, images: int) -> None:
        """Some images of a group are done."""
        self.partial[group] = self.partial.get(group, 0) + images
        self._report()

    def again(self, task: tuple[Any, ...]) -> tuple[Any, ...]:
        """A group whose worker died: from nothing, in twice as many parts.

        Raises:
            MetanetError: it was lost again and again.
        """
        group, parts = task
        if parts >= MOST_PARTS:
            raise MetanetError(
                f"group {group} was lost again and again (out of memory?); the groups committed so far are kept: give the same "
                "command again, perhaps with a smaller group_size"
            )
        self.restart(group)
        return group, 2 * parts

    def restart(self, group: int) -> None:
        """A group begins again from nothing."""
        self.partial.pop(group, None)

    def group_done(self, group: int) -> None:
        """A group is stored."""
        self.partial.pop(group, None)
        self.committed.add(group)
        self.done += self._images(group)
        self._report()

    def _report(self) -> None:
        check()
        if self.on_progress is not None:
            done = self.done + sum(self.partial.values())
            self.on_progress(Progress(min(done, self.total), self.total, len(self.committed), len(self.groups)))


# ------------------------------------------------------------------------------------------------ one group


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
    engine = ENGINES.find(plan.engine)()
    settings["accelerator"] = engine.accelerator(trainer)
    with quiet_trainer(settings, recipe.epochs, callbacks, threads=1) as lightning:
        device, epochs = lightning.strategy.root_device, lightning.max_epochs
        assert epochs is not None
        if device.type == "cpu":
            torch.set_flush_denormal(True)
            keep_freed_memory()
        fraction = float(rows["hp.train_fraction"].iloc[0]) if "hp.train_fraction" in rows else 1.0
        batch_size = int(rows["hp.batch_size"].iloc[0])
        own = images.of(rows["hp.dataset"].iloc[0])
        data = ImageDataModule(own, batch_size, fraction, plan.seed, device, recipe.train_images, limit, **recipe.protocol(own))
        snapshots = [e for e in recipe.snapshots if e <= epochs]
        group = engine.group(plan, rows, threads, rows, data, epochs, snapshots, recipe.evaluate_every, on_progress)
        lightning.fit(group)
    return group


def train_group(job: Job, group: int, parts: int = 1, on_progress: Callable[[int], None] | None = None) -> GroupResult:
    """Train one group of a plan; its networks come out the same in however many parts they are trained.

    A group that finds no memory is cut into halves, down to single networks.

    Raises:
        MetanetError: one network alone finds no memory.
    """
    rows = job.plan.group(group)
    pieces = [rows.iloc[part].reset_index(drop=True) for part in np.array_split(np.arange(len(rows)), min(parts, len(rows)))]
    results = []
    while pieces:
        piece = pieces.pop(0)
        result = _result(job, group, piece, on_progress)
        with held():
            gc.collect()  # a trainer and its module hold each other, and megabytes
        if result is not None:
            results.append(result)
            continue
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(piece) == 1:
            raise MetanetError(
                f"one network of group {group} alone finds no memory; free some, or take a smaller batch or network; "
                "the groups committed so far are kept"
            )
        middle = len(piece) // 2
        pieces[:0] = [piece.iloc[:middle].reset_index(drop=True), piece.iloc[middle:].reset_index(drop=True)]
    return results[0] if len(results) == 1 else join(results)


def _result(job: Job, group: int, rows: pd.DataFrame, on_progress: Callable[[int], None] | None) -> GroupResult | None:
    """Some rows of a group trained; None where there was no memory for them, and then nothing of them is held."""
    try:
        return collect(group, rows, train_rows(job.plan, rows, job.images, job.trainer, job.callbacks, job.threads, on_progress))
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        return None


def _out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc failed")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def collect(group: int, table: pd.DataFrame, module: GroupModule) -> GroupResult:
    """The rows and weights of a trained group."""
    networks = table.drop(columns=["group"]).assign(
        status=np.where(module.alive, "ok", "nan"),
        stopped_by=np.where(module.alive, module.stopped_by, "nan"),
        epochs_run=module.epochs_run,
        seconds=module.network_seconds,
    )
    rows, kept, weights, lengths = [], [], [], module.lengths
    for snapshot in module.snapshots:
        for k in np.flatnonzero(snapshot.alive).tolist():
            row: dict[str, Any] = {
                "network_id": table["network_id"].iloc[k],
                "epoch": snapshot.epoch,
                "step": snapshot.step,
                "progress": snapshot.epoch / lengths[k],
            }
            rows.append(row | {m: float(snapshot.metrics[m][k]) if m in snapshot.metrics else np.nan for m in METRICS})
            vector = None if snapshot.weights is None else snapshot.weights[k]
            if vector is not None:
                kept.append(len(rows) - 1)
                weights.append(vector)
    history = pd.DataFrame(rows, columns=["network_id", "epoch", "step", "progress", *METRICS])
    history = history.astype(dict.fromkeys(METRICS, np.float64) | {"epoch": np.int64, "step": np.int64})
    return GroupResult(group, weights, networks, history.iloc[kept].reset_index(drop=True), history)


def join(results: Sequence[GroupResult]) -> GroupResult:
    """One result of the parts of a group."""
    tables = {
        name: pd.concat([getattr(result, name) for result in results], ignore_index=True)
        for name in ("networks", "snapshots", "history")
    }
    return GroupResult(results[0].group, [w for result in results for w in result.weights], **tables)
