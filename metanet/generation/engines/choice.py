"""Which engine trains a zoo: the one that was asked for, or the fastest of those that can."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl

from metanet.data_modules.images import ImageMix, ImageSet
from metanet.errors import MetanetError, did_you_mean
from metanet.generation.engines import ENGINES
from metanet.generation.plan import Plan, images_per_epoch
from metanet.generation.training import train_rows
from metanet.plugins import is_path

MEASURED_SECONDS = 0.3  # of each engine, when a plan is made
REFERENCE = "torch"


def choose_engine(
    requested: str, plan: Plan, images: ImageSet | ImageMix, trainer: dict[str, Any], workers: int = 1
) -> tuple[str, dict[str, float]]:
    """The engine of a zoo, and training images times networks per second of those that were measured.

    Args:
        requested: a name in :data:`metanet.generation.engines.ENGINES`, or ``auto``.
        plan: drawn, its groups cut for any engine.
        workers: cores that an engine on the CPU will use; one is measured.

    Raises:
        MetanetError: for an unknown engine, or one that cannot train the plan.
    """
    if requested != "auto":
        if requested not in ENGINES.names() and not is_path(requested):
            raise MetanetError(f"no engine '{requested}'{did_you_mean(requested, ('auto', *ENGINES.names()))}")
        if (reason := refusal(plan, requested, trainer)) is not None:
            others = ", ".join(f"engine={engine}" for engine in ["auto", *able_engines(plan, trainer)])
            raise MetanetError(f"engine={requested} cannot train this zoo here: {reason}; a new zoo may take {others}")
        return requested, {}
    able = able_engines(plan, trainer)
    if len(able) == 1:
        return able[0], {}
    rates: dict[str, float] = {}
    for engine in able:
        cores = 1 if ENGINES.find(engine)().on_gpu(trainer) else workers
        try:
            rates[engine] = round(measure(plan.for_engine(engine), images, trainer) * cores)
        except Exception:
            if engine == REFERENCE:  # it has no excuse
                raise
    return max(rates, key=lambda engine: rates[engine]), rates


def able_engines(plan: Plan, trainer: dict[str, Any]) -> list[str]:
    """Names of the engines that can train a plan here."""
    return [engine for engine in ENGINES.names() if refusal(plan, engine, trainer) is None]


def refusal(plan: Plan, engine: str, trainer: dict[str, Any]) -> str | None:
    """Why an engine cannot train a plan; None where it can."""
    return ENGINES.find(engine)().refusal(plan, trainer)


def measure(plan: Plan, images: ImageSet | ImageMix, trainer: dict[str, Any]) -> float:
    """Training images times networks per second of one process on the plan's costliest group, evaluations left out."""
    rows = plan.group(0).head(ENGINES.find(plan.engine).measured_networks)
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
