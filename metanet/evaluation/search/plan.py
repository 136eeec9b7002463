"""The plan of a search: how many configurations, drawn from what."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from metanet.constraints import Count, Interval, OneOf, Seed, check_each, kinds_of
from metanet.distributions import Distribution, draw_column
from metanet.errors import MetanetError, did_you_mean
from metanet.models.base import MatrixModel, check_settings, constructor_arguments
from metanet.models.registry import model_class

NAMES = ("random", "optuna")
# What every model takes, and no search may draw: it would not be what the run says it is.
NOT_SEARCHED = ("features", "seed", "threads", "trainer", "refit")


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
    n: Count = 1000
    folds: Annotated[int, Interval(2)] = 3
    seed: Seed = 0
    halving: Annotated[int, Interval(2)] | None = None
    space: dict[str, Distribution] = field(default_factory=dict)
    sampler: Annotated[str, OneOf("tpe", "gp", "random")] = "tpe"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise MetanetError(f"search.name={self.name}{did_you_mean(self.name, NAMES)}")
        if not isinstance(self.space, dict):
            raise MetanetError(
                f"search.space={self.space} is no mapping of settings to distributions; give search.space.KEY=[...]"
            )
        check_each("search", kinds_of(SearchPlan), vars(self))  # type: ignore[arg-type]

    def facts(self, space: dict[str, Distribution]) -> dict[str, Any]:
        """What makes another search of the same model another one: all but how many configurations.

        Args:
            space: see :func:`search_space`.
        """
        drawn = {"search": self.name, "seed": self.seed, "folds": self.folds, "halving": self.halving, "space": space}
        return drawn | ({"sampler": self.sampler} if self.name == "optuna" else {})

    def configurations(self, space: dict[str, Distribution], model: str) -> list[dict[str, Any]]:
        """All settings that are tried, drawn from the seed; the first ones do not depend on how many follow.

        Args:
            space: see :func:`search_space`.
            model: name of the model; two models on one seed draw apart.
        """
        columns = {
            name: draw_column(name, d, self.n, self.seed, f"search/{model}", "search.space").tolist() for name, d in space.items()
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def search_plan(config: dict[str, Any]) -> SearchPlan:
    """From the ``search`` config group.

    Raises:
        MetanetError: a setting that a search has not, or one out of range.
    """
    known = [f.name for f in fields(SearchPlan)]
    for key in config:
        if key not in known:
            raise MetanetError(f"search has no setting '{key}'{did_you_mean(key, known)}")
    return SearchPlan(**config)


def search_space(plan: SearchPlan, model: str, base: dict[str, Any], columns: int) -> dict[str, Distribution]:
    """What is drawn: the model's own space, less the settings that the user fixed, with the plan's distributions in it.

    Args:
        base: settings that the user gave.
        columns: F, the number of the model's inputs.

    Raises:
        MetanetError: nothing is left to search, or the plan names what cannot be.
    """
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
