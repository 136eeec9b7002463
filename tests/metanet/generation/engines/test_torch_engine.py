from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_recipe
from torch.nn import functional

from metanet.data_modules.images import ImageDataModule, load_images, scale_pixels
from metanet.generation.engines.torch_engine import TorchGroup
from metanet.generation.networks import SmallCNN
from metanet.generation.plan import make_plan
from metanet.lightning import quiet_trainer

TORCH = {
    "sgd": lambda p, rate: torch.optim.SGD(p, rate),
    "adam": lambda p, rate: torch.optim.Adam(p, rate, eps=1e-7),
    "rmsprop": lambda p, rate: torch.optim.RMSprop(p, rate, alpha=0.9, eps=1e-7),
}


def group_table(n: int = 6, seed: int = 0, **changes) -> pd.DataFrame:
    fixed = {"activation": "tanh", "train_fraction": 0.1} | changes
    plan = make_plan(small_recipe(**fixed), load_images("digits").facts(), n=n, seed=seed)
    assert plan.groups == 1
    return plan.group(0)


def train(table: pd.DataFrame, epochs: int = 2, snapshots: tuple[int, ...] = (0, 2), precision: str = "32-true") -> TorchGroup:
    data = ImageDataModule(load_images("digits"), 32, float(table["hp.train_fraction"].iloc[0]), seed=0)
    module = TorchGroup(SmallCNN((16, 16, 1)), table, data, epochs, snapshots)
    with quiet_trainer({"accelerator": "cpu", "precision": precision}, epochs, threads=1) as trainer:
        trainer.fit(module)
    return module


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_group_trains_as_each_network_would_alone_in_torch(activation: str) -> None:
    """Eight steps in float64 on the same batches, no dropout: torch modules, torch.optim, the l2 term written out."""
    table = group_table(activation=activation, dropout=0.0, l2reg={"log_uniform": [1e-4, 1e-2]})
    assert set(table["hp.optimizer"]) == {"sgd", "adam", "rmsprop"}
    module = train(table, precision="64-true")
    network, data = module.network, module.data
    start, end = module.snapshots[0].weights, module.snapshots[-1].weights
    assert start is not None
    assert end is not None
    assert module.snapshots[-1].step == 2 * (143 // 32)
    for k, row in table.iterrows():
        reference = network.module(activation).double()
        reference.load_state_dict(network.layout.unflatten(torch.from_numpy(start[k]).double()))
        kernels = [p for p in reference.parameters() if p.ndim > 1]
        optimizer = TORCH[row["hp.optimizer"]](list(reference.parameters()), row["hp.learning_rate"])
        for epoch in range(2):
            generator = torch.Generator().manual_seed(epoch)
            order = torch.randperm(143, generator=generator)
            for batch in order[:128].view(4, 32):
                images = scale_pixels(data.train_images[batch]).double().permute(0, 3, 1, 2)
                loss = functional.cross_entropy(reference(images), data.train_labels[batch])
                loss = loss + row["hp.l2reg"] * sum((p**2).sum() for p in kernels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        expected = network.layout.flatten(reference.state_dict())
        np.testing.assert_allclose(end[k], expected, rtol=1e-5, atol=1e-6)
        assert np.abs(end[k] - start[k]).max() > 1e-4


def test_metrics_are_those_of_the_torch_module_in_evaluation_mode() -> None:
    module = train(group_table(dropout=0.5))
    last = module.snapshots[-1]
    assert last.weights is not None
    for k in range(len(module.table)):
        reference = module.network.module("tanh", dropout=0.5).eval()
        reference.load_state_dict(module.network.layout.unflatten(torch.from_numpy(last.weights[k])))
        for part in ("train", "test"):
            images, labels = getattr(module.data, f"{part}_images"), getattr(module.data, f"{part}_labels")
            logits = reference(scale_pixels(images).permute(0, 3, 1, 2)).detach()
            accuracy = float((logits.argmax(1) == labels).float().mean())
            assert last.metrics[f"{part}_accuracy"][k] == pytest.approx(accuracy, abs=1.5 / len(labels))
            assert last.metrics[f"{part}_loss"][k] == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-4)


def test_the_group_does_not_decide_what_a_network_becomes() -> None:
    table = group_table(n=6, dropout={"uniform": [0.2, 0.6]})
    together = train(table).snapshots[-1].weights
    assert together is not None
    for rows in ([0, 1, 2], [3], [4, 5]):
        apart = train(table.iloc[rows].reset_index(drop=True)).snapshots[-1].weights
        assert apart is not None
        np.testing.assert_allclose(apart, together[rows], rtol=1e-4, atol=1e-5)


def test_a_network_that_diverges_is_marked_and_disturbs_nobody() -> None:
    table = group_table(n=5, activation="relu", optimizer="sgd", w_init="he_normal")
    calm = train(table)
    wild_table = table.copy()
    wild_table.loc[2, "hp.learning_rate"] = 1e12
    wild = train(wild_table, epochs=2, snapshots=(0, 1, 2))
    assert wild.alive.tolist() == [True, True, False, True, True]
    assert wild.epochs_run[2] < 2 <= wild.epochs_run[0]
    assert not wild.snapshots[-1].alive[2]
    others = [0, 1, 3, 4]
    a, b = calm.snapshots[-1].weights, wild.snapshots[-1].weights
    assert a is not None
    assert b is not None
    np.testing.assert_allclose(a[others], b[others], rtol=1e-5, atol=1e-6)
    assert np.isfinite(b).all()


def test_networks_learn() -> None:
    table = group_table(n=3, optimizer="adam", learning_rate=0.01, dropout=0.0, w_init="he_normal", train_fraction=1.0)
    module = train(table, epochs=6, snapshots=(0, 6))
    assert (module.snapshots[0].metrics["test_accuracy"] < 0.35).all()
    assert (module.snapshots[-1].metrics["test_accuracy"] > 0.75).all()
