from __future__ import annotations

import numpy as np
import pytest
from conftest import small_recipe
from scipy.stats import chisquare, kstest

from metanet.errors import MetanetError
from metanet.generation.recipes import create_recipe, draw_column, list_recipes

N = 20_000


def test_draws_follow_their_distributions() -> None:
    rate = draw_column("learning_rate", {"log_uniform": [5e-4, 5e-2]}, N, 0)
    assert kstest((np.log(rate) - np.log(5e-4)) / np.log(100), "uniform").pvalue > 1e-3
    dropout = draw_column("dropout", {"uniform": [0.0, 0.7]}, N, 0)
    assert kstest(dropout / 0.7, "uniform").pvalue > 1e-3
    optimizer = draw_column("optimizer", ["sgd", "adam", "rmsprop"], N, 0)
    assert chisquare(np.unique(optimizer, return_counts=True)[1]).pvalue > 1e-3
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


def test_list_recipes_names_what_create_recipe_takes() -> None:
    assert list_recipes() == ["mlp", "small_cnn"]
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
        ({"dropout": 1.0}, "outside"),
        ({"train_fraction": [0.5, 2.0]}, "outside"),
        ({"learning_rate": -0.1}, "outside"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"snapshots": [-1]}, "list of epochs"),
        ({"snapshots": 5}, "list of epochs"),
        ({"snapshots": ["a"]}, "list of epochs"),
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
