"""Figures of what a model looks at."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes


def importance_bars(table: pd.DataFrame, ax: Axes, title: str = "", most: int = 25) -> Axes:
    """The inputs that were split on most often (Fig. 5); ``table`` of :func:`metanet.probing.importance.importance`."""
    top = table.head(most).iloc[::-1]
    colours = ["tab:orange" if "-B" in name else "tab:blue" for name in top["input"]]
    ax.barh(top["input"], top["splits"], color=colours)
    ax.set(xlabel="splits", title=title)
    ax.tick_params(axis="y", labelsize=6)
    return ax


def sensitivity_bars(table: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Mean change of the prediction by modification (Table 9); ``table`` of :func:`metanet.probing.sensitivity.sensitivity`."""
    shown = table.iloc[::-1]
    labels = [
        f"{r.modification}{'' if r.mixed == '-' else ', mixed' if r.mixed == 'yes' else ', kinds apart'}"
        for r in shown.itertuples()
    ]
    ax.barh(labels, shown["mad"], xerr=1.96 * shown["mad_se"], color="tab:blue")
    ax.set(xlabel="mean |change of prediction|", title=title)
    ax.tick_params(axis="y", labelsize=7)
    return ax
