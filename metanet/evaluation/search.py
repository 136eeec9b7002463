"""Search of a meta-model's settings by cross-validation on the training part (Unterthiner et al. 2020, section 4.2, A.4).

All configurations are drawn up front from one seed. Each is fitted on all folds but one and stopped by the fold that was
held out; the best mean loss wins, is fitted on the whole training part for the median number of trees or epochs, and is
scored on the test part once. Folds are of networks, never of snapshots, and part no networks of one configuration. Every
finished trial is a line of ``trials.jsonl``, so an interrupted search goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.distributions import Distribution, draw_column
from metanet.errors import MetanetError, check_seed, check_whole, did_you_mean
from metanet.evaluation.protocol import FitResult, Floors, result_of
from metanet.features.unions import FeatureMap
from metanet.launching.launcher import Launcher
from metanet.metrics import r2
from metanet.models.base import HeldOut, MatrixModel, check_settings, constructor_arguments
from metanet.models.registry import create_model, model_class
from metanet.models.target import Target
from metanet.zoo.zoo import View

NAMES = ("random", "optuna")
# What every model takes, and no search may draw: it would not be what the run says it is.
NOT_SEARCHED = ("features", "seed", "threads", "trainer", "refit")
RUNGS = 3  # of successive halving: its first rung costs halving ** (1 - RUNGS) of a full fit
SAMPLERS = ("tpe", "gp", "random")


@dataclass(frozen=True)
class SearchPlan:
    """What is searched, and how.

    Attributes:
        name: ``random``, or ``optuna`` (extra [optuna]), whose sampler proposes what to try next.
        n: configurations.
        folds: of the cross-validation.
        seed: of the configurations and the folds.
        halving: None, or a factor: every configuration gets a short fit, the best of them longer ones
            (successive halving); each rung keeps one in ``halving``.
        space: distributions that take the place of the model's own, by setting.
        sampler: of Optuna.
    """

    name: str = "random"
    n: int = 1000
    folds: int = 3
    seed: int = 0
    halving: int | None = None
    space: dict[str, Distribution] = field(default_factory=dict)
    sampler: str = "tpe"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise MetanetError(f"search.name={self.name}{did_you_mean(self.name, NAMES)}")
        if not isinstance(self.space, dict):
            raise MetanetError(
                f"search.space={self.space} is no mapping of settings to distributions; give search.space.KEY=[...]"
            )
        check_whole("search.n", self.n)
        check_whole("search.folds", self.folds, 2)
        check_seed("search.seed", self.seed)
        if self.halving is not None:
            check_whole("search.halving", self.halving, 2)
        if self.sampler not in SAMPLERS:
            raise MetanetError(f"search.sampler={self.sampler}{did_you_mean(self.sampler, SAMPLERS)}")


def search_plan(config: dict[str, Any]) -> SearchPlan:
    """From the ``search`` config group."""
    known = [f.name for f in fields(SearchPlan)]
    for key in config:
        if key not in known:
            raise MetanetError(f"search has no setting '{key}'{did_you_mean(key, known)}")
    return SearchPlan(**config)


@dataclass(frozen=True)
class Trial:
    """One configuration that was cross-validated.

    Attributes:
        number: in the order of drawing.
        rung: of successive halving; 0 without.
        settings: of the model.
        losses: mean squared error (log loss for categories) on each held-out fold; inf where a fit diverged.
        rounds: trees or epochs of each fold; empty for estimators without.
        fit_seconds: spent in the estimator's library; seconds: in all.
    """

    number: int
    rung: int
    settings: dict[str, Any]
    losses: list[float]
    rounds: list[int]
    fit_seconds: float
    seconds: float

    @property
    def loss(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.losses))


@dataclass(frozen=True)
class Material:
    """Everything a trial needs besides its settings; large arrays reach other processes as memory maps.

    Attributes:
        x, y, folds: rows to fit on, (N, F), (N,) and the fold of each row's unit (N,).
        x_out, y_out, folds_out: rows to hold out, of the same networks; the same arrays unless all snapshots are fitted on.
        token: of the search, for what a process keeps from one trial to the next.
    """

    model: str
    base: dict[str, Any]
    target: Target
    x: np.ndarray
    y: np.ndarray
    folds: np.ndarray
    x_out: np.ndarray
    y_out: np.ndarray
    folds_out: np.ndarray
    token: str

    def create(self, settings: dict[str, Any]) -> MatrixModel:
        """The model with some settings, not fitted; of one thread, for trials run side by side."""
        model = create_model(self.model, **self.base | settings, threads=1)
        assert isinstance(model, MatrixModel)
        model.target = self.target
        return model

    def fit_fold(self, model: MatrixModel, fold: int) -> tuple[np.ndarray, float]:
        """Fit on all folds but one and stop on that one: outputs on it, and seconds in the estimator."""
        inside, outside = self.folds != fold, self.folds_out == fold
        x, held_out = self.x[inside], self.x_out[outside]
        began = time.perf_counter()
        model.fit_features(x, self.y[inside], (held_out, self.y_out[outside]))
        seconds = time.perf_counter() - began
        return model.output_features(held_out), seconds


OnTrial = Callable[[int, int, float], None]

_kept: dict[str, dict[int, dict[Any, Any]]] = {}  # of this process: token -> fold -> what fits on it share


def run_trial(material: Material, number: int, rung: int, settings: dict[str, Any], share: float | None) -> Trial:
    """Cross-validate one configuration; ``share`` cuts its trees or epochs short."""
    began = time.perf_counter()
    if material.token not in _kept:
        _kept.clear()
        _kept[material.token] = {}
    losses, rounds, fit_seconds = [], [], 0.0
    short = {}
    if share is not None:
        setting = str(model_class(material.model).rounds_setting)  # type: ignore[attr-defined]
        short = {setting: max(1, int(share * getattr(material.create(settings), setting)))}
    for fold in range(int(material.folds.max()) + 1):
        model = material.create(settings | short)
        model.shared = _kept[material.token].setdefault(fold, {})
        output, seconds = material.fit_fold(model, fold)
        losses.append(loss(material.target, material.y_out[material.folds_out == fold], output))
        rounds += [] if model.rounds is None else [int(model.rounds)]
        fit_seconds += seconds
    return Trial(number, rung, settings, losses, rounds, fit_seconds, time.perf_counter() - began)


def loss(target: Target, codes: np.ndarray, output: np.ndarray) -> float:
    """Mean squared error of codes, log loss of class probabilities; inf where an output is not finite."""
    if not np.isfinite(output).all():
        return float("inf")
    if target.task == "classification":
        return float(-np.mean(np.log(np.clip(output[np.arange(len(codes)), codes], 1e-12, None))))
    return float(np.mean((target.clip(output) - codes) ** 2))


@dataclass(frozen=True)
class Rows:
    """The rows of a search: what is fitted on, what is held out, and what is tested.

    Attributes:
        fit: snapshots of the training part to fit on (all of each network, or its last).
        out: the snapshots of the training part that are held out, one a network in most views.
        test: of the test part.
    """

    fit: View
    out: View
    test: View


def search_space(plan: SearchPlan, model: str, base: dict[str, Any], columns: int) -> dict[str, Distribution]:
    """What is drawn: the model's own space, less the settings that the user fixed, with the plan's distributions in it."""
    cls = model_class(model)
    if not issubclass(cls, MatrixModel):
        raise MetanetError(f"model {cls.name} has nothing to search; take another, or search=none")
    for name in plan.space:
        if name in NOT_SEARCHED:
            raise MetanetError(f"search.space.{name} cannot be searched; make it a grid of runs instead: {name}=a,b")
    known = constructor_arguments(cls)
    fixed = {k for k, v in base.items() if k in known and v != known[k].default}
    own = {k: d for k, d in cls.space(columns).items() if k not in fixed}
    space = {k: d for k, d in (own | plan.space).items() if d is not None}
    check_settings(cls, space, "search.space: model")
    if not any(isinstance(d, dict | list) for d in space.values()):
        raise MetanetError(f"model {cls.name} has no settings of its own to search; give search.space.SETTING=[...]")
    if plan.halving is not None and cls.rounds_setting is None:
        raise MetanetError(f"search.halving={plan.halving}: model {cls.name} has neither trees nor epochs to cut short")
    for name, distribution in space.items():
        draw_column(name, distribution, 1, 0, section="search.space")
    return space


class Search:
    """One search in one folder: ``search.json`` says what is searched, ``trials.jsonl`` what was found.

    Args:
        folder: made where it is not there; a search that lies there goes on.
        plan: what is searched.
        material: data and model.
        identity: what makes search this search (split, features ...); another one in the same folder is refused.
        launcher: where trials run.
        on_trial: told of finished trials, all trials, and the best loss so far.

    Attributes:
        rows, features_of, threads: where the material came from; set by :meth:`of`, used by :meth:`score`.
    """

    rows: Rows
    features_of: FeatureMap
    threads: int

    def __init__(
        self,
        folder: Path,
        plan: SearchPlan,
        material: Material,
        identity: dict[str, Any],
        launcher: Launcher,
        on_trial: OnTrial | None = None,
    ) -> None:
        self.folder, self.plan, self.material, self.launcher, self.on_trial = folder, plan, material, launcher, on_trial
        self.space = search_space(plan, material.model, material.base, material.x.shape[1])
        self.trials: dict[tuple[int, int], Trial] = {}
        self.busy_seconds, self.seconds = 0.0, 0.0  # in this call: within the estimator, all workers together; of the clock
        self._open(identity)

    @classmethod
    def of(
        cls,
        name: str,
        base: dict[str, Any],
        features: str | list[str],
        rows: Rows,
        plan: SearchPlan,
        folder: Path,
        identity: dict[str, Any],
        target: str,
        launcher: Launcher,
        seed: int = 0,
        threads: int = 1,
        on_trial: OnTrial | None = None,
    ) -> Search:
        """From views and a model's name and settings; every mistake in them shows here, before anything is fitted."""
        to_predict = Target.of(rows.out, target)
        features_of = FeatureMap(features, threads).fit(rows.out, target)
        search_space(plan, name, base, len(features_of.names))
        folds_out = rows.out.draw_folds(plan.folds, plan.seed, "search.folds")
        x_out, y_out = features_of.transform(rows.out), to_predict.encode(rows.out)
        x, y, folds_fit = x_out, y_out, folds_out
        if rows.fit is not rows.out:
            x, y = features_of.transform(rows.fit), to_predict.encode(rows.fit)
            fold_of = dict(zip(rows.out.network_ids, folds_out, strict=True))
            folds_fit = np.array([fold_of[i] for i in rows.fit.network_ids])
        token = hashlib.sha256(json.dumps([str(folder.resolve()), identity], default=str).encode()).hexdigest()
        settings = base | {"features": features, "seed": seed}
        material = Material(name, settings, to_predict, x, y, folds_fit, x_out, y_out, folds_out, token)
        search = cls(folder, plan, material, identity, launcher, on_trial)
        search.rows, search.features_of, search.threads = rows, features_of, threads
        return search

    def score(self, floors: Floors | None) -> FitResult:
        """Do what is not done yet, fit the best on the whole training part, and score it on the test part, once."""
        with self.launcher.open():
            return self._score(floors)

    def _score(self, floors: Floors | None) -> FitResult:
        best, rows, target = self.run(), self.rows, self.material.target
        x_test = self.features_of.transform(rows.test)
        rounds = int(np.median(best.rounds)) if best.rounds else None
        tasks = [(best.settings, fold, rounds, x_test) for fold in (None, *range(self.plan.folds))]
        final = {answer.fold: answer for answer in self.launcher.run(fit_final, self.material, tasks)}
        model = final[None].model
        assert model is not None
        if not np.isfinite(final[None].on_test).all():
            raise MetanetError(
                f"the best configuration (trial {best.number}) diverged when it was fitted on the whole training part; narrow "
                "the search, e.g. search.space.learning_rate"
            )
        model.map, model.threads = self.features_of, self.threads
        held_out = np.concatenate([final[fold].held_out for fold in range(self.plan.folds)])
        validation = rows.out.take(np.argsort(self.material.folds_out, kind="stable"))
        spent = [t for t in self.trials.values() if t.number < self.plan.n]
        metrics: dict[str, Any] = {
            "search": self.plan.name,
            "trials": len({t.number for t in spent}),
            "seconds": final[None].seconds,
            "search_seconds": sum(t.seconds for t in spent),
            "loss_cv": best.loss,
        }
        if target.task == "regression":
            true, on_test = target.true(rows.test), [target.decode(final[k].on_test) for k in range(self.plan.folds)]
            metrics["r2_cv"] = r2(target.true(validation), target.decode(held_out))
            metrics["r2_fold_sd"] = float(np.std([r2(true, output) for output in on_test], ddof=1))
            metrics["mse_fold_sd"] = float(np.std([np.mean((true - output) ** 2) for output in on_test], ddof=1))
        return result_of(model, rows.test, final[None].on_test, len(rows.fit), floors, metrics, HeldOut(validation, held_out))

    # ------------------------------------------------------------------------------------------ on disk

    def _open(self, identity: dict[str, Any]) -> None:
        """Write ``search.json``, or compare with the one that is there and read its trials."""
        facts = (
            identity
            | {
                "search": self.plan.name,
                "seed": self.plan.seed,
                "folds": self.plan.folds,
                "halving": self.plan.halving,
                "space": self.space,
            }
            | ({"sampler": self.plan.sampler} if self.plan.name == "optuna" else {})
        )
        facts = json.loads(json.dumps(facts))
        head, path = self.folder / "search.json", self.folder / "trials.jsonl"
        self.folder.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a line that was cut short by a kill is tried again
        if whole:
            stored = json.loads(head.read_text())
            if differing := sorted(k for k in facts.keys() | stored.keys() if facts.get(k) != stored.get(k)):
                key = differing[0]
                before, now = stored.get(key), facts.get(key)
                if isinstance(before, dict) and isinstance(now, dict):  # a space: only what differs in it
                    own = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))[0]
                    key, before, now = f"{key}.{own}", before.get(own), now.get(own)
                raise MetanetError(
                    f"'{self.folder}' holds a search with another {key} ({before}, now {now}); its trials are kept: "
                    "choose another out=, or search the same again"
                )
        else:  # nothing was found yet, so whatever was begun here may be begun anew
            new = head.with_suffix(".new")
            new.write_text(json.dumps(facts, indent=1))
            new.replace(head)
        for line in whole.splitlines():
            trial = Trial(**json.loads(line))
            self.trials[trial.rung, trial.number] = trial
        if whole != text:
            path.write_text(whole)

    def _append(self, trial: Trial) -> None:
        with open(self.folder / "trials.jsonl", "a") as file:
            file.write(json.dumps(vars(trial)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.trials[trial.rung, trial.number] = trial

    # ------------------------------------------------------------------------------------------ trials

    def run(self) -> Trial:
        """Do what is not done yet; the best trial (of the last rung)."""
        began = time.perf_counter()
        if self.plan.name == "optuna":
            self._run_optuna()
            last = 0
        else:
            last = self._run_random()
        self.seconds = time.perf_counter() - began
        self.table().to_csv(self.folder / "trials.csv", index=False)
        done = [t for (rung, number), t in self.trials.items() if rung == last and number < self.plan.n]
        best = min(done, key=lambda t: (t.loss, t.number))
        if not np.isfinite(best.loss):
            raise MetanetError(f"all {len(done)} configurations diverged; narrow the search, e.g. search.space.learning_rate")
        return best

    def configurations(self) -> list[dict[str, Any]]:
        """All settings that are tried, drawn from the seed; the first ones do not depend on how many follow."""
        columns = {
            name: draw_column(name, d, self.plan.n, self.plan.seed, f"search/{self.material.model}", "search.space").tolist()
            for name, d in self.space.items()
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _run_random(self) -> int:
        """Every configuration, or rung after rung the best of them; the last rung."""
        configurations = self.configurations()
        factor = self.plan.halving
        rungs = 1 if factor is None else RUNGS
        survivors = list(range(self.plan.n))
        sizes = [max(1, self.plan.n // (factor or 1) ** rung) for rung in range(rungs)]
        done = 0
        for rung in range(rungs):
            if rung:
                ranked = sorted(survivors, key=lambda number: (self.trials[rung - 1, number].loss, number))
                survivors = sorted(ranked[: sizes[rung]])
            share = None if factor is None else factor ** (rung + 1 - RUNGS)
            tasks = [(n, rung, configurations[n], share) for n in survivors if (rung, n) not in self.trials]
            for _ in self._trials(tasks, done + len(survivors) - len(tasks), sum(sizes)):
                pass
            done += len(survivors)
        return rungs - 1

    def _trials(self, tasks: Sequence[tuple[Any, ...]], done: int, total: int) -> Iterator[Trial]:
        self._report(done, total)
        for trial in self.launcher.run(run_trial, self.material, tasks):
            self._append(trial)
            done += 1
            self.busy_seconds += trial.fit_seconds
            self._report(done, total)
            yield trial

    def _report(self, done: int, total: int) -> None:
        if self.on_trial is not None:
            self.on_trial(done, total, min((t.loss for t in self.trials.values()), default=float("nan")))

    def _run_optuna(self) -> None:
        """As many proposals at a time as there are workers; trials that are stored are told first."""
        try:
            import optuna
        except ImportError:
            raise MetanetError("search=optuna needs Optuna: pip install 'metanet-weights[optuna]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = optuna.samplers
        kinds = {"tpe": samplers.TPESampler, "gp": samplers.GPSampler, "random": samplers.RandomSampler}
        distributions = {k: _optuna_distribution(optuna, d) for k, d in self.space.items() if isinstance(d, dict | list)}
        fixed = {k: d for k, d in self.space.items() if k not in distributions}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of samplers that are marked experimental
            study = optuna.create_study(sampler=kinds[self.plan.sampler](seed=self.plan.seed + len(self.trials)))
            for trial in self.trials.values():
                params = {k: v for k, v in trial.settings.items() if k in distributions}
                value = trial.loss if np.isfinite(trial.loss) else 1e9
                study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
            while free := sorted(set(range(self.plan.n)) - {number for _, number in self.trials}):
                asked = {number: study.ask(distributions) for number in free[: self.launcher.workers]}
                tasks = [(number, 0, fixed | ask.params, None) for number, ask in asked.items()]
                for trial in self._trials(tasks, self.plan.n - len(free), self.plan.n):
                    study.tell(asked[trial.number], trial.loss if np.isfinite(trial.loss) else 1e9)

    def table(self) -> pd.DataFrame:
        """One row a trial: number, rung, loss, its spread over folds, rounds, seconds and the settings; best first."""
        rows = [
            {
                "trial": t.number,
                "rung": t.rung,
                "loss": t.loss,
                "loss_sd": float(np.std(t.losses)),
                "rounds": int(np.median(t.rounds)) if t.rounds else None,
                "seconds": t.seconds,
                **t.settings,
            }
            for t in self.trials.values()
        ]
        return pd.DataFrame(rows).sort_values(["rung", "loss", "trial"], ascending=[False, True, True], ignore_index=True)


def _optuna_distribution(optuna: Any, distribution: Distribution) -> Any:
    if isinstance(distribution, list):
        return optuna.distributions.CategoricalDistribution(distribution)
    ((kind, (low, high)),) = distribution.items()
    if kind == "integer":
        return optuna.distributions.IntDistribution(int(low), int(high))
    return optuna.distributions.FloatDistribution(float(low), float(high), log=kind == "log_uniform")


@dataclass(frozen=True)
class FinalFit:
    """The best configuration fitted on the whole training part (``fold`` None), or on all folds but one.

    Attributes:
        held_out: outputs on the fold; empty for the whole.
        on_test: outputs on the test part.
        model: of the whole.
    """

    fold: int | None
    held_out: np.ndarray
    on_test: np.ndarray
    model: MatrixModel | None
    seconds: float


def fit_final(material: Material, settings: dict[str, Any], fold: int | None, rounds: int | None, x_test: np.ndarray) -> FinalFit:
    """One of the fits that follow a search; a task for the launcher."""
    model = material.create(settings)
    if fold is not None:
        held_out, seconds = material.fit_fold(model, fold)
        return FinalFit(fold, held_out, model.output_features(x_test), None, seconds)
    began = time.perf_counter()
    model.fit_features(material.x, material.y, rounds=rounds)
    return FinalFit(None, np.empty(0), model.output_features(x_test), model, time.perf_counter() - began)
