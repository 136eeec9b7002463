"""The one resampling of the house: scores of runs with one unit left out at a time (the jackknife; Tukey 1958).

A unit is what was drawn on its own: a network, or a configuration where networks share one; its snapshots and seeds come and go
together. How far a score moves without each unit says how far other networks would move it, in one pass and without a random
number; every interval of :mod:`metanet.evaluation.intervals` rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metanet.metrics import classification_metrics, r2, tau
from metanet.runs.records import Answers


def score_of(answers: Answers, measure: str) -> float:
    """The measure (r2, tau, mse, mad, accuracy or balanced_accuracy) of a run's answers."""
    if measure in ("r2", "tau"):
        return (r2 if measure == "r2" else tau)(answers.true, answers.predicted)
    if measure == "balanced_accuracy":
        return classification_metrics(answers.true.astype(str), answers.predicted.astype(str))[measure]
    return float(np.mean(_loss(answers, measure)))


class Resamples:
    """The same resamples for any number of runs: each leaves one unit out.

    Args:
        units: of all runs, (U,), each once.
    """

    def __init__(self, units: np.ndarray) -> None:
        self.place = {unit: i for i, unit in enumerate(units)}
        self._rows: dict[int, np.ndarray] = {}

    def scores(self, answers: Sequence[Answers], measure: str) -> np.ndarray:
        """The measure of each run without each unit, (R, U); nan where what is left has none.

        A unit that a run did not test leaves its score as it is.
        """
        return np.stack([_WITHOUT.get(measure, _means)(a, self._sums(a), measure) for a in answers])

    def _sums(self, answers: Answers) -> _Sums:
        if answers.part not in self._rows:
            self._rows[answers.part] = np.array([self.place[unit] for unit in answers.units], np.intp)
        return _Sums(self._rows[answers.part], len(self.place))


class _Sums:
    """Sums over the rows of each unit, and what they leave of the whole.

    Args:
        rows: the unit of each row, (N,) of 0 to ``units`` - 1.
    """

    def __init__(self, rows: np.ndarray, units: int) -> None:
        self.rows, self.units = rows, units

    def of(self, values: np.ndarray) -> np.ndarray:
        """Of a number a row (N,), by unit (U,)."""
        return np.bincount(self.rows, values, self.units)

    def left(self, values: np.ndarray) -> np.ndarray:
        """The sum of all rows but those of each unit, (U,)."""
        return values.sum() - self.of(values)

    def several(self) -> list[tuple[int, np.ndarray]]:
        """The units of more than one row, each with its rows."""
        order = np.argsort(self.rows, kind="stable")
        counts = np.bincount(self.rows, minlength=self.units)
        last = np.cumsum(counts)
        return [(int(unit), order[last[unit] - counts[unit] : last[unit]]) for unit in np.flatnonzero(counts > 1)]


def _loss(answers: Answers, measure: str) -> np.ndarray:
    if measure == "accuracy":
        return (answers.true == answers.predicted).astype(np.float64)
    error = answers.true - answers.predicted
    return np.abs(error) if measure == "mad" else error**2


def _means(answers: Answers, sums: _Sums, measure: str) -> np.ndarray:
    return _ratio(sums.left(_loss(answers, measure)), sums.left(np.ones(len(answers.true))))


def _r2s(answers: Answers, sums: _Sums, measure: str) -> np.ndarray:
    centred = answers.true - answers.true.mean()  # against cancellation
    spread = sums.left(centred**2) - _ratio(sums.left(centred) ** 2, sums.left(np.ones(len(centred))))
    return 1 - _ratio(sums.left(_loss(answers, measure)), np.where(spread > 1e-12 * np.sum(centred**2), spread, 0))


def _recalls(answers: Answers, sums: _Sums, measure: str) -> np.ndarray:
    """Means over the classes that are left."""
    right = (answers.true == answers.predicted).astype(np.float64)
    classes = [(answers.true == c).astype(np.float64) for c in np.unique(answers.true.astype(str))]
    shares = np.stack([_ratio(sums.left(right * own), sums.left(own)) for own in classes])
    return _ratio(np.nansum(shares, axis=0), np.isfinite(shares).sum(0))


def _taus(answers: Answers, sums: _Sums, measure: str) -> np.ndarray:
    """Kendall's tau-b: pairs in the same order less those in the other, over the pairs that differ."""
    true, predicted = (np.unique(values, return_inverse=True)[1] for values in (answers.true, answers.predicted))
    differ = [len(ranks) - np.bincount(ranks)[ranks].astype(np.float64) for ranks in (true, predicted)]
    left = [pairs.sum() - 2 * sums.of(pairs) for pairs in (agreement(true, predicted), *differ)]
    for unit, rows in sums.several():  # whose pairs among its own rows were taken away twice
        one, other = (np.sign(ranks[rows, None] - ranks[rows]) for ranks in (true, predicted))
        for own, pairs in zip(left, (one * other, one**2, other**2), strict=True):
            own[unit] += pairs.sum()
    ordered, differ_true, differ_predicted = left
    found = _ratio(ordered, np.sqrt(differ_true * differ_predicted))
    return np.where((differ_predicted == 0) & (differ_true > 0), 0.0, found)  # a constant ranks nothing


_WITHOUT = {"r2": _r2s, "tau": _taus, "balanced_accuracy": _recalls}


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """nan where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)


def agreement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """With how many rows each stands in the same order by both ranks, less with how many in the other order, (N,).

    Ranks are whole numbers from 0; equal ones have no order. In O(N log N): sorted by one rank, each row is counted among those
    before it, and where that rank is equal once from below and once from above.
    """
    counts = np.bincount(other)
    found = len(other) + counts[other] - 2 * np.cumsum(counts)[other]  # larger less smaller, among all
    for sign in (1, -1):
        order = np.lexsort((sign * other, one))
        found[order] += _before(other[order])
    return found.astype(np.float64)


def _before(ranks: np.ndarray) -> np.ndarray:
    """Of each place, how many of the ranks before it are smaller, less how many are larger, (N,).

    Two ranks differ first at one bit, counted from the highest. Where they do, among those of the same higher bits (a block), the
    one with the 0 is smaller. Each step counts at one bit, then sorts every block by it.
    """
    bits = int(ranks.max(initial=0)).bit_length()
    smaller = np.concatenate([[0], np.cumsum(np.bincount(ranks, minlength=1 << bits))])  # than each number
    found, places, order = np.zeros(len(ranks), np.int64), np.arange(len(ranks)), np.arange(len(ranks))
    for bit in range(bits - 1, -1, -1):
        own = ranks[order]
        block, one = own >> (bit + 1) << (bit + 1), own >> bit & 1 == 1
        start = smaller[block]
        ones = np.cumsum(one) - one  # before each
        ones -= ones[start]  # in its block
        zeros = places - start - ones
        found[order] += np.where(one, zeros, -ones)
        sorted_by_bit = np.empty_like(order)
        sorted_by_bit[np.where(one, smaller[block + (1 << bit)] + ones, start + zeros)] = order
        order = sorted_by_bit
    return found
