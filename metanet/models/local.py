"""Local meta-models: they judge a network of any architecture and size by slices of its weights (Eilertsen et al. 2020, 5.3).

:class:`SliceModel` is the contract: what a slice tells, and a vote over many of a network's slices. A global model is one
whose only slice is the whole vector. :class:`Local` makes a local one of any estimator on the 16 measures of a slice.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from scipy.special import softmax

from metanet.constraints import Count, Interval, OneOf, Seed
from metanet.data_modules.slices import Short, Slices, balanced_order
from metanet.errors import MetanetError, UnsuitableTargetError
from metanet.features.unions import FeatureMap
from metanet.models.base import MatrixModel, MetaModel
from metanet.models.registry import create_model, load_model
from metanet.models.target import Target
from metanet.plugins import absolute, is_path
from metanet.representations.measures import measure_names, sixteen_measures
from metanet.zoo.split import balanced_networks
from metanet.zoo.zoo import View

Balance = Annotated[str, OneOf("drop", "draw", "none")]
LONG, BRIEF, ENOUGH = 5_000, 500, 10_000


class SliceModel(MetaModel):
    """Predicts from slices of S consecutive weights.

    Args:
        slice: S; None takes 5,000, or 500 where the shortest vector is under 10,000.
        part: of the vectors: ``all``, ``conv`` or ``fc``.
        short: of parts shorter than S: ``run_on``, ``pad`` or ``skip``, see :class:`metanet.data_modules.slices.Slices`.
        votes: slices at even distances that together judge a network.
        balance: of the training classes. ``drop`` keeps as many networks of each as the rarest has (the paper's), ``draw``
            shows as many of each, those of rare classes more often, ``none`` takes them as they are.

    Attributes:
        length: S, once fitted.
    """

    own_input: ClassVar[str | None] = "slices"
    chooses = False
    local: ClassVar[bool] = True  # False: the slice is the whole vector

    def __init__(
        self,
        slice: Annotated[int, Interval(16)] | None = None,
        part: Annotated[str, OneOf("all", "conv", "fc")] = "all",
        short: Short = "run_on",
        votes: Count = 20,
        balance: Balance = "drop",
        seed: Seed = 0,
        threads: int = 1,
        features: str | list[str] = "slices",
    ) -> None:
        super().__init__(str(self.own_input), seed, threads)
        self.slice, self.part, self.short, self.votes, self.balance = slice, part, short, votes, balance
        self._agreed: int | None = None  # S that check_view chose for the next fit

    @property
    def access(self) -> str:
        return "W"

    @property
    def classes(self) -> int:
        """Number of classes; 0 for a regression."""
        return len(self.target.classes)

    @property
    def draws(self) -> bool:
        """Whether an epoch draws as many snapshots of each class."""
        return bool(self.classes) and self.balance == "draw"

    @abstractmethod
    def fit_slices(self, slices: Slices, codes: np.ndarray) -> None:
        """Learn from slices of the training networks.

        Args:
            slices: of N snapshots.
            codes: of the target, (N,), see :meth:`metanet.models.target.Target.encode`.
        """

    @abstractmethod
    def logits(self, values: np.ndarray) -> np.ndarray:
        """Slices (N, S) -> logits (N, C) for a classification, codes (N, 1) for a regression."""

    def fit(self, train: View, target: str = "test_accuracy", validation: View | None = None) -> SliceModel:
        """Learn from training and validation part together: nothing is chosen."""
        view = train if validation is None else train.union(validation)
        self.choose_target(view, target)
        if self.classes and self.balance == "drop":
            view = view.of_networks(balanced_networks(view.network_ids.tolist(), view.target(target).tolist(), self.seed))
        self.length, self._agreed = self._agreed or self.choose_length(view), None
        slices = self.slices(view)
        self.fit_slices(slices, self.target.encode(slices.view))
        return self

    def check_view(self, view: View) -> None:
        """Let the next fit choose S for all of these networks, and refuse those that get no prediction."""
        self.length = self._agreed = self.choose_length(view)
        self._refuse_skipped(self.slices(view), view)

    def _refuse_skipped(self, slices: Slices, view: View) -> None:
        if len(slices) < len(view):
            raise MetanetError(
                f"{slices.short_networks} networks are shorter than the slices of {self.length} values and were to be skipped, "
                "so they get no prediction; give short=run_on or pad, or leave them out by where="
            )

    def choose_length(self, view: View) -> int:
        """S for a training part."""
        return self.slice or default_length(view)

    def slices(self, view: View) -> Slices:
        """The slices of a view that this model reads."""
        return Slices(view, self.length, self.part, self.short)

    def output(self, view: View) -> np.ndarray:
        """The vote of ``votes`` slices of every snapshot: the mean of their logits."""
        slices = self.slices(view)
        self._refuse_skipped(slices, view)
        starts = slices.even_starts(self.votes)
        rows = [self._judge(slices.read(np.full(self.votes, i), own)) for i, own in enumerate(starts)]
        return self.as_output(np.stack(rows))

    def _judge(self, values: np.ndarray) -> np.ndarray:
        """The slices of one network (M, S) -> its logits (C,)."""
        return self.logits(values).mean(axis=0)

    def as_output(self, logits: np.ndarray) -> np.ndarray:
        """Logits (N, C) -> class probabilities (N, C); codes (N, 1) -> (N,)."""
        return softmax(logits, axis=1) if self.classes else logits[:, 0].astype(np.float64)

    def save(self, folder: str | Path) -> None:
        self.save_estimator(self.save_facts(folder, target=self.target.to_json(), length=self.length))

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> SliceModel:
        values = json.loads((folder / "model.json").read_text())
        model = cls(**values["settings"], threads=threads)
        model.target, model.length = Target.from_json(values["target"]), values["length"]
        model.load_estimator(folder)
        return model

    @abstractmethod
    def save_estimator(self, folder: Path) -> None:
        """Write the estimator's own files."""

    @abstractmethod
    def load_estimator(self, folder: Path) -> None:
        """Read them."""


class Local(SliceModel):
    """Any estimator on the 16 measures of a slice (section 5.3: support vector machines on 10 slices of each vector).

    Args:
        estimator: a model on features, such as ``svm_rbf``, ``svm_linear`` or ``gbm``, with its default settings.
        per_vector: slices of each training vector, at random positions.
        balance: of the training classes.
        base: of :class:`SliceModel`.
    """

    name = "local"

    def __init__(self, estimator: str = "svm_rbf", per_vector: Count = 10, balance: Balance = "draw", **base: Any) -> None:
        super().__init__(balance=balance, **base)
        self.estimator, self.per_vector = absolute(estimator) if is_path(estimator) else estimator, per_vector
        self._create()  # a mistake is found before anything is fitted

    def _create(self) -> MatrixModel:
        model = create_model(self.estimator, features="measures_global", seed=self.seed, threads=self.threads)
        if not isinstance(model, MatrixModel):
            raise MetanetError(f"model.estimator={self.estimator} does not read features; take svm_rbf, svm_linear, gbm or dnn")
        return model

    def fit_slices(self, slices: Slices, codes: np.ndarray) -> None:
        """Fit the estimator on the measures of slices.

        Raises:
            UnsuitableTargetError: it does not predict targets of this kind.
        """
        rng = np.random.default_rng(self.seed)
        blocks = []
        model = self.model = self._create()
        if self.target.task not in model.tasks:
            raise UnsuitableTargetError(f"model.estimator={self.estimator} does no {self.target.task}; take another estimator")
        order = balanced_order(codes, rng) if self.draws else np.arange(len(slices))
        for index in np.array_split(order, max(1, len(slices) // 64)):  # so many vectors' slices in memory
            members = np.repeat(index, self.per_vector)
            blocks.append(sixteen_measures(slices.read(members, slices.random_starts(rng, members))))
        x, y = np.concatenate(blocks), np.repeat(codes[order], self.per_vector)
        model.target, model.map = self.target, FeatureMap("measures_global", self.threads, measure_names())
        rounds = None
        if model.rounds_setting is not None:  # a fifth of the units chooses trees or epochs
            split = slices.view.draw_split(test=0.0, validation=0.2, seed=self.seed)
            chooses = np.repeat(np.isin(slices.view.network_ids[order], split.validation), self.per_vector)
            model.fit_features(x[~chooses], y[~chooses], (x[chooses], y[chooses]))
            rounds = model.rounds
        model.fit_features(x, y, rounds=rounds)

    def logits(self, values: np.ndarray) -> np.ndarray:
        output = self.model.output_features(sixteen_measures(values))
        return np.log(np.clip(output, 1e-12, None)) if self.classes else output[:, None]

    def save_estimator(self, folder: Path) -> None:
        self.model.save(folder / "estimator")

    def load_estimator(self, folder: Path) -> None:
        model = load_model(folder / "estimator", self.threads)
        assert isinstance(model, MatrixModel)
        self.model = model


def default_length(view: View) -> int:
    """S where none is given: 5,000 values, or 500 where the shortest vector has under 10,000."""
    shortest = min(view.zoo.layouts[i].size for i in view.frame["layout_id"].unique())
    return LONG if shortest >= ENOUGH else BRIEF
