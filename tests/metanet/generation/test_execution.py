"""Running the networks of a zoo: against the modules that the recipes build, one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import MINE

from metanet.errors import MetanetError
from metanet.generation.execution import Executor, noise_images
from metanet.generation.mlp import MLP
from metanet.generation.recipes import create_recipe
from metanet.generation.runner import generate
from metanet.zoo import Layout, Zoo, open_zoo, zoo_from_arrays


def test_small_cnns_answer_as_their_modules_do(grown: Zoo) -> None:
    view = grown.view()
    executor = Executor(grown, view.layout, view.frame.iloc[0].to_dict())
    images = torch.from_numpy(noise_images(6, executor.input_shape))
    for row, vector in zip(view.frame.to_dict("records")[:4], view.vectors(), strict=False):
        weights = torch.from_numpy(np.array(vector))[None]
        found = executor.run(weights, images, row["hp.activation"])
        module = executor.network.module(row["hp.activation"]).eval()
        module.load_state_dict({k: v[0] for k, v in view.layout.unflatten(weights).items()})
        expected = module(images.permute(0, 3, 1, 2))
        torch.testing.assert_close(found.logits[0], expected.detach(), rtol=1e-4, atol=1e-5)
        first = module[:2](images.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        torch.testing.assert_close(found.hidden[0][0], first.detach(), rtol=1e-4, atol=1e-5)
        assert len(found.hidden) == 3


def test_answers_are_differentiated_by_the_images(grown: Zoo) -> None:
    view = grown.view()
    executor = Executor(grown, view.layout, view.frame.iloc[0].to_dict())
    weights = torch.from_numpy(view.weights()[:3].copy())
    images = torch.from_numpy(noise_images(2, executor.input_shape)).requires_grad_()
    executor.run(weights, images, "tanh").logits.square().sum().backward()
    expected = torch.zeros_like(images)
    for vector in weights:
        module = executor.network.module("tanh").eval()
        module.load_state_dict(view.layout.unflatten(vector))
        own = images.detach().clone().requires_grad_()
        module(own.permute(0, 3, 1, 2)).square().sum().backward()
        assert own.grad is not None
        expected += own.grad
    assert images.grad is not None
    torch.testing.assert_close(images.grad, expected, rtol=1e-3, atol=1e-5)


def test_networks_with_batch_normalisation_run_in_evaluation(nws_zoos: dict[str, Path]) -> None:
    zoo = open_zoo(nws_zoos["mixed"])
    row = zoo.view().frame.iloc[0]
    layout = zoo.layouts[row["layout_id"]]
    executor = Executor(zoo, layout, row.to_dict())
    assert executor.low == 0.0
    images = torch.from_numpy(noise_images(4, executor.input_shape, low=executor.low))
    assert 0 <= images.min() < images.max() <= 1
    vector = torch.from_numpy(np.array(next(iter(zoo.view().vectors()))))
    found = executor.run(vector[None], images, row["hp.activation"])
    module = executor.network.module(row["hp.activation"]).eval()
    module.load_state_dict(layout.unflatten(vector), strict=False)
    torch.testing.assert_close(found.logits[0], module(images.permute(0, 3, 1, 2)).detach(), rtol=1e-4, atol=1e-5)
    assert found.logits.shape == (1, 4, executor.classes)


def test_recipes_of_ones_own_run_as_their_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    zoo = generate(create_recipe(f"{tmp_path}/mine.py:MyRecipe", epochs=1), n=3, out=tmp_path / "zoo", engine="module")
    assert zoo is not None
    row = zoo.view().frame.iloc[0]
    with pytest.raises(MetanetError, match=r"recipe of your own, mine\.py:MyRecipe, which is not in this folder"):
        Executor(zoo, zoo.layouts[row["layout_id"]], row.to_dict())
    monkeypatch.chdir(tmp_path)
    executor = Executor(zoo, zoo.layouts[row["layout_id"]], row.to_dict())
    found = executor.run(
        torch.from_numpy(np.array(next(iter(zoo.view().vectors()))))[None], torch.zeros(2, *executor.input_shape), None
    )
    assert found.logits.shape == (1, 2, 10)
    assert found.hidden[0].shape == (1, 2, 1, row["hp.num_units"])


def test_what_does_not_say_how_it_works_is_refused() -> None:
    layout = MLP((2, 2, 1), num_layers=1, num_units=3, classes=2).layout
    silent = zoo_from_arrays(np.zeros((2, layout.size)), layout, pd.DataFrame({"test_accuracy": [0.1, 0.2]}))
    with pytest.raises(MetanetError, match="does not say how its networks work"):
        Executor(silent, layout, {})


def test_another_architecture_than_the_recipes_is_refused(grown: Zoo) -> None:
    layout = Layout.build([("a.weight", "a", "kernel", (4, 1))])
    with pytest.raises(MetanetError, match="does not make networks of layers a"):
        Executor(grown, layout, grown.view().frame.iloc[0].to_dict())


def test_noise_is_the_same_for_a_shape_and_of_growing_smoothness() -> None:
    images = noise_images(32, (16, 16, 2))
    np.testing.assert_array_equal(images, noise_images(32, (16, 16, 2)))
    assert images.shape == (32, 16, 16, 2)
    assert np.abs(images).max() <= 1
    rough = [np.abs(np.diff(i, axis=0)).mean() / i.std() for i in images]
    assert np.mean(rough[:8]) > 2 * np.mean(rough[-8:])
