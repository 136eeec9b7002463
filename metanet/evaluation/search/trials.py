"""Trials: one configuration, cross-validated."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from metanet.evaluation.search.plan import SearchPlan
from metanet.features.unions import FeatureMap
from metanet.models.base import MatrixModel
from metanet.models.registry import create_model, model_class
from metanet.models.target import Target
from metanet.zoo.zoo import View


@dataclass(frozen=True)
class Subject:
    """The meta-model whose settings are searched.

    Attributes:
        model: its name.
        base: settings that stay as they are.
        features: its inputs.
        target: what it is to predict.
        seed: of its fits.
        threads: of its features, and of the model that is chosen.
    """

    model: str
    base: dict[str, Any]
    features: str | list[str]
    target: str = "test_accuracy"
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Rows:
    """The rows of a search: what is fitted on, what is held out, and what is tested.

    Attributes:
        fit: snapshots of the training part to fit on (all of each network, or its last).
        out: the snapshots of the training part that are held out, one a network in most views.
        test: of the test part.
    """

    fit: View
    out: View
    test: View


@dataclass(frozen=True)
class Trial:
    """One configuration that was cross-validated.

    Attributes:
        number: in the order of drawing.
        rung: of successive halving; 0 without.
        settings: of the model.
        losses: mean squared error (log loss for categories) on each held-out fold; inf where a fit diverged.
        rounds: trees or epochs of each fold; empty for estimators without.
        fit_seconds: spent in the estimator's library; seconds: in all.
    """

    number: int
    rung: int
    settings: dict[str, Any]
    losses: list[float]
    rounds: list[int]
    fit_seconds: float
    seconds: float

    @property
    def loss(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.losses))

    @property
    def median_rounds(self) -> int | None:
        """Over the folds; None for estimators without rounds."""
        return int(np.median(self.rounds)) if self.rounds else None


@dataclass(frozen=True)
class Material:
    """Everything a trial needs besides its settings; large arrays reach other processes as memory maps.

    Attributes:
        x, y, folds: rows to fit on, (N, F), (N,) and the fold of each row's unit (N,).
        x_out, y_out, folds_out: rows to hold out, of the same networks; the same arrays unless all snapshots are fitted on.
        token: of the search, for what a process keeps from one trial to the next.
    """

    model: str
    base: dict[str, Any]
    target: Target
    x: np.ndarray
    y: np.ndarray
    folds: np.ndarray
    x_out: np.ndarray
    y_out: np.ndarray
    folds_out: np.ndarray
    token: str

    @classmethod
    def of(cls, subject: Subject, target: Target, features_of: FeatureMap, rows: Rows, plan: SearchPlan, token: str) -> Material:
        """From views.

        Raises:
            MetanetError: there are too few networks for the folds.
        """
        folds_out = rows.out.draw_folds(plan.folds, plan.seed, "search.folds")
        x_out, y_out = features_of.transform(rows.out), target.encode(rows.out)
        x, y, folds = x_out, y_out, folds_out
        if rows.fit is not rows.out:
            x, y = features_of.transform(rows.fit), target.encode(rows.fit)
            fold_of = dict(zip(rows.out.network_ids, folds_out, strict=True))
            folds = np.array([fold_of[i] for i in rows.fit.network_ids])
        base = subject.base | {"features": subject.features, "seed": subject.seed}
        return cls(subject.model, base, target, x, y, folds, x_out, y_out, folds_out, token)

    def create(self, settings: dict[str, Any]) -> MatrixModel:
        """The model with some settings, not fitted; of one thread, for trials run side by side."""
        model = create_model(self.model, **self.base | settings, threads=1)
        assert isinstance(model, MatrixModel)
        model.target = self.target
        return model

    def fit_fold(self, model: MatrixModel, fold: int) -> tuple[np.ndarray, float]:
        """Fit on all folds but one and stop on that one: outputs on it, and seconds in the estimator."""
        inside, outside = self.folds != fold, self.folds_out == fold
        x, held_out = self.x[inside], self.x_out[outside]
        began = time.perf_counter()
        model.fit_features(x, self.y[inside], (held_out, self.y_out[outside]))
        seconds = time.perf_counter() - began
        return model.output_features(held_out), seconds


_kept: dict[str, dict[int, dict[Any, Any]]] = {}  # of this process: token -> fold -> what fits on it share


def run_trial(material: Material, number: int, rung: int, settings: dict[str, Any], share: float | None) -> Trial:
    """Cross-validate one configuration; ``share`` cuts its trees or epochs short."""
    began = time.perf_counter()
    if material.token not in _kept:
        _kept.clear()
        _kept[material.token] = {}
    losses, rounds, fit_seconds = [], [], 0.0
    short = {}
    if share is not None:
        setting = str(model_class(material.model).rounds_setting)  # type: ignore[attr-defined]
        short = {setting: max(1, int(share * getattr(material.create(settings), setting)))}
    for fold in range(int(material.folds.max()) + 1):
        model = material.create(settings | short)
        model.shared = _kept[material.token].setdefault(fold, {})
        output, seconds = material.fit_fold(model, fold)
        losses.append(loss(material.target, material.y_out[material.folds_out == fold], output))
        rounds += [] if model.rounds is None else [int(model.rounds)]
        fit_seconds += seconds
    return Trial(number, rung, settings, losses, rounds, fit_seconds, time.perf_counter() - began)


def loss(target: Target, codes: np.ndarray, output: np.ndarray) -> float:
    """Mean squared error of codes, log loss of class probabilities; inf where an output is not finite."""
    if not np.isfinite(output).all():
        return float("inf")
    if target.task == "classification":
        return float(-np.mean(np.log(np.clip(output[np.arange(len(codes)), codes], 1e-12, None))))
    return float(np.mean((target.clip(output) - codes) ** 2))
