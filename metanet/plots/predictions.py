"""Figures of predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sklearn.metrics import ConfusionMatrixDisplay

from metanet.evaluation.metrics import r2, tau


def predicted_against_true(frame: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Predicted against true value of each network, R2 and tau in the title; ``frame`` has true and predicted."""
    true, predicted = frame["true"].to_numpy(float), frame["predicted"].to_numpy(float)
    ends = np.array([min(true.min(), predicted.min()), max(true.max(), predicted.max())])
    ax.plot(ends, ends, color="black", linewidth=0.8, linestyle=":")
    ax.scatter(true, predicted, s=6, alpha=0.5, linewidths=0)
    ax.set(xlabel="true", ylabel="predicted", title=f"{title} R² {r2(true, predicted):.3f}, τ {tau(true, predicted):.3f}".strip())
    return ax


def confusion(frame: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Confusion matrix, rows normalised, of a frame with true and predicted categories."""
    ConfusionMatrixDisplay.from_predictions(
        frame["true"], frame["predicted"], normalize="true", ax=ax, colorbar=False, values_format=".2f", xticks_rotation=45
    )
    ax.set_title(title)
    return ax
