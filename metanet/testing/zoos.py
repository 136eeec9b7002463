"""A zoo in memory whose targets are known functions of its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from metanet.distributions import Distribution
from metanet.generation.recipes import create_recipe
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import Zoo

SPACE: dict[str, Distribution] = {
    "optimizer": ["sgd", "adam", "rmsprop"],
    "learning_rate": {"log_uniform": [5e-4, 5e-2]},
    "l2reg": {"log_uniform": [1e-8, 1e-2]},
    "dropout": {"uniform": [0.0, 0.7]},
    "init_std": {"log_uniform": [1e-3, 0.5]},
    "w_init": ["glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal"],
    "activation": ["relu", "tanh"],
    "train_fraction": [0.1, 0.25],
}
SHIFT = {"adam": -4.0, "rmsprop": 0.0, "sgd": 4.0}  # of the first bias


def example_zoo(n: int = 200, widths: Sequence[int] = (8,), seed: int = 0) -> Zoo:
    """Networks of 4 inputs, one hidden layer and 3 outputs, none of them trained, whose weights tell their targets.

    ``test_accuracy`` is a function of the spread of the weights, ``hp.optimizer`` shifts the first bias, and
    ``hp.learning_rate`` tells nothing.

    Args:
        n: networks.
        widths: of the hidden layer; of several, the networks take turns.
    """
    rng = np.random.default_rng(seed)
    layouts = [_layout(width) for width in widths]
    spread = rng.uniform(0.1, 2.0, n)
    optimizer = rng.choice(sorted(SHIFT), n)
    values = rng.standard_normal((n, max(layout.size for layout in layouts))) * spread[:, None]
    vectors = []
    for i, own in enumerate(values):
        layout = layouts[i % len(layouts)]
        bias = layout.tensors[1]
        vector = own[: layout.size].copy()
        vector[bias.start : bias.stop] += SHIFT[optimizer[i]]
        vectors.append(vector)
    rate = np.exp(rng.uniform(np.log(1e-4), np.log(1e-1), n))
    frame = pd.DataFrame({"test_accuracy": 1 / (1 + np.exp(-3 * (spread - 1))), "hp.optimizer": optimizer})
    units = [widths[i % len(widths)] for i in range(n)]
    frame = frame.assign(**{"hp.learning_rate": rate, "hp.activation": "relu", "hp.num_units": units, "hp.fc_depth": 1})
    recipe = create_recipe(
        "mlp", epochs=2, batch_size=32, snapshots=[0, 1, 2], num_units=list(widths), num_layers=1, hyperparameters=SPACE
    )
    header = {"recipe": recipe.to_json(), "data": {"shape": [2, 2, 1], "classes": 3}}
    own = [layouts[i % len(layouts)] for i in range(n)]
    return zoo_from_arrays(vectors, own, frame, "known", header, columns={"hp.learning_rate": "log"})


def _layout(width: int) -> Layout:
    return Layout.build(
        [
            ("fc1.weight", "fc1", "kernel", (width, 4)),
            ("fc1.bias", "fc1", "bias", (width,)),
            ("dense.weight", "dense", "kernel", (3, width)),
            ("dense.bias", "dense", "bias", (3,)),
        ]
    )
