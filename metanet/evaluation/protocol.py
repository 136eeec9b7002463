"""The protocol: fit on the training part, choose on the validation part, score the test part once.

Every score stands beside floors on the same split, which read no weights. ``constant`` is the best constant; ``hyper`` a GBM on
all hyperparameters that vary (for a hyperparameter target: on the others and the test accuracy). Where the target is a metric of
a later snapshot than the view's, that metric so far is known too: ``so_far`` reads it alone, ``so_far_hyper`` with the
hyperparameters. The strongest of them on the test part is ``floor``; choosing it there favours the floors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.evaluation.differences import answers_of, paired_interval
from metanet.evaluation.intervals import score_interval
from metanet.metrics import (
    classification_metrics,
    r2,
    r2_beyond,
    regression_metrics,
    tau,
    tau_ceiling,
    tau_ties,
    trained,
)
from metanet.models.base import HeldOut, MetaModel
from metanet.models.registry import create_model
from metanet.models.training import seconds_before
from metanet.runs.records import Answers
from metanet.zoo.split import Split
from metanet.zoo.zoo import View

CONSTANT = "constant"
FINAL, BEFORE = "final", "before refit"  # whose answer a prediction is: the saved model's, or that of the fit it was chosen by


@dataclass(frozen=True, eq=False)
class Floor:
    """A model that reads no weights, and what it predicts for the test part, (N,)."""

    model: MetaModel
    predicted: np.ndarray


Floors = Mapping[str, Floor]


@dataclass(frozen=True)
class Fitted:
    """A fitted meta-model and what it scored.

    Attributes:
        metrics: flat name -> number.
        predictions: network_id, epoch, unit (of resampling, see :attr:`metanet.zoo.zoo.View.units`), part (validation or
            test), fit (:data:`FINAL`, or :data:`BEFORE`: the model has learned from these networks since), true, predicted,
            of a classification confidence (the probability that it gave its answer), and the floors' columns.
    """

    model: MetaModel
    metrics: dict[str, Any]
    predictions: pd.DataFrame


def floor_inputs(view: View, target: str) -> dict[str, list[str]]:
    """What each floor but the constant reads, by name; see the head of this file.

    Empty where nothing varies and nothing was measured before.
    """
    frame = view.frame
    varying = ["hyper"] if any(c.startswith("hp.") and c != target and frame[c].nunique() > 1 for c in frame) else []
    if target.startswith("hp."):
        measured = "test_accuracy" in frame and frame["test_accuracy"].notna().all()
        known = {"hyper": [*varying, *(["metrics:test_accuracy"] if measured else [])]}
    elif is_later(view, target):
        so_far = [f"metrics:{target.removeprefix('final_')}"]
        known = {"hyper": varying, "so_far": so_far, "so_far_hyper": [*so_far, *varying] if varying else []}
    else:
        known = {"hyper": varying}
    return {name: inputs for name, inputs in known.items() if inputs}


def is_later(view: View, target: str) -> bool:
    """Whether a target is a metric that was measured later than on the view's own snapshots."""
    metric = target.removeprefix("final_")
    if metric == target or metric not in view.frame or view.frame[metric].isna().all():
        return False
    return not np.array_equal(view.target(metric), view.target(target))


def fit_floors(view: View, split: Split, target: str, seed: int = 0, threads: int = 1) -> Floors:
    """Fit all floors on the training and validation part and predict the test part."""
    train, validation, test = (view.part(split, name) for name in ("train", "validation", "test"))
    floors = {CONSTANT: constant_floor(view, split, target)}
    for name, inputs in floor_inputs(train, target).items():
        model = create_model("gbm", features=inputs, seed=seed, threads=threads).fit(train, target, validation)
        floors[name] = Floor(model, model.predict(test))
    return floors


def constant_floor(view: View, split: Split, target: str) -> Floor:
    """The best constant of training and validation part."""
    model = create_model(CONSTANT).fit(view.part(split, "train", "validation"), target)
    return Floor(model, model.predict(view.part(split, "test")))


