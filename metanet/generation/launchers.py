"""Launchers: where the groups of a plan are trained.

    local      in this process, or in worker processes of one thread each
    ray        as tasks of a Ray cluster (extra [ray])

Each yields the results in whatever order they come; the caller alone writes. A group's result does not depend on
where it was trained.
"""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, cast

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

from data_modules.images import ImageMix, ImageSet, load_images
from data_modules.sources import OnDownload
from metanet.errors import MetanetError
from metanet.generation.cluster import ray_cluster
from metanet.generation.engines import train_rows
from metanet.generation.group import GroupModule
from metanet.generation.plan import Plan
from metanet.generation.recipes import Recipe

METRICS = ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
MOST_DEATHS = 3  # of workers in a row, before a group is given up


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
    root: str | dict[str, str | None] | None
    train_limit: int | dict[str, int | None] | None
    size: int | dict[str, int | None] | None
    trainer: dict[str, Any]
    callbacks: Sequence[pl.Callback] = ()
    threads: int = 1

    def images(self) -> ImageSet | ImageMix:
        return load_all(self.plan.recipe, self.plan.data["name"].split("+"), self.root, self.train_limit, self.size)


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
        if self.on_progress is not None:
            done = self.done + sum(self.partial.values())
            self.on_progress(Progress(min(done, self.total), self.total, len(self.committed), len(self.groups)))


# ------------------------------------------------------------------------------------------------ one group


def train_group(
    job: Job, images: ImageSet | ImageMix, group: int, on_progress: Callable[[int], None] | None = None, parts: int = 1
) -> GroupResult:
    """Train one group of a plan; its networks come out the same in however many parts they are trained.

    A group that finds no memory is cut into halves, down to single networks.
    """
    rows = job.plan.group(group)
    pieces = [rows.iloc[part].reset_index(drop=True) for part in np.array_split(np.arange(len(rows)), min(parts, len(rows)))]
    results = []
    while pieces:
        piece = pieces.pop(0)
        result = _result(job, group, piece, images, on_progress)
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


def _result(
    job: Job, group: int, rows: pd.DataFrame, images: ImageSet | ImageMix, on_progress: Callable[[int], None] | None
) -> GroupResult | None:
    """Some rows of a group trained; None where there was no memory for them, and then nothing of them is held."""
    try:
        return collect(group, rows, train_rows(job.plan, rows, images, job.trainer, job.callbacks, job.threads, on_progress))
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


# ------------------------------------------------------------------------------------------------ local


def train_here(job: Job, images: ImageSet | ImageMix, todo: Sequence[int], report: Reporter) -> Iterator[GroupResult]:
    """In this process, one group after another."""
    for group in todo:
        report.restart(group)
        yield train_group(job, images, group, functools.partial(report.advance, group))


@dataclass
class _Worker:
    """One process, and what it does now."""

    process: BaseProcess
    group: int | None = None
    parts: int = 1


def train_in_workers(job: Job, todo: Sequence[int], workers: int, report: Reporter) -> Iterator[GroupResult]:
    """In worker processes of one thread each, so that the number of workers decides nothing about the result.

    Each worker has a pipe of its own, so that one that dies can neither hold a lock nor leave half a message in
    another's way. When one dies (the system kills the largest when memory ends), its group is trained again in halves.
    """
    context = multiprocessing.get_context("spawn")
    queue = deque((group, 1) for group in todo)
    crew: dict[Connection, _Worker] = {}
    deaths = 0
    try:
        while queue or any(worker.group is not None for worker in crew.values()):
            while len(crew) < min(workers, len(queue) + sum(w.group is not None for w in crew.values())):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, job), daemon=True)
                with _workers_ignore_interrupts():
                    process.start()
                theirs.close()  # so that a dead worker's pipe ends here too
                crew[ours] = _Worker(process)
            for pipe, worker in crew.items():
                if worker.group is None and queue:
                    worker.group, worker.parts = queue.popleft()
                    with suppress(OSError):  # a worker that is dead already shows below
                        pipe.send((worker.group, worker.parts))
            for pipe in cast("list[Connection]", connection.wait(list(crew))):
                worker = crew[pipe]
                if worker.group is None:  # it died while it had nothing to do
                    _dismiss(pipe, crew.pop(pipe))
                    continue
                try:
                    kind, content = pipe.recv()
                except (EOFError, OSError):
                    deaths += 1
                    if deaths > MOST_DEATHS:
                        raise MetanetError(
                            f"worker processes ended {deaths} times in a row (out of memory?); the groups committed so far "
                            "are kept: give the same command again, perhaps with threads=1 or a smaller group_size"
                        ) from None
                    report.restart(worker.group)
                    queue.appendleft((worker.group, 2 * worker.parts))
                    _dismiss(pipe, crew.pop(pipe))
                    continue
                if kind == "error":
                    raise content
                if kind == "progress":
                    report.advance(worker.group, content)
                else:
                    worker.group, deaths = None, 0
                    yield content
    finally:
        for pipe, worker in crew.items():
            _dismiss(pipe, worker)


def _dismiss(pipe: Connection, worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    pipe.close()


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


def _work(pipe: Connection, job: Job) -> None:
    """A worker's life: groups come in, progress and results go out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where the parent started this worker from another thread
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        images = job.images()
        while True:
            group, parts = pipe.recv()
            result = train_group(job, images, group, lambda done: pipe.send(("progress", done)), parts)
            pipe.send(("result", result))
    except EOFError:
        return
    except MetanetError as error:
        pipe.send(("error", error))
    except Exception:
        pipe.send(("error", RuntimeError(f"in a worker process:\n{traceback.format_exc()}")))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


# ------------------------------------------------------------------------------------------------ Ray


def train_on_ray(
    job: Job, images: ImageSet | ImageMix, todo: Sequence[int], address: str | None, workers: int, on_gpu: bool, report: Reporter
) -> Iterator[GroupResult]:
    """As tasks of one CPU (or one GPU) each on a Ray cluster; a task whose worker or node dies is given to another.

    Args:
        address: of a running cluster (``auto`` or ``ray://...``); None starts one on this machine.
        images: sent to the nodes once, which so need no image files.
        workers: CPUs of a cluster that is started here.
        on_gpu: whether the plan's engine needs one.
    """
    with ray_cluster(address, workers) as ray:
        errors = ray.exceptions
        deaths = (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError)
        task = ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_retries=MOST_DEATHS)(_train_on_node)
        shared = ray.put((job, images))
        queue = deque((group, 1) for group in todo)
        waiting: dict[Any, tuple[int, int]] = {}
        while queue or waiting:
            slots = max(1, int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1))) + 1
            while queue and len(waiting) < slots:
                group, parts = queue.popleft()
                waiting[task.remote(shared, group, parts)] = (group, parts)
            finished, _ = ray.wait(list(waiting), timeout=5.0)
            for reference in finished:
                group, parts = waiting.pop(reference)
                try:
                    yield ray.get(reference)
                except deaths:
                    if parts >= 2**MOST_DEATHS:
                        raise MetanetError(
                            f"Ray lost group {group} again and again (out of memory?); the groups committed so far are kept: "
                            "give the same command again, perhaps with a smaller group_size"
                        ) from None
                    report.restart(group)
                    queue.append((group, 2 * parts))
                except errors.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, MetanetError) else error from None


def _train_on_node(shared: tuple[Job, ImageSet | ImageMix], group: int, parts: int) -> GroupResult:
    torch.set_num_threads(1)
    job, images = shared
    return train_group(job, images, group, parts=parts)
