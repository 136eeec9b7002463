from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import assert_same_zoo
from torch import nn

from metanet.cli.compose import compose
from metanet.generation.recipes import create_recipe
from metanet.generation.resnet import ResidualBlock, ResNetMini
from metanet.generation.runner import generate


def test_eight_layers_with_skips_and_normalisation() -> None:
    network = ResNetMini(channels=1, units=8, blocks=1, classes=10, dropout=0.0).eval()
    blocks = [m for m in network.modules() if isinstance(m, ResidualBlock)]
    assert [(b.conv1.out_channels, b.conv1.stride[0]) for b in blocks] == [(8, 1), (16, 2), (32, 2)]
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) - sum(isinstance(b.skip, nn.Conv2d) for b in blocks) == 8
    x = torch.randn(2, 8, 6, 6)
    block = blocks[0]
    by_hand = torch.relu(block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(x))))) + x)
    torch.testing.assert_close(block(x), by_hand)
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 10)
    assert len([m for m in ResNetMini(3, 4, 2, 10, 0.1).modules() if isinstance(m, ResidualBlock)]) == 6


def test_the_recipe_has_72_networks_of_each_width() -> None:
    recipe = create_recipe(**compose("generate", {"recipe": "resnet_mini", "out": "z"})["recipe"])
    assert recipe.network_count() == 216
    frame = recipe.draw(216, 0, "cifar10_gs")
    assert frame["hp.num_units"].value_counts().to_dict() == {8: 72, 16: 72, 32: 72}
    assert not frame.drop(columns="hp.dataset").duplicated().any()


@pytest.mark.slow
def test_workers_get_the_recipe_and_grow_the_same(tmp_path: Path) -> None:
    space = {"num_units": 2, "learning_rate": [0.01, 0.02]}
    recipe = create_recipe("resnet_mini", hyperparameters=space, epochs=1, train_images=64, batch_size=32)
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe
    a = generate(recipe, n=4, out=tmp_path / "a", group_size=2, engine="module")
    b = generate(recipe, n=4, out=tmp_path / "b", group_size=2, engine="module", workers=2)
    assert a is not None
    assert b is not None
    assert_same_zoo(a, b)
    layout = a.view().layout
    assert {t.kind for t in layout.tensors} == {"kernel", "bias", "bn_scale", "bn_shift", "bn_mean", "bn_var"}
    variance = next(t for t in layout.tensors if t.kind == "bn_var")
    assert not np.allclose(a.view().weights()[:, variance.start : variance.stop], 1)  # running statistics moved
