"""The protocol: fit on the training part, choose on the validation part, score the test part once.

Every score stands beside two floors on the same split: the best constant, and a GBM on all
hyperparameters that vary (for a hyperparameter target: on the others and the test accuracy).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from metanet.evaluation.differences import paired_interval
from metanet.evaluation.intervals import score_interval
from metanet.evaluation.metrics import (
    classification_metrics,
    r2,
    r2_beyond,
    regression_metrics,
    tau,
    tau_ceiling,
    tau_ties,
    trained,
)
from metanet.models.base import MetaModel
from metanet.models.registry import create_model
from metanet.runs.records import Answers
from metanet.zoo.split import Split
from metanet.zoo.view import View

CONSTANT_FLOOR, HYPER_FLOOR = "constant", "hyper"


@dataclass(frozen=True)
class Floors:
    """Predictions of the floors on the test part, shape (N,) each; ``hyper`` is None where nothing varies."""

    constant: np.ndarray
    hyper: np.ndarray | None


@dataclass(frozen=True)
class FitResult:
    """A fitted meta-model and what it scored.

    Attributes:
        metrics: flat name -> number.
        predictions: network_id, epoch, part (validation or test), true, predicted, of a classification confidence (the
            probability that it gave its answer), and the floors' columns.
    """

    model: MetaModel
    metrics: dict[str, Any]
    predictions: pd.DataFrame


def floor_inputs(view: View, target: str) -> list[str]:
    """What the floor reads: all hyperparameters that vary; for a hyperparameter target the test accuracy too.

    Empty where nothing varies.
    """
    frame = view.frame
    inputs = ["hyper"] if any(c.startswith("hp.") and c != target and frame[c].nunique() > 1 for c in frame) else []
    if target.startswith("hp.") and "test_accuracy" in frame and frame["test_accuracy"].notna().all():
        inputs.append("metrics:test_accuracy")
    return inputs


def fit_floors(view: View, split: Split, target: str, seed: int = 0, threads: int = 1) -> Floors:
    """Fit both floors on the training and validation part and predict the test part."""
    parts = [view.part(split, name) for name in ("train", "validation", "test")]
    constant = constant_floor(view, split, target)
    inputs = floor_inputs(parts[0], target)
    if not inputs:
        return Floors(constant, None)  # nothing varies: arrays of one's own
    hyper = create_model("gbm", features=inputs, seed=seed, threads=threads).fit(parts[0], target, parts[1])
    return Floors(constant, hyper.predict(parts[2]))


def constant_floor(view: View, split: Split, target: str) -> np.ndarray:
    """The best constant of training and validation part, for each row of the test part."""
    return create_model("constant").fit(view.part(split, "train", "validation"), target).predict(view.part(split, "test"))


def fit_and_score(
    model: MetaModel, view: View, split: Split, target: str, floors: Floors | None = None, fit_view: View | None = None
) -> FitResult:
    """Fit a meta-model and score it on the test part, once.

    Args:
        model: not fitted yet.
        view: the snapshots to use; ``split`` says which networks are in which part.
        floors: from :func:`fit_floors` on the same view, split and target; fitted here when None.
        fit_view: where the training part's snapshots come from, when it is not ``view``: all of each network, say.
    """
    if floors is None:
        floors = fit_floors(view, split, target, model.seed, model.threads)
    return fit_and_score_heads(model, view, split, [target], [floors], fit_view)[0]


def fit_and_score_heads(
    model: MetaModel, view: View, split: Split, targets: list[str], floors: list[Floors], fit_view: View | None = None
) -> list[FitResult]:
    """One fit for several targets, scored on each; a model of one target takes one.

    Args:
        floors: of each target.
        model, view, split, fit_view: as for :func:`fit_and_score`.
    """
    train, validation, test = (view.part(split, name) for name in ("train", "validation", "test"))
    if fit_view is not None:
        train = fit_view.part(split, "train")
        validation = validation if model.chooses else fit_view.part(split, "validation")
    began = time.perf_counter()
    model.fit(train, targets[0] if len(targets) == 1 else targets, validation)  # type: ignore[arg-type]
    facts = {"seconds": time.perf_counter() - began}
    results = []
    for head, own in zip(model.by_target, floors, strict=True):
        held_out = None
        if hasattr(head, "validation_output"):
            held_out = validation, head.validation_output
        results.append(result_of(head, test, head.output(test), len(train) + len(validation), own, facts, held_out))
    return results


def result_of(
    model: MetaModel,
    test: View,
    output: np.ndarray,
    n_train: int,
    floors: Floors | None,
    facts: dict[str, Any],
    held_out: tuple[View, np.ndarray] | None = None,
) -> FitResult:
    """Metrics and predictions of a fitted model.

    Args:
        output: on the test part, see :meth:`metanet.models.base.MetaModel.output`.
        facts: more metrics, such as seconds.
        held_out: a view of the training part, and the output for it by models that did not fit it.
    """
    frames = [] if held_out is None else [_prediction_frame(model, *held_out, "validation")]
    frames.append(_prediction_frame(model, test, output, "test", floors))
    if held_out is not None:  # what a sweep may choose by
        predicted = model.target.decode(held_out[1])
        scores = classification_metrics if model.target.task == "classification" else regression_metrics
        facts = facts | {f"{k}_validation": v for k, v in scores(model.target.true(held_out[0]), predicted).items()}
    metrics = {
        "model": model.name,
        "features": model.features if isinstance(model.features, str) else "+".join(model.features),
        "access": model.access,
        "target": model.target.name,
        "n_train": n_train,
        "n_test": len(test),
        **score(model, test, model.target.decode(output), floors),
        **facts,
    }
    return FitResult(model, metrics, pd.concat(frames, ignore_index=True))


def score(model: MetaModel, view: View, predicted: np.ndarray, floors: Floors | None = None) -> dict[str, float]:
    """All metrics of predictions on a view, with intervals and ceilings; floors where given."""
    true = model.target.true(view)
    answers = Answers(view.network_ids, true, predicted)
    if model.target.task == "classification":
        return _score_classes(answers, floors)
    metrics = regression_metrics(true, predicted) | _intervals(answers, "r2", "tau")
    metrics["tau_ties"] = tau_ties(true)
    data = view.zoo.data
    if model.target.name in ("test_accuracy", "final_test_accuracy") and "n_test" in data:
        metrics["tau_ceiling"] = tau_ceiling(true, data["n_test"])
        works = trained(true, data["chance"], data["n_test"])
        metrics["n_trained"] = int(works.sum())
        if works.sum() > 2:
            metrics["r2_trained"] = r2(true[works], predicted[works])
            metrics["tau_trained"] = tau(true[works], predicted[works])
    if floors is not None:
        metrics["r2_constant"] = r2(true, floors.constant)
        if floors.hyper is not None:
            metrics["r2_hyper"], metrics["tau_hyper"] = r2(true, floors.hyper), tau(true, floors.hyper)
            metrics["r2_beyond_hyper"] = r2_beyond(true, predicted, floors.hyper)
            metrics |= _beside(answers, floors.hyper, "r2")
    return metrics


def _score_classes(answers: Answers, floors: Floors | None) -> dict[str, float]:
    metrics = classification_metrics(answers.true, answers.predicted) | _intervals(answers, "accuracy", "balanced_accuracy")
    if floors is not None:
        metrics["accuracy_constant"] = float(np.mean(answers.true == floors.constant))
        if floors.hyper is not None:
            metrics["accuracy_hyper"] = float(np.mean(answers.true == floors.hyper))
            metrics |= _beside(answers, floors.hyper, "accuracy")
    return metrics


def _intervals(answers: Answers, *measures: str) -> dict[str, float]:
    """The ends of the interval of each measure."""
    found = {}
    for measure in measures:
        found[f"{measure}_low"], found[f"{measure}_high"] = score_interval([answers], measure)
    return found


def _beside(answers: Answers, floor: np.ndarray, measure: str) -> dict[str, float]:
    """The ends of the interval of the difference to the floor on hyperparameters; of this one fit."""
    low, high, _ = paired_interval([(answers, replace(answers, predicted=floor))], measure)
    return {f"{measure}_minus_hyper_low": low, f"{measure}_minus_hyper_high": high}


def evaluate_on(model: MetaModel, view: View) -> FitResult:
    """Apply a fitted meta-model unchanged to another zoo (transfer; Unterthiner et al. 2020, section 5)."""
    began = time.perf_counter()
    output = model.output(view)
    metrics = {
        "model": model.name,
        "features": model.features if isinstance(model.features, str) else "+".join(model.features),
        "access": model.access,
        "target": model.target.name,
        "zoo": view.zoo.name,
        "n_test": len(view),
        **score(model, view, model.target.decode(output)),
        "seconds": time.perf_counter() - began,
    }
    return FitResult(model, metrics, _prediction_frame(model, view, output, "test"))


def _prediction_frame(model: MetaModel, view: View, output: np.ndarray, part: str, floors: Floors | None = None) -> pd.DataFrame:
    target = model.target
    frame = view.frame[["network_id", "epoch"]].assign(part=part, true=target.true(view), predicted=target.decode(output))
    if target.task == "classification":
        frame["confidence"] = output.max(1)
    if floors is not None:
        frame["constant_floor"] = floors.constant
        if floors.hyper is not None:
            frame["hyper_floor"] = floors.hyper
    return frame
