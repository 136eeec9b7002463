"""From a configuration to a fitted, scored and written run: what ``train``, ``quickstart`` and ``reproduce`` share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightgbm.basic import LightGBMError

from metanet.errors import MetanetError
from metanet.evaluation.protocol import FitResult, Floors, constant_floor, fit_and_score, fit_floors, floor_inputs
from metanet.evaluation.search import Rows, SearchPlan, search_and_score
from metanet.evaluation.tasks import Launcher
from metanet.models import create_model
from metanet.models.base import MetaModel, check_settings, constructor_arguments
from metanet.models.registry import model_class
from metanet.runs.folder import Run, read_metrics
from metanet.runs.tracking import track
from metanet.zoo.split import Split, fetch_nfn_permutation, permutation_split, read_permutation, split_networks
from metanet.zoo.store import Zoo, open_zoo, read_header
from metanet.zoo.view import View

OnTrial = Callable[[int, int, float], None]
Draw = Callable[[FitResult, Run], None]


def finished_run(folder: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Metrics of a run that is there already with the same config; None where there is none."""
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
    """Fits runs one after another; opens each zoo once and fits the floors of each split once.

    Args:
        draw: makes a run's figures.
        on_trial: told of a search's finished trials, all trials, and the best loss so far.
    """

    def __init__(self, draw: Draw | None = None, on_trial: OnTrial | None = None) -> None:
        self.draw, self.on_trial = draw, on_trial
        self._zoos: dict[str, Zoo] = {}
        self._floors: dict[str, Floors] = {}

    def zoo(self, path: str) -> Zoo:
        """A zoo, opened once."""
        if path not in self._zoos:
            self._zoos[path] = open_zoo(path)
        return self._zoos[path]

    def fit(
        self, config: dict[str, Any], folder: Path, split: Split | None = None, floors_at: Path | None = None
    ) -> dict[str, Any]:
        """Fit, score and write one run; returns its metrics. A mistake in the config leaves no folder behind.

        Args:
            config: of ``metanet train``.
            split: in the place of the one that the config draws.
            floors_at: where the searches of floors lie that several runs share.
        """
        path = str(config["zoo"])
        view = view_of(self.zoo(path), config)
        split = split or split_of(view, config["split"])
        model = model_of(config)
        searched = config["search"]["name"] != "none"
        try:
            if searched:
                result = self._search(config, folder, view, split, floors_at)
            else:
                floors = self._plain_floors(config, view, split)
                fit_view = all_snapshots(view, config)
                result = fit_and_score(model, view, split, config["target"], floors, fit_view)
        except (ValueError, TypeError, ArithmeticError, LightGBMError) as error:
            # each library has its own words for a setting out of range; the cause stays attached
            raise MetanetError(f"model {model.name} cannot be fitted so: {str(error).splitlines()[0]}") from error
        metrics = result.metrics | {"zoo": path, "seed": config["seed"], "split": split.hash}
        self._write(Run(folder), config, view, split, result, metrics)
        return metrics

    def _floor_key(self, config: dict[str, Any], split: Split, *more: Any) -> str:
        return json.dumps([config["zoo"], config["view"], config["where"], split.hash, config["target"], config["seed"], *more])

    def _plain_floors(self, config: dict[str, Any], view: View, split: Split) -> Floors:
        key = self._floor_key(config, split)
        if key not in self._floors:
            self._floors[key] = fit_floors(view, split, config["target"], config["seed"], config["threads"])
        return self._floors[key]

    def _search(self, config: dict[str, Any], folder: Path, view: View, split: Split, floors_at: Path | None) -> FitResult:
        """The best of a search, beside a floor that was searched as widely."""
        plan = SearchPlan(**config["search"])
        training, test = view.part(split, "train", "validation"), view.part(split, "test")
        fit_view = all_snapshots(view, config)
        rows = Rows(training if fit_view is None else fit_view.part(split, "train", "validation"), training, test)
        common: dict[str, Any] = {
            "target_name": config["target"],
            "launcher": Launcher.of(config["launcher"], config["threads"]),
            "seed": config["seed"],
            "threads": config["threads"],
            "on_trial": self.on_trial,
        }
        name, base = model_settings(config)
        identity = {
            "target": config["target"],
            "view": config["view"],
            "where": config["where"],
            "split": split.hash,
            "networks": view.zoo.header.get("plan_hash"),
            "fit_seed": config["seed"],
        }
        own = identity | model_identity(name, base, config["features"], config["train"]["snapshots"])
        key = self._floor_key(config, split, config["search"] | {"space": {}})
        if key not in self._floors:
            floors = Floors(constant_floor(view, split, config["target"]), None)
            inputs = floor_inputs(view, config["target"])
            if inputs:
                of_floor = identity | model_identity("gbm", {}, inputs, "last")
                at = (floors_at or folder) / f"floor-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
                found = search_and_score(
                    "gbm",
                    {},
                    inputs,
                    Rows(training, training, test),
                    plan=replace(plan, space={}),
                    folder=folder if own == of_floor and not plan.space else at,  # this run may be the floor itself
                    identity=of_floor,
                    floors=None,
                    **common,
                )
                floors = Floors(floors.constant, found.predictions.query("part == 'test'")["predicted"].to_numpy())
            self._floors[key] = floors
        return search_and_score(
            name, base, config["features"], rows, plan=plan, folder=folder, identity=own, floors=self._floors[key], **common
        )

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
        if self.draw is not None:
            self.draw(result, run)
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


def all_snapshots(view: View, config: dict[str, Any]) -> View | None:
    """All snapshots of a view's networks, where ``train.snapshots`` asks for them; None where it does not."""
    which = config["train"]["snapshots"]
    if which not in ("last", "all"):
        raise MetanetError(f"train.snapshots={which}: give last or all")
    return view.zoo.view(epoch="all").of_networks(view.network_ids) if which == "all" else None


def model_settings(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and settings of a config's model; a setting it does not take is refused by name."""
    settings = dict(config["model"])
    name = settings.pop("name")
    cls = model_class(name)
    check_settings(cls, settings)
    if "trainer" in constructor_arguments(cls):
        settings["trainer"] = config["trainer"]
    return name, settings


def model_identity(name: str, settings: dict[str, Any], features: str | list[str], snapshots: str) -> dict[str, Any]:
    """What a search's folder remembers of the model: what differs from the class's defaults."""
    known = constructor_arguments(model_class(name))
    changed = {k: v for k, v in settings.items() if k != "trainer" and v != known[k].default}
    inputs = features if isinstance(features, str) else "+".join(features)
    return {"model": {"name": name} | changed, "features": inputs, "snapshots": snapshots}


def model_of(config: dict[str, Any]) -> MetaModel:
    """The meta-model of a config, not fitted."""
    name, settings = model_settings(config)
    return create_model(name, **settings, features=config["features"], seed=config["seed"], threads=config["threads"])
