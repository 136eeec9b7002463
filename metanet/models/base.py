"""The contract of a meta-model: an estimator from a view of a zoo to a target.

``MetaModel`` is the whole contract: fit, predict, score, save, load. ``MatrixModel`` fulfils it for
estimators on a matrix of features; such a model is one file with four short methods.
"""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd

from metanet.constraints import Positive, Seed, check, kinds_of
from metanet.distributions import Distribution
from metanet.errors import MetanetError, UnsuitableTargetError, did_you_mean
from metanet.features.unions import FeatureMap
from metanet.models.scaling import Scaler
from metanet.models.tabular import Tabular
from metanet.models.target import Target
from metanet.zoo.zoo import View


class HeldOut(NamedTuple):
    """Networks that a fit was chosen by and not learned from, and what it then answered for them.

    Attributes:
        view: N snapshots.
        output: see :meth:`MetaModel.output`.
        refitted: whether the model has learned from them since, so that ``output`` is not what it answers now.
    """

    view: View
    output: np.ndarray
    refitted: bool = True


class MetaModel(Tabular, ABC):
    """Predicts a column of a zoo's frame from what it reads of each network.

    Args:
        features: what is read, see :mod:`metanet.features.unions`.
        seed: of everything random in the fit.
        threads: of the fit and of the features.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]] = ("regression", "classification")
    own_input: ClassVar[str | None] = None  # what it reads, where that is no choice of features
    many_targets: ClassVar[bool] = False  # whether one fit predicts several, see :meth:`fit_targets`
    chooses: bool = True  # whether the validation part chooses something; else it is learned from like the rest
    target: Target
    held_out: HeldOut | None = None  # of the last fit; None where it held nothing out
    curve: pd.DataFrame | None = None  # losses by epoch or tree of the fit that the validation part saw; its index has a name
    on_round: Callable[[int, int, float], None] | None = None  # told of a long fit's epochs: done, all, loss

    def __new__(cls, *positional: Any, **settings: Any) -> Self:
        """Refuse settings that the annotations of the constructors do not allow (:mod:`metanet.constraints`)."""
        arguments, kinds = constructor_arguments(cls), setting_kinds(cls)
        for key, value in (settings | dict(zip(arguments, positional, strict=False))).items():
            if key in kinds and value is not arguments[key].default:
                check(f"model.{key}", value, kinds[key])
        return super().__new__(cls)

    def __init__(self, features: str | list[str] = "stats", seed: Seed = 0, threads: int = 1) -> None:
        self.features, self.seed, self.threads = features, seed, threads

    @property
    @abstractmethod
    def access(self) -> str:
        """Access level of what is read: W weights, H hyperparameters, D measurements on real images."""

    @abstractmethod
    def fit(self, train: View, target: str = "test_accuracy", validation: View | None = None) -> MetaModel:
        """Learn from ``train``; ``validation`` chooses the length (default: a fifth of the units of ``train``)."""

    def fit_targets(self, train: View, targets: list[str], validation: View | None = None) -> Sequence[MetaModel]:
        """One fit for several targets: of each a fitted model that predicts it, in the order given; most families take one.

        Raises:
            MetanetError: see :meth:`check_targets`.
        """
        self.check_targets(targets)
        return [self.fit(train, targets[0], validation)]

    def check_targets(self, targets: list[str]) -> None:
        """Refuse a number of targets that one fit cannot have.

        Raises:
            MetanetError: none, one of them twice, or several where this family predicts one.
        """
        if not targets or len(set(targets)) < len(targets):
            raise MetanetError(f"target={targets}: give each column once, and one at least")
        if len(targets) > 1 and not self.many_targets:
            raise MetanetError(
                f"model {self.name} predicts one target a fit; give target={','.join(targets)} for a run each, or an "
                "encoder such as model=deepsets for one with a head a target"
            )

    @abstractmethod
    def output(self, view: View) -> np.ndarray:
        """Codes (N,) for a regression, class probabilities (N, C) for a classification."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the fitted model as plain files (JSON, safetensors, text)."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, threads: int = 1) -> MetaModel:
        """Read what :meth:`save` wrote."""

    @property
    def note(self) -> str | None:
        """What the fit decided by itself, in a line; None where that is no more than a length."""
        return None

    def check_view(self, view: View) -> None:
        """Refuse networks that this model cannot judge, before it is fitted.

        Args:
            view: all networks that it is to be fitted on and to predict.
        """

    def choose_target(self, view: View, name: str, validation: View | None = None) -> None:
        """Read the target off the training part; an error where this model does not predict its kind.

        A category that only the validation part has is one too.

        Raises:
            MetanetError: there is no such target.
            UnsuitableTargetError: it is of a kind that the model does not predict.
        """
        self.target = Target.of(view, name)
        if self.target.kind == "category" and validation is not None:
            self.target = Target.of(view.union(validation), name)
        if self.target.task not in self.tasks:
            raise UnsuitableTargetError(
                f"model {self.name} does no {self.target.task}, which target={name} needs; take another model"
            )

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments by name, from the attributes of the same names; not where it runs, nor a fixed input."""
        left_out = {"threads"} if self.own_input is None else {"threads", "features"}
        return {name: getattr(self, name) for name in constructor_arguments(type(self)) if name not in left_out}

    def save_facts(self, folder: str | Path, **facts: Any) -> Path:
        """Write ``model.json``: the model's name, its settings and facts of the fit, plain values; returns the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        values = {"model": getattr(type(self), "source", self.name), "settings": self.settings(), **facts}
        (folder / "model.json").write_text(json.dumps(values, indent=1))
        return folder

    def predict(self, view: View | np.ndarray) -> np.ndarray:
        """Predictions on the target's scale (log10 for log-uniform hyperparameters), shape (N,).

        Args:
            view: or a matrix, as the model was fitted on (:mod:`metanet.models.tabular`).
        """
        return self.labelled(self.target.decode(self.output(self.networks_of(view))))

    def score(self, view: View | np.ndarray, y: np.ndarray | None = None) -> Any:
        """Metrics of :mod:`metanet.metrics` on a view by name; of plain ``X, y`` one number: R2, or of classes the accuracy."""
        from metanet.metrics import classification_metrics, regression_metrics

        metrics = classification_metrics if self.target.task == "classification" else regression_metrics
        if isinstance(view, View):
            return metrics(self.target.true(view), self.predict(view))
        return metrics(np.asarray(y), self.predict(view))["accuracy" if self.target.classes else "r2"]


