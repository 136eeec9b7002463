"""``metanet train``: fit meta-models and score them once on the test part."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from metanet.cli.compose import required
from metanet.cli.terminal import fit_bars, print_leaderboard, print_run, print_table
from metanet.errors import MetanetError
from metanet.evaluation.comparison import SEEDS, compare, readable, sentence, write_comparison
from metanet.evaluation.fitting import Fitter, finished_run
from metanet.evaluation.tasks import Launcher
from metanet.plots.predictions import draw_result
from metanet.runs.folder import choose_folder, read_config, read_metrics, read_versions
from metanet.runs.leaderboard import leaderboard
from metanet.runs.records import find_runs, flat

AGREE = 1e-6  # metrics of the same run made again
TIMES = ("seconds", "search_seconds", "seed")


def run(configs: list[dict[str, Any]], varied: list[str]) -> None:
    """One run folder a config; a grid's runs lie below one folder, and those already there are kept."""
    for config in configs:
        required(config, "zoo", "zoo=zoos/digits")
        required(config, "features", "features=stats")
    name = "grid-" + "-".join(varied) if varied else run_name(configs[0], [])
    root = choose_folder(configs[0]["out"], "train", name)
    rows: list[dict[str, Any]] = []
    with fit_bars(len(configs)) as (begin, on_trial):
        fitter = Fitter(draw_result, on_trial)
        settled = [fitter.settled(config) for config in configs]
        names = [run_name(config, varied) for config in settled]
        folders = [root / name if len(configs) > 1 else root for name in names]
        if _side_by_side(configs):
            launcher = Launcher.of(configs[0]["launcher"], configs[0]["threads"])
            begin(f"{len(configs)} runs in {launcher.workers} processes")
            shared = [config | {"threads": 1} for config in settled], folders, root
            found: dict[int, list[dict[str, Any]]] = {}
            for i, own in launcher.run(_fit_apart, shared, [(i,) for i in range(len(configs))]):
                found[i] = own
                begin(names[i])
            rows = [row for i in sorted(found) for row in found[i]]
        else:
            for config, name, folder in zip(settled, names, folders, strict=True):
                begin(name)
                rows += _fit(fitter, config, folder, root)
    table = leaderboard(rows)
    table.to_csv(root / "leaderboard.csv", index=False)
    print_leaderboard(table)
    if set(SEEDS) & set(varied):
        families = compare(find_runs(row["run"] for row in rows).records)
        write_comparison(families, root)
        for family in families:
            print_table(readable(family), f"{family.target}: means over {' and '.join(k for k in SEEDS if k in varied)}")
            print(sentence(family))
    print_floors(rows)
    print_searches(rows)
    if configs[0]["from"]:
        print_agreement(rows, configs)
    print_run(root)


def _side_by_side(configs: list[dict[str, Any]]) -> bool:
    """Whether a grid's runs have processes of their own: where workers or a cluster are named, and no search needs them."""
    launcher = configs[0]["launcher"]
    asked = launcher.get("workers") is not None or launcher.get("name") == "ray"
    return len(configs) > 1 and asked and all(config["search"]["name"] == "none" for config in configs)


def _fit(fitter: Fitter, config: dict[str, Any], folder: Path, root: Path) -> list[dict[str, Any]]:
    """The metrics of a config's run, or runs; those that are there are kept."""
    if isinstance(config["target"], list):
        return _many(fitter, config, folder)
    kept = finished_run(folder, config) if config["out"] else None
    return [(kept or fitter.fit(config, folder, lambda key: root / f"floor-{key}")) | {"run": str(folder)}]


def _fit_apart(shared: tuple[list[dict[str, Any]], list[Path], Path], index: int) -> tuple[int, list[dict[str, Any]]]:
    """One run of a grid in a process of its own, which keeps zoos and floors for the next."""
    configs, folders, root = shared
    return index, _fit(_fitter(), configs[index], folders[index], root)


@cache
def _fitter() -> Fitter:
    return Fitter(draw_result)


def _many(fitter: Fitter, config: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The runs of one fit for several targets; kept where all are there already."""
    targets = config["target"]
    if not targets or not all(isinstance(t, str) for t in targets):
        raise MetanetError(f"target={targets}: give columns such as [test_accuracy,hp.optimizer]")
    kept = [finished_run(folder / t, config | {"target": t}) if config["out"] else None for t in targets]
    rows = [row for row in kept if row is not None]
    if len(rows) < len(targets):
        rows = fitter.fit_many(config, folder)
    return [row | {"run": str(folder / target)} for row, target in zip(rows, targets, strict=True)]


def run_name(config: dict[str, Any], varied: list[str]) -> str:
    """Folder name of one run: model, features and what the grid varies."""
    features = config["features"] if isinstance(config["features"], str) else "+".join(config["features"])
    target = "+".join(config["target"]) if isinstance(config["target"], list) else config["target"]
    words = [Path(str(config["model"]["name"])).name, Path(features).name, target]
    for key in varied:
        if key not in ("model", "features", "target"):
            value: Any = config
            for part in key.split("."):
                value = value[part]
            words.append(f"{key}={value}")
    return "-".join(str(w) for w in words).replace("/", "_").replace(":", "_")


def print_floors(rows: list[dict[str, Any]]) -> None:
    """The floors of each target, and the ceiling of tau."""
    seen = set()
    for row in rows:
        if (row.get("zoo"), row["target"], row.get("split")) in seen:
            continue
        seen.add((row.get("zoo"), row["target"], row.get("split")))
        measure = "accuracy" if "accuracy" in row else "r2"
        constant, hyper = row.get(f"{measure}_constant"), row.get(f"{measure}_hyper")
        words = [f"floors of {row['target']} ({row['n_test']} test networks): best constant {measure} {constant:.3f}"]
        words.append("no hyperparameter varies" if hyper is None else f"all hyperparameters (GBM) {measure} {hyper:.3f}")
        if row.get("tau_ceiling") is not None:
            words.append(f"ceiling of tau {row['tau_ceiling']:.3f} (ties alone {row['tau_ties']:.3f})")
        print("; ".join(words))


def print_agreement(rows: list[dict[str, Any]], configs: list[dict[str, Any]]) -> None:
    """Whether runs made again score what the first one did; what differs in settings, versions and numbers where not."""
    first = Path(configs[0]["from"])
    before, versions_before, stored = read_metrics(first), read_versions(first), flat(read_config(first))
    for row, config in zip(rows, configs, strict=True):
        now, run = flat(config), Path(row["run"])
        if changed := [k for k in sorted(stored.keys() | now.keys()) if stored.get(k) != now.get(k)]:
            print(f"{run.name}: other settings than {first}: " + ", ".join(f"{k}={now.get(k)}" for k in changed))
        off = {
            k: (old, row[k])
            for k, old in before.items()
            if k not in TIMES
            and isinstance(old, int | float)
            and isinstance(row.get(k), int | float)
            and not math.isclose(old, row[k], rel_tol=AGREE, abs_tol=AGREE)
        }
        if not off:
            print(f"{run.name}: all metrics agree with those of {first} (to {AGREE:g})")
            continue
        shown = pd.DataFrame([{"metric": k, "then": a, "now": b, "difference": b - a} for k, (a, b) in off.items()])
        print_table(shown, f"{run.name}: {len(off)} metrics differ from those of {first}")
        versions_now = read_versions(run)
        if other := [k for k in versions_now if versions_now[k] != versions_before.get(k)]:
            print("other versions: " + ", ".join(f"{k} {versions_before.get(k)} then, {versions_now[k]} now" for k in other))


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
