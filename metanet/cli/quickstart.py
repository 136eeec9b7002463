"""``metanet quickstart``: from handwritten digits to a leaderboard of meta-models."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd

from metanet.cli.compose import compose
from metanet.cli.generate import draw_accuracies, grow
from metanet.cli.grids import run_name
from metanet.cli.terminal import fit_bars, print_leaderboard, print_run, print_zoo
from metanet.cli.train import print_floors
from metanet.evaluation.differences import answers_of, paired_interval
from metanet.evaluation.fitting import Fitter
from metanet.plots.predictions import draw_result
from metanet.plots.style import new_axes, save
from metanet.plots.zoo import bias_range_scatter, bias_ranges
from metanet.runs.folder import RunFolder
from metanet.runs.leaderboard import leaderboard
from metanet.zoo.zoo import Zoo


def run(config: dict[str, Any]) -> None:
    """Grow the zoo, train all estimators on all inputs, draw and print."""
    began = time.perf_counter()
    record = RunFolder(config["out"])
    zoo_folder = record.folder / "zoo"
    print(f"1/3  growing a zoo of {config['n']} networks on {config['data']['name']} -> {zoo_folder}")
    zoo = grow(config, zoo_folder)
    assert zoo is not None  # a quickstart has no shares
    print_zoo(zoo)
    rows, configs = [], _fits(config, zoo_folder, record.folder)
    print(f"2/3  training {len(configs)} meta-models")
    with fit_bars(len(configs)) as (begin, on_trial):
        fitter = Fitter(draw_result, on_trial, print)
        for fit in configs:
            begin(f"{fit['model']['name']} on {fit['features']}")
            rows += [row | {"run": fit["out"]} for row in fitter.fit(fitter.prepare(fit), Path(fit["out"]))]
    table = leaderboard(rows)
    table.to_csv(record.folder / "leaderboard.csv", index=False)
    record.write_config(config)
    print_leaderboard(table)
    print_floors(rows)
    _print_stats_against_flat(rows)
    print("3/3  drawing figures")
    draw_zoo(zoo, record)
    best = table.iloc[0]
    print(f"""
done in {time.perf_counter() - began:.0f} s. Look at {record.folder / "figures"} and {Path(str(best["run"])) / "figures"}

What to try next
  metanet inspect {zoo_folder}
  metanet train zoo={zoo_folder} model=gbm,dnn features=stats target=hp.optimizer
  metanet train zoo={zoo_folder} model=gbm features=stats+norms_l2 seed=0,1,2
  metanet compare {record.folder / "runs"} where='features == "stats"'
  metanet generate --help""")
    print_run(record.folder)


def _fits(config: dict[str, Any], zoo: Path, out: Path) -> list[dict[str, Any]]:
    fits = []
    inputs = config["features"] if isinstance(config["features"], list) else [config["features"]]
    for model in config["models"] if isinstance(config["models"], list) else [config["models"]]:
        # the constant reads nothing, so it is the same on every input
        for features in inputs[:1] if model == "constant" else inputs:
            fit = compose("train", {"model": model, "zoo": str(zoo), "features": features, "target": config["target"]})
            fit["split"] |= config["split"]
            fit |= {
                "seed": config["seed"],
                "threads": config["threads"],
                "tracking": config["tracking"],
                "trainer": config["trainer"],
            }
            fit["out"] = str(out / "runs" / run_name(fit))
            fits.append(fit)
    return fits


def _print_stats_against_flat(rows: list[dict[str, Any]]) -> None:
    """The paper's order, with the interval of the difference on the same test networks."""
    runs = {row["features"]: row for row in rows if row["model"] == "gbm"}
    if not {"stats", "flat"} <= set(runs) or "r2" not in runs["stats"]:
        return
    a, b = (pd.read_parquet(Path(runs[f]["run"]) / "predictions.parquet").query("part == 'test'") for f in ("stats", "flat"))
    gain = runs["stats"]["r2"] - runs["flat"]["r2"]
    words = paired_interval([(answers_of(a), answers_of(b))], "r2").words
    print(f"gbm on stats - gbm on flat weights: r2 {gain:+.3f} (95 % {words})")


def draw_zoo(zoo: Zoo, record: RunFolder) -> None:
    """Accuracy histogram, train against test, and the bias ranges of Adam and RMSprop beside SGD."""
    view = zoo.view()
    draw_accuracies(zoo, record.figures / "accuracies.png")
    ranges = bias_ranges(view)
    sgd = ranges["optimizer"] == "sgd"
    figure, axes = new_axes(2, share=True)
    for ax, part, title in ((axes[0], ranges[~sgd], "Adam and RMSprop"), (axes[1], ranges[sgd], "SGD")):
        bias_range_scatter(part, ax).set_title(title)
    save(figure, record.figures / "bias_ranges.png")
