"""``metanet evaluate``: apply a fitted meta-model unchanged to other zoos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from metanet.cli.compose import required
from metanet.cli.terminal import print_leaderboard, print_run, print_table
from metanet.errors import MetanetError
from metanet.evaluation.protocol import evaluate_on, floors_on
from metanet.evaluation.run_files import saved_floors
from metanet.evaluation.seen import seen_by, unseen
from metanet.evaluation.selection import filter_note, is_converged_view, view_of
from metanet.evaluation.transfer import COLUMNS
from metanet.models import load_model
from metanet.plots.predictions import draw_result
from metanet.plots.style import save
from metanet.plots.transfer import transfer_matrices, transfer_scatters
from metanet.runs.folder import RunFolder, folder_for, read_config, read_metrics
from metanet.runs.leaderboard import leaderboard
from metanet.runs.tracking import track
from metanet.zoo.identity import TWINS, left_out
from metanet.zoo.reading import open_zoo
from metanet.zoo.zoo import Zoo


def run(config: dict[str, Any]) -> None:
    """Score the meta-model of each run on each zoo; with several runs also the matrix of transfer.

    Raises:
        MetanetError: ``part`` is none that a run has.
    """
    given_runs, given = required(config, "run", "run=runs/train/..."), required(config, "zoo", "zoo=zoos/mnist")
    sources = [Path(r).expanduser() for r in (given_runs if isinstance(given_runs, list) else [given_runs])]
    zoos = [open_zoo(path) for path in (given if isinstance(given, list) else [given])]
    if config["part"] not in ("auto", "all", "test"):
        raise MetanetError(f"part={config['part']}: give auto, all or test")
    names = _different([_own_name(source) for source in sources], "run"), _different([zoo.name for zoo in zoos], "zoo")
    for source in sources:
        read_metrics(source)  # a folder that is no run is refused by name
    with folder_for(config["out"], "evaluate", names[0][0] + ("-and-more" if len(sources) > 1 else "")) as folder:
        _evaluate(config, sources, zoos, names, RunFolder(folder))


def _evaluate(
    config: dict[str, Any], sources: list[Path], zoos: list[Zoo], names: tuple[list[str], list[str]], record: RunFolder
) -> None:
    record.write_config(config)
    rows, predictions = [], []
    for source in sources:
        model, known = load_model(source / "model", config["threads"]), saved_floors(source, config["threads"])
        for zoo in zoos:
            whole = view_of(zoo, config)
            view = unseen(whole, source, config["part"])
            for note in (filter_note(whole, config), left_out(whole, view)):
                if note:
                    print(note)
            if config["part"] == "all" and (count := len(set(whole.network_ids[seen_by(source, whole)]))):
                print(f"{zoo.name}: part=all: {count} of the networks are ones that the fit has seen, or {TWINS}")
            floors, missing = floors_on(known, view)
            for floor, why in missing.items():
                print(f"{zoo.name}: the floor {floor} of {source.name} cannot be had there: {why}")
            result = evaluate_on(model, view, floors)
            rows.append(result.metrics | {"trained_on": _own_name(source), "tested_on": zoo.name})
            predictions.append(result.predictions.assign(zoo=zoo.name, trained_on=_own_name(source), tested_on=zoo.name))
            folder = record.folder / _own_name(source) if len(sources) > 1 else record.folder
            part = RunFolder(folder / _folder_name(zoo.name))
            draw_result(result, part)
            part.write_predictions(result.predictions)
            seen = config["view"] | {"converged": is_converged_view(zoo, config)}
            shared = {"view": seen, "where": config["where"], "part": config["part"], "trained_on": str(source.resolve())}
            part.write_config(read_config(source) | shared)
            facts = {"plan_hash": zoo.header.plan_hash, "origin": zoo.header.origin and zoo.header.origin.to_json()}
            (part.folder / "split.json").write_text(json.dumps(facts, indent=1))
            part.write_metrics(result.metrics | {"trained_on": _own_name(source)})
    everything = pd.concat(predictions, ignore_index=True)
    record.write_predictions(everything)
    table = leaderboard(rows)
    table.to_csv(record.folder / "leaderboard.csv", index=False)
    print_leaderboard(table)
    if len(sources) > 1 and all("tau" in row for row in rows):
        _write_matrix(pd.DataFrame(rows), everything, record, *names)
    facts = {
        f"{r['trained_on']}/{r['zoo']}/{k}" if len(sources) > 1 else f"{r['zoo']}/{k}": v for r in rows for k, v in r.items()
    }
    track(config["tracking"], record, config, facts, "evaluate", tables={"scores": table, "predictions": everything})
    print_run(record.folder)


def _own_name(folder: Path) -> str:
    """The name of a folder itself, also where it is given as ``.`` or ``..``."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _folder_name(zoo: str) -> str:
    """One folder's name out of a zoo's path, so that what is written lies below ``out`` whatever the path is."""
    name = zoo.strip("/").replace("/", "_")
    return name if name not in ("", ".", "..") else Path(zoo).resolve().name or "root"


def _different(names: list[str], what: str) -> list[str]:
    """The names, if no two are alike: tables go by them."""
    for name in names:
        if names.count(name) > 1:
            raise MetanetError(f"two folders given as {what}= are called '{name}', and tables go by that name; rename one")
    return names


def _write_matrix(scores: pd.DataFrame, predictions: pd.DataFrame, record: RunFolder, runs: list[str], zoos: list[str]) -> None:
    """``transfer.csv``, a picture of the matrices, and one of true against predicted for each pair."""
    scores = scores.reindex(columns=COLUMNS)
    scores.to_csv(record.folder / "transfer.csv", index=False)
    for measure, words in (("tau", "Kendall's tau"), ("tau_hyper", "Kendall's tau of the floor, hyperparameters alone")):
        if scores[measure].notna().any():
            matrix = scores.pivot(index="trained_on", columns="tested_on", values=measure).loc[runs, zoos]
            print_table(matrix.reset_index(), f"{words}, trained on rows, tested on columns")
    save(transfer_matrices(scores, runs, zoos), record.figures / "transfer.png")
    save(transfer_scatters(predictions, runs, zoos), record.figures / "transfer_scatters.png")
