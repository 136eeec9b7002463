"""Sentences of the papers that a study checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Claim:
    """A sentence that says where a number lies, beside the 95 % interval that was found for it.

    Attributes:
        text: the sentence; empty where none was made and only what was found is shown.
        low, high: the interval; NaN where it cannot be had, None where the number was not measured.
        above, below: where the sentence says that the number lies.
        shown: what was found, as columns of a table.
    """

    text: str
    low: float | None = None
    high: float | None = None
    above: float = 0.0
    below: float = np.inf
    shown: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def alike(cls, text: str, low: float, high: float, within: float, shown: Mapping[str, object]) -> Claim:
        """That a difference is smaller than ``within``, whatever its sign."""
        return cls(text, low, high, -within, within, shown)

    @property
    def verdict(self) -> str:
        """``holds`` where the whole interval lies where the sentence says, ``does not hold`` where none of it does, else ``not
        shown``.
        """
        if not self.text:
            return "-"
        if self.low is None or self.high is None:
            return "not measured"
        if self.low > self.above and self.high < self.below:
            return "holds"
        return "does not hold" if self.high < self.above or self.low > self.below else "not shown"

    def row(self, **before: object) -> dict[str, object]:
        """A row of a table: the columns ``before`` (of which zoo, say), the sentence, what was found, the verdict."""
        return {**before, "claim": self.text or "-", **self.shown, "verdict": self.verdict}
