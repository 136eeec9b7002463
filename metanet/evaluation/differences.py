"""Intervals of 95 % of differences: of a pair that was named in advance, and of a table's best from every other row.

What other test networks would change is a t interval of the jackknife's standard error (:mod:`metanet.evaluation.resampling`);
what other splits and seeds would change is a t interval over runs, added square to square (:func:`widened`).

A table's best was chosen by its score, so any two of its rows might have come to be compared: its intervals are so wide that in
19 of 20 tables of equal rows no two of these would be told apart (the largest studentised difference; :func:`level_of`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import lsqr

from metanet.errors import MetanetError
from metanet.evaluation.intervals import ERROR, margin, quantile
from metanet.evaluation.resampling import Resamples, score_of
from metanet.runs.records import Answers

ROUNDS = 2000  # draws of a table's largest difference
LUCK = 0.25  # what the draw of the training part adds to the variance, in a table where no other split measures it
LEAST_OF_CLASS = 20  # units of the rarest class that the difference of two balanced accuracies takes
SINGLE = ", of single runs"  # where no seed or split was repeated


class Difference(NamedTuple):
    """The ends of an interval of one score minus another; ``single`` where no seed or split was repeated."""

    low: float
    high: float
    single: bool = False

    @property
    def words(self) -> str:
        """``+0.010 to +0.020``, and whether it is of single runs; ``-`` where there is none."""
        if not np.isfinite([self.low, self.high]).all():
            return "-"
        return f"{self.low:+.3f} to {self.high:+.3f}" + (SINGLE if self.single else "")


@dataclass
class Scored:
    """The runs of one model.

    Attributes:
        points: the score of each, by test part.
        without: by test part, the mean score of its runs without each unit, (U,).
        rarest: test units of the rarest class, where these are fewest; infinite where classes do not count alike.
    """

    points: dict[Hashable, list[float]]
    without: dict[Hashable, np.ndarray]
    rarest: float

    @classmethod
    def of(
        cls, answers: Sequence[Answers], measure: str, resamples: Resamples, parts: Sequence[Hashable] | None = None
    ) -> Scored:
        """Score what they answered.

        Args:
            parts: names of their test parts; None: those with the same test rows are one.
        """
        row = cls({}, {}, min(_rarest(a, measure) for a in answers))
        names = [own.part for own in answers] if parts is None else parts
        for part, own, without in zip(names, answers, resamples.scores(answers, measure), strict=True):
            row.points.setdefault(part, []).append(score_of(own, measure))
            row.without[part] = row.without.get(part, np.zeros(1)) + without
        for part, points in row.points.items():
            row.without[part] = row.without[part] / len(points)
        return row

    @property
    def mean(self) -> float:
        """Of the scores of all runs."""
        return float(np.mean([score for points in self.points.values() for score in points]))

    @property
    def mean_without(self) -> np.ndarray:
        """The mean score of all runs without each unit, (U,)."""
        return np.average(list(self.without.values()), axis=0, weights=[len(points) for points in self.points.values()])


def _rarest(answers: Answers, measure: str) -> float:
    if measure != "balanced_accuracy":
        return float("inf")
    return min(len(np.unique(answers.units[answers.true == kind])) for kind in np.unique(answers.true.astype(str)))


class Spread(NamedTuple):
    """A variance over runs and its degrees of freedom."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Table:
    """What an interval of the best of some rows minus another takes so that all hold together.

    Attributes:
        level: probability of an error of one of them.
        parts: of a row's score on one test part, what is left of the rows' and the parts' own effects.
        seeds: of a run, over those of one row on one test part.
    """

    level: float
    parts: Spread
    seeds: Spread

    @classmethod
    def of(cls, rows: Sequence[Scored], seed: int = 0) -> Table:
        """Of all rows of a table.

        Args:
            seed: of the draws of the largest difference.
        """
        return cls(level_of(np.stack([row.mean_without for row in rows]), seed), _spread_of_parts(rows), _spread_of_seeds(rows))


def answers_of(frame: pd.DataFrame) -> Answers:
    """From a table of predictions: network_id, true, predicted, and where it is known the unit of resampling."""
    networks, true, predicted = (frame[name].to_numpy() for name in ("network_id", "true", "predicted"))
    return Answers(networks, true, predicted, units=frame["unit"].to_numpy() if "unit" in frame else networks)


