"""``metanet evaluate``: apply a fitted meta-model unchanged to other zoos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from metanet.cli.compose import required
from metanet.cli.terminal import print_leaderboard, print_run
from metanet.cli.train import draw_predictions, origin, split_facts, stored_split, view_of
from metanet.errors import MetanetError
from metanet.evaluation.protocol import evaluate_on
from metanet.models import load_model
from metanet.runs.folder import Run, choose_folder, read_metrics
from metanet.runs.leaderboard import leaderboard
from metanet.runs.tracking import track
from metanet.zoo.store import open_zoo


def run(config: dict[str, Any]) -> None:
    """Score the meta-model of a run on each zoo; one row, one figure and one part of the predictions a zoo."""
    source = Path(required(config, "run", "run=runs/train/...")).expanduser()
    given = required(config, "zoo", "zoo=zoos/mnist")
    zoos = [open_zoo(path) for path in (given if isinstance(given, list) else [given])]
    if config["part"] not in ("auto", "all", "test"):
        raise MetanetError(f"part={config['part']}: give auto, all or test")
    read_metrics(source)  # a folder that is no run is refused by name
    model = load_model(source / "model", config["threads"])
    trained_on = split_facts(source / "split.json").get("origin")
    record = Run(choose_folder(config["out"], "evaluate", source.name))
    record.write_config(config)
    rows, predictions = [], []
    for zoo in zoos:
        view = view_of(zoo, config)
        own = bool(trained_on) and origin(zoo) == trained_on  # also where it was moved, copied or grown larger
        if config["part"] == "test" and not own:
            raise MetanetError(f"part=test: the run was trained on another zoo than {zoo.name}; give part=auto or all")
        if config["part"] != "all" and own:
            split = stored_split(source / "split.json")
            view = view.of_networks(set(view.network_ids) - {*split.train, *split.validation})
            if len(view) == 0:
                raise MetanetError(f"the run was trained on all networks of {zoo.name}, so none is left to test on")
            print(f"{zoo.name}: the run was trained there; scored on the {len(set(view.network_ids))} networks it never saw")
        result = evaluate_on(model, view)
        rows.append(result.metrics)
        predictions.append(result.predictions.assign(zoo=zoo.name))
        part = Run(record.folder / zoo.name.strip("/").replace("/", "_"))
        draw_predictions(result.predictions, part, result)
        part.write_metrics(result.metrics)
    record.write_predictions(pd.concat(predictions, ignore_index=True))
    table = leaderboard(rows)
    table.to_csv(record.folder / "leaderboard.csv", index=False)
    print_leaderboard(table)
    track(config["tracking"], record, config, {f"{r['zoo']}/{k}": v for r in rows for k, v in r.items()}, "evaluate")
    print_run(record.folder)
