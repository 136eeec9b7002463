"""Intervals of 95 % of a score over other test networks.

Of a number a t interval of the jackknife's standard error (:mod:`metanet.evaluation.resampling`), on a scale on which its error
is even; of a share Clopper and Pearson's limits at the effective number of units, class by class. How often they hold is measured
by ``scripts/simulate_intervals.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import special

from metanet.evaluation.resampling import Resamples, score_of
from metanet.runs.records import Answers

ERROR = 0.05  # of an interval

Scale = Callable[[np.ndarray], np.ndarray]

# Of measures whose errors are uneven near an end: to a scale on which they are not, and back.
SCALES: Mapping[str, tuple[Scale, Scale]] = {
    "r2": (lambda r2: -np.log1p(-r2), lambda z: -np.expm1(-z)),  # the unexplained share by its logarithm
    "tau": (lambda tau: np.arcsin(np.clip(tau, -1, 1)), lambda z: np.sin(np.clip(z, -np.pi / 2, np.pi / 2))),
    "mse": (np.log, np.exp),
    "mad": (np.log, np.exp),
}
SHARES = ("accuracy", "balanced_accuracy")


def standard_error(without: np.ndarray) -> np.ndarray:
    """The jackknife's, of scores without each unit (U, ...): of those that are finite; nan of fewer than two.

    ``sqrt((U - 1) / U * sum_u (score_u - mean)^2)``.
    """
    finite = np.isfinite(without)
    count, kept = finite.sum(0), np.where(finite, without, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(finite, (kept - kept.sum(0) / count) ** 2, 0).sum(0)
        return np.where(count > 1, np.sqrt((count - 1) / count * squares), np.nan)


def quantile(level: float, freedom: float) -> float:
    """What Student's |t| exceeds with probability ``level``; nan without a degree of freedom."""
    return -float(special.stdtrit(freedom, level / 2)) if freedom > 0 else float("nan")


def margin(without: np.ndarray, level: float = ERROR) -> np.ndarray:
    """Half of a t interval that misses with probability ``level``, of scores or differences without each unit (U, ...).

    ``t(1 - level / 2; U - 1)`` times :func:`standard_error`.
    """
    return quantile(level, len(without) - 1) * standard_error(without)


def score_interval(answers: Sequence[Answers], measure: str) -> tuple[float, float]:
    """Of the mean score of some runs of one model: :func:`number_interval`, of shares :func:`mean_share`.

    Args:
        measure: r2, tau, mse, mad, accuracy or balanced_accuracy.

    Examples:
        >>> import numpy as np
        >>> from metanet.runs.records import Answers
        >>> from metanet.evaluation.intervals import score_interval
        >>> true = np.linspace(0, 1, 50)
        >>> answers = Answers(np.arange(50), true, true + 0.1 * np.sin(np.arange(50)))
        >>> [round(end, 3) for end in score_interval([answers], "r2")]
        [0.919, 0.959]
    """
    if measure in SHARES:
        return _share_interval(answers, measure)
    resamples = Resamples(np.unique(np.concatenate([a.units for a in answers])))
    point = float(np.mean([score_of(a, measure) for a in answers]))
    low, high = number_interval(point, resamples.scores(answers, measure).mean(0), measure)
    return float(low), float(high)


def number_interval(point: np.ndarray | float, without: np.ndarray, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Of scores (...) that are no shares, given the scores without each unit (U, ...).

    ``back(forward(score) -+ margin)`` on the scale of :data:`SCALES` on which the error is even.
    """
    forward, back = SCALES[measure]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        middle = forward(np.asarray(point, np.float64))
        half = margin(forward(without))
        ends = back(middle - half), back(middle + half)
    sure = standard_error(without) == 0  # no unit changes it: a perfect score, whose logarithm is not finite
    low, high = (np.where(sure, point, end) for end in ends)
    return low, high


def _share_interval(answers: Sequence[Answers], measure: str) -> tuple[float, float]:
    true, predicted, units = (np.concatenate([getattr(a, name) for a in answers]) for name in ("true", "predicted", "units"))
    of_class = np.zeros(len(true)) if measure == "accuracy" else np.unique(true.astype(str), return_inverse=True)[1]
    rights, counts = [], []
    for kind in np.unique(of_class):
        own = of_class == kind
        _, unit, count = np.unique(units[own], return_inverse=True, return_counts=True)
        rights.append(np.bincount(unit, true[own] == predicted[own]))
        counts.append(count)
    middle, low, high = mean_share(rights, counts)
    moved = np.mean([score_of(a, measure) for a in answers]) - middle  # 0 of one run
    return float(np.clip(low + moved, 0, 1)), float(np.clip(high + moved, 0, 1))


def mean_share(rights: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean over classes of the share that is right, and its ends: each class's, put together square to square (MOVER; Zou,
    Huang and Zhang 2009): ``mean - sqrt(sum_c (share_c - low_c)^2) / C`` to ``mean + sqrt(sum_c (high_c - share_c)^2) / C``.

    A class of a few units that are all right is uncertain below, and adds nothing above.

    Args:
        rights: of each class the rows of each unit that are right, (U, ...).
        counts: of each class the rows of each unit, (U,).
    """
    shares = np.stack([right.sum(0) / count.sum() for right, count in zip(rights, counts, strict=True)])
    limits = [share_limits(right, count) for right, count in zip(rights, counts, strict=True)]
    low, high = (np.stack(ends) for ends in zip(*limits, strict=True))
    below, above = (np.sqrt(((shares - ends) ** 2).sum(0)) / len(shares) for ends in (low, high))
    return shares.mean(0), shares.mean(0) - below, shares.mean(0) + above


def share_limits(right: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clopper and Pearson's limits (1934) of the share of rows that are right, at the effective number of units.

    ``beta(level / 2; k, m - k + 1)`` to ``beta(1 - level / 2; k + 1, m - k)`` for the share k / m. The effective number m
    is the number of units where each is right or wrong altogether, and more where they differ less than that. One unit more,
    right or wrong altogether, is counted among them: a few that agree by chance stay few.

    Args:
        right: rows of each unit that are right, (U, ...).
        count: rows of each unit, (U,).

    Examples:
        >>> import numpy as np
        >>> from metanet.evaluation.intervals import share_limits
        >>> low, high = share_limits(np.repeat([1, 0], [18, 2]), np.ones(20, int))  # 18 of 20 networks are right
        >>> round(float(low), 3), round(float(high), 3)
        (0.683, 0.988)
    """
    units, rows = len(count), count.sum()
    share = np.asarray(right.sum(0) / rows)
    whole = share * (1 - share)  # the variance of units that are right or wrong altogether
    residuals = (right - np.multiply.outer(count, share)) * units / rows
    between = np.divide((residuals**2).mean(0), whole, out=np.ones_like(whole), where=whole > 1e-12)
    effective = units * (units + 1) / (units * between + 1)
    hits = share * effective
    with np.errstate(invalid="ignore"):  # beta of no miss and of no hit
        low = np.where(share > 1e-12, special.betaincinv(hits, effective - hits + 1, ERROR / 2), 0)
        high = np.where(share < 1 - 1e-12, special.betainccinv(hits + 1, effective - hits, ERROR / 2), 1)
    return low, high
