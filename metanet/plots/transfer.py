"""Figures of transfer: every model on every zoo."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metanet.plots.predictions import predicted_against_true
from metanet.plots.style import brief, new_axes, new_grid
from metanet.plots.tables import heat_table


def transfer_matrices(scores: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Kendall's tau, that of hyperparameters alone and R2 side by side; ``scores`` of
    :func:`metanet.evaluation.transfer.transfer_table`.
    """
    panels = [("tau", "Kendall's τ"), ("tau_hyper", "τ of hyperparameters alone"), ("r2", "R²")]
    shown = [(measure, title) for measure, title in panels if scores[measure].notna().any()]
    figure, axes = new_axes(len(shown), width=1.8 + 0.9 * len(columns), height=1.6 + 0.5 * len(rows))
    for ax, (measure, title) in zip(axes, shown, strict=True):
        matrix = scores.pivot(index="trained_on", columns="tested_on", values=measure).loc[list(rows), list(columns)]
        heat_table(matrix, ax, title)
        ax.set(ylabel="trained on", xlabel="tested on")
    return figure


def transfer_scatters(predictions: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """True against predicted for every pair (Unterthiner et al. 2020, Fig. 6)."""
    figure, axes = new_grid(len(rows), len(columns), width=2.7, height=2.5)
    for row, trained_on in enumerate(rows):
        for column, tested_on in enumerate(columns):
            ax = transfer_scatter(predictions, trained_on, tested_on, axes[row][column])
            ax.set(xlabel=f"true, {brief(tested_on)}", ylabel=f"trained on {brief(trained_on)}")
    return figure


def transfer_scatter(predictions: pd.DataFrame, trained_on: str, tested_on: str, ax: Axes) -> Axes:
    """True against predicted for one pair, nothing where it was not scored; ``predictions`` has trained_on, tested_on, true,
    predicted.
    """
    part = predictions[(predictions["trained_on"] == trained_on) & (predictions["tested_on"] == tested_on)]
    return predicted_against_true(part, ax) if len(part) else ax
