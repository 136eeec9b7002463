"""Logit-linear model: sigmoid(w x + b) by mini-batch descent (Unterthiner et al. 2020, section 4.2)."""

from __future__ import annotations

from typing import Any, ClassVar

from metanet.models.dnn import DNN


class LogitLinear(DNN):
    """The network without a hidden layer; for categories a multinomial logistic regression.

    Args:
        learning_rate: of the optimizer; the other settings are those of :class:`metanet.models.dnn.DNN`.
    """

    name = "logit_linear"
    fixed: ClassVar[dict[str, Any]] = {"layers": 0, "units": 1, "dropout": 0.0}

    def __init__(self, learning_rate: float = 1e-2, **settings: Any) -> None:
        super().__init__(learning_rate=learning_rate, **self.fixed, **settings)
