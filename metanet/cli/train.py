"""``metanet train``: fit meta-models and score them once on the test part."""

from __future__ import annotations

import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.cli.compose import required
from metanet.cli.grids import Grid
from metanet.cli.terminal import fit_bars, print_leaderboard, print_run, print_table
from metanet.errors import MetanetError
from metanet.evaluation.comparison import AGREE, SEEDS, agree, compare, differing, readable, sentence, write_comparison
from metanet.evaluation.fitting import Fitter
from metanet.evaluation.preparing import Fit
from metanet.evaluation.protocol import BEFORE
from metanet.evaluation.run_files import finished_run
from metanet.evaluation.seen import split_facts
from metanet.launching.launcher import Launcher
from metanet.plots.predictions import draw_result
from metanet.runs.folder import folder_for, read_config, read_metrics, read_versions
from metanet.runs.leaderboard import leaderboard
from metanet.runs.records import find_runs, flat

TIMES = ("seconds", "search_seconds", "seed")


def run(configs: list[dict[str, Any]], grid: Grid) -> None:
    """One run folder a config; a grid's runs lie below one folder, and those already there are kept.

    Raises:
        MetanetError: the zoo of the run that ``from`` names is not here.
    """
    for config in configs:
        required(config, "zoo", "zoo=zoos/digits")
        required(config, "features", "features=stats")
        required(config, "target", "target=test_accuracy")
    for config in configs:
        if config["from"]:  # what the new run is compared with must be there before it is fitted
            split_facts(Path(config["from"]).expanduser() / "split.json")
            if not Path(config["zoo"]).expanduser().exists():
                raise MetanetError(
                    f"from={config['from']}: its zoo '{config['zoo']}' is not here; give zoo=, or go where the run was made"
                )
    name = "grid-" + "-".join(grid.varied) if grid.varied else grid.name(configs[0], 0)
    with folder_for(configs[0]["out"], "train", name) as root:
        _train(configs, grid, root)


def _train(configs: list[dict[str, Any]], grid: Grid, root: Path) -> None:
    rows: list[dict[str, Any]] = []
    with fit_bars(len(configs)) as (begin, on_trial):
        fitter = Fitter(draw_result, on_trial, print)
        fits = [fitter.prepare(config) for config in configs]
        names = [grid.name(fit.config, i) for i, fit in enumerate(fits)]
        folders = [root / name if len(configs) > 1 else root for name in names]
        if _side_by_side(configs):
            launcher = Launcher.of(configs[0]["launcher"], configs[0]["threads"])
            shared = [fit.config | {"threads": 1} for fit in fits], folders, root, os.getcwd(), secrets.token_hex(8)
            found: dict[int, list[dict[str, Any]]] = {}
            for i, own in launcher.run(_fit_apart, shared, [(i,) for i in range(len(configs))]):
                found[i] = own
                begin(names[i])
            rows = [row for i in sorted(found) for row in found[i]]
        else:
            for fit, name, folder in zip(fits, names, folders, strict=True):
                begin(name)
                rows += _fit(fitter, fit, folder, root)
    table = leaderboard(_told_apart(rows))
    table.to_csv(root / "leaderboard.csv", index=False)
    print_leaderboard(table)
    if set(SEEDS) & set(grid.varied):
        families = compare(find_runs(row["run"] for row in rows).records)
        write_comparison(families, root)
        for family in families:
            print_table(readable(family), f"{family.target}: means over {' and '.join(k for k in SEEDS if k in grid.varied)}")
            print(sentence(family))
    print_notes(rows)
    if any(row.get("validation_fit") == BEFORE for row in rows):
        print("validation rows of predictions.parquet are from before the refit: the saved model has learned from them since")
    print_floors(rows)
    print_searches(rows)
    for row in rows:
        if row["config"]["from"]:
            print_agreement(row, row["config"])
    print_run(root)


def _side_by_side(configs: list[dict[str, Any]]) -> bool:
    """Whether a grid's runs have processes of their own: where workers or a cluster are named, and no search needs them."""
    launcher = configs[0]["launcher"]
    asked = (launcher.get("workers") or 1) > 1 or launcher.get("name") == "ray"
    return len(configs) > 1 and asked and all(config["search"]["name"] == "none" for config in configs)


def _fit(fitter: Fitter, fit: Fit, folder: Path, root: Path) -> list[dict[str, Any]]:
    """The metrics of a fit's run, or runs; where all are there they are kept."""
    runs = fit.runs(folder)
    kept = [finished_run(at, config) if config["out"] else None for config, at in runs]
    rows = [row | {"kept": True} for row in kept if row is not None]
    if len(rows) < len(runs):
        rows = fitter.fit(fit, folder, lambda name, key: root / f"floor-{name}-{key}")
    return [row | {"run": str(at), "config": config} for row, (config, at) in zip(rows, runs, strict=True)]


def _fit_apart(shared: tuple[list[dict[str, Any]], list[Path], Path, str, str], index: int) -> tuple[int, list[dict[str, Any]]]:
    """One run of a grid in a process of its own, which keeps zoos and floors for the next."""
    configs, folders, root, here, launch = shared
    os.chdir(here)  # a worker may be left from another grid
    fitter = _fitter(launch)
    return index, _fit(fitter, fitter.prepare(configs[index]), folders[index], root)


