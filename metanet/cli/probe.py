"""``metanet probe``: a map of what a local meta-model reads, by position in the weight vector and by training progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from metanet.cli.compose import compose, required
from metanet.cli.terminal import fit_bars, print_run, print_table
from metanet.cli.train import print_floors
from metanet.errors import MetanetError, did_you_mean
from metanet.evaluation.fitting import Fitter, finished_run, is_converged_view, unseen
from metanet.models import load_model
from metanet.models.registry import model_class
from metanet.plots.maps import map_grid, write_html
from metanet.plots.predictions import draw_result
from metanet.plots.style import save
from metanet.probing.maps import ProbeMap, probe_map
from metanet.runs.folder import Run, choose_folder, read_metrics
from metanet.runs.tracking import track
from metanet.zoo.store import Zoo, open_zoo


def run(config: dict[str, Any]) -> None:
    """Fit a meta-model for each target, or take a fitted one, and ask it everywhere."""
    given = config["run"]
    if given:
        config = config | {"zoo": config["zoo"] or _zoo_of(Path(given))}
    zoo = open_zoo(str(required(config, "zoo", "zoo=quickstart/zoo, or run= of a fitted meta-model")))
    targets = [str(read_metrics(given)["target"])] if given else _targets(config, zoo)
    words = targets[0] if len(targets) == 1 else "all" if config["target"] == "all" else f"{len(targets)}-targets"
    record = Run(choose_folder(config["out"], "probe", f"{config['model']['name']}-{words}"))
    record.write_config(config)
    maps, rows = [], []
    with fit_bars(len(targets), show=True) as (begin, on_trial):
        fitter = Fitter(draw_result, on_trial)
        for target in targets:
            begin(target)
            folder = Path(given).expanduser() if given else record.folder / target
            if not given:
                rows.append(_fit(fitter, config, target, folder))
            maps.append(_map(config, zoo, folder, on_trial))
    _write(maps, record, config)
    if rows:
        print_floors(rows)
    for drawn in maps:
        _print(drawn)
    print_table(summary(maps), "maps")
    print(f"picture: {record.figures / 'map.png'}")
    print_run(record.folder)


def summary(maps: list[ProbeMap]) -> pd.DataFrame:
    """One row a map: the means of all cells and of the ends in position and progress, beside chance."""
    rows = []
    for drawn in maps:
        mean, low, high = drawn.mean()
        position, progress = drawn.by_position()["score"], drawn.by_progress()["score"]
        rows.append(
            {
                "target": drawn.target,
                "networks": drawn.networks,
                "chance": drawn.chance,
                drawn.measure: mean,
                "95 %": f"{low:.3f} to {high:.3f}",
                "first tenth of weights": position.iloc[: max(1, len(position) // 10)].mean(),
                "last tenth": position.iloc[-max(1, len(position) // 10) :].mean(),
                "before training": progress.iloc[0],
                "after": progress.iloc[-1],
            }
        )
    return pd.DataFrame(rows)


def _targets(config: dict[str, Any], zoo: Zoo) -> list[str]:
    frame = zoo.view().frame
    varying = [c for c in frame if c.startswith("hp.") and frame[c].nunique() > 1]
    if config["target"] == "all":
        return [*varying, "test_accuracy"]
    names = config["target"] if isinstance(config["target"], list) else [config["target"]]
    known = zoo.view().targets()
    for name in names:
        if name not in known:
            raise MetanetError(f"no target '{name}' in {zoo.name}{did_you_mean(name, [*known, 'all'])}")
    return names


def _zoo_of(given: Path) -> str:
    metrics = read_metrics(given)
    if "zoo" not in metrics:
        raise MetanetError(f"'{given}' is no run of metanet train; give one, or zoo= and target=")
    return str(metrics["zoo"])


def _fit(fitter: Fitter, config: dict[str, Any], target: str, folder: Path) -> dict[str, Any]:
    """The run of one target below the map's own; kept where it is there already."""
    fit = compose("train", {"zoo": str(config["zoo"]), "target": target})
    model = dict(config["model"])
    if not getattr(model_class(str(model["name"])), "local", False):
        raise MetanetError(
            f"model={model['name']} judges whole networks, and a map asks slices of them; take dmc_local, dmc_local_mini or local"
        )
    for key in ("slice", "part", "short"):
        if config["probe"][key] is not None:
            model[key] = config["probe"][key]
    fit |= {"model": model, "split": fit["split"] | config["split"], "train": config["train"], "where": config["where"]}
    fit["view"] |= config["view"]
    fit |= {key: config[key] for key in ("trainer", "tracking", "seed", "threads")}
    fit = fitter.settled(fit)
    kept = finished_run(folder, fit) if config["out"] else None
    return kept or fitter.fit(fit, folder)


def _map(config: dict[str, Any], zoo: Zoo, folder: Path, on_trial: Any) -> ProbeMap:
    model = load_model(folder / "model", config["threads"])
    converged = is_converged_view(zoo, config)
    test = unseen(zoo.view(where=config["where"], converged=converged), folder)
    every = zoo.view(epoch="all").of_networks(test.network_ids)
    probe = config["probe"]

    def on_progress(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            on_trial(done, of, float("nan"))

    return probe_map(model, every, probe["positions"], probe["balance"], on_progress)


def _write(maps: list[ProbeMap], record: Run, config: dict[str, Any]) -> None:
    table = pd.concat([drawn.table() for drawn in maps], ignore_index=True)
    table.to_parquet(record.folder / "map.parquet", index=False)
    summary(maps).to_csv(record.folder / "maps.csv", index=False)
    save(map_grid(maps), record.figures / "map.png")
    for drawn in maps if len(maps) > 1 else []:
        save(map_grid([drawn]), record.figures / f"map-{drawn.target}.png")
    if config["html"]:
        print(f"page: {write_html(maps, record.folder / 'map.html')}")
    metrics: dict[str, Any] = {}
    for drawn in maps:
        mean, low, high = drawn.mean()
        own = {drawn.measure: mean, f"{drawn.measure}_low": low, f"{drawn.measure}_high": high, "chance": drawn.chance}
        metrics |= {f"{drawn.target}/{key}": value for key, value in (own | drawn.facts).items()}
    record.write_metrics(metrics)
    track(config["tracking"], record, config, metrics, "probe", tables={"map": table})


def _print(drawn: ProbeMap) -> None:
    facts = drawn.facts
    print(
        f"{drawn.target}: {facts['networks']} test networks x {facts['snapshots']} snapshots x {len(drawn.positions)} slices of "
        f"{drawn.length:,} from {drawn.part} weights; {facts['seconds']:.0f} s, {facts['slices_per_second']:,.0f} slices/s, "
        f"{facts['share_outside_forward']:.0%} outside the meta-model"
    )
    if facts["networks_short"]:
        print(f"  {facts['networks_short']} networks are shorter in this part than a slice (probe.short)")
