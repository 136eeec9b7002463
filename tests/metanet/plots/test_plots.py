from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.image import imread
from sklearn.metrics import r2_score

from metanet.plots.predictions import confusion, predicted_against_true
from metanet.plots.style import new_axes, save
from metanet.plots.zoo import accuracy_histogram, bias_range_scatter, bias_ranges, train_against_test
from metanet.zoo import Zoo


def test_the_histogram_counts_every_network(grown: Zoo) -> None:
    _, (ax,) = new_axes()
    accuracy_histogram(grown.view().frame, ax, chance=0.1)
    assert sum(bar.get_height() for bar in ax.patches) == 30


def test_train_against_test_shows_every_network(grown: Zoo) -> None:
    _, (ax,) = new_axes()
    frame = grown.view().frame
    train_against_test(frame, ax)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), frame[["train_accuracy", "test_accuracy"]])


def test_bias_ranges_are_max_minus_min(grown: Zoo) -> None:
    view = grown.view()
    ranges, weights = bias_ranges(view), view.weights()
    np.testing.assert_allclose(ranges["first"], weights[:, 144:160].max(1) - weights[:, 144:160].min(1))
    np.testing.assert_allclose(ranges["last"], weights[:, 4960:].max(1) - weights[:, 4960:].min(1))
    assert ranges["optimizer"].tolist() == view.frame["hp.optimizer"].tolist()
    _, (ax,) = new_axes()
    bias_range_scatter(ranges, ax)
    np.testing.assert_allclose(ax.collections[0].get_array(), view.frame["test_accuracy"])


def test_predictions_carry_r2_and_tau_in_the_title(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"true": rng.random(20)}).assign(predicted=lambda t: t["true"] + rng.normal(0, 0.1, 20))
    figure, (ax,) = new_axes()
    predicted_against_true(frame, ax, "gbm:")
    assert f"R² {r2_score(frame['true'], frame['predicted']):.3f}" in ax.get_title()
    picture = imread(save(figure, tmp_path / "p.png"))
    assert picture[..., :3].std() > 0.05


def test_the_confusion_matrix_has_shares_of_each_true_class() -> None:
    _, (ax,) = new_axes()
    confusion(pd.DataFrame({"true": list("aabb"), "predicted": list("abbb")}), ax, "title")
    values = ax.images[0].get_array()
    assert values is not None
    np.testing.assert_allclose(values, [[0.5, 0.5], [0.0, 1.0]])
