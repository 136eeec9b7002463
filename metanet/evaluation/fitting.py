"""From a configuration to a fitted, scored and written run: what ``train``, ``quickstart`` and ``reproduce`` share."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightgbm.basic import LightGBMError

from metanet.errors import MetanetError
from metanet.evaluation.preparing import Fit, model_identity, prepared, settled_features
from metanet.evaluation.protocol import (
    CONSTANT,
    Fitted,
    Floor,
    Floors,
    constant_floor,
    fit_and_score_heads,
    fit_floors,
    floor_inputs,
)
from metanet.evaluation.run_files import Draw, RunWriter
from metanet.evaluation.search import OnTrial, Rows, Search, SearchPlan, Subject
from metanet.evaluation.selection import filter_note, is_converged_view, more_snapshots, split_note, split_of, view_of
from metanet.launching.launcher import Launcher
from metanet.models.training import kept_in
from metanet.runs.folder import RunFolder
from metanet.zoo.reading import open_zoo
from metanet.zoo.split import Split
from metanet.zoo.zoo import View, Zoo

FloorsAt = Callable[[str, str], Path]
CHECKPOINT = "checkpoint"  # of a run, while it is fitted


class Fitter:
    """Prepares fits and fits them one after another; opens each zoo, selects each view and fits each split's floors once.

    Args:
        draw: makes a run's figures.
        on_trial: told of a search's finished trials, all trials, and the best loss so far.
        on_note: told, once, what a selection left out.
    """

    def __init__(
        self, draw: Draw | None = None, on_trial: OnTrial | None = None, on_note: Callable[[str], None] | None = None
    ) -> None:
        self.on_trial, self.on_note = on_trial, on_note
        self._writer = RunWriter(draw)
        self._zoos: dict[str, Zoo] = {}
        self._views: dict[str, View] = {}
        self._more: dict[str, View | None] = {}
        self._splits: dict[str, Split] = {}
        self._judged: set[str] = set()
        self._floors: dict[str, Floors] = {}

    def settled(self, config: dict[str, Any]) -> dict[str, Any]:
        """A config of ``metanet train`` with what its zoo and model decide: the converged view, and the input of a model that
        takes no features. Nothing changes in one that is settled.
        """
        converged = is_converged_view(self.zoo(str(config["zoo"])), config)
        return config | {"view": config["view"] | {"converged": converged}, "features": settled_features(config)}

    def prepare(self, config: dict[str, Any]) -> Fit:
        """Select, split and build what a config asks for, and look at all that can be wrong with it; nothing is fitted.

        Raises:
            MetanetError: whatever is.
        """
        config = self.settled(config)
        view = self.view(config)
        key = _key(config)
        fit = prepared(config, view, self._split(key, view, config), self._more_snapshots(key, view, config))
        judged = key + json.dumps(config["model"])
        if judged not in self._judged:
            fit.model.check_view(view)
            self._judged.add(judged)
        return fit

    def view(self, config: dict[str, Any]) -> View:
        """The snapshots that a config selects, selected and counted once."""
        key = _key(config)
        if key not in self._views:
            self._views[key] = view_of(self.zoo(str(config["zoo"])), config)
            self._tell(filter_note(self._views[key], config))
        return self._views[key]

    def zoo(self, path: str) -> Zoo:
        """A zoo, opened once."""
        if path not in self._zoos:
            self._zoos[path] = open_zoo(path)
        return self._zoos[path]

    def fit(self, fit: Fit, folder: Path, floors_at: FloorsAt | None = None, floor_n: int | None = None) -> list[dict[str, Any]]:
        """Fit, score and write; returns the metrics of each run, see :meth:`metanet.evaluation.preparing.Fit.runs`.

        A fit that is not searched leaves no folder after a mistake.

        Args:
            fit: from :meth:`prepare`; may be fitted again.
            folder: of its run, or of its runs.
            floors_at: the folder of a floor's search by its name and key, where several runs share it; default: below the run.
            floor_n: configurations of a floor's search, where they are more than the run's own.

        Raises:
            MetanetError: what is to be fitted cannot be learned from the zoo, in one line that says why.
        """
        runs = fit.runs(folder)
        try:
            if fit.plan is None:
                floors = [self._plain_floors(fit, target) for target in fit.targets]
                model = copy.deepcopy(fit.model)  # what it learns goes with the run, not with the fits that were prepared
                model.on_round = self.on_trial
                with kept_in(folder / CHECKPOINT):
                    results = fit_and_score_heads(model, fit.view, fit.split, fit.targets, floors, fit.more)
            else:
                floors_at = floors_at or (lambda name, key: folder / f"floor-{name}")
                result, own = self._search(fit, fit.plan, folder, floors_at, floor_n)
                results, floors = [result], [own]
        except (ValueError, TypeError, ArithmeticError, LightGBMError) as error:
            # each library has its own words for a setting out of range; the cause stays attached
            raise MetanetError(f"model {fit.model.name} cannot be fitted so: {str(error).splitlines()[0]}") from error
        facts = {"zoo": str(fit.config["zoo"]), "seed": fit.config["seed"], "split": fit.split.hash}
        if isinstance(fit.config["target"], list):
            facts["heads"] = len(fit.targets)
        rows = [result.metrics | facts for result in results]
        for (config, at), result, row, own in zip(runs, results, rows, floors, strict=True):
            self._writer.write(RunFolder(at), fit, config, result, row, own)
        return rows

    def _split(self, key: str, view: View, config: dict[str, Any]) -> Split:
        key += json.dumps(config["split"])
        if key not in self._splits:
            self._splits[key] = split_of(view, config["split"])
            self._tell(split_note(view, self._splits[key], config["split"]))
        return self._splits[key]

    def _more_snapshots(self, key: str, view: View, config: dict[str, Any]) -> View | None:
        which = config["train"]["snapshots"]
        key += json.dumps(which)
        if key not in self._more:
            self._more[key] = more_snapshots(view, which)
        return self._more[key]

    def _tell(self, note: str | None) -> None:
        if note is not None and self.on_note is not None:
            self.on_note(note)

    def _plain_floors(self, fit: Fit, target: str) -> Floors:
        seed, threads = fit.config["seed"], fit.config["threads"]
        key = _floor_key(fit, target)
        if key not in self._floors:
            self._floors[key] = fit_floors(fit.view, fit.split, target, seed, threads)
        return self._floors[key]

    def _search(
        self, fit: Fit, plan: SearchPlan, folder: Path, floors_at: FloorsAt, floor_n: int | None
    ) -> tuple[Fitted, Floors]:
        """The best of a search, beside floors that were searched at least as widely."""
        config, (target,) = fit.config, fit.targets
        training, test = (fit.view.part(fit.split, *names) for names in (("train", "validation"), ("test",)))
        rows = Rows(training if fit.more is None else fit.more.part(fit.split, "train", "validation"), training, test)
        launcher = Launcher.of(config["launcher"], config["threads"])
        identity = {
            "target": target,
            "view": config["view"],
            "where": config["where"],
            "split": fit.split.hash,
            "networks": fit.view.zoo.header.plan_hash,
            "fit_seed": config["seed"],
        }
        common: dict[str, Any] = {"target": target, "seed": config["seed"], "threads": config["threads"]}
        name = config["model"]["name"]
        own = identity | model_identity(name, fit.settings, config["features"], config["train"]["snapshots"])
        # everything that can be wrong with this search is found before the floor's search begins
        subject = Subject(name, fit.settings, config["features"], **common)
        search = Search(subject, rows, plan, folder, own, launcher, self.on_trial)
        floor_plan = replace(plan, space={}, n=max(plan.n, floor_n or 0))
        key = _floor_key(fit, target, vars(floor_plan))
        if key not in self._floors:
            floors = {CONSTANT: constant_floor(fit.view, fit.split, target)}
            for floor, inputs in floor_inputs(training, target).items():
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


def _key(config: dict[str, Any]) -> str:
    """Of what a config selects of its zoo."""
    return json.dumps([str(config["zoo"]), config["view"], config["where"]])


def _floor_key(fit: Fit, target: str, *more: Any) -> str:
    config = fit.config
    return json.dumps([config["zoo"], config["view"], config["where"], fit.split.hash, target, config["seed"], *more])
