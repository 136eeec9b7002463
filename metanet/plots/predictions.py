"""Figures of predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sklearn.metrics import ConfusionMatrixDisplay

from metanet.evaluation.protocol import Fitted
from metanet.metrics import r2, tau
from metanet.plots.style import new_axes, save
from metanet.runs.folder import RunFolder


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


def draw_result(result: Fitted, run: RunFolder) -> None:
    """A run's figures: predicted against true, or the confusion matrix (also as CSV, in networks); the search's trials."""
    test = result.predictions[result.predictions["part"] == "test"]
    figure, (ax,) = new_axes()
    title = f"{result.metrics['model']} on {result.metrics['features']}:"
    if result.model.target.task == "classification":
        pd.crosstab(test["true"], test["predicted"]).to_csv(run.folder / "confusion.csv")
        confusion(test, ax, f"{title} accuracy {result.metrics['accuracy']:.3f}")
    else:
        predicted_against_true(test, ax, title)
    save(figure, run.figures / "predictions.png")
    if result.model.curve is not None:
        figure, (ax,) = new_axes()
        fit_losses(result.model.curve, ax)
        save(figure, run.figures / "losses.png")
    trials = run.folder / "trials.csv"
    if trials.exists():
        figure, (ax,) = new_axes()
        search_progress(pd.read_csv(trials), ax)
        save(figure, run.figures / "search.png")


def fit_losses(curve: pd.DataFrame, ax: Axes) -> Axes:
    """Training and validation loss by epoch or tree; a dot where the validation part found it best."""
    for name in curve:
        ax.plot(curve.index, curve[name], label=str(name).replace("_", " "))
    if "validation_loss" in curve and curve["validation_loss"].notna().any():
        best = curve["validation_loss"].idxmin()
        ax.plot(best, curve["validation_loss"][best], "o", color="black", markersize=4)
    ax.set(xlabel=str(curve.index.name), ylabel="loss")
    if (curve > 0).all(axis=None):
        ax.set_yscale("log")
    ax.legend(frameon=False)
    return ax


def search_progress(trials: pd.DataFrame, ax: Axes) -> Axes:
    """Cross-validated loss of each trial in the order of drawing, and the best so far; ``trials`` as in trials.csv."""
    last = trials[trials["rung"] == trials["rung"].max()].sort_values("trial")
    loss = last["loss"].replace(np.inf, np.nan)
    ax.scatter(last["trial"], loss, s=8, alpha=0.6, linewidths=0, label="a configuration")
    ax.plot(last["trial"], loss.cummin().ffill(), color="black", linewidth=1, label="best so far")
    ax.set(xlabel="trial", ylabel="cross-validated loss", yscale="log", title=f"best {loss.min():.2e} of {len(last)}")
    ax.legend(frameon=False)
    return ax
