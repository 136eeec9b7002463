"""The runner: plan -> engine -> groups -> shards of a zoo."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch

from metanet.constraints import Count, check
from metanet.data_modules.images import ImageMix, ImageSet
from metanet.data_modules.sources import OnDownload
from metanet.errors import MetanetError
from metanet.generation.engines import ENGINES
from metanet.generation.engines.choice import choose_engine
from metanet.generation.plan import Plan, make_plan
from metanet.generation.recipes import Recipe
from metanet.generation.training import GroupResult, Job, Progress, Reporter, load_all, train_group
from metanet.launching.launcher import Launcher
from metanet.lightning import check_trainer
from metanet.machine import processor, versions
from metanet.zoo.header import ZooHeader
from metanet.zoo.reading import open_zoo, read_header
from metanet.zoo.writer import ZooWriter
from metanet.zoo.zoo import Zoo


def generate(
    recipe: Recipe,
    data: str | Sequence[str] = "digits",
    *,
    n: int | None,
    out: str | Path,
    seed: int = 0,
    root: str | None = None,
    train_limit: int | None = None,
    size: int | None = None,
    converged: float | dict[str, float] | None = None,
    group_size: int | None = None,
    engine: str = "auto",
    launcher: str = "local",
    workers: int = 1,
    address: str | None = None,
    shard: tuple[int, int] | None = None,
    trainer: dict[str, Any] | None = None,
    callbacks: Sequence[pl.Callback] = (),
    on_progress: Callable[[Progress], None] | None = None,
    on_download: OnDownload | None = None,
) -> Zoo | None:
    """Grow a zoo, or go on with one that was interrupted.

    Args:
        recipe: the recipe, see :func:`metanet.generation.recipes.create_recipe`.
        data: name of the image set, or several that each network's is drawn from; ``root``, ``train_limit``, ``size``
            and ``on_download`` as in :func:`metanet.data_modules.images.load_images`.
        n: number of networks; None for all of a recipe whose design lists them.
        out: the zoo's folder.
        converged: test accuracy above which a network counts as converged; by image set where there are several.
        group_size: most networks of a group; default: what suits the engine. Recorded in the plan.
        engine: a name in :data:`metanet.generation.engines.ENGINES`, or ``auto`` for the fastest; an unfinished zoo
            keeps the one it was begun with.
        launcher: ``local`` or ``ray``, see :mod:`metanet.launching`.
        workers: cores that train at once on this machine: threads of the fused engine, else processes, which
            need the usual ``if __name__ == "__main__"`` guard in a script.
        address: of a running Ray cluster.
        shard: (i, n): train the i-th of n shares of the groups, i from 1; the last share to end completes the zoo.
        trainer: arguments of pl.Trainer, e.g. ``{"accelerator": "cpu"}``.
        callbacks: Lightning callbacks that see every group's training.

    Returns:
        The zoo, or None where other shares of it are still missing.

    Raises:
        MetanetError: for a folder that is no zoo, has another plan or another writer, a full disk, bad values.
    """
    check_trainer(trainer or {})
    for name, value in (("n", n), ("group_size", group_size), ("workers", workers)):
        check(name, value, Count | None)
    where = Launcher(launcher, workers, address)
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise MetanetError(f"shard={shard[0]}/{shard[1]}: give i/n with i from 1 to n")
    images = load_all(recipe, [data] if isinstance(data, str) else list(data), root, train_limit, size, on_download)
    facts = replace(images.facts(), converged=converged)
    settings = dict(trainer or {})
    path = Path(out).expanduser()
    drawn = make_plan(recipe, facts, n, seed, group_size, trainer)
    with ExitStack() as stack:
        for attempt in range(2):
            begun, complete = _begun(path)
            wanted = begun if begun and engine == "auto" else engine
            chosen, rates = (begun, {}) if begun and complete else choose_engine(wanted, drawn, images, settings, workers)
            plan = _as_begun(path, drawn.for_engine(chosen if engine == "auto" or not complete else engine))
            try:
                header = _header(plan, settings, rates)
                writer = stack.enter_context(ZooWriter(path, header, plan.layouts, plan.table, plan.groups, shard))
                break
            except MetanetError:
                # Another share of the same zoo may have begun it with another engine while this one measured.
                if attempt or engine != "auto" or begun == _begun(path)[0]:
                    raise
        if not writer.complete:
            todo = [g for g in writer.share if g not in writer.done]
            threads = workers if ENGINES.find(plan.engine).threaded and launcher == "local" else 1
            job = Job(plan, root, train_limit, size, settings, tuple(callbacks), threads)
            report = Reporter(plan, writer.share, writer.done & set(writer.share), on_progress)
            for result in _results(job, images, todo, where, report):
                writer.commit(result.group, result.weights, result.networks, result.snapshots, result.history)
                report.group_done(result.group)
            writer.finish()
        complete = writer.complete
    return open_zoo(path) if complete else None


def _begun(path: Path) -> tuple[str | None, bool]:
    """The engine that the zoo in a folder was begun with, and whether it is finished."""
    if not (path / "zoo.json").exists():
        return None, False
    header = read_header(path)
    return header.engine, header.complete


def _as_begun(path: Path, plan: Plan) -> Plan:
    """A plan with the groups of the zoo that was begun in a folder: another version may cut them otherwise."""
    if (path / "zoo.json").exists() and (path / "plan.parquet").exists():
        stored = pd.read_parquet(path / "plan.parquet", columns=["network_id", "group"])
        if stored["network_id"].tolist() == plan.table["network_id"].tolist():
            return replace(plan, table=plan.table.assign(group=stored["group"].to_numpy()))
    return plan


def _results(job: Job, images: ImageSet | ImageMix, todo: list[int], where: Launcher, report: Reporter) -> Iterator[GroupResult]:
    engine = ENGINES.find(job.plan.engine)()
    on_gpu = engine.on_gpu(job.trainer)
    alone = engine.threaded or on_gpu
    if where.name == "ray" or alone or where.workers == 1 or len(todo) == 1:
        job.images = images  # a cluster's nodes need no image files; worker processes load their own

    def advance(task: tuple[Any, ...], done: int) -> None:
        report.advance(task[0], done)

    yield from where.run_reported(train_group, job, [(group, 1) for group in todo], report.again, advance, on_gpu, alone)


def _header(plan: Plan, trainer: dict[str, Any], rates: dict[str, float]) -> ZooHeader:
    device = torch.cuda.get_device_name() if ENGINES.find(plan.engine)().on_gpu(trainer) else processor()
    facts = {"created": time.strftime("%Y-%m-%dT%H:%M:%S"), "device": device, "versions": versions()}
    return replace(plan.header(), more=facts | {"measured_net_images_per_second": rates})
