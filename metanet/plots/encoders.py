"""Figures of encoders: what a score costs, and where it holds."""

from __future__ import annotations

import textwrap

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metanet.plots.style import new_axes

SHAPES = {"F": "^", "A": "s", "W": "o", "H": "x", "-": "x"}  # of the highest access level first
COLOURS = {"F": "C1", "W": "C0"}


def cost_points(table: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Kendall's tau against the seconds of a fit, one point a model; its shape is the access level."""
    colours = matplotlib.colormaps["tab20"]
    for place, row in enumerate(table.to_dict("records")):
        shape = next(shape for level, shape in SHAPES.items() if level in str(row["access"]).split("+"))
        (line,) = ax.plot([row["seconds"]], [row["tau"]], shape, color=colours(place % 20), markersize=6, label=str(row["model"]))
        if row.get("tau sd", 0) > 0:
            ax.errorbar([row["seconds"]], [row["tau"]], yerr=[row["tau sd"]], color=line.get_color(), linewidth=1)
    ax.set_xscale("log")
    ax.set(xlabel="seconds of a fit", ylabel="Kendall's τ", title=title)
    ax.legend(frameon=False, fontsize=6)
    return ax


def generalisation_bars(table: pd.DataFrame) -> Figure:
    """One panel a case: tau of each model, those that are tied with the best of their access level in full colour.

    Args:
        table: case, access (W, F, or H of the floor), model, tau, tied.
    """
    cases = list(dict.fromkeys(table["case"]))
    figure, axes = new_axes(len(cases), width=3.6, height=3.4)
    for ax, case in zip(axes, cases, strict=True):
        part = table[table["case"] == case].sort_values("tau")
        places = np.arange(len(part))
        for place, row in zip(places, part.to_dict("records"), strict=True):
            colour = COLOURS.get(row["access"], "C7")
            ax.barh(place, row["tau"], color=colour, alpha=1.0 if row["tied"] else 0.3)
        ax.set_yticks(places, part["model"].tolist(), fontsize=6)
        ax.set(xlabel="Kendall's τ", title="\n".join(textwrap.wrap(case, 34)))
        ax.title.set_fontsize(7)
    return figure
