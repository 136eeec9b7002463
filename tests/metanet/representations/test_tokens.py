"""Tokens: every value of a vector once, in its neuron's row."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from metanet.generation.nws import NWSNetwork
from metanet.generation.resnet import ResNetMini
from metanet.representations.tokens import FACTS, Tokens
from metanet.zoo.layout import Layout

ARCHITECTURES = {
    "row": NWSNetwork((16, 16, 3), filter_size=3, conv_depth=3, fc_depth=2, conv_width=3, fc_width=8).layout,
    "residual": Layout.from_module(ResNetMini(1, 4, 2, 10, 0.0)),
}


@pytest.mark.parametrize("width", [7, 64])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_value_is_in_one_token(name: str, width: int) -> None:
    layout = ARCHITECTURES[name]
    tokens = Tokens.of(layout, width)
    assert tokens.positions.shape[1] == width
    assert sorted(tokens.positions[tokens.positions >= 0]) == list(range(layout.size))
    weights = np.random.default_rng(0).standard_normal((2, layout.size)).astype(np.float32)
    values = tokens.values(weights)
    np.testing.assert_array_equal(values[:, tokens.positions >= 0], weights[:, tokens.positions[tokens.positions >= 0]])
    assert (values[:, tokens.positions < 0] == 0).all()


def test_a_token_is_a_neuron_of_a_layer() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    layout = Layout.from_module(module)
    tokens = Tokens.of(layout, 16)
    weights = layout.flatten(module.state_dict())
    assert tokens.facts.shape == (6, len(FACTS))
    np.testing.assert_array_equal(tokens.facts[:, 0], [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(tokens.facts[:, 2], [0, 1, 2, 3, 0, 1])
    third = tokens.values(weights[None])[0, 2]
    assert third[0] == module[0].bias[2].item()
    np.testing.assert_array_equal(third[5:8], module[0].weight[2].detach().numpy())
