"""``metanet probe``: a map of what a local meta-model reads, by position in the weight vector and by training progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from metanet.cli.compose import compose, required
from metanet.cli.terminal import fit_bars, print_run, print_table
from metanet.data_modules.slices import Slices
from metanet.errors import MetanetError, UnsuitableTargetError, did_you_mean
from metanet.evaluation.fitting import Fitter
from metanet.evaluation.run_files import finished_run, hyper_floor
from metanet.evaluation.seen import unseen
from metanet.evaluation.selection import is_converged_view
from metanet.models import load_model
from metanet.models.local import SliceModel, default_length
from metanet.models.registry import model_class
from metanet.plots.maps import check_html, map_grid, write_html
from metanet.plots.predictions import draw_result
from metanet.plots.style import save
from metanet.probing.maps import FEW, ProbeMap, check_local, check_positions, probe_map
from metanet.runs.folder import RunFolder, folder_for, read_config, read_metrics
from metanet.runs.tracking import track
from metanet.zoo.identity import left_out
from metanet.zoo.zoo import View


def run(config: dict[str, Any]) -> None:
    """Fit a meta-model for each target, or take a fitted one, and ask it everywhere.

    Raises:
        MetanetError: no map can be made of what was given.
    """
    check_positions(config["probe"]["positions"])
    if config["html"]:
        check_html()
    given = config["run"]
    metrics = read_metrics(given) if given else {}
    if given and not {"target", "zoo"} <= set(metrics):
        raise MetanetError(f"run={given} is no run of metanet train with a local meta-model; give one, or zoo= and target=")
    config = config | {"zoo": config["zoo"] or metrics.get("zoo")}
    if given:
        config |= _of_run(config, Path(given).expanduser())
    fitter = Fitter(draw_result, on_note=print)
    required(config, "zoo", "zoo=quickstart/zoo, or run= of a fitted meta-model")
    view = fitter.view(
        config | {"view": {"epoch": "last", "converged": is_converged_view(fitter.zoo(str(config["zoo"])), config)}}
    )
    targets = [str(config["target"])] if given else _targets(config, view)
    if not given:
        config, view = _without_short(config, view)
    every = config["target"] in ("all", ["all"])
    words = targets[0] if len(targets) == 1 else "all" if every else f"{len(targets)}-targets"
    with folder_for(config["out"], "probe", f"{config['model']['name']}-{words}") as folder:
        _probe(config, fitter, view, targets, folder)


def _probe(config: dict[str, Any], fitter: Fitter, view: View, targets: list[str], folder: Path) -> None:
    given, every = config["run"], config["target"] in ("all", ["all"])
    maps: list[ProbeMap] = []
    floors: list[float] = []
    with fit_bars(len(targets), show=True) as (begin, on_trial):
        fitter.on_trial = on_trial
        for target in targets:
            begin(target)
            fitted = Path(given).expanduser() if given else folder / target
            try:
                if not given:
                    _fit(fitter, config, target, fitted)
                maps.append(_map(config, view, fitted, on_trial))
                floors.append(hyper_floor(fitted, maps[-1].task))
            except UnsuitableTargetError as error:
                if not every:
                    raise
                print(f"{target}: no map; {error}")
    if not maps:
        raise MetanetError("no target of this zoo can be mapped; see above, and give target= one that varies")
    record = RunFolder(folder)
    record.write_config(config)
    table = summary(maps, floors)
    _write(maps, table, record, config)
    for drawn in maps:
        _print(drawn)
    print_table(table, "maps")
    print("hyperparameters: what a GBM knows from all the others and the accuracy, without the weights (whole networks)")
    print(f"picture: {record.figures / 'map.png'}")
    print_run(record.folder)


def summary(maps: list[ProbeMap], floors: list[float]) -> pd.DataFrame:
    """One row a map: the means of all cells and of the ends in position and progress, beside chance and floor."""
    rows = []
    for drawn, floor in zip(maps, floors, strict=True):
        mean, low, high = drawn.mean()
        position, progress = drawn.by_position()["score"], drawn.by_progress()["score"]
        rows.append(
            {
                "target": drawn.target,
                "networks": drawn.networks,
                "chance": drawn.chance,
                "hyperparameters": floor,
                drawn.measure: mean,
                "95 %": f"{low:.3f} to {high:.3f}",
                "first tenth of weights": position.iloc[: max(1, len(position) // 10)].mean(),
                "last tenth": position.iloc[-max(1, len(position) // 10) :].mean(),
                "first snapshot": progress.iloc[0],
                "last snapshot": progress.iloc[-1],
            }
        )
    return pd.DataFrame(rows)


def _targets(config: dict[str, Any], view: View) -> list[str]:
    frame = view.frame
    varying = [c for c in frame if c.startswith("hp.") and frame[c].nunique() > 1]
    names = config["target"] if isinstance(config["target"], list) else [config["target"]]
    if names == ["all"]:
        return [*varying, "test_accuracy"]
    if not names:
        raise MetanetError("target=[]: give a column, several in [a,b], or all")
    known = view.targets()
    for name in names:
        if name not in known:
            raise MetanetError(f"no target '{name}' in {view.zoo.name}{did_you_mean(name, [*known, 'all'])}")
    return list(dict.fromkeys(names))


def _of_run(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a fitted run was made with, in place of the settings that would make one; another setting is a mistake."""
    defaults, stored = compose("probe", {}), read_config(folder)
    kept = {key: stored[key] for key in ("model", "target", "train", "split", "seed")}
    for key, value in kept.items():
        asked, usual = config[key], defaults[key]
        if asked not in (usual, value):
            raise MetanetError(
                f"{key}: run={folder} was made with {_short(value)}, {_short(asked)} was given; leave it or run= out"
            )
    return kept


