"""``metanet train``: fit meta-models and score them once on the test part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from lightgbm.basic import LightGBMError

from metanet.cli.compose import required
from metanet.cli.terminal import print_leaderboard, print_run, print_table, step_bar
from metanet.errors import MetanetError
from metanet.evaluation.protocol import FitResult, Floors, fit_and_score, fit_floors
from metanet.models import create_model
from metanet.models.base import MetaModel, check_settings, constructor_arguments
from metanet.models.registry import model_class
from metanet.plots.predictions import confusion, predicted_against_true
from metanet.plots.style import new_axes, save
from metanet.runs.folder import Run, choose_folder, read_metrics
from metanet.runs.leaderboard import leaderboard, spread
from metanet.runs.tracking import track
from metanet.zoo.split import Split, fetch_nfn_permutation, permutation_split, read_permutation, split_networks
from metanet.zoo.store import Zoo, open_zoo, read_header
from metanet.zoo.view import View


def run(configs: list[dict[str, Any]], varied: list[str]) -> None:
    """One run folder a config; a grid's runs lie below one folder, and those already there are kept."""
    for config in configs:
        required(config, "zoo", "zoo=zoos/digits")
        required(config, "features", "features=stats")
    name = "grid-" + "-".join(varied) if varied else run_name(configs[0], [])
    root = choose_folder(configs[0]["out"], "train", name)
    rows = []
    fitter = Fitter()
    with step_bar("fitting", len(configs)) as begin:
        for config in configs:
            name = run_name(config, varied)
            begin(name)
            folder = root / name if len(configs) > 1 else root
            kept = _finished(folder, config) if config["out"] else None
            rows.append((kept or fitter.fit(config, folder)) | {"run": str(folder)})
    table = leaderboard(rows)
    table.to_csv(root / "leaderboard.csv", index=False)
    print_leaderboard(table)
    if {"seed", "split.seed"} & set(varied):
        means = spread(table)
        means.to_csv(root / "spread.csv", index=False)
        print_table(means, f"mean and standard deviation over {' and '.join(k for k in varied if k.endswith('seed'))}")
    print_floors(rows)
    print_run(root)


def run_name(config: dict[str, Any], varied: list[str]) -> str:
    """Folder name of one run: model, features and what the grid varies."""
    features = config["features"] if isinstance(config["features"], str) else "+".join(config["features"])
    words = [Path(str(config["model"]["name"])).name, Path(features).name, config["target"]]
    for key in varied:
        if key not in ("model", "features", "target"):
            value: Any = config
            for part in key.split("."):
                value = value[part]
            words.append(f"{key}={value}")
    return "-".join(str(w) for w in words).replace("/", "_").replace(":", "_")


