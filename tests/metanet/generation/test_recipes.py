from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_recipe
from scipy.stats import chisquare, kstest

from metanet.cli.compose import compose
from metanet.data_modules.images import ImageDataModule, load_images
from metanet.distributions import draw_column
from metanet.errors import MetanetError
from metanet.generation.plan import images_per_epoch, make_plan
from metanet.generation.recipes import RECIPES, create_recipe, list_recipes
from metanet.zoo.header import DataFacts

N = 20_000
FACTS = DataFacts("digits", shape=(16, 16, 1), classes=10, n_train=1437, n_test=360, chance=0.1)


def test_draws_follow_their_distributions() -> None:
    rate = draw_column("learning_rate", {"log_uniform": [5e-4, 5e-2]}, N, 0)
    assert kstest((np.log(rate) - np.log(5e-4)) / np.log(100), "uniform").pvalue > 1e-3
    dropout = draw_column("dropout", {"uniform": [0.0, 0.7]}, N, 0)
    assert kstest(dropout / 0.7, "uniform").pvalue > 1e-3
    optimizer = draw_column("optimizer", ["sgd", "adam", "rmsprop"], N, 0)
    assert chisquare(np.unique(optimizer, return_counts=True)[1]).pvalue > 1e-3
    depth = draw_column("max_depth", {"integer": [5, 15]}, N, 0)
    assert chisquare(np.bincount(depth)[5:], np.full(11, N / 11)).pvalue > 1e-3
    assert abs(np.corrcoef(rate, dropout)[0, 1]) < 5 / np.sqrt(N)


def test_a_value_fixes_a_hyperparameter() -> None:
    assert set(draw_column("optimizer", "adam", 5, 0)) == {"adam"}
    assert set(draw_column("dropout", 0.5, 5, 0)) == {0.5}


def test_the_first_networks_do_not_depend_on_how_many_follow() -> None:
    recipe = small_recipe()
    assert recipe.draw(10, 1, "digits").equals(recipe.draw(50, 1, "digits").head(10))
    assert not recipe.draw(10, 1, "digits").equals(recipe.draw(10, 2, "digits"))


def test_init_scale_variance_draws_squares() -> None:
    std = small_recipe().draw(20, 0, "digits")["hp.init_std"]
    as_variance = small_recipe(init_scale="variance").draw(20, 0, "digits")["hp.init_std"]
    np.testing.assert_allclose(as_variance**2, std)


def test_the_last_epoch_is_always_kept() -> None:
    assert small_recipe(epochs=5, snapshots=[0]).snapshots == (0, 5)
    assert small_recipe(epochs=5, snapshots=[7, 2, 0, 2]).snapshots == (0, 2, 5)  # later ones are dropped


def test_two_data_sets_draw_different_networks_from_one_seed() -> None:
    digits, mnist = (small_recipe().draw(20, 0, name)["hp.learning_rate"] for name in ("digits", "mnist"))
    assert not set(digits) & set(mnist)


