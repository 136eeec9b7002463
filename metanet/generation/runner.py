"""The runner: plan -> groups -> pl.Trainer.fit -> shards of a zoo.

On a CPU each worker process trains one group at a time on one thread, so a group's result never
depends on the number of workers. The parent is the only writer.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

from data_modules.images import ImageDataModule, ImageSet, load_images
from metanet.errors import MetanetError
from metanet.generation.memory import keep_freed_memory
from metanet.generation.module import GroupModule
from metanet.generation.plan import Plan, make_plan
from metanet.generation.recipes import SmallCNNRecipe
from metanet.lightning import check_trainer, quiet_trainer
from metanet.zoo.store import Zoo, ZooWriter, open_zoo

METRICS = ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss", "test_accuracy", "test_loss")


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


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to train any group of a plan."""

    plan: Plan
    root: str | None
    train_limit: int | None
    trainer: dict[str, Any]
    callbacks: Sequence[pl.Callback]

    def images(self) -> ImageSet:
        return load_images(self.plan.data["name"], self.root, self.train_limit)


def generate(
    recipe: SmallCNNRecipe,
    data: str = "digits",
    *,
    n: int,
    out: str | Path,
    seed: int = 0,
    root: str | None = None,
    train_limit: int | None = None,
    converged: float | None = None,
    group_size: int = 32,
    workers: int = 1,
    trainer: dict[str, Any] | None = None,
    callbacks: Sequence[pl.Callback] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> Zoo:
    """Grow a zoo, or go on with one that was interrupted.

    Args:
        recipe: the recipe, see :func:`metanet.generation.recipes.create_recipe`.
        data: name of the image set; ``root`` and ``train_limit`` as in :func:`data_modules.images.load_images`.
        n: number of networks.
        out: the zoo's folder.
        converged: test accuracy above which a network counts as converged.
        group_size: most networks in one pass; recorded in the plan.
        workers: processes; more than one needs the usual ``if __name__ == "__main__"`` guard in a script.
        trainer: arguments of pl.Trainer, e.g. ``{"accelerator": "cpu"}``.
        callbacks: Lightning callbacks that see every group's training.

    Raises:
        MetanetError: for a folder that is no zoo, has another plan or another writer, a full disk, bad values.
    """
    check_trainer(trainer or {})
    images = load_images(data, root, train_limit)
    facts = images.facts() | ({} if converged is None else {"converged": converged})
    plan = make_plan(recipe, facts, n, seed, group_size, trainer)
    job = Job(plan, root, train_limit, dict(trainer or {}), tuple(callbacks))
    on_gpu = job.trainer.get("accelerator", "auto") != "cpu" and torch.cuda.is_available()
    header = plan.header() | {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "engine": "torch",
        "versions": versions(),
    }
    layout = plan.network.layout
    with ZooWriter(out, header, {layout.id: layout}, plan.table, plan.groups) as writer:
        if not writer.complete:
            todo = [g for g in range(plan.groups) if g not in writer.done]
            report = _Reporter(plan, set(writer.done), on_progress)
            results = _train_here if workers <= 1 or on_gpu or len(todo) < 2 else _train_in_workers
            for result in results(job, images, todo, min(workers, len(todo)), report):
                writer.commit(result.group, result.weights, result.networks, result.snapshots, result.history)
                report.group_done(result.group)
            writer.finish()
    return open_zoo(out)


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    from metanet import __version__

    libraries = {"numpy": np, "pandas": pd, "torch": torch, "pytorch_lightning": pl}
    return {"metanet": __version__, "python": platform.python_version()} | {
        name: str(module.__version__) for name, module in libraries.items()
    }


@dataclass
class _Reporter:
    """Adds up the progress of all groups."""

    plan: Plan
    committed: set[int]
    on_progress: Callable[[Progress], None] | None
    partial: dict[int, int] = field(default_factory=dict)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.total = self.plan.network_images(self.plan.table)
        self.done = sum(self._images(g) for g in self.committed)
        self._report()

    def _images(self, group: int) -> int:
        return self.plan.network_images(self.plan.group(group))

    def advance(self, group: int, images: int) -> None:
        if group in self.committed:
            return  # a message that its result overtook
        self.partial[group] = self.partial.get(group, 0) + images
        self._report()

    def group_done(self, group: int) -> None:
        self.partial.pop(group, None)
        self.committed.add(group)
        self.done += self._images(group)
        self._report()

    def _report(self) -> None:
        if self.on_progress is not None:
            done = self.done + sum(self.partial.values())
            self.on_progress(Progress(done, self.total, len(self.committed), self.plan.groups))


def _train_here(job: Job, images: ImageSet, todo: list[int], _workers: int, report: _Reporter) -> Iterator[GroupResult]:
    for group in todo:
        yield train_group(job, images, group, functools.partial(report.advance, group))


def _train_in_workers(job: Job, _images: ImageSet, todo: list[int], workers: int, report: _Reporter) -> Iterator[GroupResult]:
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    ended = threading.Event()
    listener = threading.Thread(target=_listen, args=(messages, report, ended), daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(job, messages))
    waiting: dict[Future[GroupResult], int] = {}
    queue = list(todo)
    try:
        while queue or waiting:
            while queue and len(waiting) < workers + 1:
                group = queue.pop(0)
                with _workers_ignore_interrupts():  # submitting starts the workers
                    waiting[pool.submit(_train_in_worker, group)] = group
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            if report.failure is not None:
                raise report.failure
            for future in finished:
                waiting.pop(future)
                yield future.result()
    except BrokenProcessPool:
        raise MetanetError(
            "a worker process ended unexpectedly (out of memory?); the groups committed so far are kept: "
            "give the same command again, perhaps with threads=1 or a smaller group_size"
        ) from None
    finally:
        for process in list((pool._processes or {}).values()):
            if waiting:
                process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        ended.set()
        listener.join(timeout=5)


def _listen(messages: Any, report: _Reporter, ended: threading.Event) -> None:
    """Pass progress on. It polls, for a worker that was killed may hold the queue's lock for ever."""
    while not ended.wait(0.05):
        while not messages.empty():
            try:
                report.advance(*messages.get())
            except Exception as error:  # of the caller's on_progress; the workers' messages are drained all the same
                report.failure = error


@contextmanager
def _workers_ignore_interrupts() -> Iterator[None]:
    """Processes started within never see Ctrl-C, not even while they import: the parent decides when to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_worker: dict[str, Any] = {}


def _begin_worker(job: Job, messages: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where the parent started this worker from another thread
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker.update(job=job, images=job.images(), messages=messages)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _train_in_worker(group: int) -> GroupResult:
    return train_group(_worker["job"], _worker["images"], group, lambda done: _worker["messages"].put((group, done)))


def train_group(job: Job, images: ImageSet, group: int, on_progress: Callable[[int], None] | None = None) -> GroupResult:
    """Train one group of a plan through pl.Trainer.fit and return its rows and weights."""
    plan, recipe = job.plan, job.plan.recipe
    table = plan.group(group)
    with quiet_trainer(job.trainer, recipe.epochs, job.callbacks, threads=1) as trainer:
        device, epochs = trainer.strategy.root_device, trainer.max_epochs
        assert epochs is not None
        if device.type == "cpu":
            torch.set_flush_denormal(True)
            keep_freed_memory()
        batch_size, fraction = int(table["hp.batch_size"].iloc[0]), float(table["hp.train_fraction"].iloc[0])
        data = ImageDataModule(images, batch_size, fraction, plan.seed, device)
        snapshots = tuple(e for e in recipe.snapshots if e <= epochs)
        module = GroupModule(plan.network, table, data, epochs, snapshots, recipe.evaluate_every, on_progress)
        trainer.fit(module, datamodule=data)
    return _collect(group, table, module)


def _collect(group: int, table: pd.DataFrame, module: GroupModule) -> GroupResult:
    networks = table.drop(columns=["group"]).assign(
        status=np.where(module.alive, "ok", "nan"),
        stopped_by=np.where(module.alive, "epochs", "nan"),
        epochs_run=module.epochs_run,
        seconds=module.seconds / len(table),
    )
    rows, kept, weights = [], [], []
    for snapshot in module.snapshots:
        for k in np.flatnonzero(snapshot.alive):
            row: dict[str, Any] = {
                "network_id": table["network_id"].iloc[k],
                "epoch": snapshot.epoch,
                "step": snapshot.step,
                "progress": snapshot.epoch / module.epochs,
            }
            rows.append(row | {m: float(snapshot.metrics[m][k]) if m in snapshot.metrics else np.nan for m in METRICS})
            if snapshot.weights is not None:
                kept.append(len(rows) - 1)
                weights.append(snapshot.weights[k])
    history = pd.DataFrame(rows, columns=["network_id", "epoch", "step", "progress", *METRICS])
    history = history.astype(dict.fromkeys(METRICS, np.float64) | {"epoch": np.int64, "step": np.int64})
    return GroupResult(group, weights, networks, history.iloc[kept].reset_index(drop=True), history)
