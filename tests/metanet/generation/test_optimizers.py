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
    assert {*TORCH, "rmsprop_tf"} == set(RULES)


def test_rmsprop_as_tensorflow_1_has_it() -> None:
    """Its update written out in numpy: the mean square begins at one, and eps stands under the root."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(2, 9)), rng.normal(size=(6, 2, 9))
    weights = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = StackedOptimizer(weights, ["rmsprop_tf"] * 2, torch.tensor([1e-2, 3e-2], dtype=torch.float64))
    square, expected = np.ones((2, 9)), start
    for gradient in gradients:
        weights.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        expected = expected - np.array([[1e-2], [3e-2]]) * gradient / np.sqrt(square + 1e-10)
    np.testing.assert_allclose(weights.detach(), expected, rtol=1e-12)


def test_constants_of_a_recipe_take_the_place_of_keras() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(1, 12, dtype=torch.float64), torch.randn(5, 1, 12, dtype=torch.float64)
    constants = {"adam": {"eps": 1e-2, "beta2": 0.9}, "momentum": {"mu": 0.95}}
    references = {
        "adam": lambda p: torch.optim.Adam(p, 1e-2, betas=(0.9, 0.9), eps=1e-2),
        "momentum": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.95),
    }
    for rule, make in references.items():
        ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
        optimizer, reference = StackedOptimizer(ours, [rule], torch.tensor([1e-2]), constants), make([theirs])
        for gradient in gradients:
            ours.grad, theirs.grad = gradient.clone(), gradient.clone()
            optimizer.step()
            reference.step()
        np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-7)


@pytest.mark.parametrize("rule", sorted(TORCH))
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