def paired_interval(pairs: Sequence[tuple[Answers, Answers]], measure: str) -> Difference:
    """Of the mean difference of a measure over several fits of two models that were named in advance.

    Args:
        pairs: what one model and the other answered, for each fit, on the same networks; what is true of a network may differ
            between the two, as where it was grown in two ways.

    Raises:
        MetanetError: on other networks.

    Examples:
        >>> import numpy as np
        >>> from metanet.runs.records import Answers
        >>> from metanet.evaluation.differences import paired_interval
        >>> true = np.linspace(0, 1, 50)
        >>> one, other = (Answers(np.arange(50), true, true + error * np.sin(np.arange(50))) for error in (0.1, 0.2))
        >>> paired_interval([(one, other)], "r2").words
        '+0.115 to +0.231, of single runs'
    """
    if any(not np.array_equal(one.networks, other.networks) for one, other in pairs):
        raise MetanetError("two fits were scored on different networks, so their difference is not paired")
    resamples = Resamples(np.unique(np.concatenate([one.units for one, _ in pairs])))
    parts = [one.part for one, _ in pairs]
    one, other = (Scored.of(answers, measure, resamples, parts) for answers in zip(*pairs, strict=True))
    return difference(one, other)


def beside_best(rows: Sequence[Scored], best: int) -> list[Difference]:
    """Of a table's best row minus each, all of them together."""
    table = Table.of(rows)
    return [difference(rows[best], row, table) for row in rows]


def difference(one: Scored, other: Scored, table: Table | None = None) -> Difference:
    """Of one model minus another, over the test parts that both have; nan where a class has too few units to say.

    Args:
        table: whose best is one of the two; None of a pair that was named in advance.
    """
    parts = [part for part in one.points if part in other.points]
    if not parts or min(one.rarest, other.rarest) < LEAST_OF_CLASS:
        return Difference(np.nan, np.nan)
    level, luck = (ERROR, 0.0) if table is None else (table.level, LUCK if len(parts) == 1 else 0.0)
    points = [[np.array(row.points[part]) for part in parts] for row in (one, other)]
    centre = float(np.mean([a.mean() - b.mean() for a, b in zip(*points, strict=True)]))
    gain = np.mean([one.without[part] - other.without[part] for part in parts], axis=0)
    net = float(margin(gain, level) * np.sqrt(1 + luck))
    runs = spread_over_runs(points[0], points[1], level, table)
    if np.isnan(runs):
        return Difference(centre - net, centre + net, single=True)
    return Difference(*widened(centre - net, centre + net, centre, runs))


def spread_over_runs(
    one: Sequence[np.ndarray], other: Sequence[np.ndarray], level: float = ERROR, table: Table | None = None
) -> float:
    """Half of the t interval of a mean difference over runs; nan where nothing was repeated.

    With several test parts that of their differences (paired), with one that of its seeds (Welch 1947). In a table a spread is at
    least what it is in all rows on average, with the degrees of freedom of all.

    Args:
        one, other: the scores of two groups of runs, an array for each test part that both have.
        level: probability that the interval misses.
    """
    if len(one) > 1:
        gains = np.array([a.mean() - b.mean() for a, b in zip(one, other, strict=True)])
        own = Spread(gains.var(ddof=1) / len(gains), len(gains) - 1)
        common = None if table is None else Spread(2 * table.parts.variance / len(gains), table.parts.freedom)
    elif min(len(one[0]), len(other[0])) > 1:
        each = np.array([runs[0].var(ddof=1) / len(runs[0]) for runs in (one, other)])
        freedom = np.array([len(runs[0]) - 1 for runs in (one, other)])
        welch = each.sum() ** 2 / (each**2 / freedom).sum() if each.any() else freedom.sum()
        own = Spread(each.sum(), welch)
        shares = sum(1 / len(runs[0]) for runs in (one, other))
        common = None if table is None else Spread(shares * table.seeds.variance, table.seeds.freedom)
    else:
        return float("nan")
    if common is not None:
        own = Spread(max(own.variance, common.variance), max(own.freedom, common.freedom))
    return quantile(level, own.freedom) * float(np.sqrt(own.variance))


