"""Intervals of scores, against closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, kendalltau, t
from sklearn.metrics import r2_score

from metanet.evaluation.intervals import margin, mean_share, number_interval, score_interval, share_limits, standard_error
from metanet.runs.records import Answers

NAMES = np.array([f"{i:03d}" for i in range(300)], object)


def answered(count: int, noise: float = 0.2, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    true = rng.uniform(size=count)
    return Answers(NAMES[:count], true, true + noise * rng.standard_normal(count))


def told(*classes: tuple[int, int]) -> Answers:
    """So many networks of each class that are told rightly, of so many."""
    true = np.repeat([f"c{i}" for i in range(len(classes))], [n for _, n in classes]).astype(object)
    right = np.concatenate([np.arange(n) < k for k, n in classes])
    return Answers(NAMES[: len(true)], true, np.where(right, true, "none"))


def clopper_pearson(hits: int, count: int) -> tuple[float, float]:
    found = binomtest(hits, count).proportion_ci(0.95, "exact")
    return found.low, found.high


def test_the_standard_error_of_a_mean_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    without = (values.sum(0) - values) / 29
    expected = values.std(0, ddof=1) / np.sqrt(30)
    np.testing.assert_allclose(standard_error(without), expected)
    np.testing.assert_allclose(margin(without), t.ppf(0.975, 29) * expected)
    np.testing.assert_allclose(margin(without, 0.01), t.ppf(0.995, 29) * expected)


def test_scores_that_are_not_finite_count_nowhere() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0])
    assert standard_error(values) == pytest.approx(np.sqrt(2 / 3 * np.var(values[[0, 1, 3]]) * 3))
    assert np.isnan(standard_error(np.array([np.nan, 1.0])))
    assert np.isnan(margin(np.ones(1)))


@pytest.mark.parametrize("measure", ["r2", "tau", "mse"])
def test_an_interval_of_numbers_is_the_jackknifes_on_its_scale(measure: str) -> None:
    own = answered(60)
    score, scale, back = {
        "r2": (r2_score, lambda x: np.log(1 - x), lambda z: 1 - np.exp(z)),
        "tau": (lambda a, b: kendalltau(a, b).statistic, np.arcsin, np.sin),
        "mse": (lambda a, b: np.mean((a - b) ** 2), np.log, np.exp),
    }[measure]
    left = np.array([scale(score(np.delete(own.true, i), np.delete(own.predicted, i))) for i in range(60)])
    half = t.ppf(0.975, 59) * np.sqrt(59 * left.var())
    expected = sorted(back(scale(score(own.true, own.predicted)) + np.array([-half, half])))
    np.testing.assert_allclose(score_interval([own], measure), expected, rtol=1e-9)


def test_ends_stay_where_scores_can_be() -> None:
    perfect = Answers(NAMES[:20], np.arange(20.0), np.arange(20.0))
    assert score_interval([perfect], "r2") == (1, 1)
    assert score_interval([perfect], "tau") == (1, 1)
    near = np.arange(20.0)
    near[[3, 4]] = 4, 3
    low, high = score_interval([Answers(NAMES[:20], np.arange(20.0), near)], "tau")
    assert 0.8 < low < 1 - 4 / 380 < high <= 1
    assert np.isnan(score_interval([perfect.of(NAMES[:1])], "r2")).all()


def test_several_runs_have_the_interval_of_their_mean() -> None:
    one, other = answered(80), answered(80, 0.4)
    left = [[r2_score(np.delete(a.true, i), np.delete(a.predicted, i)) for i in range(80)] for a in (one, other)]
    means = np.mean([r2_score(a.true, a.predicted) for a in (one, other)]), np.mean(left, axis=0)
    np.testing.assert_allclose(score_interval([one, other], "r2"), np.ravel(number_interval(*means, "r2")))
    for measure in ("r2", "tau", "mad"):
        assert score_interval([one] * 3, measure) == pytest.approx(score_interval([one], measure))


@pytest.mark.parametrize(("hits", "count"), [(0, 9), (1, 1), (7, 12), (39, 40), (40, 40)])
def test_a_share_of_one_class_has_clopper_and_pearsons_limits(hits: int, count: int) -> None:
    for measure in ("accuracy", "balanced_accuracy"):
        np.testing.assert_allclose(score_interval([told((hits, count))], measure), clopper_pearson(hits, count), atol=1e-12)


def test_classes_are_put_together_square_to_square() -> None:
    classes = [(28, 30), (12, 28), (2, 2)]
    shares = np.array([k / n for k, n in classes])
    low, high = (np.array(ends) for ends in zip(*[clopper_pearson(k, n) for k, n in classes], strict=True))
    expected = shares.mean() - np.linalg.norm(shares - low) / 3, shares.mean() + np.linalg.norm(high - shares) / 3
    np.testing.assert_allclose(score_interval([told(*classes)], "balanced_accuracy"), expected)


def test_units_are_counted_not_their_rows() -> None:
    """Ten equal rows of each network, or three equal runs, tell nothing new; rows that differ do, but less than networks."""
    once, numbers = told((30, 40), (5, 20)), answered(60)
    again = np.repeat(np.arange(60), 10)
    for own, measures in ((once, ("accuracy", "balanced_accuracy")), (numbers, ("r2", "mse", "mad", "tau"))):
        rows = Answers(np.arange(600), own.true[again], own.predicted[again], units=own.networks[again])
        for measure in measures:
            expected = score_interval([own], measure)
            # pairs of a network with itself are ties: a little is lost of tau
            np.testing.assert_allclose(score_interval([rows], measure), expected, rtol=0.02 if measure == "tau" else 1e-9)
            np.testing.assert_allclose(score_interval([own] * 3, measure), expected, rtol=1e-9)
            as_rows = score_interval([Answers(rows.networks, rows.true, rows.predicted)], measure)
            assert np.ptp(as_rows) < np.ptp(expected) / 2
    halves = np.full((40, 1), 5.0)  # half of the ten rows of each of 40 networks are right
    widths = [np.ptp(share_limits(right, np.full(40, 10))) for right in (halves, 10.0 * (np.arange(40) % 2)[:, None])]
    assert widths[0] < widths[1] / 3
    assert widths[0] > np.ptp(clopper_pearson(20 * 41, 40 * 41))  # one unit more, all or nothing


def test_shares_of_several_cells_at_once() -> None:
    rng = np.random.default_rng(0)
    rights = [rng.integers(0, 2, (n, 3, 2)).astype(float) for n in (25, 7)]
    counts = [np.ones(25), np.ones(7)]
    middle, low, high = mean_share(rights, counts)
    for cell in np.ndindex(3, 2):
        alone = mean_share([right[(slice(None), *cell)] for right in rights], counts)
        np.testing.assert_allclose((middle[cell], low[cell], high[cell]), np.ravel(alone))
