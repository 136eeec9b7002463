"""Figures of the neural weight space (Eilertsen et al. 2020, Figures 1, 7, 8, 13 and 14)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.signal import find_peaks
from scipy.stats import gaussian_kde

COLOURS = {"train": "tab:red", "validation": "gold", "test": "tab:blue"}


def progress_curves(history: pd.DataFrame, ax: Axes, title: str = "", most: int = 40) -> Axes:
    """Accuracies by progress: each network's test accuracy in grey, means in colour (Fig. 7).

    Args:
        history: network_id, progress and accuracies of every epoch.
        most: grey curves at most.
    """
    at = np.linspace(0, 1, 41)
    sums = {part: np.zeros(len(at)) for part in COLOURS}
    groups = history.sort_values("epoch").groupby("network_id")
    for i, (_, own) in enumerate(groups):
        for part in COLOURS:
            values = np.interp(at, own["progress"], own[f"{part}_accuracy"])
            sums[part] += values / len(groups)
            if part == "test" and i < most:
                ax.plot(100 * at, values, color="0.8", linewidth=0.4)
    for part, colour in COLOURS.items():
        ax.plot(100 * at, sums[part], color=colour, label=part)
    ax.set(xlabel="progress, %", ylabel="accuracy", ylim=(0, 1), title=title)
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    return ax


def smoothed_histogram(accuracy: np.ndarray, ax: Axes, title: str = "", bound: float | None = None) -> list[float]:
    """Histogram of accuracies with a kernel estimate (Fig. 8); returns where that has its peaks."""
    ax.hist(accuracy, bins=np.linspace(0, 1, 51).tolist(), density=True, color="0.8")
    peaks: list[float] = []
    if len(np.unique(accuracy)) > 2:
        at = np.linspace(0, 1, 401)
        density = gaussian_kde(accuracy, 0.15)(at)
        ax.plot(at, density, color="tab:blue")
        peaks = at[find_peaks(density, prominence=0.05 * density.max())[0]].tolist()
    if bound is not None:
        ax.axvline(bound, color="black", linestyle=":", linewidth=1, label=f"converged above {bound:g}")
        ax.legend(frameon=False, fontsize="small")
    ax.set(xlabel="test accuracy", ylabel="density", title=title, xlim=(0, 1))
    return peaks


def embedding_scatter(frame: pd.DataFrame, ax: Axes, column: str) -> Axes:
    """Points x, y coloured by a column: categories by a legend, numbers by a bar (Fig. 13)."""
    values, title = frame[column], column.removeprefix("hp.")
    number = pd.api.types.is_float_dtype(values)
    if number:
        points = ax.scatter(frame["x"], frame["y"], c=values, s=2, cmap="viridis", linewidths=0)
        assert ax.figure is not None
        ax.figure.colorbar(points, ax=ax)
    else:
        for label, part in frame.groupby(column):
            ax.scatter(part["x"], part["y"], s=2, linewidths=0, label=str(label))
        ax.legend(frameon=False, fontsize="x-small", markerscale=4)
    ax.set(title=title, xticks=[], yticks=[])
    return ax


def coefficient_columns(table: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Coefficients of a regression as bars, a star where p is above .05 (Fig. 1, 14)."""
    shown = table[table["hyperparameter"] != "constant"].iloc[::-1]
    places = np.arange(len(shown))
    colours = [f"C{list(dict.fromkeys(table['hyperparameter'])).index(h) % 10}" for h in shown["hyperparameter"]]
    ax.barh(places, shown["coefficient"], color=colours)
    for place, (value, p) in enumerate(zip(shown["coefficient"], shown["p"], strict=True)):
        if p > 0.05:
            ax.text(value, place, " *", va="center", fontsize=7)
    ax.set_yticks(places, [f"{r.hyperparameter} {r.category}" for r in shown.itertuples()], fontsize=6)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set(xlabel="standard deviations", title=title)
    return ax
