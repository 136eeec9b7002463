"""Several families of meta-models in one: their mean, or the weights that predict networks best which they did not see.

Families that read different things err differently; their mean gains more than a mean over seeds of one of them. Stacking
(Wolpert 1992) fits non-negative weights to predictions out of fold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from scipy.optimize import nnls

from metanet.constraints import Interval, OneOf
from metanet.errors import MetanetError
from metanet.models.base import MetaModel
from metanet.models.registry import create_model, load_model, titled
from metanet.models.target import Target
from metanet.zoo.zoo import View

MEMBERS = ("gbm:stats+neurons+spectra+products", "stat_net:stats+neurons+spectra+products", "deepsets")


class Stack(MetaModel):
    """A weighted mean of fitted members: of codes, or of class probabilities.

    Args:
        members: each ``MODEL``, ``MODEL:FEATURES``, or a mapping of ``name``, perhaps ``features``, and settings.
        beside: features that every member reads too, where ``members`` are the default; ``probe`` makes a stack of access F.
        method: ``mean``, or ``weights`` learned out of fold.
        folds: of the units, for ``weights``; each member is fitted once more for each.
        base: ``seed`` and ``threads``; ``features`` are not looked at.

    Raises:
        MetanetError: ``members`` are fewer than two, or stand beside ``beside``.
    """

    name = "stack"
    own_input: ClassVar[str | None] = "members"

    def __init__(
        self,
        members: list[str | dict[str, Any]] | None = None,
        beside: str | None = None,
        method: Annotated[str, OneOf("mean", "weights")] = "mean",
        folds: Annotated[int, Interval(2)] = 5,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if members is not None and beside is not None:
            raise MetanetError(f"model.beside={beside} goes with the default members; give yours {beside} themselves")
        self.members = members
        self.chosen = members or [m + ("" if beside is None else f"+{beside}" if ":" in m else f":{beside}") for m in MEMBERS]
        self.beside, self.method, self.folds = beside, method, folds
        if not isinstance(self.chosen, list) or len(self.chosen) < 2:
            raise MetanetError(f"model.members={members}: give two or more, such as [gbm:stats,deepsets]")
        self.models = self._create()
        self.features = ", ".join(map(title_of, self.models))

    def _create(self) -> list[MetaModel]:
        common = {"seed": self.seed, "threads": self.threads}
        return [create_model(name, **common | settings) for name, settings in map(parsed, self.chosen)]

    @property
    def access(self) -> str:
        """All levels that a member reads, the highest among them."""
        return "+".join(sorted({level for model in self.models for level in model.access.split("+")} - {"-"})) or "-"

    def check_view(self, view: View) -> None:
        for model in self.models:
            model.check_view(view)

    def fit(self, train: View, target: str = "test_accuracy", validation: View | None = None) -> Stack:
        """Fit every member, and their weights where they are learned.

        Raises:
            MetanetError: a member knows other classes of the target.
        """
        self.choose_target(train, target, validation)
        whole = train if validation is None else train.union(validation)
        self.weights = np.full(len(self.chosen), 1 / len(self.chosen))
        if self.method == "weights":
            self.weights = self._out_of_fold(whole, target)
        self.models = self._create()
        for model in self.models:
            model.on_round = self.on_round
            model.fit(train, target, validation)
            if model.target.classes != self.target.classes:
                raise MetanetError(f"{title_of(model)} was fitted on other classes of {target} than the stack")
        return self

    def _out_of_fold(self, view: View, target: str) -> np.ndarray:
        """Weights of the members, none negative, of sum 1, by least squares on networks that they were not fitted on."""
        of_row = view.draw_folds(self.folds, self.seed, "model.folds")
        found: list[np.ndarray] = []
        for model in [m for k in range(self.folds) for m in self._create()]:
            k = len(found) // len(self.chosen)
            held_out = view.take(np.flatnonzero(of_row == k))
            output = model.fit(view.take(np.flatnonzero(of_row != k)), target).output(held_out)
            if model.target.classes != self.target.classes:
                raise MetanetError(f"a fold of the networks lacks a class of {target}; give fewer folds or method=mean")
            found.append(self.target.recoded(output, model.target).reshape(len(held_out), -1))
        columns = [np.concatenate([f.ravel() for f in found[i :: len(self.chosen)]]) for i in range(len(self.chosen))]
        codes = np.concatenate([self.target.encode(view.take(np.flatnonzero(of_row == k))) for k in range(self.folds)])
        true = np.eye(len(self.target.classes))[codes].ravel() if self.target.classes else codes
        weights, _ = nnls(np.stack(columns, 1), true)
        return weights / weights.sum() if weights.sum() > 0 else np.full(len(columns), 1 / len(columns))

    def output(self, view: View) -> np.ndarray:
        outputs = [self.target.recoded(model.output(view), model.target) for model in self.models]
        return np.tensordot(self.weights, np.stack(outputs), 1)

    def save(self, folder: str | Path) -> None:
        for i, model in enumerate(self.models):
            model.save(Path(folder) / f"member-{i}")
        self.save_facts(folder, target=self.target.to_json(), weights=self.weights.tolist())

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Stack:
        values = json.loads((folder / "model.json").read_text())
        model = cls(**values["settings"], threads=threads)
        model.target, model.weights = Target.from_json(values["target"]), np.array(values["weights"])
        model.models = [load_model(folder / f"member-{i}", threads) for i in range(len(model.chosen))]
        return model


def parsed(member: str | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """``gbm:stats`` -> the name of a model and its settings.

    Raises:
        MetanetError: a member has no name.
    """
    if isinstance(member, dict):
        settings = dict(member)
        if "name" not in settings:
            raise MetanetError(f"model.members: {member} has no name; give for example {{name: gbm, features: stats}}")
        return settings.pop("name"), settings
    return titled(str(member))


def title_of(model: MetaModel) -> str:
    """``gbm:stats``, ``deepsets``: what :func:`metanet.models.registry.titled` reads."""
    read = getattr(model, "beside", None) if model.own_input else model.features
    return model.name if read is None else f"{model.name}:{read if isinstance(read, str) else '+'.join(read)}"
