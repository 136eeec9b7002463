"""Fits that are prepared: all that can be wrong with them is looked at, and nothing is fitted yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metanet.errors import MetanetError
from metanet.evaluation.search import SearchPlan, search_plan, search_space
from metanet.features.unions import FeatureMap
from metanet.models import create_model
from metanet.models.base import MetaModel, check_settings, constructor_arguments
from metanet.models.registry import model_class
from metanet.models.target import Target
from metanet.zoo.split import Split
from metanet.zoo.zoo import View


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit, prepared: see :meth:`metanet.evaluation.fitting.Fitter.prepare`.

    Attributes:
        config: of ``metanet train``, with what its zoo and model decide.
        view: the snapshots that are predicted.
        split: which of its networks are in which part.
        model: not fitted.
        settings: of the model, as given.
        plan: of the search; None without one.
        more: further snapshots of the networks to learn from; None for those of ``view``.
    """

    config: dict[str, Any]
    view: View
    split: Split
    model: MetaModel
    settings: dict[str, Any]
    plan: SearchPlan | None
    more: View | None

    @property
    def targets(self) -> list[str]:
        """One in most fits; an encoder may have several."""
        return targets_of(self.config)

    def runs(self, folder: Path) -> list[tuple[dict[str, Any], Path]]:
        """The config and the folder of each run that it makes: its own, or of several targets one each below it."""
        if not isinstance(self.config["target"], list):
            return [(self.config, folder)]
        return [(self.config | {"target": target}, folder / target) for target in self.targets]


def settled_features(config: dict[str, Any]) -> str | list[str]:
    """The input of a config's model: as given, and its own for a model that takes no features.

    Raises:
        MetanetError: features were given to such a model.
    """
    cls, given = model_class(str(config["model"]["name"])), config["features"]
    if cls.own_input is None:
        return given
    if given not in ("stats", ["stats"], cls.own_input):  # stats is the default of all
        beside = "; model.beside= gives it features too" if "beside" in constructor_arguments(cls) else ""
        raise MetanetError(
            f"model {cls.name} reads {cls.own_input}, not features={given}{beside}; leave features= out, "
            "or take a model on features such as model=gbm"
        )
    return cls.own_input


def prepared(config: dict[str, Any], view: View, split: Split, more: View | None) -> Fit:
    """A fit of a config that is settled.

    Raises:
        MetanetError: the model, its features, its targets or its search cannot be.
    """
    name, settings = model_settings(config)
    common = {"features": config["features"], "seed": config["seed"], "threads": config["threads"]}
    model = create_model(name, **settings, **common)
    if model.own_input is None:
        FeatureMap(config["features"])
    targets = targets_of(config)
    for target in targets:
        view.target(str(target))
    model.check_targets(targets)
    searched = config["search"]["name"] != "none"
    if isinstance(config["target"], list):
        if searched:
            raise MetanetError(f"target={targets}: a search looks for the best settings for one target; give search=none")
        for target in targets:
            Target.of(view.part(split, "train"), target)  # a mistake in one is found before anything is fitted
    plan = _plan(config, name, settings) if searched else None
    return Fit(config, view, split, model, settings, plan, more)


def _plan(config: dict[str, Any], name: str, settings: dict[str, Any]) -> SearchPlan:
    plan, cls = search_plan(config["search"]), model_class(name)
    if cls.own_input is not None:
        raise MetanetError(
            f"search={plan.name} looks for the settings of models on features, and {cls.name} reads "
            f"{cls.own_input} itself; take one such as model=gbm, or give a grid such as seed=0,1,2"
        )
    search_space(plan, name, settings, columns=1)
    return plan


def targets_of(config: dict[str, Any]) -> list[str]:
    """``target`` as a list.

    Raises:
        MetanetError: a list of other than columns.
    """
    targets = config["target"] if isinstance(config["target"], list) else [config["target"]]
    if not targets or not all(isinstance(t, str) for t in targets):
        raise MetanetError(f"target={targets}: give columns such as [test_accuracy,hp.optimizer]")
    return targets


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