def floors_on(models: Mapping[str, MetaModel], view: View) -> tuple[Floors, dict[str, str]]:
    """Fitted floors applied unchanged to another zoo; and of those that cannot be had there, why."""
    floors, missing = {}, {}
    for name, model in models.items():
        try:
            floors[name] = Floor(model, model.predict(view))
        except MetanetError as error:  # the zoo has not what the floor reads
            missing[name] = str(error)
    return floors, missing


def fit_and_score(
    model: MetaModel, view: View, split: Split, target: str, floors: Floors | None = None, fit_view: View | None = None
) -> Fitted:
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
) -> list[Fitted]:
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
    fitted = model.fit_targets(train, targets, validation)
    facts = {"seconds": time.perf_counter() - began + seconds_before()}
    n_train = len(train) + len(validation)
    return [result_of(own, test, own.output(test), n_train, beside, facts) for own, beside in zip(fitted, floors, strict=True)]


def result_of(
    model: MetaModel,
    test: View,
    output: np.ndarray,
    n_train: int,
    floors: Floors | None,
    facts: dict[str, Any],
) -> Fitted:
    """Metrics and predictions of a fitted model, on the test part and on what its fit held out.

    Args:
        output: on the test part, see :meth:`metanet.models.base.MetaModel.output`.
        facts: more metrics, such as seconds.
    """
    held_out = model.held_out
    frames = [] if held_out is None else [_held_out_frame(model, held_out)]
    frames.append(_prediction_frame(model, test, output, "test", floors))
    if held_out is not None:  # what a sweep may choose by
        predicted = model.target.decode(held_out.output)
        facts = facts | {"validation_fit": BEFORE if held_out.refitted else FINAL}
        scores = classification_metrics if model.target.task == "classification" else regression_metrics
        facts = facts | {f"{k}_validation": v for k, v in scores(model.target.true(held_out.view), predicted).items()}
    metrics = {
        "model": model.name,
        "features": model.features if isinstance(model.features, str) else "+".join(model.features),
        "access": model.access,
        "target": model.target.name,
        "n_train": n_train,
        "n_test": len(test),
        **score(model, test, model.target.decode(output), floors),
        **facts,
        **({} if model.note is None else {"note": model.note}),
    }
    return Fitted(model, metrics, pd.concat(frames, ignore_index=True))


def score(model: MetaModel, view: View, predicted: np.ndarray, floors: Floors | None = None) -> dict[str, Any]:
    """All metrics of predictions on a view, with intervals and ceilings; beside floors where given."""
    true = model.target.true(view)
    answers = Answers(view.network_ids, true, predicted, units=view.units)
    if model.target.task == "classification":
        return _score_classes(answers, floors)
    metrics: dict[str, Any] = regression_metrics(true, predicted) | _intervals(answers, "r2", "tau")
    metrics["tau_ties"] = tau_ties(true)
    data = view.zoo.data
    if model.target.name in ("test_accuracy", "final_test_accuracy") and data.n_test is not None:
        metrics["tau_ceiling"] = tau_ceiling(true, data.n_test)
        works = np.zeros(len(true), bool) if data.chance is None else trained(true, data.chance, data.n_test)
        metrics["n_trained"] = int(works.sum())
        if works.sum() > 2:
            metrics["r2_trained"] = r2(true[works], predicted[works])
            metrics["tau_trained"] = tau(true[works], predicted[works])
    return metrics | (_beside_floors(answers, floors) if floors else {})


def _beside_floors(answers: Answers, floors: Floors) -> dict[str, Any]:
    """Of each floor R2 and tau, the share of what it leaves that the prediction explains, and the interval of the paired
    difference of R2; of the strongest again, as ``floor``.
    """
    metrics: dict[str, Any] = {}
    for name, floor in floors.items():
        metrics[f"r2_{name}"] = r2(answers.true, floor.predicted)
        if name != CONSTANT:
            metrics[f"tau_{name}"] = tau(answers.true, floor.predicted)
            metrics |= _beyond(answers, floor, name)
    strongest = _strongest(metrics, "r2", floors)
    metrics |= {"floor": strongest, "r2_floor": metrics[f"r2_{strongest}"]}
    if strongest == CONSTANT:
        return metrics | _beyond(answers, floors[strongest], "floor")
    for key in ("r2_beyond_{}", "r2_minus_{}_low", "r2_minus_{}_high"):
        metrics[key.format("floor")] = metrics[key.format(strongest)]
    return metrics


