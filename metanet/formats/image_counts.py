"""On how many images measured accuracies rest: they are counts of right answers."""

from __future__ import annotations

import numpy as np

MOST_IMAGES = 30_000  # of a test set that is looked for
_ROUNDED = 1e-6  # what the decimals of a file may cost an accuracy
_SAMPLE = 200  # accuracies that are tried first


def are_counts(accuracies: np.ndarray, n: int) -> bool:
    """Whether accuracies can be so many right answers of ``n`` images."""
    right = accuracies[np.isfinite(accuracies)] * n
    return bool((np.abs(right - np.round(right)) < _ROUNDED * n).all())


def images_of(accuracies: np.ndarray) -> int | None:
    """The least number of images that accuracies (N,) can be counts of; None where there is none up to MOST_IMAGES.

    >>> images_of(np.array([0.25, 0.6, 0.75]))
    20
    """
    distinct = np.unique(accuracies[np.isfinite(accuracies)])
    some = distinct[:: max(1, len(distinct) // _SAMPLE)]
    return next((n for n in range(1, MOST_IMAGES + 1) if are_counts(some, n) and are_counts(distinct, n)), None)
