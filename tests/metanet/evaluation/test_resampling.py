"""Scores without each unit, against plain ones of what is left."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, mean_squared_error, r2_score

from metanet.evaluation.resampling import Resamples, agreement, score_of
from metanet.runs.records import Answers

PLAIN = {
    "r2": r2_score,
    "mse": mean_squared_error,
    "mad": mean_absolute_error,
    "tau": lambda true, predicted: kendalltau(true, predicted).statistic,
    "accuracy": lambda true, predicted: np.mean(true == predicted),
    "balanced_accuracy": balanced_accuracy_score,
}


def answered(measure: str, seed: int) -> Answers:
    """41 networks of 29 units: ten have one network, the others two or three; with ties and classes of several sizes."""
    rng = np.random.default_rng(seed)
    units = np.array([f"u{u:02d}" for u in np.r_[np.arange(29), np.arange(6, 17), 20]], object)
    true, predicted = np.round(rng.uniform(size=41), 1), np.round(rng.uniform(size=41), 1)
    if "accuracy" in measure:
        true, predicted = (np.array(list("abc"), object)[np.digitize(v, (0.5, 0.8))] for v in (true, predicted))
    return Answers(np.array([f"n{i:02d}" for i in range(41)], object), true, predicted, units=units)


@pytest.mark.parametrize("measure", list(PLAIN))
def test_scores_without_each_unit_are_those_of_the_rows_that_are_left(measure: str) -> None:
    one, other = answered(measure, 0), answered(measure, 1)
    units = np.array([f"u{u:02d}" for u in range(30)], object)  # the last was not tested
    found = Resamples(units).scores([one, other], measure)
    assert found.shape == (2, 30)
    for own, scores in zip((one, other), found, strict=True):
        for unit, score in zip(units, scores, strict=True):
            left = own.units != unit
            true, predicted = (
                values[left].astype(str if "accuracy" in measure else float) for values in (own.true, own.predicted)
            )
            assert score == pytest.approx(PLAIN[measure](true, predicted), rel=1e-12)
        assert scores[-1] == pytest.approx(score_of(own, measure))


def test_agreement_is_counted_over_pairs() -> None:
    rng = np.random.default_rng(0)
    for count, kinds in ((1, 1), (2, 2), (40, 7), (200, 300), (65, 64)):
        one, other = rng.integers(0, kinds, (2, count))
        expected = (np.sign(one[:, None] - one) * np.sign(other[:, None] - other)).sum(1)
        assert agreement(one, other).tolist() == expected.tolist()


def test_what_ranks_nothing_scores_nothing() -> None:
    names = np.array(list("abcd"), object)
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    drawn = Resamples(names)
    assert drawn.scores([Answers(names, rising, np.ones(4))], "tau").tolist() == [[0, 0, 0, 0]]
    for measure in ("tau", "r2"):
        assert np.isnan(drawn.scores([Answers(names, np.ones(4), rising)], measure)).all()


def test_a_class_of_one_unit_is_lost_with_it() -> None:
    names = np.array(list("abcd"), object)
    answers = Answers(names, np.array(list("xxyz"), object), np.array(list("xzyx"), object))  # recalls 1/2, 1, 0
    assert Resamples(names).scores([answers], "balanced_accuracy")[0] == pytest.approx([1 / 3, 2 / 3, 1 / 4, 3 / 4])
    assert np.isnan(Resamples(names[:1]).scores([answers.of(names[:1])], "accuracy")).all()  # nothing is left
