"""Logit-linear model: sigmoid(w x + b) by mini-batch descent (Unterthiner et al. 2020, section 4.2)."""

from __future__ import annotations

from typing import Any, ClassVar

from metanet.constraints import Positive
from metanet.distributions import Distribution
from metanet.models.dnn import DNN


class LogitLinear(DNN):
    """The network without a hidden layer; for categories a multinomial logistic regression.

    Args:
        learning_rate: of the optimizer; the other settings are those of :class:`metanet.models.dnn.DNN`.
    """

    name = "logit_linear"
    fixed: ClassVar[dict[str, Any]] = {"layers": 0, "units": 1, "dropout": 0.0}

    @classmethod
    def space(cls, columns: int) -> dict[str, Distribution]:
        """That of the network, without what it fixes (Supplement A.4)."""
        return {key: distribution for key, distribution in super().space(columns).items() if key not in cls.fixed}

    def __init__(self, learning_rate: Positive = 1e-2, **settings: Any) -> None:
        super().__init__(learning_rate=learning_rate, **self.fixed, **settings)
