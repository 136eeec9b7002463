"""Early stopping on the validation accuracy, network by network (Eilertsen et al. 2020, supplement A.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

STATIONARY = 1e-8
SMOOTHING = 0.5


@dataclass(frozen=True)
class StoppingRules:
    """When training ends before its last epoch; 0 switches a rule off.

    Attributes:
        earliest: evaluations before any rule applies, the one before training included.
        decreases: lower than the evaluation before, so many times in a row (over-fitting).
        below_smoothed: lower than the smoothed evaluations before, so many times in all (noise).
        stationary: equal to the evaluation before, so many times in a row (stuck).
    """

    earliest: int = 20
    decreases: int = 5
    below_smoothed: int = 30
    stationary: int = 30


@dataclass
class EarlyStopping:
    """The rules' counters for K networks.

    Attributes:
        smoothed: v^ = .5 v + .5 v^, (K,).
    """

    rules: StoppingRules
    count: int
    evaluations: int = 0
    smoothed: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.smoothed = np.zeros(self.count)
        self._last = np.zeros(self.count)
        self._decreases, self._below, self._stationary = (np.zeros(self.count, np.int64) for _ in range(3))

    def update(self, accuracy: np.ndarray) -> np.ndarray:
        """Take one evaluation, (K,); returns which rule stops each network now, "" for none, (K,) text."""
        self.evaluations += 1
        if self.evaluations == 1:
            self.smoothed, self._last = accuracy.copy(), accuracy.copy()
        else:
            self._decreases = np.where(accuracy < self._last, self._decreases + 1, 0)
            self._stationary = np.where(np.abs(accuracy - self._last) < STATIONARY, self._stationary + 1, 0)
            self._below += accuracy < self.smoothed
            self.smoothed = SMOOTHING * accuracy + (1 - SMOOTHING) * self.smoothed
            self._last = accuracy.copy()
        reasons = np.full(self.count, "", dtype="<U16")
        if self.evaluations < self.rules.earliest:
            return reasons
        for name, counter in (("stationary", self._stationary), ("below_smoothed", self._below), ("decreases", self._decreases)):
            limit = getattr(self.rules, name)
            if limit:
                reasons[counter >= limit] = name
        return reasons
