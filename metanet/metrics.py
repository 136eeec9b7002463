"""Metrics of predictions, their ceilings and their bootstrap intervals. Resampling is over networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.stats import kendalltau
from sklearn.metrics import balanced_accuracy_score

BOOTSTRAP_ROUNDS = 1000
BOOTSTRAP_TAU_ROUNDS = 200


def r2(true: np.ndarray, predicted: np.ndarray) -> float:
    """1 - residual sum of squares / total sum of squares; nan for a constant target."""
    total = np.sum((true - true.mean()) ** 2)
    return float(1 - np.sum((true - predicted) ** 2) / total) if total > 0 else float("nan")


def tau(true: np.ndarray, predicted: np.ndarray) -> float:
    """Kendall's tau-b; 0 for a constant prediction, which ranks nothing."""
    if len(true) < 2 or np.ptp(true) == 0:
        return float("nan")
    return 0.0 if np.ptp(predicted) == 0 else float(kendalltau(true, predicted).statistic)


def regression_metrics(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """r2, mse, mad (mean absolute deviation) and tau (Kendall b) of N predictions."""
    error = predicted - true
    return {
        "r2": r2(true, predicted),
        "mse": float(np.mean(error**2)),
        "mad": float(np.mean(np.abs(error))),
        "tau": tau(true, predicted),
    }


def classification_metrics(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """accuracy, balanced_accuracy (mean recall of the classes present) and chance (share of the commonest class)."""
    _, counts = np.unique(true, return_counts=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        balanced = balanced_accuracy_score(true, predicted)
    return {
        "accuracy": float(np.mean(true == predicted)),
        "balanced_accuracy": float(balanced),
        "chance": float(counts.max() / counts.sum()),
    }


def balanced_accuracy_interval(true: np.ndarray, predicted: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean recall of the classes present with its 95 % interval; one row a network.

    The recalls are drawn from their posteriors under Jeffreys' prior, Beta(k + 1/2, n - k + 1/2), so that a class of one
    network, or one that is all right, is uncertain too. The interval holds the mean recall itself, also where that is 0 or 1.
    """
    recalls, counts = zip(*(((predicted[true == c] == c).mean(), (true == c).sum()) for c in np.unique(true)), strict=True)
    rng = np.random.default_rng(seed)
    right = [round(share * n) for share, n in zip(recalls, counts, strict=True)]
    draws = np.mean([rng.beta(k + 0.5, n - k + 0.5, BOOTSTRAP_ROUNDS) for k, n in zip(right, counts, strict=True)], axis=0)
    mean, (low, high) = float(np.mean(recalls)), np.percentile(draws, [2.5, 97.5])
    return mean, min(mean, float(low)), max(mean, float(high))


def tau_ceiling(accuracy: np.ndarray, n_images: int, seed: int = 0, rounds: int = 20) -> float:
    """Tau of measured accuracies against a second measurement on as many images.

    Accuracies are measured on ``n_images`` images, so two measurements of one network differ; a
    predictor of the true accuracy cannot be expected to rank better than a binomial re-draw does.
    """
    rng = np.random.default_rng(seed)
    draws = rng.binomial(n_images, np.clip(accuracy, 0, 1), (rounds, len(accuracy))) / n_images
    return float(np.mean([tau(accuracy, draw) for draw in draws]))


def tau_ties(true: np.ndarray) -> float:
    """Tau-b of a perfect ranking without ties: sqrt(1 - tied pairs / pairs)."""
    _, counts = np.unique(true, return_counts=True)
    pairs = len(true) * (len(true) - 1) / 2
    return float(np.sqrt(1 - np.sum(counts * (counts - 1) / 2) / pairs)) if pairs else float("nan")


def trained(accuracy: np.ndarray, chance: float, n_images: int) -> np.ndarray:
    """Networks above the mode of failed ones: accuracy > chance + 3 standard errors; shape (N,) of bool."""
    return accuracy > chance + 3 * np.sqrt(chance * (1 - chance) / n_images)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float], networks: np.ndarray, rounds: int = BOOTSTRAP_ROUNDS, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of row indices; networks are resampled with replacement.

    Args:
        statistic: of an array of row indices.
        networks: the network of each row, shape (N,); all rows of a drawn network come with it.
        rounds: number of resamples.
    """
    rng = np.random.default_rng(seed)
    names, of_row = np.unique(networks.astype(str), return_inverse=True)
    order = np.argsort(of_row, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(of_row))[:-1])
    one_row_each = len(names) == len(networks)
    values = []
    for _ in range(rounds):
        drawn = rng.integers(0, len(names), len(names))
        values.append(statistic(order[drawn] if one_row_each else np.concatenate([rows[i] for i in drawn])))
    return percentiles(np.array(values))


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of those that are finite; nan where none is."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (np.nan, np.nan)
    return float(low), float(high)


def r2_difference_interval(
    true: np.ndarray, predicted: np.ndarray, other: np.ndarray, networks: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of R2(predicted) - R2(other), both on the same resampled networks; above 0 is "better"."""
    return bootstrap_interval(lambda rows: r2(true[rows], predicted[rows]) - r2(true[rows], other[rows]), networks, seed=seed)


def tau_interval(true: np.ndarray, predicted: np.ndarray, networks: np.ndarray) -> tuple[float, float]:
    """95 % interval of Kendall's tau over networks."""
    return bootstrap_interval(lambda rows: tau(true[rows], predicted[rows]), networks, BOOTSTRAP_TAU_ROUNDS)


def r2_beyond(true: np.ndarray, predicted: np.ndarray, floor: np.ndarray) -> float:
    """Share of what a floor leaves unexplained that the prediction explains: 1 - SSE / SSE(floor)."""
    left = np.sum((true - floor) ** 2)
    return float(1 - np.sum((true - predicted) ** 2) / left) if left > 0 else float("nan")
