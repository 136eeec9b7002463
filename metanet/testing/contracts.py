"""How a check says what was broken, and zoos that differ in what must not matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.zoo import View

TOLERANCE = 1e-4  # of the largest value, where the order of additions may differ


def require(holds: Any, who: str, contract: str) -> None:
    """Refuse with whom and what, unless it holds.

    Raises:
        AssertionError: it does not.
    """
    if not holds:
        raise AssertionError(f"{who}: {contract}")


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether arrays agree but for rounding."""
    size = max(float(np.nanmax(np.abs(b), initial=0.0)), 1e-12)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=TOLERANCE * size, equal_nan=True))


def with_column(view: View, column: str, values: Sequence[Any] | np.ndarray) -> View:
    """The same networks with other values in a column: a zoo in memory, rows as in ``view``."""
    layouts = [view.zoo.layouts[i] for i in view.frame["layout_id"]]
    frame = view.frame.assign(**{column: values})
    return zoo_from_arrays(list(view.vectors()), layouts, frame, view.zoo.name, view.zoo.header).view(epoch="all", status=None)
