"""Figures of a zoo (Unterthiner et al. 2020, Figures 2 and 3)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from metanet.zoo.zoo import View


def accuracy_histogram(frame: pd.DataFrame, ax: Axes, chance: float | None = None) -> Axes:
    """Histogram of test accuracy (Fig. 2 left): ``frame`` has test_accuracy, one row a network."""
    ax.hist(frame["test_accuracy"], bins=np.linspace(0, 1, 51).tolist(), color="tab:blue")
    if chance is not None:
        ax.axvline(chance, color="black", linestyle=":", linewidth=1, label=f"chance {chance:.2f}")
        ax.legend(frameon=False)
    ax.set(xlabel="test accuracy", ylabel="networks", title=f"{len(frame)} networks", xlim=(0, 1))
    return ax


def train_against_test(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Train against test accuracy (Fig. 2 right): no overfitting where the points keep to the diagonal."""
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    ax.scatter(frame["train_accuracy"], frame["test_accuracy"], s=5, alpha=0.5, linewidths=0)
    gap = (frame["train_accuracy"] - frame["test_accuracy"]).mean()
    ax.set(xlabel="train accuracy", ylabel="test accuracy", title=f"mean gap {gap:+.3f}", xlim=(0, 1), ylim=(0, 1))
    return ax


def bias_ranges(view: View) -> pd.DataFrame:
    """Range (max - min) of the biases of the first and of the last layer, one row a snapshot.

    Columns: first, last, last_max (the largest bias of the last layer), test_accuracy, optimizer (where the zoo knows it).
    """
    layout, weights = view.layout, view.weights()
    columns = {}
    for end in ("first", "last"):
        (bias,) = (t for t in layout.select([end]) if t.kind == "bias")
        values = weights[:, bias.start : bias.stop]
        columns[end] = np.ptp(values, axis=1)
    columns["last_max"] = values.max(axis=1)
    frame = pd.DataFrame(columns).assign(test_accuracy=view.frame["test_accuracy"])
    if "hp.optimizer" in view.frame:
        frame["optimizer"] = view.frame["hp.optimizer"]
    return frame


def bias_range_scatter(frame: pd.DataFrame, ax: Axes, best: float = 1.0) -> Axes:
    """Bias range of the first layer against the last, coloured by accuracy (Fig. 3); ``frame`` of :func:`bias_ranges`.

    Args:
        best: accuracy at which the colours end.
    """
    points = ax.scatter(
        frame["first"], frame["last"], c=frame["test_accuracy"], s=6, cmap="viridis", vmin=0, vmax=best, linewidths=0
    )
    # Ranges span decades, and a network whose biases never moved has a range of zero.
    ax.set_xscale("symlog", linthresh=1e-3)
    ax.set_yscale("symlog", linthresh=1e-3)
    ax.set(xlabel="bias range, first layer", ylabel="bias range, last layer", xlim=(0, None), ylim=(0, None))
    ax.figure.colorbar(points, ax=ax, label="test accuracy")
    return ax
