"""Intervals of differences, of pairs and of tables, against closed forms and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, studentized_range, t, ttest_ind, ttest_rel
from sklearn.metrics import r2_score

from metanet.errors import MetanetError
from metanet.evaluation.differences import (
    LUCK,
    Difference,
    Scored,
    Table,
    answers_of,
    beside_best,
    difference,
    level_of,
    paired_interval,
    spread_over_runs,
    widened,
)
from metanet.evaluation.resampling import Resamples
from metanet.runs.records import Answers

NAMES = np.array([f"{i:03d}" for i in range(200)], object)


def answered(noise: float, seed: int, networks: np.ndarray = NAMES[:100]) -> Answers:
    true = np.random.default_rng(0).uniform(size=200)[networks.astype(int)]
    return Answers(networks, true, true + noise * np.random.default_rng([1, seed]).standard_normal(len(true)))


def scored(*rows: list[Answers], measure: str = "r2") -> list[Scored]:
    resamples = Resamples(NAMES)
    return [Scored.of(answers, measure, resamples) for answers in rows]


def of_points(points: dict[int, list[float]]) -> Scored:
    return Scored(points, {part: np.arange(9.0) ** part for part in points}, math.inf)


def by_loops(one: Answers, other: Answers) -> tuple[float, float]:
    """R2 of one minus that of the other, and the jackknife's standard error of it."""

    def gain(rows: np.ndarray) -> float:
        return r2_score(one.true[rows], one.predicted[rows]) - r2_score(one.true[rows], other.predicted[rows])

    everything = np.arange(len(one.true))
    left = np.array([gain(np.delete(everything, i)) for i in everything])
    return gain(everything), math.sqrt((len(left) - 1) * left.var())


def test_widths_are_put_together_square_to_square() -> None:
    assert widened(0, 2, 1, 1) == (1 - math.sqrt(2), 1 + math.sqrt(2))
    assert widened(-3, 2, 1, 3) == (-4, 1 + math.sqrt(10))


def test_what_splits_and_seeds_add_is_a_t_interval() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 5, 1))
    a, b = rng.normal(size=4), rng.normal(size=3)
    for level in (0.05, 0.01):
        paired = ttest_rel(one[:, 0], other[:, 0]).confidence_interval(1 - level)
        assert spread_over_runs(one, other, level) == pytest.approx((paired.high - paired.low) / 2)
        welch = ttest_ind(a, b, equal_var=False).confidence_interval(1 - level)
        assert spread_over_runs([a], [b], level) == pytest.approx((welch.high - welch.low) / 2)
    assert np.isnan(spread_over_runs([a], [b[:1]]))
    assert spread_over_runs([np.ones(2)], [np.zeros(2)]) == 0


def test_a_pair_of_single_runs_has_the_jackknifes_interval() -> None:
    one, other = answered(0.1, 0), answered(0.2, 1)
    gain, error = by_loops(one, other)
    half = t.ppf(0.975, 99) * error
    found = paired_interval([(one, other)], "r2")
    np.testing.assert_allclose(found[:2], (gain - half, gain + half), rtol=1e-9)
    assert found.single
    assert found.words == f"{found.low:+.3f} to {found.high:+.3f}, of single runs"
    assert paired_interval([(one, one)], "r2") == (0, 0, True)
    assert Difference(np.nan, np.nan).words == "-"


def test_a_pair_of_several_fits_counts_what_these_add() -> None:
    """Two test parts; the same fit twice is no more evidence."""
    pairs = [(answered(0.1, s, names), answered(0.2, s + 9, names)) for s, names in enumerate((NAMES[:100], NAMES[60:160]))]
    gains = [by_loops(*pair)[0] for pair in pairs]
    runs = ttest_rel(gains, [0, 0]).confidence_interval()
    one, other = (Scored.of([pair[i] for pair in pairs], "r2", Resamples(NAMES[:160])) for i in (0, 1))
    left = np.mean([one.without[part] - other.without[part] for part in one.points], axis=0)
    networks = t.ppf(0.975, 159) * np.sqrt(159 * left.var())
    half = np.hypot(networks, (runs.high - runs.low) / 2)
    found = paired_interval(pairs, "r2")
    np.testing.assert_allclose(found[:2], (np.mean(gains) - half, np.mean(gains) + half), rtol=1e-9)
    assert not found.single
    assert paired_interval([pairs[0]] * 2, "r2")[:2] == pytest.approx(paired_interval([pairs[0]], "r2")[:2])


def test_other_networks_are_no_pair() -> None:
    with pytest.raises(MetanetError, match="not paired"):
        paired_interval([(answered(0.1, 0), answered(0.1, 1, NAMES[1:101]))], "r2")


