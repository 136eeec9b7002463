"""From a configuration to a fitted, scored and written run: what ``train``, ``quickstart`` and ``reproduce`` share."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightgbm.basic import LightGBMError

from metanet.errors import MetanetError
from metanet.evaluation.protocol import (
    CONSTANT,
    FitResult,
    Floor,
    Floors,
    constant_floor,
    fit_and_score,
    fit_and_score_heads,
    fit_floors,
    floor_inputs,
)
from metanet.evaluation.search import OnTrial, Rows, Search, Subject, search_plan, search_space
from metanet.features.unions import FeatureMap
from metanet.formats.released_splits import fetch_nfn_permutation, permutation_split, read_permutation
from metanet.launching.launcher import Launcher
from metanet.metrics import classification_metrics, r2
from metanet.models import create_model, load_model
from metanet.models.base import MetaModel, check_settings, constructor_arguments
from metanet.models.registry import model_class
from metanet.models.target import Target
from metanet.models.training import kept_in
from metanet.runs.folder import Run, read_config, read_metrics
from metanet.runs.records import flat
from metanet.runs.tracking import card_of, track
from metanet.zoo.identity import Seen, without
from metanet.zoo.reading import open_zoo, read_header
from metanet.zoo.split import Split
from metanet.zoo.zoo import View, Zoo

Draw = Callable[[FitResult, Run], None]
FloorsAt = Callable[[str, str], Path]
SPLITS, SEEN = "splits", "seen.json"  # of a zoo: its stored splits; of a run: the identities of the networks that its fit saw
CHECKPOINT = "checkpoint"  # of a run, while it is fitted


def hyper_floor(folder: Path, task: str) -> float:
    """What a run's floor, the GBM on all that is known but the weights, scores on the test part; nan where nothing varies.

    That is all other hyperparameters, and for one of them the test accuracy too. Of a classification the mean recall of the
    classes, of a regression R2.
    """
    test = pd.read_parquet(folder / "predictions.parquet").query("part == 'test'")
    if "hyper_floor" not in test:
        return float("nan")
    if task == "regression":
        return r2(test["true"].to_numpy(float), test["hyper_floor"].to_numpy(float))
    return classification_metrics(test["true"].to_numpy(str), test["hyper_floor"].to_numpy(str))["balanced_accuracy"]


def finished_run(folder: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Metrics of a run that is there already with the same config; None where there is none, or a search is to go on.

    Raises:
        MetanetError: the folder holds a run of another config or zoo.
    """
    if not all((folder / name).exists() for name in ("config.yaml", "metrics.json", "predictions.parquet", "split.json")):
        return None
    stored, given = flat(read_config(folder)), flat(config)
    differing = [k for k in sorted(stored.keys() | given.keys()) if stored.get(k) != given.get(k)]
    if differing == ["search.n"] and given["search.n"] > stored["search.n"]:
        return None
    if differing:
        key = differing[0]
        raise MetanetError(
            f"run folder '{folder}' holds a run with {key}={stored.get(key)}, now {given.get(key)}; choose another out="
        )
    zoo = Path(config["zoo"]).expanduser()
    if read_header(zoo)["plan_hash"] != split_facts(folder / "split.json").get("plan_hash"):
        raise MetanetError(f"run folder '{folder}' holds a run on another zoo than '{zoo}'; choose another out=")
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
        self._views: dict[str, View] = {}
        self._floors: dict[str, Floors] = {}
        self._saved: dict[Floor, Path] = {}

    def settled(self, config: dict[str, Any]) -> dict[str, Any]:
        """A config of ``metanet train`` with what its zoo and model decide: the converged view, and the input of a model that
        takes no features.
        """
        converged = is_converged_view(self.zoo(str(config["zoo"])), config)
        cls = model_class(str(config["model"]["name"]))
        if cls.own_input is not None and config["features"] not in (
            "stats",
            ["stats"],
            cls.own_input,
        ):  # stats is the default of all
            beside = "; model.beside= gives it features too" if "beside" in constructor_arguments(cls) else ""
            raise MetanetError(
                f"model {cls.name} reads {cls.own_input}, not features={config['features']}{beside}; leave features= out, "
                "or take a model on features such as model=gbm"
            )
        return config | {"view": config["view"] | {"converged": converged}, "features": cls.own_input or config["features"]}

    def check(self, config: dict[str, Any]) -> None:
        """Refuse a config with a mistake that can be seen without fitting, before anything of a grid is fitted."""
        model, targets = model_of(config), config["target"]
        if model.own_input is None:
            FeatureMap(config["features"])
        view = self.view(config)
        for target in targets if isinstance(targets, list) else [targets]:
            view.target(str(target))
        if not config["split"]["file"]:
            split_of(view, config["split"])
        if isinstance(targets, list):
            model.check_targets(targets)
            if config["search"]["name"] != "none":
                raise MetanetError(f"target={targets}: a search looks for the best settings for one target; give search=none")
        if config["search"]["name"] == "none":
            return
        name, base = model_settings(config)
        cls = model_class(name)
        if cls.own_input is not None:
            raise MetanetError(
                f"search={config['search']['name']} looks for the settings of models on features, and {cls.name} reads "
                f"{cls.own_input} itself; take one such as model=gbm, or give a grid such as seed=0,1,2"
            )
        search_space(search_plan(config["search"]), name, base, columns=1)

    def view(self, config: dict[str, Any]) -> View:
        """The snapshots that a config selects, selected and counted once."""
        key = json.dumps([str(config["zoo"]), config["view"], config["where"]])
        if key not in self._views:
            self._views[key] = view_of(self.zoo(str(config["zoo"])), config)
        return self._views[key]

    def zoo(self, path: str) -> Zoo:
        """A zoo, opened once."""
        if path not in self._zoos:
            self._zoos[path] = open_zoo(path)
        return self._zoos[path]

    def fit(
        self,
        config: dict[str, Any],
        folder: Path,
        floors_at: FloorsAt | None = None,
        floor_n: int | None = None,
    ) -> dict[str, Any]:
        """Fit, score and write one run; returns its metrics. A run that is not searched leaves no folder after a mistake.

        Args:
            config: of ``metanet train``.
            floors_at: the folder of a floor's search by its name and key, where several runs share it; default: below the run.
            floor_n: configurations of a floor's search, where they are more than the run's own.
        """
        config = self.settled(config)
        self.check(config)
        path = str(config["zoo"])
        view = self.view(config)
        split = split_of(view, config["split"])
        model = model_of(config)
        model.on_round = self.on_trial
        model.check_view(view)
        try:
            if config["search"]["name"] != "none":
                at = floors_at or (lambda name, key: folder / f"floor-{name}")
                result, floors = self._search(config, folder, view, split, at, floor_n)
            else:
                floors = self._plain_floors(config, view, split)
                fit_view = more_snapshots(view, config)
                with kept_in(folder / CHECKPOINT):
                    result = fit_and_score(model, view, split, config["target"], floors, fit_view)
        except (ValueError, TypeError, ArithmeticError, LightGBMError) as error:
            # each library has its own words for a setting out of range; the cause stays attached
            raise MetanetError(f"model {model.name} cannot be fitted so: {str(error).splitlines()[0]}") from error
        metrics = result.metrics | {"zoo": path, "seed": config["seed"], "split": split.hash}
        self._write(Run(folder), config, view, split, result, metrics, floors)
        return metrics

    def fit_many(self, config: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
        """Fit one encoder for several targets, and write a run of each head: ``folder/<target>``; returns their metrics."""
        config = self.settled(config)
        self.check(config)
        targets = config["target"]
        model = model_of(config)
        view = self.view(config)
        split = split_of(view, config["split"])
        model.on_round = self.on_trial
        model.check_view(view)
        for target in targets:
            Target.of(view.part(split, "train"), target)  # a mistake in one is found before anything is fitted
        floors = [self._plain_floors(config | {"target": target}, view, split) for target in targets]
        with kept_in(folder / CHECKPOINT):
            results = fit_and_score_heads(model, view, split, targets, floors, more_snapshots(view, config))
        rows = []
        for target, result, own in zip(targets, results, floors, strict=True):
            facts = {"zoo": str(config["zoo"]), "seed": config["seed"], "split": split.hash, "heads": len(targets)}
            rows.append(result.metrics | facts)
            self._write(Run(folder / target), config | {"target": target}, view, split, result, rows[-1], own)
        return rows

    def _floor_key(self, config: dict[str, Any], split: Split, *more: Any) -> str:
        return json.dumps([config["zoo"], config["view"], config["where"], split.hash, config["target"], config["seed"], *more])

    def _plain_floors(self, config: dict[str, Any], view: View, split: Split) -> Floors:
        key = self._floor_key(config, split)
        if key not in self._floors:
            self._floors[key] = fit_floors(view, split, config["target"], config["seed"], config["threads"])
        return self._floors[key]

    def _search(
        self,
        config: dict[str, Any],
        folder: Path,
        view: View,
        split: Split,
        floors_at: FloorsAt,
        floor_n: int | None,
    ) -> tuple[FitResult, Floors]:
        """The best of a search, beside floors that were searched at least as widely."""
        plan = search_plan(config["search"])
        training, test = view.part(split, "train", "validation"), view.part(split, "test")
        fit_view = more_snapshots(view, config)
        rows = Rows(training if fit_view is None else fit_view.part(split, "train", "validation"), training, test)
        launcher = Launcher.of(config["launcher"], config["threads"])
        name, base = model_settings(config)
        identity = {
            "target": config["target"],
            "view": config["view"],
            "where": config["where"],
            "split": split.hash,
            "networks": view.zoo.header.get("plan_hash"),
            "fit_seed": config["seed"],
        }
        common: dict[str, Any] = {"target": config["target"], "seed": config["seed"], "threads": config["threads"]}
        own = identity | model_identity(name, base, config["features"], config["train"]["snapshots"])
        # everything that can be wrong with this search is found before the floor's search begins
        subject = Subject(name, base, config["features"], **common)
        search = Search(subject, rows, plan, folder, own, launcher, self.on_trial)
        floor_plan = replace(plan, space={}, n=max(plan.n, floor_n or 0))
        key = self._floor_key(config, split, vars(floor_plan))
        if key not in self._floors:
            floors = {CONSTANT: constant_floor(view, split, config["target"])}
            for floor, inputs in floor_inputs(training, config["target"]).items():
                of_floor = identity | model_identity("gbm", {}, inputs, "last")
                is_floor = own == of_floor and plan == floor_plan
                at = folder if is_floor else floors_at(floor, hashlib.sha256(key.encode()).hexdigest()[:8])
                gbm, floor_rows = Subject("gbm", {}, inputs, **common), Rows(training, training, test)
                searched = Search(gbm, floor_rows, floor_plan, at, of_floor, launcher, self.on_trial)
                found = searched.run_and_score(None)
                predicted = found.predictions.query("part == 'test'")["predicted"].to_numpy()
                floors[floor] = Floor(found.model, predicted)
                if is_floor:
                    search = searched
            self._floors[key] = floors
        return search.run_and_score(self._floors[key]), self._floors[key]

    def _write(
        self,
        run: Run,
        config: dict[str, Any],
        view: View,
        split: Split,
        result: FitResult,
        metrics: dict[str, Any],
        floors: Floors,
    ) -> None:
        run.write_config(config)
        stored = store_split(view.zoo, split, run.folder)
        facts = config["split"] | {
            "hash": split.hash,
            "stored": str(stored),
            "plan_hash": view.zoo.header.get("plan_hash"),
            "origin": origin(view.zoo),
            "seen": SEEN,
        }
        Seen.of(view, [*split.train, *split.validation]).save(run.folder / SEEN)
        counts = {f"networks_{part}": len(getattr(split, part)) for part in ("train", "validation", "test")}
        (run.folder / "split.json").write_text(json.dumps(facts | counts, indent=1))
        run.write_predictions(result.predictions)
        result.model.save(run.folder / "model")
        self._save_floors(floors, run.folder / "floors")
        if result.model.curve is not None:
            result.model.curve.to_csv(run.folder / "curve.csv")
        if self.draw is not None:
            self.draw(result, run)
        run.write_metrics(metrics)  # last: a folder with metrics is a finished run
        tables = {"predictions": result.predictions}
        if (trials := run.folder / "trials.csv").exists():
            tables["trials"] = pd.read_csv(trials)
        artifacts = {f"split-{split.hash}": ("split", [run.folder / "split.json", stored])} | card_of(view.zoo)
        track(config["tracking"], run, config, metrics, "train", result.model.curve, tables, artifacts)

    def _save_floors(self, floors: Floors, folder: Path) -> None:
        """Floors go with their run, so that they can be asked about other zoos; runs of one split share the files."""
        shutil.rmtree(folder, ignore_errors=True)  # of an unfinished run: what is linked must not be written into
        for name, floor in floors.items():
            if floor in self._saved and self._saved[floor].is_dir():
                shutil.copytree(self._saved[floor], folder / name, copy_function=_link)
            else:
                floor.model.save(folder / name)
                self._saved[floor] = folder / name


def _link(source: str, target: str) -> None:
    """A second name of a file; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def saved_floors(run: Path, threads: int = 1) -> dict[str, MetaModel]:
    """The fitted floors of a run, by name.

    Raises:
        MetanetError: it was made before runs kept them.
    """
    if not (run / "floors").is_dir():
        raise MetanetError(f"'{run}' keeps no floors; an earlier version made it: fit it again, with metanet train from={run}")
    return {path.name: load_model(path, threads) for path in sorted((run / "floors").iterdir())}


def view_of(zoo: Zoo, config: dict[str, Any]) -> View:
    """The snapshots that a config selects; counts are printed where a filter leaves networks out."""
    converged = is_converged_view(zoo, config)
    view = zoo.view(epoch=config["view"]["epoch"], where=config["where"], converged=converged)
    if len(view) == 0:
        raise MetanetError(f"no snapshot of {zoo.name} is left by where={config['where']} view={config['view']}; loosen them")
    if config["where"] or converged:
        print(f"{len(set(view.network_ids))} of {len(zoo.networks)} networks are left by the filter")
    return view


def is_converged_view(zoo: Zoo, config: dict[str, Any]) -> bool:
    """Whether converged networks alone are asked for: as given, and by default for the neural weight space."""
    given = config["view"]["converged"]
    if given is not None and not isinstance(given, bool):
        raise MetanetError(f"view.converged={given}: give true or false, or null for the recipe's own")
    return zoo.header.get("recipe", {}).get("name") == "nws" if given is None else given


def split_of(view: View, config: dict[str, Any]) -> Split:
    """Draw the split of a config, or read the one it names.

    Raises:
        MetanetError: a split that is named is of other networks, or has networks of one configuration in two parts; the
            published permutation alone is taken as it is, and what it parts is printed.
    """
    if not config["file"]:
        return view.draw_split(config["test"], config["validation"], config["seed"])
    published = config["file"] == "nfn"
    if published:
        path = fetch_nfn_permutation(str(view.zoo.data.get("name")))
    else:
        path = Path(config["file"]).expanduser()
    split = permutation_split(view.zoo, read_permutation(path)) if path.suffix == ".csv" else _read_split(path, view)
    if parted := split.parted(view.network_ids.tolist(), view.units.tolist()):
        words = f"split.file={config['file']} has networks of one configuration in two parts, {len(parted)} configurations in all"
        if not published:
            raise MetanetError(
                f"{words} (such as {parted[0]}): seeds of what was trained on would be tested; leave split.file= out to draw by "
                "configuration"
            )
        print(f"{words}; the published permutation is taken as it is")
    return split


def _read_split(path: Path, view: View) -> Split:
    """A stored split, or that of a run, which is of the networks of a view."""
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


def stored_split(path: Path, zoo: Zoo | None = None) -> Split:
    """The split that a run's ``split.json`` points to; also where it was moved with its run, or with its zoo if that is given."""
    stored = Path(split_facts(path)["stored"])
    places = [stored, path.parent / stored.name]
    if zoo is not None and zoo.folder is not None:
        places.append(zoo.folder / SPLITS / stored.name)
    return Split.load(next((place for place in places if place.exists()), stored))


def origin(zoo: Zoo) -> list[Any]:
    """What decides a network of a given number: zoos that agree in it share networks, whatever their sizes."""
    header = zoo.header
    return [header["recipe"], header["data"], header["seed"], header.get("trainer")] if "recipe" in header else []


def unseen(view: View, run: Path, part: str = "auto") -> View:
    """The networks of a view that a run may be scored on: none that its fit has seen, and no twin of one, in whatever zoo.

    Args:
        run: folder of ``metanet train``.
        part: ``auto``; ``test``, which refuses other zoos; ``all``, which leaves nothing out.

    Raises:
        MetanetError: none is left.
    """
    if part == "test" and not _trained_on(view.zoo, split_facts(run / "split.json")):
        raise MetanetError(f"part=test: the run was trained on another zoo than {view.zoo.name}; give part=auto or all")
    return view if part == "all" else without(view, seen_by(run, view))


def seen_by(run: Path, view: View) -> np.ndarray:
    """Whether each snapshot is of a network that a run's fit has seen, or of a twin of one, shape (N,) of bool.

    In its own zoo those of its training and validation part, and where its split parts no configuration also other seeds of
    theirs, by which the zoo has grown. A run of an older version knows no identities, so no twins are found in other zoos.
    """
    path = run / "split.json"
    facts = split_facts(path)
    if not _trained_on(view.zoo, facts):
        return Seen.load(run / facts["seen"]).twins(view) if "seen" in facts else np.zeros(len(view), bool)
    split, units = stored_split(path, view.zoo), view.zoo.units
    seen = {*split.train, *split.validation}
    if not split.parted(units.index.tolist(), units.tolist()):
        seen = set(units.index[units.isin(units[units.index.isin(seen)])])
    return view.frame["network_id"].isin(seen).to_numpy()


def _trained_on(zoo: Zoo, facts: dict[str, Any]) -> bool:
    """Whether a run was trained on a zoo, also where this was moved, copied or grown larger."""
    return bool(facts.get("origin")) and origin(zoo) == facts["origin"]


def store_split(zoo: Zoo, split: Split, folder: Path) -> Path:
    """Once per zoo, by hash; in the run folder where the zoo cannot be written."""
    if zoo.folder is not None:
        try:
            return split.save(zoo.folder.resolve() / SPLITS)
        except OSError:
            pass
    return split.save(folder)


def more_snapshots(view: View, config: dict[str, Any]) -> View | None:
    """All snapshots of a view's networks, or the last so many, where ``train.snapshots`` asks for them; else None."""
    which = config["train"]["snapshots"]
    if which == "last":
        return None
    whole = view.zoo.view(epoch="all").of_networks(view.network_ids)
    if which == "all":
        return whole
    if not isinstance(which, int) or isinstance(which, bool) or which < 1:
        raise MetanetError(f"train.snapshots={which}: give last, all, or how many of the last ones")
    place = whole.frame.groupby("network_id")["epoch"].rank(ascending=False).to_numpy()
    return whole.take(np.flatnonzero(place <= which))


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
    # where a fit runs does not change it; bounds on epochs or batches do
    if trainer := {k: v for k, v in settings.get("trainer", {}).items() if k not in ("accelerator", "devices") and v is not None}:
        changed["trainer"] = trainer
    inputs = features if isinstance(features, str) else "+".join(features)
    return {"model": {"name": name} | changed, "features": inputs, "snapshots": snapshots}


def model_of(config: dict[str, Any]) -> MetaModel:
    """The meta-model of a config, not fitted."""
    name, settings = model_settings(config)
    return create_model(name, **settings, features=config["features"], seed=config["seed"], threads=config["threads"])
