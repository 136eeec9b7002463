"""The inputs of Unterthiner et al. 2020, section 4.2, by name: their sizes, and that the paper's order is tested as it says."""

from __future__ import annotations

import numpy as np
import pytest

from metanet.features.unions import FeatureMap
from metanet.generation.initializers import initial_weights
from metanet.generation.networks import SmallCNN
from metanet.reproduce.inputs import EQUAL, MAIN, MORE, ORDER
from metanet.reproduce.study import INPUTS
from metanet.zoo import View, zoo_from_arrays

# The paper's numbers of inputs; hyperparameters are counted as drawn, categories one-hot.
SIZES = {
    "flat": 4970,
    "flat:conv1": 160,
    "flat:conv2": 2320,
    "flat:conv3": 2320,
    "flat:last": 170,
    "stats_global": 7,
    "stats": 56,
    "stats:first+last": 28,
    "stats:last": 14,
    "norms_l1": 8,
    "norms_l2": 8,
    "hyper": 5 + 3 + 2 + 5,
    "hyper_paper": 5 + 2 + 5,
    "hyper+flat": 15 + 4970,
    "hyper:learning_rate": 1,
}


@pytest.fixture(scope="module")
def view() -> View:
    from metanet.cli.compose import compose
    from metanet.generation.recipes import create_recipe

    layout = SmallCNN((28, 28, 1)).layout
    frame = create_recipe(**compose("generate", {"out": "z"})["recipe"]).draw(60, 0, "mnist")
    weights = [initial_weights(layout, row["hp.w_init"], row["hp.init_std"], i) for i, row in frame.iterrows()]
    return zoo_from_arrays(np.stack(weights), layout, frame.assign(test_accuracy=np.linspace(0, 1, 60))).view()


@pytest.mark.parametrize("features", INPUTS)
def test_every_input_has_the_papers_size(features: str, view: View) -> None:
    matrix = FeatureMap(features).fit(view, "test_accuracy").transform(view)
    assert matrix.shape == (60, SIZES[features])
    assert np.isfinite(matrix).all()


def test_tables_5_to_8_hold_every_input_of_the_paper_once() -> None:
    assert set(MAIN) | set(MORE) == set(INPUTS) - {"hyper_paper"}
    assert not set(MAIN) & set(MORE)
    assert {name for pair in (*ORDER, *EQUAL) for name in pair} <= set(INPUTS)
