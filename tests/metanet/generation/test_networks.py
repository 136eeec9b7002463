from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from metanet.errors import MetanetError
from metanet.generation.dropout import DropoutNoise
from metanet.generation.networks import SmallCNN, StepNoise


def load(network: SmallCNN, vector: torch.Tensor, activation: str) -> torch.nn.Sequential:
    module = network.module(activation).double()
    module.load_state_dict(network.layout.unflatten(vector.detach().double()))
    return module


def test_the_paper_network_has_4970_weights() -> None:
    network = SmallCNN((28, 28, 1))
    assert network.layout.size == 4970
    assert [t.stop - t.start for t in network.layout.tensors] == [144, 16, 2304, 16, 2304, 16, 160, 10]
    assert sum(p.numel() for p in network.module("relu").parameters()) == 4970


def test_multiply_adds_are_those_counted_by_hand() -> None:
    """28x28: 13x13 x 16 x 9 + 6x6 x 16 x 144 + 2x2 x 16 x 144 + 16 x 10."""
    assert SmallCNN((28, 28, 1)).multiply_adds == 13 * 13 * 16 * 9 + 36 * 16 * 144 + 4 * 16 * 144 + 160 == 116_656


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(
    "network",
    [SmallCNN((16, 16, 1)), SmallCNN((28, 28, 1)), SmallCNN((32, 32, 3), num_units=8), SmallCNN((21, 17, 1), num_layers=2)],
    ids=["16", "28", "32x3", "21x17"],
)
def test_a_stack_equals_separate_torch_networks_forward_and_gradient(network: SmallCNN, activation: str) -> None:
    torch.manual_seed(0)
    count, batch = 3, 5
    weights = torch.randn(count, network.layout.size) * 0.2
    images, labels = torch.randn(batch, *network.input_shape), torch.randint(10, (batch,))
    stacked = weights.clone().requires_grad_()
    logits = network.logits(stacked, network.prepare(images), activation)
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(count), reduction="sum") / batch
    (gradient,) = torch.autograd.grad(loss, stacked)
    for k in range(count):
        module = load(network, weights[k], activation)
        expected = module(images.permute(0, 3, 1, 2).double())
        np.testing.assert_allclose(logits[k].detach(), expected.detach(), rtol=1e-4, atol=1e-5)
        functional.cross_entropy(expected, labels).backward()
        flat = network.layout.flatten({n: p.grad for n, p in module.named_parameters()})
        np.testing.assert_allclose(gradient[k], flat, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_dropout_drops_and_scales_as_torch_would_with_the_same_mask(activation: str) -> None:
    torch.manual_seed(0)
    network, count, batch = SmallCNN((16, 16, 1)), 3, 4
    weights = torch.randn(count, network.layout.size) * 0.2
    images, labels = torch.randn(batch, 16, 16, 1), torch.randint(10, (batch,))
    rates = np.array([0.0, 0.3, 0.6])
    noise = DropoutNoise(rates, np.array([1, 2, 3]))
    fields = [noise.field(5, i, 0, batch * units) for i, units in enumerate(network.units)]
    step = StepNoise(noise, fields, [noise.multipliers(5, i) for i in range(3)], slice(0, count))
    stacked = weights.clone().requires_grad_()
    logits = network.logits(stacked, network.prepare(images), activation, step)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(logits.flatten(0, 1), labels.repeat(count)), stacked)
    for k in range(count):
        module = load(network, weights[k], activation)
        hidden = images.permute(0, 3, 1, 2).double()
        for i in range(3):
            hidden = module[3 * i + 1](module[3 * i](hidden))
            keep = step.mask(i)[k].view(batch, *network.sizes[i + 1], 16).permute(0, 3, 1, 2) != 0
            hidden = hidden * keep / (1 - rates[k])
        expected = module.dense(hidden.mean((2, 3)))
        np.testing.assert_allclose(logits[k].detach(), expected.detach(), rtol=1e-4, atol=1e-5)
        (functional.cross_entropy(expected, labels) / count).backward()
        flat = network.layout.flatten({n: p.grad for n, p in module.named_parameters()})
        np.testing.assert_allclose(gradient[k], flat, rtol=2e-4, atol=1e-6)


def test_a_network_that_is_not_finite_leaves_the_others_alone() -> None:
    torch.manual_seed(0)
    network = SmallCNN((16, 16, 1))
    weights = torch.randn(3, network.layout.size)
    prepared = network.prepare(torch.randn(4, 16, 16, 1))
    clean = network.logits(weights, prepared, "relu")
    weights[1] = float("nan")
    broken = network.logits(weights, prepared, "relu")
    assert torch.equal(clean[[0, 2]], broken[[0, 2]])
    assert broken[1].isnan().all()


def test_mistakes_are_named() -> None:
    with pytest.raises(MetanetError, match="vanish"):
        SmallCNN((8, 8, 1))
    network = SmallCNN((16, 16, 1))
    with pytest.raises(MetanetError, match="no activation 'gelu'"):
        network.logits(torch.zeros(1, 4970), network.prepare(torch.zeros(1, 16, 16, 1)), "gelu")