def _short(value: Any) -> str:
    return ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _without_short(config: dict[str, Any], view: View) -> tuple[dict[str, Any], View]:
    """S is chosen for all networks alike; with short=skip, those shorter than one are left out of fit and map, and counted."""
    model = dict(config["model"])
    check_local(model_class(str(model["name"])))
    for key in ("slice", "part", "short"):
        if config["probe"][key] is not None:
            model[key] = config["probe"][key]
    if model["slice"] is None:
        model["slice"] = default_length(view)
    if config["probe"]["slice"] is None:
        print(f"slices of {model['slice']:,} values (probe.slice)")
    config = config | {"model": model}
    slices = Slices(view, model["slice"], model["part"], model["short"])
    if len(slices) < len(view):
        print(f"{slices.short_networks} networks are shorter in this part than a slice, and are left out (probe.short=skip)")
        kept = [str(i) for i in slices.view.frame["layout_id"].unique()]
        where = f"({config['where']}) and " if config["where"] else ""
        config, view = config | {"where": f"{where}layout_id in {kept}"}, slices.view
    return config, view


def _fit(fitter: Fitter, config: dict[str, Any], target: str, folder: Path) -> None:
    """The run of one target below the map's own; kept where it is there already."""
    fit = compose("train", {"zoo": str(config["zoo"]), "target": target})
    fit |= {"model": config["model"], "split": fit["split"] | config["split"], "train": config["train"], "where": config["where"]}
    fit["view"] |= config["view"]
    fit |= {key: config[key] for key in ("trainer", "tracking", "seed", "threads")}
    fit = fitter.settled(fit)
    if not (config["out"] and finished_run(folder, fit)):
        fitter.fit(fitter.prepare(fit), folder)


def _map(config: dict[str, Any], view: View, folder: Path, on_trial: Any) -> ProbeMap:
    model, probe = load_model(folder / "model", config["threads"]), config["probe"]
    if config["run"] and isinstance(model, SliceModel):
        if probe["slice"] not in (None, model.length):
            raise MetanetError(
                f"probe.slice={probe['slice']}: this meta-model was trained on slices of {model.length}; leave it out"
            )
        model.part, model.short = probe["part"] or model.part, probe["short"] or model.short
    if hasattr(model, "trainer"):
        model.trainer = config["trainer"]
    rest = unseen(view, folder)
    if config["run"] and (note := left_out(view, rest)):
        print(note)
    every = view.zoo.view(epoch="all").of_networks(rest.network_ids)

    def on_progress(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            on_trial(done, of, float("nan"))

    return probe_map(model, every, probe["positions"], probe["balance"], on_progress)


def _write(maps: list[ProbeMap], means: pd.DataFrame, record: RunFolder, config: dict[str, Any]) -> None:
    table = pd.concat([drawn.table() for drawn in maps], ignore_index=True)
    table.to_parquet(record.folder / "map.parquet", index=False)
    means.to_csv(record.folder / "maps.csv", index=False)
    save(map_grid(maps), record.figures / "map.png")
    for drawn in maps if len(maps) > 1 else []:
        save(map_grid([drawn]), record.figures / f"map-{drawn.target}.png")
    (record.folder / "map.html").unlink(missing_ok=True)  # of an earlier map
    if config["html"]:
        print(f"page: {write_html(maps, record.folder / 'map.html')}")
    metrics: dict[str, Any] = {}
    for drawn in maps:
        mean, low, high = drawn.mean()
        own = {drawn.measure: mean, f"{drawn.measure}_low": low, f"{drawn.measure}_high": high, "chance": drawn.chance}
        metrics |= {f"{drawn.target}/{key}": value for key, value in (own | drawn.facts).items()}
    record.write_metrics(metrics)
    track(config["tracking"], record, config, metrics, "probe", tables={"map": table})


_COUNTED = {
    "networks_short": "are shorter in this part than a slice (probe.short)",
    "networks_few_snapshots": "have fewer snapshots than most, and are left out",
    "networks_unseen_class": "are of a class that training never saw, and are never told rightly",
}


def _print(drawn: ProbeMap) -> None:
    facts = drawn.facts
    print(
        f"{drawn.target}: {facts['networks']} test networks x {facts['snapshots']} snapshots x {len(drawn.positions)} slices of "
        f"{drawn.length:,} from {drawn.part} weights; {facts['seconds']:.0f} s, {facts['slices_per_second']:,.0f} slices/s, "
        f"{facts['share_outside_forward']:.0%} outside the meta-model"
    )
    for key, words in _COUNTED.items():
        if facts[key]:
            print(f"  {facts[key]} networks {words}")
    if facts["rarest_class"] < FEW:
        rarest = "the rarest class has" if drawn.task == "classification" else "there are"
        print(f"  {rarest} {facts['rarest_class']} test networks: too few for its scores to tell much")
