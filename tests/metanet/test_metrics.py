from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, mean_squared_error, r2_score

from metanet.metrics import (
    classification_metrics,
    r2,
    r2_beyond,
    regression_metrics,
    tau_ceiling,
    tau_ties,
    trained,
)


def test_regression_metrics_are_those_of_scikit_learn_and_of_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    true = np.round(rng.random(60), 1)  # with ties
    predicted = true + rng.normal(0, 0.2, 60)
    found = regression_metrics(true, predicted)
    assert found["r2"] == pytest.approx(r2_score(true, predicted))
    assert found["mse"] == pytest.approx(mean_squared_error(true, predicted))
    assert found["mad"] == pytest.approx(mean_absolute_error(true, predicted))
    a, b = (np.sign(v[:, None] - v[None])[np.triu_indices(60, 1)] for v in (true, predicted))
    assert found["tau"] == pytest.approx((a * b).sum() / np.sqrt((a != 0).sum() * (b != 0).sum()))


def test_a_constant_prediction_ranks_nothing() -> None:
    found = regression_metrics(np.arange(5.0), np.full(5, 2.0))
    assert found["tau"] == 0
    assert found["r2"] == 0
    assert np.isnan(r2(np.ones(3), np.ones(3)))


def test_classification_metrics() -> None:
    true, predicted = np.array(list("aaaabb")), np.array(list("aaabbb"))
    assert classification_metrics(true, predicted) == {
        "accuracy": pytest.approx(5 / 6),
        "balanced_accuracy": pytest.approx((3 / 4 + 1) / 2),
        "chance": pytest.approx(4 / 6),
    }


def test_balanced_accuracy_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.choice(list("abc"), 50, p=[0.8, 0.15, 0.05]), rng.choice(list("abc"), 50)
    for kind in (str, object):
        found = classification_metrics(true.astype(kind), predicted.astype(kind))
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, predicted))
    never = np.array(["x"] * 50)  # a class that is predicted and never true
    assert classification_metrics(true, never)["balanced_accuracy"] == 0


def test_tau_ties_is_what_a_perfect_ranking_without_ties_scores() -> None:
    true = np.random.default_rng(0).integers(0, 10, 200) / 10
    ranking = np.argsort(np.argsort(true, kind="stable")).astype(float)
    assert tau_ties(true) == pytest.approx(kendalltau(true, ranking).statistic)
    assert tau_ties(np.arange(10.0)) == 1


def test_tau_ceiling_grows_with_the_images_and_reaches_the_trials_figure() -> None:
    rng = np.random.default_rng(0)
    accuracy = np.clip(rng.beta(2, 1, 800), 0.1, 0.99)
    few, many = (tau_ceiling(np.round(accuracy * n) / n, n) for n in (360, 8000))
    assert few < many < 1
    again = rng.binomial(360, np.round(accuracy * 360) / 360) / 360
    assert few == pytest.approx(kendalltau(np.round(accuracy * 360) / 360, again).statistic, abs=0.02)


def test_trained_means_three_standard_errors_above_chance() -> None:
    assert trained(np.array([0.1, 0.146, 0.149, 0.9]), 0.1, 360).tolist() == [False, False, True, True]


def test_r2_beyond_is_r2_of_the_residuals() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(100)
    floor, better = true + rng.normal(0, 0.3, 100), true + rng.normal(0, 0.1, 100)
    residual, explained = true - floor, better - floor
    assert r2_beyond(true, better, floor) == pytest.approx(1 - ((residual - explained) ** 2).sum() / (residual**2).sum())
    assert r2_beyond(true, floor, floor) == 0
