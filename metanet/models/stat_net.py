"""The field's StatNN: a fully connected network on weight statistics, trained as such networks are today.

Unterthiner et al. 2020's statistics and network; cross-entropy, a one-cycle schedule and an average of the weights are later
practice, and so is the neural tangent parametrisation (Jacot et al. 2018), which RealMLP (Holzmüller et al. 2024) found to
suit tables.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from metanet.constraints import Between, Count, NotNegative, OneOf, Positive
from metanet.distributions import Distribution
from metanet.errors import MetanetError
from metanet.features.unions import FeatureMap
from metanet.models.dnn import DNN, Optimizer
from metanet.models.losses import Epoch, ShareLoss
from metanet.zoo.zoo import View


class TangentLinear(nn.Linear):
    """x W^T / sqrt(in) + b, with W and b drawn from a standard normal distribution.

    The optimizer's step then does not shrink with the width, and biases move as fast as kernels do. (B, in) -> (B, out).
    """

    def reset_parameters(self) -> None:
        """Draw kernel and bias."""
        nn.init.normal_(self.weight)
        nn.init.normal_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight / sqrt(self.in_features), self.bias)


class StatNet(DNN):
    """Three layers of 256 on squashed inputs: cross-entropy for shares, AdamW, one cycle, averaged weights.

    The learning rate rises to its full height in the first 30 % of ``max_epochs``, then falls along a cosine (Smith and Topin
    2018); the validation part chooses an epoch of that cycle.

    Args:
        ema: decay a step of the exponential moving average of the weights that predicts; None for the weights themselves.
        squash: take asinh(x / median |x|) of each input before it is standardised: about linear for small values, logarithmic
            for large ones.
        parametrisation: ``standard``, or ``ntk``: layers are :class:`TangentLinear`, the last of them 0 at the start; it takes
            a learning rate about ten times as high.
        epoch: ``best`` on the validation part, or ``last``: nothing is chosen, and the validation part is learned from too.
        loss: for accuracies ``mse`` or ``cross_entropy``.
        learning_rate: its height in the cycle.
        max_epochs: of the cycle; the validation part chooses one of them.

    Raises:
        MetanetError: ``w_init`` is given beside a parametrisation that draws its own.
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
        ema: Between | None = 0.99,
        squash: bool = True,
        loss: ShareLoss = "cross_entropy",
        optimizer: Optimizer = "adamw",
        learning_rate: Positive = 3e-3,
        l2: NotNegative = 1e-2,
        max_epochs: Count = 100,
        parametrisation: Annotated[str, OneOf("standard", "ntk")] = "standard",
        epoch: Epoch = "best",
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
        if parametrisation == "ntk" and self.w_init != "default":
            raise MetanetError(f"model.w_init={self.w_init} goes with model.parametrisation=standard; ntk draws its own")
        self.ema, self.squash, self.parametrisation, self.epoch = ema, squash, parametrisation, epoch
        self.chooses = epoch == "best"
        if parametrisation == "ntk":
            self.linear = TangentLinear

    def fit(self, train: View, target: str = "test_accuracy", validation: View | None = None) -> StatNet:
        if self.chooses:
            super().fit(train, target, validation)
            return self
        whole = train if validation is None else train.union(validation)
        self.choose_target(whole, target)
        self.map = FeatureMap(self.features, self.threads).fit(whole, target)
        self.fit_features(self.map.transform(whole), self.target.encode(whole))
        return self

    def _network(self, inputs: int) -> nn.Sequential:
        network = super()._network(inputs)
        if self.parametrisation == "ntk":  # the first predictions are the mean of all
            nn.init.zeros_(network[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(network[-1].bias)  # type: ignore[arg-type]
        return network
