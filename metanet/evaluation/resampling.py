"""Bootstrap resamples of networks (Efron 1979) for many runs at once, and what another seed or split adds to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from metanet.errors import MetanetError
from metanet.metrics import BOOTSTRAP_ROUNDS, BOOTSTRAP_TAU_ROUNDS, classification_metrics, percentiles, r2, tau
from metanet.runs.records import Answers


def paired_interval(
    pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], measure: str, rounds: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean difference of a measure over several fits; networks are drawn once for all of them.

    Args:
        pairs: test predictions of one model and of the other, for each fit: network_id, true, predicted, of the same networks.
    """
    sides: tuple[list[Answers], list[Answers]] = [], []
    for pair in pairs:
        if not np.array_equal(pair[0]["network_id"], pair[1]["network_id"]):
            raise MetanetError("two fits were scored on different networks, so their difference is not paired")
        for side, frame in zip(sides, pair, strict=True):
            side.append(Answers(*(frame[c].to_numpy() for c in ("network_id", "true", "predicted"))))
    drawn = Resamples(np.unique(np.concatenate([a.networks for a in sides[0]])), rounds or rounds_of(measure), seed)
    one, other = (drawn.scores(side, measure) for side in sides)
    return percentiles((one - other).mean(0))


def rounds_of(measure: str) -> int:
    """A rank correlation takes longer."""
    return BOOTSTRAP_TAU_ROUNDS if measure == "tau" else BOOTSTRAP_ROUNDS


class Resamples:
    """The same bootstrap resamples of networks (Efron 1979) for any number of runs.

    Args:
        networks: that are drawn from, (U,).
        rounds: number of resamples.
    """

    def __init__(self, networks: np.ndarray, rounds: int, seed: int = 0) -> None:
        count = len(networks)
        self.place = {name: i for i, name in enumerate(networks)}
        drawn = np.random.default_rng(seed).integers(0, count, (rounds, count))
        self.times = np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)  # (rounds, U)
        self._rows: dict[int, np.ndarray] = {}

    def scores(self, answers: Sequence[Answers], measure: str) -> np.ndarray:
        """The measure of each run in each resample, (R, rounds); nan where a resample leaves it undefined."""
        rows = [self._places(a) for a in answers]
        if measure == "tau":
            return np.stack([self._taus(a, own) for a, own in zip(answers, rows, strict=True)])
        if measure == "balanced_accuracy":
            return np.stack([self._recalls(a, own) for a, own in zip(answers, rows, strict=True)])
        losses = np.stack([self._sums(_loss(a, measure), own) for a, own in zip(answers, rows, strict=True)])
        total, count = losses @ self.times.T, self._each(answers, rows, lambda a: np.ones(len(a.true)))
        with np.errstate(divide="ignore", invalid="ignore"):
            if measure != "r2":
                return total / count
            sums = self._each(answers, rows, lambda a: a.true - a.true.mean())  # centred, against cancellation
            squares = self._each(answers, rows, lambda a: (a.true - a.true.mean()) ** 2)
            spread = squares - sums**2 / count
            return np.where(spread > 0, 1 - total / spread, np.nan)

    def _places(self, answers: Answers) -> np.ndarray:
        if answers.part not in self._rows:
            self._rows[answers.part] = np.array([self.place[n] for n in answers.networks])
        return self._rows[answers.part]

    def _sums(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.bincount(rows, values, self.times.shape[1])

    def _each(self, answers: Sequence[Answers], rows: list[np.ndarray], of: Any) -> np.ndarray:
        """A sum that depends on the test part alone, (R, rounds); computed once a part."""
        made: dict[int, np.ndarray] = {}
        for own, a in zip(rows, answers, strict=True):
            if a.part not in made:
                made[a.part] = self.times @ self._sums(of(a), own)
        return np.stack([made[a.part] for a in answers])

    def _taus(self, answers: Answers, rows: np.ndarray) -> np.ndarray:
        picked = (np.repeat(np.arange(len(rows)), times[rows].astype(int)) for times in self.times)
        return np.array([tau(answers.true[rows], answers.predicted[rows]) for rows in picked])

    def _recalls(self, answers: Answers, rows: np.ndarray) -> np.ndarray:
        right = answers.true == answers.predicted
        classes = [answers.true == c for c in np.unique(answers.true.astype(str))]
        with np.errstate(divide="ignore", invalid="ignore"):
            recalls = [(self.times @ self._sums(right * c, rows)) / (self.times @ self._sums(c * 1.0, rows)) for c in classes]
        return np.nanmean(recalls, axis=0)


def _loss(answers: Answers, measure: str) -> np.ndarray:
    if measure == "accuracy":
        return (answers.true == answers.predicted).astype(np.float64)
    error = answers.true - answers.predicted
    return np.abs(error) if measure == "mad" else error**2


def score_of(answers: Answers, measure: str) -> float:
    """The measure of a run's answers."""
    if measure in ("r2", "tau"):
        return (r2 if measure == "r2" else tau)(answers.true, answers.predicted)
    if measure == "balanced_accuracy":
        return classification_metrics(answers.true.astype(str), answers.predicted.astype(str))[measure]
    return float(np.mean(_loss(answers, measure)))


def spread_over_runs(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Half of the 95 % t interval of a mean difference over runs; nan where nothing was repeated.

    With several test parts that of their differences (paired), with one that of its seeds (Welch 1947).

    Args:
        one, other: the scores of two groups of runs, an array for each test part that both have.
    """
    if len(one) > 1:
        gains = np.array([a.mean() - b.mean() for a, b in zip(one, other, strict=True)])
        return float(stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
    own, others = one[0], other[0]
    if min(len(own), len(others)) < 2:
        return float("nan")
    parts = np.array([v.var(ddof=1) / len(v) for v in (own, others)])
    if not parts.any():
        return 0.0
    freedom = parts.sum() ** 2 / (parts**2 / (np.array([len(own), len(others)]) - 1)).sum()
    return float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))


def widened(low: float, high: float, centre: float, half: float) -> tuple[float, float]:
    """An interval about ``centre`` with an independent one of half the width ``half`` added, squares to squares."""
    return centre - float(np.hypot(centre - low, half)), centre + float(np.hypot(high - centre, half))
