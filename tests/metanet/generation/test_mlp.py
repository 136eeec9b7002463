from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from metanet.cli.compose import compose
from metanet.data_modules.images import ImageDataModule, load_images, scale_pixels
from metanet.generation.engines.torch_engine import TorchGroup
from metanet.generation.mlp import MLP
from metanet.generation.plan import make_plan
from metanet.generation.recipes import create_recipe
from metanet.lightning import quiet_trainer


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("shape", [(16, 16, 1), (5, 6, 3)])
def test_a_stack_is_k_torch_modules(shape: tuple[int, int, int], activation: str) -> None:
    """Logits and gradients in float64."""
    rng = np.random.default_rng(0)
    network = MLP(shape, num_units=7, num_layers=2, classes=4)
    weights = torch.from_numpy(0.3 * rng.standard_normal((3, network.layout.size))).requires_grad_()
    images = scale_pixels(torch.from_numpy(rng.integers(0, 256, (6, *shape), dtype=np.uint8))).double()
    labels = torch.from_numpy(rng.integers(0, 4, 6))
    logits = network.logits(weights, network.prepare(images), activation)
    loss = sum(functional.cross_entropy(logits[k], labels) for k in range(3))
    (gradient,) = torch.autograd.grad(loss, weights)
    for k in range(3):
        module = network.module(activation).double()
        module.load_state_dict(network.layout.unflatten(weights[k].detach()))
        expected = module(images.permute(0, 3, 1, 2))
        torch.testing.assert_close(logits[k], expected)
        functional.cross_entropy(expected, labels).backward()
        own = torch.cat([p.grad.reshape(-1) for p in module.parameters()])  # type: ignore[union-attr]
        torch.testing.assert_close(gradient[k], own)


def test_sizes_of_the_papers_widths() -> None:
    """Counted by hand for flattened 32x32 grey images: u (1024 + 1) + 2 u (u + 1) + 10 (u + 1)."""
    for u in (8, 16, 32, 64):
        assert MLP((32, 32, 1), num_units=u).layout.size == u * 1025 + 2 * u * (u + 1) + 10 * (u + 1)


def test_the_mlp_recipe_draws_four_widths_and_they_learn() -> None:
    config = compose("generate", {"recipe": "mlp", "recipe.epochs": "8", "recipe.batch_size": "32"})
    recipe = create_recipe(**config["recipe"] | {"hyperparameters": config["recipe"]["hyperparameters"] | {
        "optimizer": "adam", "learning_rate": 0.003, "dropout": 0.1, "w_init": "he_normal", "activation": "tanh",
        "train_fraction": 1.0,
    }})  # fmt: skip
    images = load_images("digits")
    plan = make_plan(recipe, images.facts(), 12)
    assert set(plan.table["hp.num_units"]) == {8, 16, 32, 64}
    assert plan.table.groupby("hp.num_units")["layout_id"].nunique().eq(1).all()
    assert len(plan.layouts) == 4
    for g in range(plan.groups):
        rows = plan.group(g)
        data = ImageDataModule(images, 32)
        group = TorchGroup(plan.network(rows, MLP), rows, data, 8, [0, 8])
        with quiet_trainer({"accelerator": "cpu"}, 8, threads=1) as trainer:
            trainer.fit(group)
        assert (group.snapshots[-1].metrics["test_accuracy"] > 0.7).all()
