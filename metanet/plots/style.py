"""How all figures look, and how they are saved without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "figure.dpi": 120,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "font.size": 9,
}


def new_grid(
    rows: int, columns: int, share: bool = False, width: float = 3.0, height: float = 2.6
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with rows of axes, their scales shared where asked; it belongs to no window system."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)]


def new_axes(columns: int = 1, share: bool = False, width: float = 4.2, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """One row of :func:`new_grid`."""
    figure, (axes,) = new_grid(1, columns, share, width, height)
    return figure, axes


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    figure.savefig(path)
    return path
