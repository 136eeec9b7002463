"""Probe maps as pictures (Eilertsen et al. 2020, Figures 5, 20 and 21)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from metanet.errors import MetanetError
from metanet.plots.style import STYLE

if TYPE_CHECKING:
    from metanet.probing.maps import ProbeMap

_PARTS = {"all": "weights", "conv": "convolutional weights", "fc": "fully connected weights"}


def map_grid(maps: Sequence[ProbeMap], columns: int | None = None) -> Figure:
    """Every map with its marginal curves; one in the middle of nothing where there is one."""
    across = columns or min(len(maps), 2 if len(maps) < 5 else 3)
    down = -(-len(maps) // across)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6 * across, 4.4 * down), layout="constrained")
        for part, drawn in zip(figure.subfigures(down, across, squeeze=False).flat, maps, strict=False):
            draw_map(drawn, part)
    return figure


def draw_map(drawn: ProbeMap, figure: Figure | SubFigure) -> None:
    """A heat map of score by position (across) and training progress (down), with the means along both.

    The scale begins at chance; borders of layers are drawn where all networks share one architecture: there the middle of
    a slice passes from one layer to the next.
    """
    axes = figure.subplots(2, 2, width_ratios=(5, 1), height_ratios=(1, 4), sharex="col", sharey="row")
    (top, corner), (heat, side) = axes
    corner.remove()
    colours = _heat(drawn, heat)
    position, progress = drawn.by_position(), drawn.by_progress()
    x, y = 100 * position["position"], _rows(drawn)
    top.plot(x, position["score"], color="tab:blue", linewidth=1)
    top.fill_between(x, position["low"], position["high"], color="tab:blue", alpha=0.2, linewidth=0)
    top.axhline(drawn.chance, color="black", linestyle=":", linewidth=1)
    top.set(ylabel=_name(drawn))
    side.plot(progress["score"], y, color="tab:blue", linewidth=1)
    side.fill_betweenx(y, progress["low"], progress["high"], color="tab:blue", alpha=0.2, linewidth=0)
    side.axvline(drawn.chance, color="black", linestyle=":", linewidth=1)
    side.set(xlabel=_name(drawn))
    side.xaxis.set_major_locator(MaxNLocator(2))
    side.tick_params(axis="x", rotation=90)
    mean, low, high = drawn.mean()
    figure.suptitle(
        f"{drawn.target.removeprefix('hp.')}: mean {_name(drawn)} {mean:.2f} ({low:.2f} to {high:.2f}), "
        f"{'chance' if drawn.task == 'classification' else 'a constant'} {drawn.chance:.2f}, {drawn.networks} networks",
        fontsize=9,
    )
    figure.colorbar(colours, ax=[top, heat, side], fraction=0.03, pad=0.02, label=f"{_name(drawn)} (scale from chance up)")


def _heat(drawn: ProbeMap, ax: Axes):  # type: ignore[no-untyped-def]
    scores = drawn.scores
    top = _top(drawn)
    rows = _rows(drawn)
    edges = np.concatenate([[rows[0] - 0.5], (rows[1:] + rows[:-1]) / 2, [rows[-1] + 0.5]])
    across = np.linspace(0, 100, scores.shape[1] + 1)
    colours = ax.pcolormesh(across, edges, np.ma.masked_invalid(scores), cmap="viridis", vmin=drawn.chance, vmax=top)
    ax.set_ylim(edges[-1], edges[0])
    shown = np.unique(np.round(np.linspace(0, len(rows) - 1, min(len(rows), 6))).astype(int))
    ax.set_yticks(rows[shown], [f"{drawn.progress[i]:.0%}" for i in shown])
    ax.set(xlabel=f"position of the slice of {drawn.length:,} among the {_PARTS[drawn.part]}, %", ylabel="training progress")
    count = scores.shape[1]
    for i, (layer, *ends) in enumerate(drawn.borders()):
        first, last = ((end * (count - 1) + 0.5) / count for end in ends)  # cells are drawn around their positions
        if i:
            ax.axvline(100 * first, color="white", linewidth=0.8)
        if last - first > 0.05:
            ax.text(50 * (first + last), edges[-1] - 0.15, layer, ha="center", va="bottom", fontsize=6, color="white")
    return colours


def _top(drawn: ProbeMap) -> float:
    return max(float(np.nanmax(drawn.scores)), drawn.chance + 0.05)


def _rows(drawn: ProbeMap) -> np.ndarray:
    """One row a snapshot, all of one height: early ones lie too close in progress to be seen."""
    return np.arange(len(drawn.progress), dtype=float)


def _name(drawn: ProbeMap) -> str:
    return "accuracy" if drawn.task == "classification" else "R²"


def check_html() -> None:
    """Refuse an interactive page where plotly is not installed."""
    _plotly()


def _plotly():  # type: ignore[no-untyped-def]
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError:
        raise MetanetError("html=true needs plotly: pip install 'metanet-weights[plotly]', or leave html out") from None
    return go, make_subplots


def write_html(maps: Sequence[ProbeMap], path: Path) -> Path:
    """Interactive maps in one page that needs no server and no network: hover shows position, tensor, epoch and score."""
    go, make_subplots = _plotly()
    figure = make_subplots(rows=len(maps), cols=1, subplot_titles=[m.target for m in maps])
    for row, drawn in enumerate(maps, 1):
        places = [drawn.place(p) for p in drawn.positions]
        text = [
            [f"{100 * p:.0f} % along<br>{place}<br>epoch {epoch:.0f}" for p, place in zip(drawn.positions, places, strict=True)]
            for epoch in drawn.epochs
        ]
        figure.add_trace(
            go.Heatmap(
                z=drawn.scores,
                x=100 * drawn.positions,
                y=_rows(drawn),
                text=text,
                hovertemplate="%{text}<br>" + _name(drawn) + " %{z:.3f}<extra></extra>",
                zmin=drawn.chance,
                zmax=_top(drawn),
                colorscale="Viridis",
                colorbar={"len": 1 / len(maps), "y": 1 - (row - 0.5) / len(maps)},
            ),
            row=row,
            col=1,
        )
        labels = {"tickvals": _rows(drawn), "ticktext": [f"{p:.0%}" for p in drawn.progress]}
        figure.update_yaxes(autorange="reversed", title="training progress", row=row, col=1, **labels)
        figure.update_xaxes(title="position, %", row=row, col=1)
    figure.update_layout(height=420 * len(maps), title="Probe maps: the scale of each begins at chance")
    figure.write_html(path, include_plotlyjs=True)
    return path