def _finished(folder: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Metrics of a run that is there already with the same config."""
    path = folder / "config.yaml"
    if not (path.exists() and (folder / "metrics.json").exists()):
        return None
    from omegaconf import OmegaConf

    zoo = Path(config["zoo"]).expanduser()
    same_zoo = read_header(zoo)["plan_hash"] == split_facts(folder / "split.json").get("plan_hash")
    if OmegaConf.to_container(OmegaConf.load(path)) != config or not same_zoo:
        raise MetanetError(f"run folder '{folder}' holds a run of another config or zoo; choose another out=")
    return read_metrics(folder)


class Fitter:
    """Fits runs one after another; opens each zoo once and fits the floors of each split once."""

    def __init__(self) -> None:
        self._zoos: dict[str, Zoo] = {}
        self._floors: dict[str, Floors] = {}

    def fit(self, config: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Fit, score and write one run; returns its metrics. A mistake in the config leaves no folder behind."""
        path = str(config["zoo"])
        if path not in self._zoos:
            self._zoos[path] = open_zoo(path)
        view = view_of(self._zoos[path], config)
        split = split_of(view, config["split"])
        model = model_of(config)
        key = json.dumps([path, config["view"], config["where"], split.hash, config["target"], config["seed"]])
        if key not in self._floors:
            self._floors[key] = fit_floors(view, split, config["target"], config["seed"], config["threads"])
        try:
            result = fit_and_score(model, view, split, config["target"], self._floors[key])
        except (ValueError, TypeError, ArithmeticError, LightGBMError) as error:
            # each library has its own words for a setting out of range; the cause stays attached
            raise MetanetError(f"model {model.name} cannot be fitted so: {str(error).splitlines()[0]}") from error
        metrics = result.metrics | {"zoo": path, "seed": config["seed"], "split": split.hash}
        self._write(Run(folder), config, view, split, result, metrics)
        return metrics

    def _write(
        self, run: Run, config: dict[str, Any], view: View, split: Split, result: FitResult, metrics: dict[str, Any]
    ) -> None:
        run.write_config(config)
        stored = store_split(view.zoo, split, run.folder)
        facts = config["split"] | {
            "hash": split.hash,
            "stored": str(stored),
            "plan_hash": view.zoo.header.get("plan_hash"),
            "origin": origin(view.zoo),
        }
        counts = {f"networks_{part}": len(getattr(split, part)) for part in ("train", "validation", "test")}
        (run.folder / "split.json").write_text(json.dumps(facts | counts, indent=1))
        run.write_predictions(result.predictions)
        result.model.save(run.folder / "model")
        test = result.predictions[result.predictions["part"] == "test"]
        draw_predictions(test, run, result)
        run.write_metrics(metrics)  # last: a folder with metrics is a finished run
        track(config["tracking"], run, config, metrics, "train")


def view_of(zoo: Zoo, config: dict[str, Any]) -> View:
    """The snapshots that a config selects; counts are printed where a filter leaves networks out."""
    view = zoo.view(epoch=config["view"]["epoch"], where=config["where"], converged=config["view"]["converged"])
    if len(view) == 0:
        raise MetanetError(f"no snapshot of {zoo.name} is left by where={config['where']} view={config['view']}; loosen them")
    if config["where"] or config["view"]["converged"]:
        print(f"{len(set(view.network_ids))} of {len(zoo.networks)} networks are left by the filter")
    return view


def split_of(view: View, config: dict[str, Any]) -> Split:
    """Draw the split of a config, or read the one it names."""
    if not config["file"]:
        return split_networks(view.network_ids.tolist(), config["test"], config["validation"], config["seed"])
    if config["file"] == "nfn":
        path = fetch_nfn_permutation(str(view.zoo.data.get("name")))
    else:
        path = Path(config["file"]).expanduser()
    if path.suffix == ".csv":
        return permutation_split(view.zoo, read_permutation(path))
    split = stored_split(path) if path.name == "split.json" and path.exists() else Split.load(path)
    known, drawn = set(view.zoo.networks["network_id"]), {*split.train, *split.validation, *split.test}
    if drawn - known or (homeless := set(view.network_ids) - drawn):
        count = len(drawn - known or homeless)
        raise MetanetError(
            f"split.file={path} was drawn for other networks than those of {view.zoo.name}: {count} do not match; "
            "give the split of a run on this zoo and view"
        )
    return split


def split_facts(path: Path) -> dict[str, Any]:
    """A run's ``split.json``: how its split was drawn, where it is stored, and of which zoo."""
    try:
        facts = json.loads(path.read_text())
        Path(facts["stored"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetanetError(f"'{path}' is no split.json of a run ({error})") from None
    return facts


def stored_split(path: Path) -> Split:
    """The split that a run's ``split.json`` points to."""
    stored = Path(split_facts(path)["stored"])
    beside = path.parent / stored.name
    return Split.load(stored if stored.exists() else beside)


def origin(zoo: Zoo) -> list[Any]:
    """What decides a network of a given number: zoos that agree in it share networks, whatever their sizes."""
    header = zoo.header
    return [header["recipe"], header["data"], header["seed"], header.get("trainer")] if "recipe" in header else []


def store_split(zoo: Zoo, split: Split, folder: Path) -> Path:
    """Once per zoo, by hash; in the run folder where the zoo cannot be written."""
    if zoo.folder is not None:
        try:
            return split.save(zoo.folder.resolve() / "splits")
        except OSError:
            pass
    return split.save(folder)


def model_of(config: dict[str, Any]) -> MetaModel:
    """The meta-model of a config, not fitted; a setting it does not take is refused by name."""
    settings = dict(config["model"])
    name = settings.pop("name")
    cls = model_class(name)
    check_settings(cls, settings)
    settings |= {"features": config["features"], "seed": config["seed"], "threads": config["threads"]}
    if "trainer" in constructor_arguments(cls):
        settings["trainer"] = config["trainer"]
    return create_model(name, **settings)


def draw_predictions(test: pd.DataFrame, run: Run, result: FitResult) -> None:
    """The run's figure: predicted against true, or the confusion matrix (also as CSV, in networks)."""
    figure, (ax,) = new_axes()
    title = f"{result.metrics['model']} on {result.metrics['features']}:"
    if result.model.target.task == "classification":
        pd.crosstab(test["true"], test["predicted"]).to_csv(run.folder / "confusion.csv")
        confusion(test, ax, f"{title} accuracy {result.metrics['accuracy']:.3f}")
    else:
        predicted_against_true(test, ax, title)
    save(figure, run.figures / "predictions.png")


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