def widened(low: float, high: float, centre: float, half: float) -> tuple[float, float]:
    """An interval about ``centre`` with an independent one of half the width ``half`` added, squares to squares.

    ``centre - sqrt((centre - low)^2 + half^2)`` to ``centre + sqrt((high - centre)^2 + half^2)``.

    Examples:
        >>> from metanet.evaluation.differences import widened
        >>> low, high = widened(0.1, 0.3, centre=0.2, half=0.1)
        >>> round(low, 3), round(high, 3)
        (0.059, 0.341)
    """
    return centre - float(np.hypot(centre - low, half)), centre + float(np.hypot(high - centre, half))


def level_of(without: np.ndarray, seed: int = 0) -> float:
    """The probability of an error of one pair at which all but :data:`ERROR` of tables of equal rows tell no two of them apart.

    The largest of all studentised differences (max-T, single-step) is drawn from the normal distribution with the covariance S
    that the jackknife finds between the rows: the limit of a bootstrap with random weights of the units. With q the .95
    quantile of ``max |z_i - z_j| / sqrt(S_ii + S_jj - 2 S_ij), z ~ N(0, S)``, the level is ``2 Phi(-q)``.

    Args:
        without: the score of each row without each unit, (G, U).

    Examples:
        >>> import numpy as np
        >>> from metanet.evaluation.differences import level_of
        >>> rows = np.random.default_rng(0).standard_normal((5, 100))  # five unrelated rows, 100 units
        >>> 0.002 < level_of(rows) < 0.02  # of each pair, so that the table errs in one of 20
        True
    """
    centred = np.nan_to_num(without - np.nanmean(without, axis=1, keepdims=True))
    covariance = centred @ centred.T
    own = np.diag(covariance)
    squares = own[:, None] + own - 2 * covariance  # of the standard error of each difference
    differ = squares > 1e-9 * (own[:, None] + own)
    if differ.sum() <= 2:
        return ERROR
    values, vectors = np.linalg.eigh(covariance)
    normal = np.random.default_rng(seed).standard_normal((len(without), ROUNDS))
    drawn = (vectors * np.sqrt(np.maximum(values, 0))) @ normal
    largest = np.zeros(ROUNDS)
    for row in range(len(without) - 1):
        others = row + 1 + np.flatnonzero(differ[row, row + 1 :])
        if len(others):
            apart = np.abs(drawn[others] - drawn[row]) / np.sqrt(squares[row, others])[:, None]
            largest = np.maximum(largest, apart.max(0))
    return float(2 * special.ndtr(-np.quantile(largest, 1 - ERROR)))


def _spread_of_parts(rows: Sequence[Scored]) -> Spread:
    """Of scores by row and test part, less the effects of both (least squares)."""
    places: dict[Hashable, int] = {}
    cells = [
        (i, places.setdefault(part, len(places)), np.mean(p)) for i, row in enumerate(rows) for part, p in row.points.items()
    ]
    row, part, score = (np.array(column) for column in zip(*[cell for cell in cells if np.isfinite(cell[2])], strict=True))
    effects = coo_array((np.ones(2 * len(row)), (np.tile(np.arange(len(row)), 2), np.r_[row, len(rows) + part])))
    _, component = connected_components(effects.T @ effects, directed=False)
    used = np.unique(np.r_[row, len(rows) + part])
    freedom = len(row) - len(used) + len(np.unique(component[used]))
    if freedom < 1:
        return Spread(0.0, 0.0)
    return Spread(lsqr(effects.tocsr(), score - score.mean(), atol=1e-12, btol=1e-12)[3] ** 2 / freedom, freedom)


def _spread_of_seeds(rows: Sequence[Scored]) -> Spread:
    """Of runs of one row on one test part."""
    cells = [np.array(points) for row in rows for points in row.points.values() if len(points) > 1]
    freedom = sum(len(points) - 1 for points in cells)
    return Spread(sum(points.var(ddof=1) * (len(points) - 1) for points in cells) / freedom if freedom else 0.0, freedom)