@lru_cache(1)
def _fitter(launch: str) -> Fitter:
    """One for all runs of a grid that this process fits; another grid has its own."""
    return Fitter(draw_result)


def _told_apart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a leaderboard, which say in what settings a run differs from the others of its model."""
    told = (*SEEDS, "zoo", "target", "features")  # by columns of their own
    settings = differing([{k: v for k, v in flat(row["config"]).items() if k not in told} for row in rows], most=1.0)
    return [
        {k: v for k, v in row.items() if k != "config"}
        | {"split.seed": row["config"]["split"]["seed"], "settings": ", ".join(words) or None}
        for row, words in zip(rows, settings, strict=True)
    ]


def print_notes(rows: list[dict[str, Any]]) -> None:
    """What models decided by themselves, a line each."""
    for row in rows:
        if row.get("note"):
            print(f"{Path(row['run']).name}: {row['note']}" if len(rows) > 1 else f"{row['model']} {row['note']}")


def print_floors(rows: list[dict[str, Any]]) -> None:
    """The floors of each target, and about where the ceiling of tau is."""
    seen = set()
    for row in rows:
        if (row.get("zoo"), row["target"], row.get("split")) in seen:
            continue
        seen.add((row.get("zoo"), row["target"], row.get("split")))
        measure = "accuracy" if "accuracy" in row else "r2"
        constant = row.get(f"{measure}_constant")
        words = [f"floors of {row['target']} ({row['n_test']} test networks): best constant {measure} {constant:.3f}"]
        metric = row["target"].removeprefix("final_")
        known = {
            "hyper": "all else that is known but the weights" if row["target"].startswith("hp.") else "all hyperparameters",
            "so_far": f"{metric} so far",
            "so_far_hyper": f"{metric} so far and all hyperparameters",
        }
        scored = {name: row[f"{measure}_{name}"] for name in known if row.get(f"{measure}_{name}") is not None}
        words += [f"{known[name]} (GBM) {measure} {value:.3f}" for name, value in scored.items()] or ["nothing else varies"]
        if row.get("tau_ceiling") is not None:
            words.append(f"ceiling of tau about {row['tau_ceiling']:.2f} +-.02 (ties alone {row['tau_ties']:.3f})")
        print("; ".join(words))


def print_agreement(row: dict[str, Any], config: dict[str, Any]) -> None:
    """Whether a run made again scores what the first one did; what differs in settings, networks and numbers where not."""
    first, run = Path(config["from"]).expanduser(), Path(row["run"])
    if row.get("kept"):
        print(f"{run}: was there already and is kept as it is; give another out= to make {first} again")
        return
    stored, now = flat(read_config(first)), flat(config)
    if changed := [k for k in sorted(stored.keys() | now.keys()) if stored.get(k) != now.get(k)]:
        print(f"{run.name}: other settings than {first}: " + ", ".join(f"{k}={now.get(k)}" for k in changed))
    parts = [split_facts(folder / "split.json") for folder in (first, run)]
    for key, words in (("plan_hash", "another zoo"), ("hash", "another split")):
        if parts[0].get(key) != parts[1].get(key):
            print(f"{run.name}: {words} than {first}")
    before = {k: v for k, v in read_metrics(first).items() if k not in TIMES}
    numbers = {k: (v, row.get(k)) for k, v in before.items() if isinstance(v, int | float)}
    if lost := [k for k, v in row.items() if isinstance(v, float) and k not in (*numbers, *TIMES)]:
        print(f"{run.name}: not compared, since {first} has no number of them: {', '.join(lost)}")
    off = {k: (a, b) for k, (a, b) in numbers.items() if b is None or not agree(a, b)}
    if not off:
        print(f"{run.name}: all {len(numbers)} metrics agree with those of {first} (to {AGREE:g})")
        return
    shown = [{"metric": k, "then": a, "now": b, "difference": np.nan if b is None else b - a} for k, (a, b) in off.items()]
    print_table(pd.DataFrame(shown), f"{run.name}: {len(off)} of {len(numbers)} metrics differ from those of {first}")
    versions = [read_versions(folder) for folder in (first, run)]
    if other := [k for k in versions[1] if versions[1][k] != versions[0].get(k)]:
        print("other versions: " + ", ".join(f"{k} {versions[0].get(k)} then, {versions[1][k]} now" for k in other))


def print_searches(rows: list[dict[str, Any]]) -> None:
    """What each search cost, and what the best configuration scored where it was chosen."""
    for row in rows:
        if row.get("trials"):
            words = [f"{row['model']} on {row['features']}: best of {row['trials']} configurations"]
            if row.get("r2_cv") is not None:
                words.append(
                    f"r2 {row['r2_cv']:.3f} in cross-validation, {row['r2']:.3f} +- {row['r2_fold_sd']:.3f} on the test part"
                )
            words.append(f"{row['search_seconds']:.0f} s of a worker")
            print("; ".join(words))