def test_a_table_of_predictions_brings_its_units() -> None:
    frame = pd.DataFrame({"network_id": ["a", "b"], "true": [0.0, 1.0], "predicted": [0.5, 0.5]})
    assert answers_of(frame).units.tolist() == ["a", "b"]
    assert answers_of(frame.assign(unit=["u", "u"])).units.tolist() == ["u", "u"]


def test_two_rows_are_a_pair_but_for_the_luck_of_one_training_part() -> None:
    one, other = answered(0.1, 0), answered(0.2, 1)
    rows = scored([one], [other])
    gain, error = by_loops(one, other)
    half = t.ppf(0.975, 199) * error * np.sqrt(199 / 200 * 100 / 99) * np.sqrt(1 + LUCK)  # of 200 units, of which it tested 100
    best, found = beside_best(rows, 0)
    assert best[:2] == (0, 0)
    np.testing.assert_allclose(found[:2], (gain - half, gain + half), rtol=1e-4)
    again = beside_best(scored([one, answered(0.1, 5, NAMES[100:])], [other, answered(0.2, 6, NAMES[100:])]), 0)[1]
    assert not again.single


def test_independent_rows_take_tukeys_range() -> None:
    without = np.random.default_rng(0).standard_normal((8, 4000))
    without /= without.std(1, keepdims=True)
    for rows in (3, 8):
        expected = studentized_range.ppf(0.95, rows, np.inf) / np.sqrt(2)
        assert norm.isf(level_of(without[:rows]) / 2) == pytest.approx(expected, rel=0.03)
    assert level_of(without[:2]) == 0.05
    assert level_of(without[:1]) == 0.05
    assert level_of(without[[0, 1, 1, 0, 1]]) == pytest.approx(level_of(without[:2]), rel=0.1)  # equal rows are one
    correlated = without[:8] + 3 * without[0]  # what all have in common is no difference
    assert level_of(correlated) == pytest.approx(level_of(without), rel=0.2)


def test_a_tables_spread_is_that_of_all_its_rows() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 5, 3))
    rows = [of_points({p: own.tolist() for p, own in enumerate(row)}) for row in scores]
    table = Table.of(rows)
    cells = scores.mean(2)
    left = cells - cells.mean(1, keepdims=True) - cells.mean(0) + cells.mean()
    assert table.parts == pytest.approx(((left**2).sum() / 12, 12))
    assert table.seeds == pytest.approx((scores.var(2, ddof=1).mean(), 40))
    for row, part in ((0, 3), (2, 0)):  # now by plain least squares
        del rows[row].points[part], rows[row].without[part]
    where = [(i, p) for i, row in enumerate(rows) for p in row.points]
    dummies = np.array([np.r_[np.eye(4)[i], np.eye(5)[p]] for i, p in where])
    values = np.array([cells[i, p] for i, p in where])
    squares = np.linalg.lstsq(dummies, values)[0]
    rest = ((values - dummies @ squares) ** 2).sum()
    assert Table.of(rows).parts == pytest.approx((rest / 10, 10))
    seeds = [scores[:2, :1], scores[:2, :1, 1:]]  # two rows on one part: Student's, with the degrees of freedom of both
    one, other = seeds[0][0], seeds[0][1]
    few = Table.of([of_points({0: own[0].tolist()}) for own in (one, other)])
    assert few.parts.freedom == 0
    student = ttest_ind(one[0], other[0]).confidence_interval()
    assert spread_over_runs(one, other, table=few) == pytest.approx((student.high - student.low) / 2)


def test_a_wild_row_keeps_its_own_spread() -> None:
    quiet, wild = of_points({p: [0.1 * p] for p in range(4)}), of_points({p: [(-1) ** p] for p in range(4)})
    table = Table.of([quiet, wild, quiet])
    one, other = ([np.array(row.points[p]) for p in range(4)] for row in (quiet, wild))
    own = np.var([0.1 * p - (-1) ** p for p in range(4)], ddof=1) / 4
    assert spread_over_runs(one, other, table=table) == pytest.approx(t.ppf(0.975, 6) * np.sqrt(own))
    assert spread_over_runs(one, one, table=table) == pytest.approx(t.ppf(0.975, 6) * np.sqrt(2 * table.parts.variance / 4))


def test_too_few_of_a_class_say_nothing() -> None:
    rng = np.random.default_rng(0)
    for rare, single in ((19, True), (20, False)):
        true = np.repeat(list("ab"), [60, rare]).astype(object)
        runs = [Answers(NAMES[: len(true)], true, np.where(rng.random(len(true)) < 0.8, true, "c")) for _ in range(2)]
        one, other = scored(*[[own] for own in runs], measure="balanced_accuracy")
        assert np.isnan(difference(one, other).low) == single
        assert one.rarest == rare
    assert scored([runs[0]], measure="accuracy")[0].rarest == math.inf
