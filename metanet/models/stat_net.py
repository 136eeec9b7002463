"""The field's StatNN: a fully connected network on weight statistics, trained as such networks are today.

Unterthiner et al. 2020's statistics and network; cross-entropy, a one-cycle schedule and an average of the weights are later
practice.
"""

from __future__ import annotations

from typing import Any, ClassVar

from metanet.distributions import Distribution
from metanet.errors import MetanetError
from metanet.models.dnn import DNN


class StatNet(DNN):
    """Three layers of 256 on squashed inputs: cross-entropy for shares, AdamW, one cycle, averaged weights.

    The learning rate rises to its full height in the first 30 % of ``max_epochs``, then falls along a cosine (Smith and Topin
    2018); the validation part chooses an epoch of that cycle.

    Args:
        ema: decay a step of the exponential moving average of the weights that predicts; None for the weights themselves.
        squash: take asinh(x / median |x|) of each input before it is standardised: about linear for small values, logarithmic
            for large ones.
        loss, optimizer, learning_rate, l2, max_epochs: of :class:`DNN`, as its other settings are.
    """

    name = "stat_net"
    one_cycle: ClassVar[bool] = True
    fixed: ClassVar[dict[str, Any]] = {"patience": 1_000_000}

    @classmethod
    def space(cls, columns: int) -> dict[str, Distribution]:
        """Widths, regularisation and pace about the defaults."""
        return {
            "layers": {"integer": [2, 4]},
            "units": [128, 256, 512],
            "dropout": {"uniform": [0.0, 0.3]},
            "l2": {"log_uniform": [1e-4, 1e-1]},
            "learning_rate": {"log_uniform": [5e-4, 1e-2]},
            "max_epochs": [50, 100, 200],
        }

    def __init__(
        self,
        ema: float | None = 0.99,
        squash: bool = True,
        loss: str = "cross_entropy",
        optimizer: str = "adamw",
        learning_rate: float = 3e-3,
        l2: float = 1e-2,
        max_epochs: int = 100,
        **base: Any,
    ) -> None:
        settings: dict[str, Any] = {
            "loss": loss,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "l2": l2,
            "max_epochs": max_epochs,
        }
        super().__init__(**settings, **self.fixed, **base)
        if ema is not None and not 0 < ema < 1:
            raise MetanetError(f"model.ema={ema}: give a decay between 0 and 1 such as 0.99, or null")
        self.ema, self.squash = ema, squash
