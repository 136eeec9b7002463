"""The fits that follow a search: the best configuration on the whole training part, and on all folds but one for each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from metanet.errors import MetanetError
from metanet.evaluation.search.trials import Material, Trial
from metanet.launching.launcher import Launcher
from metanet.metrics import r2
from metanet.models.base import MatrixModel


@dataclass(frozen=True)
class Refit:
    """The best configuration fitted again: on the whole training part (``fold`` None), or on all folds but one.

    Attributes:
        held_out: outputs on the fold; empty for the whole.
        on_test: outputs on the test part.
        model: of the whole.
    """

    fold: int | None
    held_out: np.ndarray
    on_test: np.ndarray
    model: MatrixModel | None
    seconds: float


@dataclass(frozen=True)
class Refits:
    """All of them.

    Attributes:
        model: of the whole training part.
        on_test: its outputs on the test part.
        seconds: that it took.
        folds: the others, by fold.
    """

    model: MatrixModel
    on_test: np.ndarray
    seconds: float
    folds: list[Refit]

    @property
    def held_out(self) -> np.ndarray:
        """Outputs of the fits that did not see a row, fold after fold."""
        return np.concatenate([own.held_out for own in self.folds])

    def spread(self, true: np.ndarray) -> dict[str, float]:
        """How far the test scores of the fits on all folds but one lie apart.

        Args:
            true: of the test part.
        """
        outputs = [self.model.target.decode(own.on_test) for own in self.folds]
        return {
            "r2_fold_sd": float(np.std([r2(true, output) for output in outputs], ddof=1)),
            "mse_fold_sd": float(np.std([np.mean((true - output) ** 2) for output in outputs], ddof=1)),
        }


def refit(material: Material, settings: dict[str, Any], fold: int | None, rounds: int | None, x_test: np.ndarray) -> Refit:
    """One of them; a task for the launcher."""
    model = material.create(settings)
    if fold is not None:
        held_out, seconds = material.fit_fold(model, fold)
        return Refit(fold, held_out, model.output_features(x_test), None, seconds)
    began = time.perf_counter()
    model.fit_features(material.x, material.y, rounds=rounds)
    return Refit(None, np.empty(0), model.output_features(x_test), model, time.perf_counter() - began)


def refit_all(material: Material, best: Trial, x_test: np.ndarray, launcher: Launcher) -> Refits:
    """The whole for the median number of rounds over the folds, since no part is left to stop it.

    Raises:
        MetanetError: it diverged.
    """
    folds = range(int(material.folds.max()) + 1)
    tasks = [(best.settings, fold, best.median_rounds, x_test) for fold in (None, *folds)]
    found = {own.fold: own for own in launcher.run(refit, material, tasks)}
    whole = found[None]
    assert whole.model is not None
    if not np.isfinite(whole.on_test).all():
        raise MetanetError(
            f"the best configuration (trial {best.number}) diverged when it was fitted on the whole training part; narrow "
            "the search, e.g. search.space.learning_rate"
        )
    return Refits(whole.model, whole.on_test, whole.seconds, [found[fold] for fold in folds])
