"""What all imports share: a new folder, nothing left behind of one that failed, and on how many images accuracies rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from metanet.errors import MetanetError

MOST_IMAGES = 30_000  # of a test set that is looked for
_ROUNDED = 1e-6  # what the decimals of a file may cost an accuracy
_SAMPLE = 200  # accuracies that are tried first


def check_new(out: Path) -> None:
    """Refuse a folder that holds anything."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MetanetError(f"out='{out}' is not empty; give a new folder for the zoo")


@contextmanager
def importing(source: Path, out: Path) -> Iterator[None]:
    """Make ``out``; after an error remove the weights that were written there, for what is half there is of no use."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        _clean(out)
        raise MetanetError(f"import of '{source}' into '{out}' failed: {error.strerror or error}") from None
    except BaseException:
        _clean(out)
        raise


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


def _clean(out: Path) -> None:
    for path in [*out.glob("weights-*.npy"), *out.glob("weights-*.npy.tmp")]:
        path.unlink()
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
