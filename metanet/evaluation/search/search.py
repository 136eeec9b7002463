"""One search in one folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from metanet.errors import MetanetError
from metanet.evaluation.protocol import Fitted, Floors, result_of
from metanet.evaluation.search.final import refit_all
from metanet.evaluation.search.log import TrialLog
from metanet.evaluation.search.plan import SearchPlan, search_space
from metanet.evaluation.search.strategies import Batch, Drawn, Proposed, Strategy
from metanet.evaluation.search.trials import Material, Rows, Subject, Trial, run_trial
from metanet.features.unions import FeatureMap
from metanet.launching.launcher import Launcher
from metanet.metrics import r2
from metanet.models.base import HeldOut
from metanet.models.target import Target

OnTrial = Callable[[int, int, float], None]


class Search:
    """One search in one folder; every mistake in it shows here, before anything is fitted.

    Args:
        subject: the model whose settings are searched.
        rows: to fit on, to hold out and to test.
        plan: what is searched.
        folder: made where it is not there; a search that lies there goes on.
        identity: what makes this search this search (split, features ...); another one in the same folder is refused.
        launcher: where trials run.
        on_trial: told of finished trials, all trials, and the best loss so far.

    Raises:
        MetanetError: the target, the features or the space cannot be had, or another search lies in the folder.
    """

    def __init__(
        self,
        subject: Subject,
        rows: Rows,
        plan: SearchPlan,
        folder: Path,
        identity: dict[str, Any],
        launcher: Launcher,
        on_trial: OnTrial | None = None,
    ) -> None:
        self.subject, self.rows, self.plan, self.launcher, self.on_trial = subject, rows, plan, launcher, on_trial
        target = Target.of(rows.out, subject.target)
        self.features_of = FeatureMap(subject.features, subject.threads).fit(rows.out, subject.target)
        self.space = search_space(plan, subject.model, subject.base, len(self.features_of.names))
        token = hashlib.sha256(json.dumps([str(folder.resolve()), identity], default=str).encode()).hexdigest()
        self.material = Material.of(subject, target, self.features_of, rows, plan, token)
        self.log = TrialLog(folder, identity | plan.facts(self.space))
        self.busy_seconds, self.seconds = 0.0, 0.0  # in this call: within the estimator, all workers together; of the clock

    def run_and_score(self, floors: Floors | None) -> Fitted:
        """Do what is not done yet, fit the best on the whole training part, and score it on the test part, once.

        Raises:
            MetanetError: all configurations diverged, or the best did at last.
        """
        with self.launcher.open():
            best = self.run()
            final = refit_all(self.material, best, self.features_of.transform(self.rows.test), self.launcher)
        model, target = final.model, self.material.target
        model.map, model.threads = self.features_of, self.subject.threads
        by_fold = self.rows.out.take(np.argsort(self.material.folds_out, kind="stable"))
        model.held_out = HeldOut(by_fold, final.held_out)
        spent = [t for t in self.log.trials.values() if t.number < self.plan.n]
        metrics: dict[str, Any] = {
            "search": self.plan.name,
            "trials": len({t.number for t in spent}),
            "seconds": final.seconds,
            "search_seconds": sum(t.seconds for t in spent),
            "loss_cv": best.loss,
        }
        if target.task == "regression":
            metrics["r2_cv"] = r2(target.true(by_fold), target.decode(final.held_out))
            metrics |= final.spread(target.true(self.rows.test))
        return result_of(model, self.rows.test, final.on_test, len(self.rows.fit), floors, metrics)

    def run(self) -> Trial:
        """Do what is not done yet; the best trial (of the last rung), of equal ones the first drawn.

        Raises:
            MetanetError: all configurations diverged.
        """
        began = time.perf_counter()
        strategy = self._strategy()
        for batch in strategy.batches(self.log.trials, self.launcher.workers):
            self._run(batch, strategy.total)
        self.seconds = time.perf_counter() - began
        self.log.table().to_csv(self.log.folder / "trials.csv", index=False)
        done = [t for (rung, number), t in self.log.trials.items() if rung == strategy.last and number < self.plan.n]
        best = min(done, key=lambda t: (t.loss, t.number))
        if not np.isfinite(best.loss):
            raise MetanetError(f"all {len(done)} configurations diverged; narrow the search, e.g. search.space.learning_rate")
        return best

    def _strategy(self) -> Strategy:
        if self.plan.name == "optuna":
            return Proposed(self.plan, self.space)
        return Drawn(self.plan, self.space, self.subject.model)

    def _run(self, batch: Batch, total: int) -> None:
        done = batch.done
        self._report(done, total)
        for trial in self.launcher.run(run_trial, self.material, batch.tasks):
            self.log.append(trial)
            done += 1
            self.busy_seconds += trial.fit_seconds
            self._report(done, total)

    def _report(self, done: int, total: int) -> None:
        if self.on_trial is not None:
            self.on_trial(done, total, min((t.loss for t in self.log.trials.values()), default=float("nan")))
