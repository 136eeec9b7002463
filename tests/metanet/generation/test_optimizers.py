from __future__ import annotations

import numpy as np
import pytest
import torch

from metanet.errors import MetanetError
from metanet.generation.optimizers import RULES, StackedOptimizer

RATES = torch.tensor([0.5e-3, 1e-2, 5e-2])
TORCH = {
    "sgd": lambda p, rate: torch.optim.SGD(p, rate),
    "momentum": lambda p, rate: torch.optim.SGD(p, rate, momentum=0.9),
    "adam": lambda p, rate: torch.optim.Adam(p, rate, betas=(0.9, 0.999), eps=1e-7),
    "rmsprop": lambda p, rate: torch.optim.RMSprop(p, rate, alpha=0.9, eps=1e-7),
}


def test_every_rule_has_a_reference() -> None:
    assert set(TORCH) == set(RULES)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_each_network_steps_as_torch_optim_would(rule: str) -> None:
    """Twenty steps in float64 on a quartic bowl with noise; each network beside its own torch optimizer."""
    torch.manual_seed(0)
    start = torch.randn(3, 40, dtype=torch.float64)
    noise = torch.randn(20, 3, 40, dtype=torch.float64)
    stacked = torch.nn.Parameter(start.clone())
    optimizer = StackedOptimizer(stacked, [rule] * 3, RATES.double())
    single = [torch.nn.Parameter(start[k].clone()) for k in range(3)]
    references = [TORCH[rule]([single[k]], float(RATES[k])) for k in range(3)]
    for step in range(20):
        stacked.grad = stacked.detach() ** 3 + noise[step]
        optimizer.step()
        for k in range(3):
            single[k].grad = single[k].detach() ** 3 + noise[step, k]
            references[k].step()
    for k in range(3):
        np.testing.assert_allclose(stacked[k].detach(), single[k].detach(), rtol=1e-6, atol=1e-8)
        assert not torch.equal(stacked[k].detach(), start[k])


def test_a_group_of_mixed_rules_equals_each_alone() -> None:
    torch.manual_seed(1)
    rules = ["adam", "adam", "rmsprop", "sgd"]
    rates = torch.tensor([1e-3, 1e-2, 1e-2, 1e-1])
    start, gradients = torch.randn(4, 10), torch.randn(5, 4, 10)
    together = torch.nn.Parameter(start.clone())
    optimizer = StackedOptimizer(together, rules, rates)
    for gradient in gradients:
        together.grad = gradient.clone()
        optimizer.step()
    for k, rule in enumerate(rules):
        alone = torch.nn.Parameter(start[k : k + 1].clone())
        own = StackedOptimizer(alone, [rule], rates[k : k + 1])
        for gradient in gradients:
            alone.grad = gradient[k : k + 1].clone()
            own.step()
        assert torch.equal(alone[0], together[k])


def test_mistakes_are_named() -> None:
    weights = torch.nn.Parameter(torch.zeros(3, 2))
    with pytest.raises(MetanetError, match="did you mean 'adam'"):
        StackedOptimizer(weights, ["adm"] * 3, torch.ones(3))
    with pytest.raises(ValueError, match="not neighbours"):
        StackedOptimizer(weights, ["sgd", "adam", "sgd"], torch.ones(3))