class MatrixModel(MetaModel):
    """A meta-model on a matrix of features (N, F).

    A subclass takes its own settings as keyword arguments and hands the rest to this class; it
    writes ``fit_matrix``, ``output_matrix``, ``save_estimator`` and ``load_estimator``. With ``refit`` the
    model that predicts is fitted on training and validation part together, for as long as the
    validation part found best.

    Args:
        refit: fit again on training and validation part, for the trees or epochs found best.
        clip: bound on standardised inputs, in standard deviations; None for none.

    Attributes:
        rounds: trees or epochs that the validation part chose; None for estimators without.
        shared: where fits on the same rows may keep what they share; a search gives one dictionary a fold.
    """

    standardise: ClassVar[bool] = False
    squash: bool = False  # see :class:`metanet.models.scaling.Scaler`
    rounds_setting: ClassVar[str | None] = None  # the setting that bounds trees or epochs

    @classmethod
    def space(cls, columns: int) -> dict[str, Distribution]:
        """What a search draws: a distribution of each setting (:mod:`metanet.distributions`).

        Args:
            columns: F, the number of inputs.
        """
        return {}

    def __init__(
        self,
        features: str | list[str] = "stats",
        seed: Seed = 0,
        threads: int = 1,
        refit: bool = True,
        clip: Positive | None = None,
    ) -> None:
        super().__init__(features, seed, threads)
        self.refit, self.clip = refit, clip
        self.rounds: int | None = None
        self.shared: dict[Any, Any] | None = None
        self.scaler: Scaler | None = None

    @abstractmethod
    def fit_matrix(
        self, x: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray] | None, rounds: int | None
    ) -> int | None:
        """Fit and return the number of rounds.

        Args:
            x: features (N, F), standardised where the class says so.
            y: codes (N,), see :meth:`metanet.models.target.Target.encode`.
            validation: (x, y) to choose the number of rounds with, or None.
            rounds: the number of rounds, where there is no validation part.
        """

    @abstractmethod
    def output_matrix(self, x: np.ndarray) -> np.ndarray:
        """(N, F) -> codes (N,) or class probabilities (N, C)."""

    @abstractmethod
    def save_estimator(self, folder: Path) -> None:
        """Write the estimator's own files."""

    @abstractmethod
    def load_estimator(self, folder: Path) -> None:
        """Read them."""

    @property
    def access(self) -> str:
        return FeatureMap(self.features).access

    @property
    def classes(self) -> int:
        """Number of classes; 0 for a regression."""
        return len(self.target.classes)

    def fit(self, train: View, target: str = "test_accuracy", validation: View | None = None) -> MatrixModel:
        if validation is None:
            split = train.draw_split(test=0.0, validation=0.2, seed=self.seed)
            train, validation = train.part(split, "train"), train.part(split, "validation")
        self.choose_target(train, target, validation)
        self.map = FeatureMap(self.features, self.threads).fit(train, target)
        x, y = self.map.transform(train), self.target.encode(train)
        x_validation, y_validation = self.map.transform(validation), self.target.encode(validation)
        self.fit_features(x, y, (x_validation, y_validation))
        self.held_out = HeldOut(validation, self.output_features(x_validation), self.refit)
        if self.refit:
            self.fit_features(np.concatenate([x, x_validation]), np.concatenate([y, y_validation]), rounds=self.rounds)
        return self

    def fit_features(
        self,
        x: np.ndarray,
        y: np.ndarray,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
        rounds: int | None = None,
    ) -> None:
        """Standardise and fit; the arguments are those of :meth:`fit_matrix` before standardisation."""
        self.scaler = Scaler(self.squash, self.clip).fit(x) if self.standardise else None
        held_out = None if validation is None else (self._scale(validation[0]), validation[1])
        self.rounds = self.fit_matrix(self._scale(x), y, held_out, rounds)

    def output_features(self, x: np.ndarray) -> np.ndarray:
        """Outputs for features that are not standardised, see :meth:`output`."""
        return self.output_matrix(self._scale(x))

    def output(self, view: View) -> np.ndarray:
        return self.output_features(self.map.transform(view))

    def _scale(self, x: np.ndarray) -> np.ndarray:
        return x if self.scaler is None else self.scaler.transform(x)

    def save(self, folder: str | Path) -> None:
        scaler = {} if self.scaler is None else {"scaler": self.scaler.to_json()}
        facts = {"target": self.target.to_json(), "features": self.map.to_json(), "rounds": self.rounds}
        self.save_estimator(self.save_facts(folder, **facts, **scaler))

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> MatrixModel:
        values = json.loads((folder / "model.json").read_text())
        model = cls(**values["settings"], threads=threads)
        model.target = Target.from_json(values["target"])
        model.map = FeatureMap.from_json(values["features"], threads)
        model.rounds = values["rounds"]
        if cls.standardise:
            model.scaler = Scaler.from_json(values["scaler"], model.squash, model.clip)
        model.load_estimator(folder)
        return model


def constructor_arguments(cls: type) -> dict[str, inspect.Parameter]:
    """Keyword arguments of a class and of the bases that it hands ``**kwargs`` to, less those that it fixes."""
    arguments: dict[str, inspect.Parameter] = {}
    fixed = getattr(cls, "fixed", {})
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        for p in parameters:
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in fixed:
                arguments.setdefault(p.name, p)
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return arguments


def setting_kinds(cls: type) -> dict[str, Any]:
    """What each of :func:`constructor_arguments` may be: its annotation, see :mod:`metanet.constraints`."""
    kinds: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            kinds = kinds_of(vars(base)["__init__"]) | kinds
    return {key: kinds[key] for key in constructor_arguments(cls) if key in kinds}


def check_settings(cls: type, settings: dict[str, Any], prefix: str = "model") -> None:
    """Refuse a setting that the class does not take, naming the nearest one that it does.

    Raises:
        MetanetError: the class takes no such setting.
    """
    known = constructor_arguments(cls)
    for key in settings:
        if key not in known:
            raise MetanetError(
                f"{prefix} '{getattr(cls, 'name', cls.__name__)}' has no setting '{key}'{did_you_mean(key, known)}"
            )
