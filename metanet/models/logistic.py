"""Multinomial logistic regression, by scikit-learn; at chance in Eilertsen et al. 2020 (section 5.1) on the 16 measures."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.linear_model import LogisticRegression

from metanet.constraints import Positive
from metanet.distributions import Distribution
from metanet.models.svm import LinearScores


class Logistic(LinearScores):
    """Tells categories apart; for numbers there is :class:`metanet.models.logit_linear.LogitLinear`.

    Args:
        C: inverse of the strength of the l2 penalty.
    """

    name = "logistic"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    @classmethod
    def space(cls, columns: int) -> dict[str, Distribution]:
        """The penalty."""
        return {"C": {"log_uniform": [1e-4, 1e2]}}

    def __init__(self, C: Positive = 1.0, **base: Any) -> None:  # noqa: N803
        super().__init__(**base)
        self.C = C

    def fit_scores(self, x: np.ndarray, y: np.ndarray) -> Any:
        return LogisticRegression(C=self.C, class_weight="balanced", max_iter=2_000).fit(x, y)
