"""Recipes of one's own: any nn.Module, by path."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MINE
from torch import nn
from torch.nn import functional

from metanet.data_modules.images import load_images, scale_pixels
from metanet.errors import MetanetError
from metanet.generation.plan import make_plan
from metanet.generation.recipes import ModuleRecipe, create_recipe
from metanet.generation.runner import generate
from metanet.generation.training import train_rows
from metanet.zoo import Layout


class Plain(ModuleRecipe):
    """No noise and no statistics, so that torch alone must end at the same weights."""

    space = {"optimizer": ["sgd", "adam"], "learning_rate": {"log_uniform": [1e-3, 1e-2]}, "l2reg": 1e-3, "units": [4, 9]}  # noqa: RUF012

    def module(self, hp: dict, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, hp["units"], 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16 * hp["units"], classes))


def test_a_module_trains_as_it_would_alone() -> None:
    images = load_images("digits")
    plan = make_plan(Plain(epochs=2, batch_size=200), images.facts(), 6, engine="module")
    assert len(plan.layouts) == 2
    for g in range(plan.groups):
        group = train_rows(plan, plan.group(g), images, {"accelerator": "cpu", "precision": "32-true"})
        data = group.data
        for k, row in group.table.iterrows():
            torch.manual_seed(int(row["init_seed"]))
            module = Plain().module({"units": row["hp.units"]}, images.shape, 10)
            np.testing.assert_array_equal(
                group.snapshots[0].weights[k], Layout.from_module(module).flatten(module.state_dict())  # type: ignore[index]
            )  # fmt: skip
            kind = {"sgd": torch.optim.SGD, "adam": lambda p, lr: torch.optim.Adam(p, lr, eps=1e-7)}[row["hp.optimizer"]]
            optimizer = kind(module.parameters(), row["hp.learning_rate"])
            for epoch in range(2):
                order = torch.randperm(1437, generator=torch.Generator().manual_seed(epoch))
                for batch in order[:1400].view(7, 200):
                    loss = functional.cross_entropy(
                        module(scale_pixels(data.train_images[batch]).permute(0, 3, 1, 2)), data.train_labels[batch]
                    )
                    loss = loss + 1e-3 * sum((p**2).sum() for p in module.parameters() if p.ndim > 1)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            expected = Layout.from_module(module).flatten(module.state_dict())
            np.testing.assert_allclose(group.snapshots[-1].weights[k], expected, rtol=2e-3, atol=2e-5)  # type: ignore[index]


def test_a_zoo_of_a_file_of_ones_own_with_batch_norm(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    recipe = create_recipe(f"{tmp_path}/mine.py:MyRecipe", batch_size=32)
    assert recipe.epochs == 3
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe
    zoos = [
        generate(recipe, n=10, out=tmp_path / name, group_size=size, workers=workers, train_limit=400)
        for name, size, workers in (("a", 8, 1), ("b", 3, 2))
    ]
    a, b = zoos
    assert a is not None
    assert b is not None
    assert a.header.engine == "module"
    assert a.header.recipe.name == "mine.py:MyRecipe"
    assert str(tmp_path) not in (tmp_path / "a" / "zoo.json").read_text()
    assert len(a.layouts) == 2
    assert {t.kind for layout in a.layouts.values() for t in layout.tensors} >= {"bn_mean", "bn_var", "kernel"}
    for x, y in zip(a.view(epoch="all").vectors(), b.view(epoch="all").vectors(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)  # groups and processes decide nothing
    first, last = (a.view(epoch=e).frame["test_accuracy"].mean() for e in (0, 3))
    assert last > first + 0.1
    means = [v[s.start : s.stop] for v in a.view().vectors() for layout in a.layouts.values() if layout.size == len(v)
             for s in layout.tensors if s.kind == "bn_mean"]  # fmt: skip
    assert all(np.abs(m).max() > 0.01 for m in means)  # running statistics moved and were stored
    (tmp_path / "mine.py").write_text(MINE.replace("nn.ReLU", "nn.Tanh"))
    with pytest.raises(MetanetError, match="another plan"):
        generate(recipe, n=10, out=tmp_path / "a", group_size=8, train_limit=400)


def test_mistakes_in_a_recipe_of_ones_own_are_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(
        MINE + "\nclass Wrong(MyRecipe):\n    def module(self, hp, shape, classes):\n        return 3\n\nNotOne = dict\n"
    )
    with pytest.raises(MetanetError, match="did you mean 'Wrong'"):
        create_recipe(f"{tmp_path}/wrong.py:Wrog")
    with pytest.raises(MetanetError, match="no subclass of"):
        create_recipe(f"{tmp_path}/wrong.py:NotOne")
    with pytest.raises(MetanetError, match="no setting 'epoch'"):
        create_recipe(f"{tmp_path}/wrong.py:MyRecipe", epoch=3)
    with pytest.raises(MetanetError, match="returned int"):
        generate(create_recipe(f"{tmp_path}/wrong.py:Wrong"), n=2, out=tmp_path / "z")
    with pytest.raises(MetanetError, match="engine=module"):
        generate(create_recipe(f"{tmp_path}/wrong.py:MyRecipe"), n=2, out=tmp_path / "z", engine="fused")
