"""Curves: a score by epoch or by number of networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS, MARKERS = 10, "osDv^"


def line_styles(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each label, the same on every panel; no two labels of fifty share both."""
    names = list(dict.fromkeys(labels))
    return {n: {"color": f"C{i % COLOURS}", "marker": MARKERS[i // COLOURS % len(MARKERS)]} for i, n in enumerate(names)}


def curves(
    frame: pd.DataFrame,
    ax: Axes,
    x: str,
    y: str,
    by: str,
    title: str = "",
    log: bool = False,
    legend: bool = True,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> Axes:
    """One line for each value of ``by``: the mean of ``y`` at each ``x``, with its range where there are several.

    The vertical axis ends at 1 and begins at the lowest mean, at least -0.1; ``log`` is of the horizontal one.

    Args:
        styles: of :func:`line_styles`, where several panels show the same labels.
    """
    styles = styles or line_styles(str(label) for label in frame[by])
    for label, part in frame.groupby(by, sort=False):
        groups = part.groupby(x)[y]
        mean = groups.mean()
        (line,) = ax.plot(mean.index, mean, markersize=3, label=str(label), **styles[str(label)])
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


def spanned_curves(frame: pd.DataFrame, ax: Axes, y: str, title: str, styles: Mapping[str, Mapping[str, Any]]) -> Axes:
    """One line a model over the number of networks, with the interval of each point.

    Args:
        frame: model, networks, and ``y`` with its ends ``y_low`` and ``y_high``.
        styles: of :func:`line_styles`.
    """
    for label, part in frame.groupby("model", sort=False):
        (line,) = ax.plot(part["networks"], part[y], markersize=3, label=str(label), **styles[str(label)])
        ax.fill_between(part["networks"], part[f"{y}_low"], part[f"{y}_high"], color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set_xscale("log")
    lowest = max(-0.1, float(frame[f"{y}_low"].min()) - 0.02)
    ax.set(xlabel="training networks", ylabel={"r2": "R²", "tau": "Kendall's τ"}[y], title=title, ylim=(lowest, 1))
    return ax


def shared_legend(figure: Figure, styles: Mapping[str, Mapping[str, Any]]) -> None:
    """One legend of all panels, to the right of them."""
    handles = [Line2D([], [], markersize=3, label=label, **style) for label, style in styles.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=7)
