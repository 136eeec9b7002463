"""What a user who asks for nothing gets: families of meta-models on weights alone, weighed by networks that they did not see.

Every member is fitted on all folds of the networks but one, for each fold, and predicts the networks of that fold; the mean of
these fits predicts networks of no fold (bagging). Non-negative weights of the members (stacking, Wolpert 1992; Breiman 1996), the
plain mean of all and each member alone are compared out of fold, and the best predicts. The members are a gradient boosting
machine with drawn thresholds (:class:`metanet.models.gbm.GBM`), a network on the same features by the neural tangent
parametrisation (:class:`metanet.models.stat_net.StatNet`) and two encoders of the weights themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from scipy.optimize import nnls

from metanet.constraints import Count, Interval
from metanet.errors import MetanetError
from metanet.features.unions import FeatureMap
from metanet.models.base import HeldOut, MetaModel
from metanet.models.registry import create_model, load_model
from metanet.models.stack import parsed, title_of
from metanet.models.target import Target
from metanet.zoo.zoo import View

FEATURES = ("stats", "neurons", "spectra", "products")  # of one architecture, or of several with the same columns
FEATURES_OF_ANY = "stats_global+measures_global"
ENCODERS = ("deepsets", "gnn")


class Auto(MetaModel):
    """Members that suit the networks, bagged over folds, and the mixture of them that errs least out of fold.

    The first fold is the validation part, the others are dealt from the training part.

    Args:
        members: two or more as :class:`metanet.models.stack.Stack` takes them; None for those that can read the networks.
        folds: of the networks.
        values: how many weights the fits of one member read in all, about: of a zoo with more than ``values / folds`` only so
            many folds are held out as this allows, one at least, and the time of a fit stays about the same.
        base: ``seed`` and ``threads``; ``features`` are not looked at.

    Attributes:
        took: ``weights``, ``mean`` or the title of one member.
        losses: mean squared error of codes, or of class probabilities, on networks that no fit saw, by what could be taken.
        shares: the weight of each member that predicts, by title.
        left_out: why a family is no member, by name.

    Raises:
        MetanetError: ``members`` are fewer than two.
    """

    name = "auto"
    own_input: ClassVar[str | None] = "weights"

    def __init__(
        self,
        members: list[str | dict[str, Any]] | None = None,
        folds: Annotated[int, Interval(3)] = 5,
        values: Count = 50_000_000,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.features = str(self.own_input)
        if members is not None and (not isinstance(members, list) or len(members) < 2):
            raise MetanetError(f"model.members={members}: give two or more, such as [gbm:stats,deepsets]")
        self.members, self.folds, self.values = members, folds, values
        self.models: list[list[MetaModel]] = [] if members is None else [[self._create(member, 0)] for member in members]
        self.left_out: dict[str, str] = {}

    @property
    def access(self) -> str:
        return "+".join(sorted({level for fits in self.models for level in fits[0].access.split("+")} - {"-"})) or "W"

    @property
    def note(self) -> str:
        """What was taken and why, in a line."""
        by_loss = sorted(self.losses, key=self.losses.__getitem__)
        single = next(name for name in by_loss if name not in ("weights", "mean"))
        words = [f"took {'the ' * (self.took in ('weights', 'mean'))}{self.took}: "]
        words.append(" + ".join(f"{share:.2f} {title}" for title, share in self.shares.items()))
        words.append(f"; squared error on networks that no fit saw {self.losses[self.took]:.3g}, best single {single} ")
        words.append(f"{self.losses[single]:.3g}")
        for reason in dict.fromkeys(self.left_out.values()):
            words.append(f"; without {', '.join(n for n, own in self.left_out.items() if own == reason)}: {reason}")
        return "".join(words)

    def fit(self, train: View, target: str = "test_accuracy", validation: View | None = None) -> Auto:
        if validation is None:
            split = train.draw_split(test=0.0, validation=1 / self.folds, seed=self.seed)
            train, validation = train.part(split, "train"), train.part(split, "validation")
        self.choose_target(train, target, validation)
        members = self.members or self._suitable(train.union(validation))
        folds = list(self._folds(train, validation))
        held_out = [own for _, own in folds]
        self.models, columns = [], []
        for member in members:
            fits, outputs = [], []
            for k, (rest, own) in enumerate(folds):
                model = self._create(member, k)
                model.on_round = self.on_round
                model.fit(rest, target)
                fits.append(model)
                outputs.append(self.target.recoded(model.output(own), model.target))
            self.models.append(fits)
            columns.append(np.concatenate(outputs))
        titles = _told_apart([title_of(fits[0]) for fits in self.models])
        weights = self._choose(np.stack(columns), titles, held_out)
        kept = np.flatnonzero(weights > 0)
        self.models, self.shares = [self.models[i] for i in kept], {titles[i]: float(weights[i]) for i in kept}
        return self

    def _create(self, member: str | dict[str, Any], k: int) -> MetaModel:
        name, settings = parsed(member)
        return create_model(name, **{"seed": self.seed + k, "threads": self.threads} | settings)

    def _suitable(self, view: View) -> list[str | dict[str, Any]]:
        """The members that can read all networks of a view; :attr:`left_out` says which cannot."""
        self.left_out = {}
        one_each = view.take([positions[0] for _, positions in view.by_layout()])
        readable = [name for name in FEATURES if self._refusal(name, one_each) is None]
        features = "+".join(readable) or FEATURES_OF_ANY
        trees = {"name": "gbm", "extra_trees": True, "objective": "cross_entropy" if self.target.kind == "share" else "mse"}
        net = {"name": "stat_net", "layers": 2, "parametrisation": "ntk", "learning_rate": 0.03, "epoch": "last"}
        members: list[str | dict[str, Any]] = [trees | {"features": features}, net | {"features": features}]
        if len(readable) > 1:
            members.append(trees | {"features": readable[0]})
        for name in ENCODERS:
            encoder: dict[str, Any] = {"name": name, "epoch": "last"}
            try:
                self._create(encoder, 0).check_view(one_each)
                members.append(encoder)
            except MetanetError as error:
                self.left_out[name] = str(error)
        return members

    def _refusal(self, features: str, view: View) -> str | None:
        """Why features cannot be had of a view, or not with the same columns for all of it; None where they can."""
        try:
            FeatureMap(features, self.threads).fit(view).transform(view)
        except MetanetError as error:
            return str(error)
        return None

    def _folds(self, train: View, validation: View) -> Iterator[tuple[View, View]]:
        """Pairs of the networks to fit and those held out, a fold each; see ``values`` for how many."""
        read = sum(layout.size * len(rows) for part in (train, validation) for layout, rows in part.by_layout())
        fits = int(np.clip(self.values // read, 1, self.folds))
        yield train, validation
        if fits > 1:
            fold = _dealt(train.units, self.folds - 1, self.seed)
            for k in range(fits - 1):
                yield train.take(np.flatnonzero(fold != k)).union(validation), train.take(np.flatnonzero(fold == k))

    def _choose(self, outputs: np.ndarray, titles: list[str], held_out: list[View]) -> np.ndarray:
        """The weights of all members, of sum 1.

        Weights are judged on networks that they were not learned from either.

        Args:
            outputs: of the members for the networks held out, shape (M, N) or (M, N, C).
            titles: of the members.
            held_out: those networks, N snapshots in all.
        """
        codes = np.concatenate([self.target.encode(view) for view in held_out])
        true = np.eye(len(self.target.classes))[codes] if self.target.classes else codes
        part = _dealt(np.concatenate([view.units for view in held_out]), self.folds, self.seed)
        weighed = np.empty(true.shape)
        for k in range(self.folds):
            own = part == k
            weighed[own] = np.tensordot(mixing_weights(outputs[:, ~own], true[~own]), outputs[:, own], 1)
        mixtures = {"weights": weighed, "mean": outputs.mean(0)} | dict(zip(titles, outputs, strict=True))
        self.losses = {name: float(np.mean((mixture - true) ** 2)) for name, mixture in mixtures.items()}
        self.took = min(self.losses, key=self.losses.__getitem__)
        self.held_out = HeldOut(held_out[0], mixtures[self.took][: len(held_out[0])])
        if self.took == "weights":
            return mixing_weights(outputs, true)
        return np.full(len(titles), 1 / len(titles)) if self.took == "mean" else np.eye(len(titles))[titles.index(self.took)]

    def output(self, view: View) -> np.ndarray:
        members = [np.mean([self.target.recoded(m.output(view), m.target) for m in fits], 0) for fits in self.models]
        return np.tensordot(list(self.shares.values()), np.stack(members), 1)

    def save(self, folder: str | Path) -> None:
        for i, fits in enumerate(self.models):
            for k, model in enumerate(fits):
                model.save(Path(folder) / f"member-{i}" / f"fold-{k}")
        facts = {name: getattr(self, name) for name in ("took", "shares", "losses", "left_out")}
        self.save_facts(folder, target=self.target.to_json(), fits=[len(fits) for fits in self.models], **facts)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Auto:
        values = json.loads((folder / "model.json").read_text())
        model = cls(**values["settings"], threads=threads)
        model.target = Target.from_json(values["target"])
        for name in ("took", "shares", "losses", "left_out"):
            setattr(model, name, values[name])
        model.models = [
            [load_model(folder / f"member-{i}" / f"fold-{k}", threads) for k in range(n)] for i, n in enumerate(values["fits"])
        ]
        return model


def mixing_weights(outputs: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Weights of members, none negative, of sum 1, by least squares.

    Beside the squares stands what is thought before any is seen: a member's weight is 1 / M, give or take as much. It decides
    where few networks are held out or members err alike, and counts for nothing where there are many.

    Args:
        outputs: of the members, shape (M, N) or (M, N, C).
        true: what they should be, shape (N,) or (N, C).
    """
    count = len(outputs)
    columns, goal = outputs.reshape(count, -1).T, true.ravel()
    spread = np.sqrt(np.mean((columns.mean(1) - goal) ** 2))  # of what the mean of all leaves
    prior = spread * count * np.eye(count)
    whole = 1e3 * np.sqrt(len(goal)) * np.ones((1, count))  # holds the sum at 1
    rows = np.concatenate([columns, prior, whole])
    weights, _ = nnls(rows, np.concatenate([goal, prior @ np.full(count, 1 / count), whole[:, 0]]))
    return weights / weights.sum()


def _told_apart(titles: list[str]) -> list[str]:
    """The titles, with a number where one comes again: members may differ in settings alone."""
    return [f"{title} ({titles[:i].count(title) + 1})" if title in titles[:i] else title for i, title in enumerate(titles)]


def _dealt(units: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, shape (N,): units of splitting are dealt in equal numbers but for one."""
    names, inverse = np.unique(units.astype(str), return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % folds)[inverse]
