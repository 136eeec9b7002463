"""Metrics of predictions and their ceilings: functions of what is true and what was predicted alone."""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau


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
    classes, counts = np.unique(true, return_counts=True)
    right = true == predicted
    return {
        "accuracy": float(np.mean(right)),
        "balanced_accuracy": float(np.mean([np.mean(right[true == c]) for c in classes])),
        "chance": float(counts.max() / counts.sum()),
    }


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


def r2_beyond(true: np.ndarray, predicted: np.ndarray, floor: np.ndarray) -> float:
    """Share of what a floor leaves unexplained that the prediction explains: 1 - SSE / SSE(floor)."""
    left = np.sum((true - floor) ** 2)
    return float(1 - np.sum((true - predicted) ** 2) / left) if left > 0 else float("nan")
