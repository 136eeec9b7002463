"""Launchers: where the groups of a plan are trained.

    local      in this process, or in worker processes of one thread each
    ray        as tasks of a Ray cluster (extra [ray])

Each yields the results in whatever order they come; the caller alone writes. A group's result does not depend on
where it was trained.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

from data_modules.images import ImageSet, load_images
from metanet.errors import MetanetError
from metanet.generation.engines import train_rows
from metanet.generation.group import GroupModule
from metanet.generation.plan import Plan

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
    root: str | None
    train_limit: int | None
    size: int | None
    trainer: dict[str, Any]
    callbacks: Sequence[pl.Callback] = ()
    threads: int = 1

    def images(self) -> ImageSet:
        return load_images(self.plan.data["name"], self.root, self.train_limit, self.size)


@dataclass
class Reporter:
    """Adds up the progress of all groups."""

    plan: Plan
    groups: Sequence[int]  # those of this process's share
    committed: set[int]
    on_progress: Callable[[Progress], None] | None
    partial: dict[int, int] = field(default_factory=dict)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.total = sum(self._images(g) for g in self.groups)
        self.done = sum(self._images(g) for g in self.committed)
        self._report()

    def _images(self, group: int) -> int:
        return self.plan.network_images(self.plan.group(group))

    def advance(self, group: int, images: int) -> None:
        """Some images of a group are done."""
        if group in self.committed:
            return  # a message that its result overtook
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
    job: Job, images: ImageSet, group: int, on_progress: Callable[[int], None] | None = None, parts: int = 1
) -> GroupResult:
    """Train one group of a plan; its networks come out the same in however many parts they are trained.

    A group that finds no memory is cut into halves, down to single networks.
    """
    rows = job.plan.group(group)
    pieces = [rows.iloc[part].reset_index(drop=True) for part in np.array_split(np.arange(len(rows)), min(parts, len(rows)))]
    results = []
    while pieces:
        piece = pieces.pop(0)
        try:
            results.append(collect(group, piece, _train(job, piece, images, on_progress)))
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if len(piece) == 1:
                raise MetanetError(
                    f"one network of group {group} alone finds no memory; free some, or take a smaller batch or network; "
                    "the groups committed so far are kept"
                ) from None
            middle = len(piece) // 2
            pieces[:0] = [piece.iloc[:middle].reset_index(drop=True), piece.iloc[middle:].reset_index(drop=True)]
            torch.cuda.empty_cache()
    return results[0] if len(results) == 1 else join(results)


def _train(job: Job, rows: pd.DataFrame, images: ImageSet, on_progress: Callable[[int], None] | None) -> GroupModule:
    return train_rows(job.plan, rows, images, job.trainer, job.callbacks, job.threads, on_progress)


def _out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc failed")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def collect(group: int, table: pd.DataFrame, module: GroupModule) -> GroupResult:
    """The rows and weights of a trained group."""
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


def join(results: Sequence[GroupResult]) -> GroupResult:
    """One result of the parts of a group."""
    tables = {
        name: pd.concat([getattr(result, name) for result in results], ignore_index=True)
        for name in ("networks", "snapshots", "history")
    }
    return GroupResult(results[0].group, [w for result in results for w in result.weights], **tables)


# ------------------------------------------------------------------------------------------------ local


def train_here(job: Job, images: ImageSet, todo: Sequence[int], report: Reporter) -> Iterator[GroupResult]:
    """In this process, one group after another."""
    for group in todo:
        report.restart(group)
        yield train_group(job, images, group, functools.partial(report.advance, group))


def train_in_workers(job: Job, todo: Sequence[int], workers: int, report: Reporter) -> Iterator[GroupResult]:
    """In worker processes of one thread each, so that the number of workers decides nothing about the result.

    A worker that dies (the system kills the largest when memory ends) takes the pool with it: the pool is made anew
    and the groups that were under way are trained again in halves.
    """
    queue, parts, deaths = list(todo), 1, 0
    while queue:
        try:
            for result in _one_pool(job, queue, workers, report, parts):
                queue.remove(result.group)
                parts, deaths = 1, 0
                yield result
        except BrokenProcessPool:
            deaths += 1
            parts *= 2
            workers = max(1, workers // 2)
            if deaths > MOST_DEATHS:
                raise MetanetError(
                    f"worker processes ended {deaths} times in a row (out of memory?); the groups committed so far are kept: "
                    "give the same command again, perhaps with launcher.workers=1 or a smaller group_size"
                ) from None
            for group in queue:
                report.restart(group)


def _one_pool(job: Job, todo: Sequence[int], workers: int, report: Reporter, parts: int) -> Iterator[GroupResult]:
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
                    waiting[pool.submit(_train_in_worker, group, parts)] = group
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            if report.failure is not None:
                raise report.failure
            for future in finished:
                waiting.pop(future)
                yield future.result()
    finally:
        for process in list((pool._processes or {}).values()):
            if waiting:
                process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        ended.set()
        listener.join(timeout=5)


def _listen(messages: Any, report: Reporter, ended: threading.Event) -> None:
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


def _train_in_worker(group: int, parts: int) -> GroupResult:
    report = _worker["messages"].put
    return train_group(_worker["job"], _worker["images"], group, lambda done: report((group, done)), parts)


# ------------------------------------------------------------------------------------------------ Ray


def train_on_ray(job: Job, images: ImageSet, todo: Sequence[int], address: str | None, report: Reporter) -> Iterator[GroupResult]:
    """As tasks of one CPU each on a Ray cluster; a task whose worker or node dies is given to another.

    Args:
        address: of a running cluster (``auto`` or ``ray://...``); None starts one on this machine.
        images: sent to the nodes once, which so need no image files.
    """
    try:
        import ray
    except ImportError:
        raise MetanetError("launcher=ray needs Ray: pip install 'metanet-weights[ray]'") from None
    begun_here = not ray.is_initialized()
    if begun_here:
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address is None else None,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise MetanetError(f"launcher.address={address}: {str(error).splitlines()[0]}") from None
    try:
        task = ray.remote(num_cpus=1, max_retries=5)(_train_on_node)
        shared = ray.put((job, images))
        queue = list(todo)
        waiting: dict[Any, int] = {}
        while queue or waiting:
            slots = max(1, int(ray.cluster_resources().get("CPU", 1))) + 1
            while queue and len(waiting) < slots:
                group = queue.pop(0)
                waiting[task.remote(shared, group)] = group
            finished, _ = ray.wait(list(waiting), timeout=5.0)
            for reference in finished:
                group = waiting.pop(reference)
                try:
                    yield ray.get(reference)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError):
                    report.restart(group)
                    queue.append(group)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, MetanetError) else error from None
    finally:
        if begun_here:
            ray.shutdown()


def _train_on_node(shared: tuple[Job, ImageSet], group: int) -> GroupResult:
    torch.set_num_threads(1)
    job, images = shared
    return train_group(job, images, group)
