"""Curves: a score by epoch or by number of networks."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes


def curves(
    frame: pd.DataFrame, ax: Axes, x: str, y: str, by: str, title: str = "", log: bool = False, legend: bool = True
) -> Axes:
    """One line for each value of ``by``: the mean of ``y`` at each ``x``, with its range where there are several.

    The vertical axis ends at 1 and begins at the lowest mean, at least -0.1; ``log`` is of the horizontal one.
    """
    for label, part in frame.groupby(by, sort=False):
        groups = part.groupby(x)[y]
        mean = groups.mean()
        (line,) = ax.plot(mean.index, mean, marker="o", markersize=3, label=str(label))
        ax.fill_between(mean.index, groups.min(), groups.max(), color=line.get_color(), alpha=0.15, linewidth=0)
    if log:
        ax.set_xscale("log")
    else:
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xticks(sorted(frame[x].unique()), [f"{v:g}" for v in sorted(frame[x].unique())])
    ax.set(xlabel=x, ylabel={"r2": "R²", "tau": "Kendall's τ"}.get(y, y), title=title, ylim=(max(-0.1, frame[y].min() - 0.02), 1))
    if legend:
        ax.legend(frameon=False, fontsize=7)
    return ax