def test_every_listed_recipe_is_made_from_its_config() -> None:
    assert {"small_cnn", "small_cnn_mini", "nws_main", "mlp"} <= set(list_recipes())
    for name in list_recipes():
        assert create_recipe(**compose("generate", {"recipe": name, "out": "z"})["recipe"]).name in RECIPES.names()
    assert RECIPES.names() == ["mlp", "nws", "resnet_mini", "small_cnn"]
    with pytest.raises(MetanetError, match="did you mean 'small_cnn'"):
        create_recipe("small_cn")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"learning_rate": {"log_uniform": [0, 1]}}, "no distribution"),
        ({"learning_rate": {"log_uniform": [1, 0.1]}}, "no distribution"),
        ({"dropout": {"normal": [0, 1]}}, "no distribution"),
        ({"dropout": []}, "no distribution"),
        ({"dropout": {"integer": [0.5, 2]}}, "no distribution"),
        ({"dropout": 1.0}, "outside"),
        ({"train_fraction": [0.5, 2.0]}, "outside"),
        ({"learning_rate": -0.1}, "outside"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"snapshots": [-1]}, "give a list, each member a whole number from 0 up"),
        ({"snapshots": 5}, "give a list, each member a whole number from 0 up"),
        ({"snapshots": ["a"]}, "give a list, each member a whole number from 0 up"),
        ({"l2reg": -1.0}, "outside"),
        ({"l2reg": "foo"}, "outside"),
        ({"init_std": -1.0}, "outside"),
        ({"init_scale": "sd"}, "std or variance"),
        ({"hyperparameters": {}}, "needs recipe.hyperparameters"),
        ({"hyperparameters": {"learningrate": 1}}, "did you mean 'learning_rate'"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_mistakes_are_named(changes: dict, says: str) -> None:
    def build_and_draw() -> None:
        if "hyperparameters" in changes:
            create_recipe("small_cnn", epochs=2, batch_size=8, snapshots=[0], **changes)
        else:
            small_recipe(**changes).draw(50, 0, "digits")

    with pytest.raises(MetanetError, match=says):
        build_and_draw()


# ------------------------------------------------------------------------------------------------ designs


def test_a_grid_takes_all_combinations_of_the_lists(tmp_path: Path) -> None:
    fixed = {"l2reg": 0.0, "dropout": [0.0, 0.5], "init_std": 0.1, "w_init": "he_normal", "learning_rate": [0.01, 0.02, 0.04]}
    recipe = small_recipe(design="grid", num_units=[8, 16], **fixed)
    assert recipe.network_count() == 3 * 3 * 2 * 2 * 2 * 2
    frame = recipe.draw(144, 0, "digits")
    drawn = [f"hp.{n}" for n in ("optimizer", "learning_rate", "dropout", "activation", "train_fraction", "num_units")]
    assert not frame[drawn].duplicated().any()
    assert set(frame["hp.learning_rate"]) == {0.01, 0.02, 0.04}
    plan = make_plan(recipe, FACTS, None)
    assert len(plan.table) == 144
    assert len(plan.layouts) == 2
    with pytest.raises(MetanetError, match=r"144 configurations.*give n=null"):
        recipe.draw(145, 0, "digits")
    with pytest.raises(MetanetError, match="needs a value or a list for each"):
        small_recipe(design="grid").draw(3, 0, "digits")
    with pytest.raises(MetanetError, match="random design needs a number"):
        make_plan(small_recipe(), FACTS, None)


def test_configurations_may_be_listed_in_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("learning_rate,hp.optimizer\n0.01,adam\n0.5,sgd\n")
    recipe = small_recipe(design=str(path))
    frame = recipe.draw(2, 0, "digits")
    assert frame["hp.learning_rate"].tolist() == [0.01, 0.5]
    assert frame["hp.optimizer"].tolist() == ["adam", "sgd"]
    assert frame["hp.dropout"].tolist() == small_recipe().draw(2, 0, "digits")["hp.dropout"].tolist()  # the rest is drawn
    for text, says in (
        ("learning_rte\n1\n", "did you mean 'learning_rate'"),
        ("optimizer\nadm\n", "did you mean 'adam'"),
        ("learning_rate\n", "at least one row"),
        ("learning_rate,dropout\n0.1,\n", "a value in every field"),
        ("dropout\n1.5\n", "outside"),
    ):
        path.write_text(text)
        with pytest.raises(MetanetError, match=says):
            recipe.draw(1, 0, "digits")
    with pytest.raises(MetanetError, match="cannot be read"):
        small_recipe(design=str(tmp_path / "none.csv")).draw(1, 0, "digits")
    with pytest.raises(MetanetError, match=r"random, grid or the path of a \.csv"):
        small_recipe(design="all")


def test_seeds_repeat_a_configuration_with_networks_of_their_own() -> None:
    recipe = small_recipe(seeds=5)
    plan = make_plan(recipe, FACTS, 20)
    drawn = [c for c in plan.table if c.startswith("hp.")]
    assert plan.table.groupby("configuration")[drawn].nunique().eq(1).all(axis=None)
    assert plan.table["configuration"].nunique() == plan.table["hp.learning_rate"].nunique() == 4
    assert plan.table["seed"].nunique() == 20
    assert small_recipe(seeds=5).draw(20, 0, "digits").equals(recipe.draw(40, 0, "digits").head(20))
    with pytest.raises(MetanetError, match="seeds=0"):
        small_recipe(seeds=0)


def test_the_mini_recipe_has_the_papers_number_of_steps() -> None:
    """86 epochs of 11, 29, 58 and 117 batches: at full size 60,000 f / 512, at an eighth 7,500 f / 64."""
    full, mini = (compose("generate", {"recipe": name})["recipe"] for name in ("small_cnn", "small_cnn_mini"))
    mnist = DataFacts("mnist", n_train=60_000)
    for fraction, batches in ((0.1, 11), (0.25, 29), (0.5, 58), (1.0, 117)):
        rows = pd.DataFrame({"hp.dataset": "mnist", "hp.train_fraction": [fraction], "hp.batch_size": [512]})
        assert images_per_epoch(rows, create_recipe(**full), mnist)[0] == 512 * batches
        rows["hp.batch_size"] = 64
        assert images_per_epoch(rows, create_recipe(**mini), mnist)[0] == 64 * batches
    assert full["epochs"] == mini["epochs"] == 86
    assert full["snapshots"] == [0, 1, 2, 3, 20, 40, 60, 80, 86]
    assert len(mini["snapshots"]) == 6


def test_a_recipe_uses_only_the_training_images_it_names() -> None:
    images = load_images("digits")
    whole, part = (ImageDataModule(images, 64, 0.5, 3, train_images=n) for n in (None, 200))
    assert len(part.train_labels) == 100
    assert torch.equal(part.train_images, whole.train_images[:100])
    assert len(part.test_labels) == 360
