"""Strategies: which configurations are tried next, given those that were."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metanet.distributions import Distribution
from metanet.errors import MetanetError
from metanet.evaluation.search.plan import SearchPlan
from metanet.evaluation.search.trials import Trial

RUNGS = 3  # of successive halving: its first rung costs halving ** (1 - RUNGS) of a full fit
DIVERGED = 1e9  # a loss that Optuna's samplers can reckon with

Trials = Mapping[tuple[int, int], Trial]  # by rung and number


@dataclass(frozen=True)
class Batch:
    """Trials that may run side by side.

    Attributes:
        tasks: number, rung, settings, and the share of a full fit (None for all of it) of each.
        done: how many trials of the search came before them.
    """

    tasks: list[tuple[int, int, dict[str, Any], float | None]]
    done: int


class Strategy(ABC):
    """What is tried, in batches; a batch's trials are known before the next is asked for.

    Attributes:
        total: trials in all.
        last: the rung in which the best is chosen.
    """

    total: int
    last: int = 0

    @abstractmethod
    def batches(self, trials: Trials, workers: int) -> Iterator[Batch]:
        """What is not done yet.

        Args:
            trials: all that are known; grows by each batch.
            workers: how many run at a time.
        """


class Drawn(Strategy):
    """Every configuration as drawn; with halving, rung after rung the best of them, for longer."""

    def __init__(self, plan: SearchPlan, space: dict[str, Distribution], model: str) -> None:
        self.configurations, self.halving = plan.configurations(space, model), plan.halving
        self.sizes = [max(1, plan.n // (plan.halving or 1) ** rung) for rung in range(1 if plan.halving is None else RUNGS)]
        self.total, self.last = sum(self.sizes), len(self.sizes) - 1

    def batches(self, trials: Trials, workers: int) -> Iterator[Batch]:
        survivors, done = list(range(len(self.configurations))), 0
        for rung, size in enumerate(self.sizes):
            if rung:
                ranked = sorted(survivors, key=lambda number: (trials[rung - 1, number].loss, number))
                survivors = sorted(ranked[:size])
            share = None if self.halving is None else self.halving ** (rung + 1 - RUNGS)
            tasks = [(n, rung, self.configurations[n], share) for n in survivors if (rung, n) not in trials]
            yield Batch(tasks, done + len(survivors) - len(tasks))
            done += len(survivors)


class Proposed(Strategy):
    """What Optuna's sampler proposes, as many at a time as there are workers; trials that are known are told first.

    Raises:
        MetanetError: Optuna is not installed.
    """

    def __init__(self, plan: SearchPlan, space: dict[str, Distribution]) -> None:
        try:
            import optuna
        except ImportError:
            raise MetanetError("search=optuna needs Optuna: pip install 'metanet-weights[optuna]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.plan, self.total = optuna, plan, plan.n
        self.drawn = {k: _distribution(optuna, d) for k, d in space.items() if isinstance(d, dict | list)}
        self.fixed = {k: d for k, d in space.items() if k not in self.drawn}

    def batches(self, trials: Trials, workers: int) -> Iterator[Batch]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of samplers that are marked experimental
            study = self._study(trials)
            while free := sorted(set(range(self.total)) - {number for _, number in trials}):
                asked = {number: study.ask(self.drawn) for number in free[:workers]}
                yield Batch([(n, 0, self.fixed | ask.params, None) for n, ask in asked.items()], self.total - len(free))
                for number, ask in asked.items():
                    study.tell(ask, _told(trials[0, number]))

    def _study(self, trials: Trials) -> Any:
        samplers = self.optuna.samplers
        kinds = {"tpe": samplers.TPESampler, "gp": samplers.GPSampler, "random": samplers.RandomSampler}
        study = self.optuna.create_study(sampler=kinds[self.plan.sampler](seed=self.plan.seed + len(trials)))
        for trial in trials.values():
            params = {k: v for k, v in trial.settings.items() if k in self.drawn}
            known = self.optuna.trial.create_trial(params=params, distributions=self.drawn, value=_told(trial))
            study.add_trial(known)
        return study


def _told(trial: Trial) -> float:
    return trial.loss if np.isfinite(trial.loss) else DIVERGED


def _distribution(optuna: Any, distribution: Distribution) -> Any:
    if isinstance(distribution, list):
        return optuna.distributions.CategoricalDistribution(distribution)
    ((kind, (low, high)),) = distribution.items()
    if kind == "integer":
        return optuna.distributions.IntDistribution(int(low), int(high))
    return optuna.distributions.FloatDistribution(float(low), float(high), log=kind == "log_uniform")
