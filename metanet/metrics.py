"""Metrics of predictions and their ceilings: functions of what is true and what was predicted alone."""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau


def r2(true: np.ndarray, predicted: np.ndarray) -> float:
    """``1 - sum (true - predicted)^2 / sum (true - mean)^2``; nan for a constant target.

    Examples:
        >>> import numpy as np
        >>> from metanet.metrics import r2
        >>> round(r2(np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.5, 0.8])), 4)
        0.9375
    """
    total = np.sum((true - true.mean()) ** 2)
    return float(1 - np.sum((true - predicted) ** 2) / total) if total > 0 else float("nan")


def tau(true: np.ndarray, predicted: np.ndarray) -> float:
    """Kendall's tau-b; 0 for a constant prediction, which ranks nothing.

    ``(P - Q) / sqrt((P + Q + T) (P + Q + U))`` of pairs in the same order P, in the other Q, tied in one alone T and U.

    Examples:
        >>> import numpy as np
        >>> from metanet.metrics import tau
        >>> round(tau(np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.8, 0.5])), 3)
        0.333
    """
    if len(true) < 2 or np.ptp(true) == 0:
        return float("nan")
    return 0.0 if np.ptp(predicted) == 0 else float(kendalltau(true, predicted).statistic)


def regression_metrics(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """r2, mse, mad (mean absolute deviation) and tau (Kendall b) of N predictions.

    Examples:
        >>> import numpy as np
        >>> from metanet.metrics import regression_metrics
        >>> found = regression_metrics(np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.5, 0.8]))
        >>> {name: round(value, 3) for name, value in found.items()}
        {'r2': 0.938, 'mse': 0.007, 'mad': 0.067, 'tau': 1.0}
    """
    error = predicted - true
    return {
        "r2": r2(true, predicted),
        "mse": float(np.mean(error**2)),
        "mad": float(np.mean(np.abs(error))),
        "tau": tau(true, predicted),
    }


def classification_metrics(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """accuracy, balanced_accuracy (mean recall of the classes present) and chance (share of the commonest class).

    Examples:
        >>> import numpy as np
        >>> from metanet.metrics import classification_metrics
        >>> classification_metrics(np.array(["adam", "adam", "sgd", "sgd"]), np.array(["adam", "adam", "adam", "sgd"]))
        {'accuracy': 0.75, 'balanced_accuracy': 0.75, 'chance': 0.5}
    """
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
    predictor of the true accuracy cannot be expected to rank better than a binomial re-draw does:
    ``mean of tau(accuracy, k / n_images), k ~ Binomial(n_images, accuracy)`` over ``rounds`` draws.

    Examples:
        >>> import numpy as np
        >>> from metanet.metrics import tau_ceiling
        >>> round(tau_ceiling(np.linspace(0.5, 0.9, 50), n_images=1000), 2)
        0.94
        >>> round(tau_ceiling(np.linspace(0.5, 0.9, 50), n_images=100_000), 2)
        1.0
    """
    rng = np.random.default_rng(seed)
    draws = rng.binomial(n_images, np.clip(accuracy, 0, 1), (rounds, len(accuracy))) / n_images
    return float(np.mean([tau(accuracy, draw) for draw in draws]))


def tau_ties(true: np.ndarray) -> float:
    """Tau-b of a perfect ranking without ties: sqrt(1 - tied pairs / pairs).

    Examples:
        >>> import numpy as np
        >>> from metanet.metrics import tau_ties
        >>> round(tau_ties(np.array([0.1, 0.1, 0.5, 0.9])), 3)
        0.913
    """
    _, counts = np.unique(true, return_counts=True)
    pairs = len(true) * (len(true) - 1) / 2
    return float(np.sqrt(1 - np.sum(counts * (counts - 1) / 2) / pairs)) if pairs else float("nan")


def trained(accuracy: np.ndarray, chance: float, n_images: int) -> np.ndarray:
    """Networks above the mode of failed ones: accuracy > chance + 3 standard errors; shape (N,) of bool.

    Examples:
        >>> import numpy as np
        >>> from metanet.metrics import trained
        >>> trained(np.array([0.10, 0.12, 0.60]), chance=0.1, n_images=1000).tolist()
        [False, False, True]
    """
    return accuracy > chance + 3 * np.sqrt(chance * (1 - chance) / n_images)


def r2_beyond(true: np.ndarray, predicted: np.ndarray, floor: np.ndarray) -> float:
    """Share of what a floor leaves unexplained that the prediction explains.

    ``1 - sum (true - predicted)^2 / sum (true - floor)^2``: 0 where it is as good as the floor, negative where it is worse. With
    the floor of all hyperparameters it is ``r2_beyond_hyper``.

    Examples:
        >>> import numpy as np
        >>> from metanet.metrics import r2_beyond
        >>> true, predicted, floor = np.array([[0.1, 0.5, 0.9], [0.1, 0.5, 0.8], [0.3, 0.5, 0.9]])
        >>> round(r2_beyond(true, predicted, floor), 3)
        0.75
    """
    left = np.sum((true - floor) ** 2)
    return float(1 - np.sum((true - predicted) ** 2) / left) if left > 0 else float("nan")
