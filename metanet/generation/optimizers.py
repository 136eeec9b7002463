"""Optimizers for K stacked networks, each with its own rule and learning rate.

torch.optim has no learning rate per network. These rules are torch.optim's formulas, vectorised over the
rows of one (K, D) parameter, with the constants that Keras uses by default or with those of a recipe. Networks that share a
rule must be neighbours, so that each rule works on one slice without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from metanet.errors import MetanetError, did_you_mean

State = dict[str, Tensor]


def _sgd(weights: Tensor, grad: Tensor, rate: Tensor, _state: State, _step: int) -> None:
    weights.addcmul_(grad, rate, value=-1)


def _momentum(weights: Tensor, grad: Tensor, rate: Tensor, state: State, _step: int, mu: float = 0.9) -> None:
    state["velocity"].mul_(mu).add_(grad)
    weights.addcmul_(state["velocity"], rate, value=-1)


def _adam(
    weights: Tensor,
    grad: Tensor,
    rate: Tensor,
    state: State,
    step: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-7,
) -> None:
    mean = state["mean"].lerp_(grad, 1 - beta1)
    square = state["square"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    root = square.sqrt().div_(math.sqrt(1 - beta2**step)).add_(eps)
    weights.addcdiv_(mean * rate, root, value=-1 / (1 - beta1**step))


def _rmsprop(weights: Tensor, grad: Tensor, rate: Tensor, state: State, _step: int, rho: float = 0.9, eps: float = 1e-7) -> None:
    square = state["square"].mul_(rho).addcmul_(grad, grad, value=1 - rho)
    weights.addcdiv_(grad * rate, square.sqrt().add_(eps), value=-1)


def _rmsprop_tf(
    weights: Tensor, grad: Tensor, rate: Tensor, state: State, _step: int, rho: float = 0.9, eps: float = 1e-10
) -> None:
    square = state["square"].mul_(rho).addcmul_(grad, grad, value=1 - rho)
    weights.addcdiv_(grad * rate, square.add(eps).sqrt_(), value=-1)


# Each rule, and what its state begins with. rmsprop_tf is TensorFlow 1's: the mean square begins at one, eps under the root.
RULES: dict[str, tuple[Callable[..., None], dict[str, float]]] = {
    "sgd": (_sgd, {}),
    "momentum": (_momentum, {"velocity": 0.0}),
    "adam": (_adam, {"mean": 0.0, "square": 0.0}),
    "rmsprop": (_rmsprop, {"square": 0.0}),
    "rmsprop_tf": (_rmsprop_tf, {"square": 1.0}),
}


class StackedOptimizer(torch.optim.Optimizer):
    """One optimizer step for K networks at once.

    Args:
        weights: parameter of shape (K, D).
        rules: the rule of each network, K names of :data:`RULES`, equal ones side by side.
        learning_rates: shape (K,).
        constants: by rule, those that differ from Keras' defaults.

    Raises:
        MetanetError: there is no such optimizer.
        ValueError: networks of one optimizer are not neighbours.
    """

    def __init__(
        self,
        weights: torch.nn.Parameter,
        rules: Sequence[str],
        learning_rates: Tensor,
        constants: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.constants = constants or {}
        for rule in rules:
            if rule not in RULES:
                raise MetanetError(f"no optimizer '{rule}'{did_you_mean(rule, RULES)}")
        self.slices: list[tuple[str, slice]] = []
        start = 0
        for rule, run in groupby(rules):
            stop = start + len(list(run))
            if any(rule == other for other, _ in self.slices):
                raise ValueError(f"networks with optimizer '{rule}' are not neighbours; sort the group by optimizer")
            self.slices.append((rule, slice(start, stop)))
            start = stop
        self.rates = learning_rates.to(weights).unsqueeze(1)
        super().__init__([weights], {"lr": float(learning_rates.mean())})
        self.states: list[State] = [
            {name: torch.full_like(weights[part], value) for name, value in RULES[rule][1].items()} for rule, part in self.slices
        ]
        self.steps = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Apply the gradient in ``weights.grad``."""
        loss = None if closure is None else closure()
        (weights,) = self.param_groups[0]["params"]
        self.steps += 1
        for (rule, part), state in zip(self.slices, self.states, strict=True):
            RULES[rule][0](weights[part], weights.grad[part], self.rates[part], state, self.steps, **self.constants.get(rule, {}))
        return loss
