"""Figures of meta-classifiers (Eilertsen et al. 2020, Figures 2 to 4 and 16 to 19)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes


def score_bars(table: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Groups of bars by target, one bar a model, with intervals; a dotted line across each bar is its chance.

    Args:
        table: target, model, score, low, high, chance.
    """
    targets, models = (list(dict.fromkeys(table[c])) for c in ("target", "model"))
    width = 0.8 / len(models)
    for i, model in enumerate(models):
        own = table[table["model"] == model].set_index("target").reindex(targets)
        places = np.arange(len(targets)) + (i - (len(models) - 1) / 2) * width
        ends = np.clip([own["score"] - own["low"], own["high"] - own["score"]], 0, None)
        ax.bar(places, own["score"], width * 0.95, yerr=ends, label=model, error_kw={"linewidth": 0.8})
        ax.hlines(own["chance"], places - width / 2, places + width / 2, color="black", linestyle=":", linewidth=1.2)
    ax.set_xticks(range(len(targets)), targets, rotation=30 if len(targets) > 6 else 0)
    ax.set(ylim=(0, 1), ylabel="balanced accuracy", title=title)
    ax.legend(frameon=False, fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def coefficient_points(table: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Norms of coefficients: a point a measure, a column a kind of weight of a layer, a bar its mean; differences in orange.

    Args:
        table: part, measure, norm.
    """
    parts = list(dict.fromkeys(table["part"]))
    for place, part in enumerate(parts):
        own = table[table["part"] == part]
        for ends, colour in ((False, "tab:blue"), (True, "tab:orange")):
            norms = own.loc[own["measure"].str.endswith("_d") == ends, "norm"]
            ax.scatter(np.full(len(norms), place + 0.15 * (ends - 0.5)), norms, s=6, color=colour, linewidths=0)
        ax.plot([place - 0.35, place + 0.35], [own["norm"].mean()] * 2, color="black", linewidth=1.2)
    ax.set_xticks(range(len(parts)), parts, rotation=90, fontsize=5)
    ax.set(ylabel="norm over classes", title=title, ylim=(0, None))
    return ax


def size_curves(table: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Score by length of a slice, one curve a target, with intervals (Fig. 18)."""
    for i, (target, own) in enumerate(table.dropna(subset="score").groupby("target", sort=False)):
        ax.plot(own["slice"], own["score"], marker=".", color=f"C{i}", label=target)
        ax.fill_between(own["slice"], own["low"], own["high"], color=f"C{i}", alpha=0.15, linewidth=0)
        ax.plot(own["slice"], own["chance"], color=f"C{i}", linestyle=":", linewidth=0.8)
    ax.set(xscale="log", ylim=(0, 1), xlabel="values of a slice", ylabel="balanced accuracy", title=title)
    ax.legend(frameon=False, fontsize="x-small")
    return ax