def _beyond(answers: Answers, floor: Floor, name: str) -> dict[str, float]:
    beyond = r2_beyond(answers.true, answers.predicted, floor.predicted)
    return {f"r2_beyond_{name}": beyond} | _beside(answers, floor, "r2", name)


def _beside(answers: Answers, floor: Floor, measure: str, name: str) -> dict[str, float]:
    """The ends of the interval of the difference to a floor; of this one fit."""
    low, high, _ = paired_interval([(answers, replace(answers, predicted=floor.predicted))], measure)
    return {f"{measure}_minus_{name}_low": low, f"{measure}_minus_{name}_high": high}


def _intervals(answers: Answers, *measures: str) -> dict[str, float]:
    """The ends of the interval of each measure."""
    found = {}
    for measure in measures:
        found[f"{measure}_low"], found[f"{measure}_high"] = score_interval([answers], measure)
    return found


def _strongest(metrics: Mapping[str, Any], measure: str, floors: Floors) -> str:
    """The floor of the highest score; of equal ones, or where none has a score, the last: it reads most."""
    scores = [(np.nan_to_num(metrics[f"{measure}_{name}"], nan=-np.inf), place) for place, name in enumerate(floors)]
    return list(floors)[max(scores)[1]]


def _score_classes(answers: Answers, floors: Floors | None) -> dict[str, Any]:
    own = _intervals(answers, "accuracy", "balanced_accuracy")
    metrics: dict[str, Any] = classification_metrics(answers.true, answers.predicted) | own
    if not floors:
        return metrics
    metrics |= {f"accuracy_{name}": float(np.mean(answers.true == floor.predicted)) for name, floor in floors.items()}
    strongest = _strongest(metrics, "accuracy", floors)
    metrics |= {"floor": strongest, "accuracy_floor": metrics[f"accuracy_{strongest}"]}
    for name, floor in {**floors, "floor": floors[strongest]}.items():
        if name != CONSTANT:
            metrics |= _beside(answers, floor, "accuracy", name)
    return metrics


def evaluate_on(model: MetaModel, view: View, floors: Floors | None = None) -> Fitted:
    """Apply a fitted meta-model unchanged to another zoo (transfer; Unterthiner et al. 2020, section 5).

    Args:
        floors: of :func:`floors_on`: what the model was shown beside where it was trained, applied unchanged too. Levels
            do not transfer but rankings do, so the difference of tau has its interval as well.
    """
    began = time.perf_counter()
    output = model.output(view)
    seconds = time.perf_counter() - began
    predictions = _prediction_frame(model, view, output, "test", floors)
    metrics = {
        "model": model.name,
        "features": model.features if isinstance(model.features, str) else "+".join(model.features),
        "access": model.access,
        "target": model.target.name,
        "zoo": view.zoo.name,
        "n_test": len(view),
        **score(model, view, model.target.decode(output), floors),
        "seconds": seconds,
    }
    answers = answers_of(predictions)
    for name, floor in (floors or {}).items():
        if model.target.task == "regression" and name != CONSTANT:
            metrics |= _beside(answers, floor, "tau", name)
    return Fitted(model, metrics, predictions)


def _held_out_frame(model: MetaModel, held_out: HeldOut) -> pd.DataFrame:
    frame = _prediction_frame(model, held_out.view, held_out.output, "validation")
    return frame.assign(fit=BEFORE if held_out.refitted else FINAL)


def _prediction_frame(model: MetaModel, view: View, output: np.ndarray, part: str, floors: Floors | None = None) -> pd.DataFrame:
    target = model.target
    frame = view.frame[["network_id", "epoch"]].assign(unit=view.units, part=part, fit=FINAL)
    frame = frame.assign(true=target.true(view), predicted=target.decode(output))
    if target.task == "classification":
        frame["confidence"] = output.max(1)
    return frame.assign(**{f"{name}_floor": floor.predicted for name, floor in (floors or {}).items()})
