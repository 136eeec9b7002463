"""``metanet inspect``: what a zoo, a run or a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from metanet.cli.compose import required
from metanet.cli.terminal import print_table, print_zoo
from metanet.errors import MetanetError
from metanet.runs.folder import read_metrics
from metanet.zoo.reading import open_zoo, progress, read_header


def run(config: dict[str, Any]) -> None:
    """Tell zoo from run from checkpoint, and describe it.

    Raises:
        MetanetError: nothing lies at the path that can be shown.
    """
    path = Path(required(config, "path", "metanet inspect zoos/digits")).expanduser()
    if not path.exists():
        raise MetanetError(f"no file or folder '{path}'")
    if path.is_file():
        from metanet.formats.describe import describe  # needs torch

        table = describe(path)
        shown = table if table["not_finite"].any() else table.drop(columns="not_finite")
        print_table(shown, str(path), scientific=True)
        if table.attrs["left_out"]:
            print(table.attrs["left_out"])
    elif (path / "zoo.json").exists():
        _inspect_zoo(path)
    elif (path / "metrics.json").exists():
        metrics = read_metrics(path)
        print_table(
            pd.DataFrame({"metric": list(metrics), "value": ["-" if v is None else v for v in metrics.values()]}), str(path)
        )
    elif (path / "leaderboard.csv").exists():
        print_table(pd.read_csv(path / "leaderboard.csv"), str(path))
    else:
        raise MetanetError(f"'{path}' is no zoo (zoo.json) and no run (metrics.json, leaderboard.csv)")


def _inspect_zoo(path: Path) -> None:
    header = read_header(path)
    done, total = progress(path, header)
    origin = "imported" if header.seed is None else f"seed {header.seed}, {done} of {total} groups done"
    print(f"{path}: {header.recipe.name or '?'} on {header.data.name or '?'}, {origin}")
    for layout in header.layouts.values():
        print(f"layout {layout.id}: {layout.size:,} values in {len(layout.tensors)} tensors, layers {', '.join(layout.layers)}")
    if not header.complete:
        print("unfinished: give the generate command that began it again to go on")
        return
    zoo = open_zoo(path)
    print_zoo(zoo)
    frame = zoo.view(epoch="all").frame
    measured = [c for c in ("train_accuracy", "test_accuracy", "test_loss") if c in frame]
    by_epoch = frame.groupby("epoch")[measured].mean().reset_index()
    print_table(by_epoch.assign(networks=frame.groupby("epoch").size().to_numpy()), "mean by epoch")
    rows = []
    for column in (str(c) for c in zoo.networks if str(c).startswith("hp.")):
        values = zoo.networks[column]
        numeric = pd.api.types.is_numeric_dtype(values) and values.nunique() > 6
        text = f"{values.min():.3g} to {values.max():.3g}" if numeric else ", ".join(map(str, sorted(values.unique())))
        rows.append({"hyperparameter": column, "kind": zoo.kind(column), "values": text})
    if rows:
        print_table(pd.DataFrame(rows))
