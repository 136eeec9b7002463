"""What all recipes share: the protocol of training, and how hyperparameters are drawn."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from metanet.constraints import Count, Interval, OneOf, Seed, check_each, kinds_of
from metanet.data_modules.images import ImageSet
from metanet.distributions import Distribution, draw_column
from metanet.errors import MetanetError, did_you_mean
from metanet.generation.initializers import INITIALIZERS
from metanet.generation.networks import ACTIVATIONS, StackedNetwork
from metanet.generation.optimizers import RULES
from metanet.zoo.header import drawn_kinds

if TYPE_CHECKING:
    from metanet.generation.nws import NWSNetwork
    from metanet.generation.recipes.module import ModuleNetwork

# The hyperparameters of Unterthiner et al. 2020 (Supplement A.2).
UNTERTHINER = frozenset({"optimizer", "learning_rate", "l2reg", "dropout", "init_std", "w_init", "activation", "train_fraction"})
SHARED = ("init", "dropout")  # what networks may draw from one seed


@dataclass(frozen=True)
class Recipe:
    """What all recipes share: the protocol, and how hyperparameters are chosen.

    Losses are plain cross-entropy in what is stored; training adds ``l2reg * sum(kernel ** 2)`` over
    the kernels, as Keras does.

    Attributes:
        epochs: of each training, at most.
        batch_size: at most the images of a network; the last incomplete batch is dropped.
        snapshots: epochs whose weights are kept; those beyond the last are dropped, the last always is kept.
        hyperparameters: a distribution each, see :mod:`metanet.distributions`.
        design: ``random`` draws; ``grid`` takes all combinations of the lists; else a CSV file with one configuration
            a row, whose columns take the place of the distributions.
        seeds: networks of each configuration, alike but for their seed.
        train_images: use only so many training images, the first ones of the recipe's permutation.
        evaluate_every: measure accuracies also every so many epochs.
        init_scale: whether ``init_std`` is drawn as a standard deviation or a variance.
        share: what all networks draw from one seed instead of their own: ``init``, ``dropout``, both or neither. Known of the
            released Small CNN Zoo: every network's ``random_seed`` is 42, set globally, so that TensorFlow gives the
            initialiser of a layer the same random bits in each of them, and its dropout too. Our reading of what follows:
            Glorot, He and truncated normal weights of a layer differ by scale alone (each maps the same uniform numbers);
            normal and orthogonal ones come from the same bits (a draw, and the QR factor of that draw); a unit that is
            dropped at one rate is dropped at every higher one.
        share_seed: the one seed of what is shared, the same for every image set and plan.
    """

    epochs: Count
    batch_size: Count
    snapshots: Sequence[Annotated[int, Interval(0)]]
    hyperparameters: dict[str, Distribution]
    design: str = "random"
    seeds: Count = 1
    train_images: Count | None = None
    evaluate_every: Count | None = None
    init_scale: Annotated[str, OneOf("std", "variance")] = "std"
    share: Sequence[Annotated[str, OneOf(*SHARED)]] = ()
    share_seed: Seed = 42

    name: ClassVar[str] = ""
    required: ClassVar[frozenset[str]] = frozenset()
    known_choices: ClassVar[dict[str, Mapping[str, Any]]] = {
        "optimizer": RULES,
        "activation": ACTIVATIONS,
        "w_init": INITIALIZERS,
    }
    # Networks of a group share batches and one activation function, so these must agree.
    group_keys: ClassVar[tuple[str, ...]] = (*("layout_id", "hp.dataset", "hp.batch_size", "hp.train_fraction", "hp.activation"),)

    def __post_init__(self) -> None:
        if isinstance(self.share, str):
            object.__setattr__(self, "share", [self.share])
        check_each("recipe", kinds_of(type(self)), vars(self))  # type: ignore[arg-type]  # of the class, not of a recipe
        for key, distribution in self.hyperparameters.items():
            self._check_choices(key, distribution if isinstance(distribution, list) else [distribution])
            if self.required and key not in self.required:
                raise MetanetError(f"recipe {self.name} has no hyperparameter '{key}'{did_you_mean(key, self.required)}")
        if missing := self.required - set(self.hyperparameters):
            raise MetanetError(f"recipe {self.name} needs recipe.hyperparameters.{min(missing)}")
        self._settle_share()
        if self.design not in ("random", "grid") and not str(self.design).endswith(".csv"):
            raise MetanetError(f"recipe.design={self.design}: give random, grid or the path of a .csv file")
        kept = {epoch for epoch in self.snapshots if epoch < self.epochs}
        object.__setattr__(self, "snapshots", (*sorted(kept), self.epochs))

    def _settle_share(self) -> None:
        object.__setattr__(self, "share", tuple(what for what in SHARED if what in self.share))
        if self.seeds > 1 and self.share == SHARED:
            raise MetanetError(
                f"recipe.seeds={self.seeds} with recipe.share=[{','.join(SHARED)}] would train each network {self.seeds} times; "
                "give recipe.share=[]"
            )

    @classmethod
    def _check_choices(cls, name: str, choices: Sequence[Any]) -> None:
        if name not in cls.known_choices:
            return
        known = cls.known_choices[name]
        for choice in choices:
            if choice not in known:
                raise MetanetError(f"recipe.hyperparameters.{name}={choice} is not known{did_you_mean(str(choice), known)}")

    def to_json(self) -> dict[str, Any]:
        """Plain values: what a zoo records of its recipe."""
        return asdict(self) | {"name": self.name, "snapshots": list(self.snapshots), "share": list(self.share)}

    def distributions(self) -> dict[str, Distribution]:
        """The distribution of every ``hp.*`` column that is drawn."""
        return dict(self.hyperparameters)

    def columns(self) -> dict[str, str]:
        """The kinds of ``hp.*`` columns, see :attr:`metanet.zoo.header.ZooHeader.columns`: those of sizes that are no
        hyperparameters, of constants and of even ranges are left to their values.
        """
        return drawn_kinds(self.hyperparameters)

    def network_count(self) -> int | None:
        """How many networks the design holds; None where it is random."""
        configurations = self._configurations()
        return None if configurations is None else len(configurations) * self.seeds

    def prepare(self, images: ImageSet) -> ImageSet:
        """The images as this recipe's networks see them."""
        return images

    def training_images(self, available: int) -> int:
        """How many of the training images of a set its networks train on, at most."""
        return min(available, self.train_images or available)

    def protocol(self, images: ImageSet) -> dict[str, Any]:
        """Settings of :class:`metanet.data_modules.images.ImageDataModule` beyond the common ones."""
        return {}

    def draw(self, n: int, seed: int, dataset: str | Sequence[str]) -> pd.DataFrame:
        """n rows of ``hp.*`` columns, the constant ones included; with several seeds also ``configuration``.

        Args:
            dataset: the image set's name, or several that each network's is drawn from.

        Raises:
            MetanetError: the design has another number of configurations than asked for.
        """
        configuration = np.arange(n) // self.seeds
        if not isinstance(dataset, str):
            datasets, dataset = list(dataset), "+".join(dataset)
            frame = pd.DataFrame(
                {"hp.dataset": draw_column("dataset", datasets, configuration[-1] + 1, seed, dataset)[configuration]}
            )
        else:
            frame = pd.DataFrame({"hp.dataset": np.full(n, dataset)})
        fixed = self._configurations()
        if fixed is not None and configuration[-1] >= len(fixed):
            raise MetanetError(
                f"recipe.design={self.design} has {len(fixed)} configurations, with recipe.seeds={self.seeds} for "
                f"{len(fixed) * self.seeds} networks; give n=null for all of them, or n up to that, not n={n}"
            )
        for name, distribution in self.distributions().items():
            if fixed is not None and name in fixed:
                values = fixed[name].to_numpy()[configuration]
            else:
                values = draw_column(name, distribution, int(configuration[-1]) + 1, seed, dataset)[configuration]
            frame[f"hp.{name}"] = values
        if self.init_scale == "variance" and "hp.init_std" in frame:
            frame["hp.init_std"] = np.sqrt(frame["hp.init_std"].astype(float))
        if "hp.batch_size" not in frame:
            frame["hp.batch_size"] = self.batch_size
        if self.seeds > 1:
            frame["configuration"] = configuration
        self._check_ranges(frame)
        return frame

    def _configurations(self) -> pd.DataFrame | None:
        distributions = self.distributions()
        if self.design == "random":
            return None
        if self.design == "grid":
            for name, distribution in distributions.items():
                if isinstance(distribution, dict):
                    raise MetanetError(
                        f"recipe.design=grid needs a value or a list for each hyperparameter; "
                        f"give recipe.hyperparameters.{name}=[...], not {distribution}"
                    )
            lists = [d if isinstance(d, list) else [d] for d in distributions.values()]
            return pd.DataFrame(list(itertools.product(*lists)), columns=list(distributions))
        path = Path(self.design).expanduser()
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise MetanetError(f"recipe.design='{path}' cannot be read: {error}") from None
        table.columns = [str(c).removeprefix("hp.") for c in table.columns]
        for name in table.columns:
            if name not in distributions:
                raise MetanetError(f"'{path}' has a column '{name}' that is no hyperparameter{did_you_mean(name, distributions)}")
            self._check_choices(name, table[name].tolist())
        if table.empty or table.isna().any(axis=None):
            raise MetanetError(f"'{path}' needs at least one row and a value in every field")
        return table

    def _check_ranges(self, frame: pd.DataFrame) -> None:
        ranges = {"dropout": (0.0, 1.0), "train_fraction": (1e-12, 1.0 + 1e-12)}
        ranges |= dict.fromkeys(("learning_rate", "l2reg", "init_std"), (0.0, np.inf))
        for name, (low, high) in ranges.items():
            if f"hp.{name}" not in frame:
                continue
            values = frame[f"hp.{name}"]
            if not (pd.api.types.is_numeric_dtype(values) and values.between(low, high, inclusive="left").all()):
                raise MetanetError(f"recipe.hyperparameters.{name} draws values outside [{low:g}, {high:g})")
        for name in ("num_units", "conv_depth", "fc_depth"):
            if f"hp.{name}" in frame and not (
                pd.api.types.is_integer_dtype(frame[f"hp.{name}"]) and (frame[f"hp.{name}"] >= 1).all()
            ):
                raise MetanetError(f"recipe.{name} must be whole numbers from 1 up")

    def network(
        self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int
    ) -> StackedNetwork | ModuleNetwork | NWSNetwork:
        """The base network of one row of :meth:`draw`, for images of a shape (H, W, C)."""
        raise NotImplementedError
