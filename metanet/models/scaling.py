"""Columns of features brought to one scale, as networks and support vector machines need them."""

from __future__ import annotations

from typing import Any

import numpy as np


class Scaler:
    """Columns of mean 0 and standard deviation 1 in training; missing values become the mean.

    Args:
        squash: pass each value through asinh(x / median |x|) first: about linear for small values, logarithmic for large ones.
        clip: bound on what comes out, in standard deviations.
    """

    def __init__(self, squash: bool = False, clip: float | None = None) -> None:
        self.squash, self.clip = squash, clip
        self.size: np.ndarray
        self.center: np.ndarray
        self.spread: np.ndarray

    def fit(self, x: np.ndarray) -> Scaler:
        """Read sizes, means and spreads off the training part (N, F); columns without any spread are left as wide as they are."""
        if self.squash:
            size = np.nanmedian(np.abs(x), axis=0).astype(np.float64)
            self.size = np.where(size > 0, size, 1.0)
        squashed = self._squashed(x)
        self.center = np.asarray(np.nanmean(squashed, axis=0, dtype=np.float64))
        spread = np.asarray(np.nanstd(squashed, axis=0, dtype=np.float64))
        rounding = 100 * np.finfo(x.dtype).eps * np.abs(self.center)  # of the mean of equal values
        self.spread = np.where(spread > rounding, spread, 1.0)
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """(N, F) -> float32 (N, F)."""
        z = np.nan_to_num((self._squashed(x) - self.center) / self.spread)
        return (z if self.clip is None else np.clip(z, -self.clip, self.clip)).astype(np.float32)

    def _squashed(self, x: np.ndarray) -> np.ndarray:
        return np.arcsinh(x / self.size) if self.squash else x

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name).tolist() for name in self._fitted}

    @classmethod
    def from_json(cls, values: dict[str, Any], squash: bool = False, clip: float | None = None) -> Scaler:
        """The inverse of :meth:`to_json`, for the same settings."""
        own = cls(squash, clip)
        for name in own._fitted:
            setattr(own, name, np.array(values[name]))
        return own

    @property
    def _fitted(self) -> tuple[str, ...]:
        return ("size", "center", "spread") if self.squash else ("center", "spread")
