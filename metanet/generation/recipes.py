"""Recipes: which networks a zoo holds and how each is trained.

A recipe draws hyperparameters and names the base network; everything it uses comes from its config
(``configs/recipe``), so a variant of a recipe is a config, not code. A recipe of your own, for any
``nn.Module``, is a subclass of :class:`ModuleRecipe` given by path: ``recipe=./mine.py:MyRecipe``.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from torch import nn

from data_modules.images import ImageSet, colour, resize_set
from metanet.errors import MetanetError, check_seed, check_whole, did_you_mean
from metanet.generation.augmentation import ZOOM
from metanet.generation.distributions import Distribution, draw_column
from metanet.generation.initializers import INITIALIZERS
from metanet.generation.mlp import MLP
from metanet.generation.networks import ACTIVATIONS, SmallCNN, StackedNetwork
from metanet.generation.nws import ACTIVATIONS as NWS_ACTIVATIONS
from metanet.generation.nws import BN_SCALE_STD, NWSNetwork
from metanet.generation.optimizers import RULES
from metanet.generation.resnet import ResNetMini
from metanet.generation.stopping import StoppingRules
from metanet.plugins import absolute, is_path, load_object

SHARED = ("init", "dropout")  # what networks may draw from one seed


@dataclass(frozen=True)
class Recipe:
    """What all recipes share: the protocol, and how hyperparameters are chosen.

    Losses are plain cross-entropy in what is stored; training adds ``l2reg * sum(kernel ** 2)`` over
    the kernels, as Keras does.

    Attributes:
        snapshots: epochs whose weights are kept; those beyond the last are dropped, the last always is kept.
        hyperparameters: a distribution each, see :mod:`metanet.generation.distributions`.
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

    epochs: int
    batch_size: int
    snapshots: Sequence[int]
    hyperparameters: dict[str, Distribution]
    design: str = "random"
    seeds: int = 1
    train_images: int | None = None
    evaluate_every: int | None = None
    init_scale: str = "std"
    share: Sequence[str] = ()
    share_seed: int = 42

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
        for key, distribution in self.hyperparameters.items():
            self._check_choices(key, distribution if isinstance(distribution, list) else [distribution])
            if self.required and key not in self.required:
                raise MetanetError(f"recipe {self.name} has no hyperparameter '{key}'{did_you_mean(key, self.required)}")
        if missing := self.required - set(self.hyperparameters):
            raise MetanetError(f"recipe {self.name} needs recipe.hyperparameters.{min(missing)}")
        for key in ("epochs", "batch_size", "seeds", "train_images", "evaluate_every"):
            value = getattr(self, key)
            if value is not None:
                check_whole(f"recipe.{key}", value)
        self._check_share()
        if self.init_scale not in ("std", "variance"):
            raise MetanetError(f"recipe.init_scale={self.init_scale}: give std or variance")
        if self.design not in ("random", "grid") and not str(self.design).endswith(".csv"):
            raise MetanetError(f"recipe.design={self.design}: give random, grid or the path of a .csv file")
        epochs = self.snapshots if isinstance(self.snapshots, list | tuple) else (None,)
        if bad := [e for e in epochs if not isinstance(e, int) or isinstance(e, bool) or e < 0]:
            raise MetanetError(f"recipe.snapshots={self.snapshots}: give a list of epochs from 0 up, not {bad[0]}")
        kept = {e for e in epochs if e is not None and e < self.epochs}
        object.__setattr__(self, "snapshots", (*sorted(kept), self.epochs))

    def _check_share(self) -> None:
        share = self.share if isinstance(self.share, list | tuple) else [self.share]
        for what in share:
            if what not in SHARED:
                raise MetanetError(
                    f"recipe.share={self.share}: give a list of {' and '.join(SHARED)}{did_you_mean(str(what), SHARED)}"
                )
        object.__setattr__(self, "share", tuple(what for what in SHARED if what in share))
        check_seed("recipe.share_seed", self.share_seed)
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

    def draw(self, n: int, seed: int, dataset: str | Sequence[str]) -> pd.DataFrame:
        """n rows of ``hp.*`` columns, the constant ones included; with several seeds also ``configuration``.

        Args:
            dataset: the image set's name, or several that each network's is drawn from.
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


_UNTERTHINER = frozenset({"optimizer", "learning_rate", "l2reg", "dropout", "init_std", "w_init", "activation", "train_fraction"})


@dataclass(frozen=True)
class SmallCNNRecipe(Recipe):
    """The Small CNN Zoo (Unterthiner et al. 2020, section 4.1 and Supplement A.2).

    ``num_units`` and ``num_layers`` are a number or a list that each network's is drawn from.
    """

    num_units: int | list[int] = 16
    num_layers: int | list[int] = 3
    name: ClassVar[str] = "small_cnn"
    required: ClassVar[frozenset[str]] = _UNTERTHINER

    def distributions(self) -> dict[str, Distribution]:
        return self.hyperparameters | {"num_units": self.num_units, "conv_depth": self.num_layers}

    def network(self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> SmallCNN:
        """The convolutional network of Supplement A.2."""
        return SmallCNN(shape, num_layers=int(hp["hp.conv_depth"]), num_units=int(hp["hp.num_units"]), classes=classes)


@dataclass(frozen=True)
class MLPRecipe(Recipe):
    """The MLP zoo (Unterthiner et al. 2020, Supplement E): one width per network, the same for all hidden layers."""

    num_units: int | list[int] = 16
    num_layers: int | list[int] = 3
    name: ClassVar[str] = "mlp"
    required: ClassVar[frozenset[str]] = _UNTERTHINER

    def distributions(self) -> dict[str, Distribution]:
        return self.hyperparameters | {"num_units": self.num_units, "fc_depth": self.num_layers}

    def network(self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> MLP:
        """The multilayer perceptron of Supplement E."""
        return MLP(shape, num_layers=int(hp["hp.fc_depth"]), num_units=int(hp["hp.num_units"]), classes=classes)


@dataclass(frozen=True)
class ModuleNetwork:
    """Any ``nn.Module`` as a base network: what one row of hyperparameters makes.

    Attributes:
        recipe: whose ``module`` builds it.
        hp: the row, names without ``hp.``.
    """

    recipe: ModuleRecipe
    hp: dict[str, Any]
    input_shape: tuple[int, int, int]
    classes: int

    def module(self) -> nn.Module:
        """A new module; its initial weights follow torch's global generator."""
        name = type(self.recipe).__name__
        try:
            module = self.recipe.module(self.hp, self.input_shape, self.classes)
        except Exception as error:  # of the user's code, whatever it is
            raise MetanetError(f"{name}.module failed for {self.hp}: {type(error).__name__}: {error}") from error
        if not isinstance(module, nn.Module):
            raise MetanetError(f"{name}.module returned {type(module).__name__}; return an nn.Module")
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
            raise MetanetError(
                f"{name}.module returned a module with lazy layers, whose sizes are unknown; give their input sizes"
            )
        return module


@dataclass(frozen=True)
class ModuleRecipe(Recipe):
    """Base class of recipes of your own: give :meth:`module`, and the hyperparameters as you like.

    ``optimizer`` and ``learning_rate`` are needed; ``l2reg`` (on kernels) and ``train_fraction`` are honoured where
    they are drawn; everything else is handed to :meth:`module`. Trained by the torch engine, network by network.
    """

    epochs: int = 10
    batch_size: int = 64
    snapshots: Sequence[int] = (0,)
    hyperparameters: dict[str, Distribution] = None  # type: ignore[assignment]  # the class's `space`

    space: ClassVar[dict[str, Distribution]] = {}
    source: ClassVar[str] = ""  # FILE.py:CLASS with its absolute path

    def __post_init__(self) -> None:
        least = {"optimizer": "adam", "learning_rate": 1e-3}
        object.__setattr__(self, "hyperparameters", least | self.space | (self.hyperparameters or {}))
        super().__post_init__()

    def __reduce__(self) -> Any:
        """Pickled as path and settings, for worker processes cannot import the class by name."""
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        return (_rebuild, (self.source, settings)) if self.source else (functools.partial(type(self), **settings), ())

    def to_json(self) -> dict[str, Any]:
        """Plain values, with a checksum of the file, so that an edited recipe is another plan."""
        facts = super().to_json()
        if self.source:
            facts["crc32"] = zlib.crc32(Path(self.source.rpartition(":")[0]).read_bytes())
        return facts

    def network(self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> ModuleNetwork:
        """This row's module."""
        plain = {k.removeprefix("hp."): v for k, v in hp.items() if k.startswith("hp.")}
        return ModuleNetwork(self, plain, shape, classes)

    def module(self, hp: dict[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A network for images (B, C, H, W) in [-1, 1] that returns logits (B, classes).

        Args:
            hp: this network's hyperparameters.
            shape: (H, W, C) of the images.
            classes: number of classes.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ResNetMiniRecipe(ModuleRecipe):
    """Residual networks that can overfit, of three widths (in the place of Unterthiner et al. 2020, section 5.2)."""

    num_blocks: int = 1
    name: ClassVar[str] = "resnet_mini"
    space: ClassVar[dict[str, Distribution]] = {"num_units": 8, "dropout": 0.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("recipe.num_blocks", self.num_blocks)

    def module(self, hp: dict[str, Any], shape: tuple[int, int, int], classes: int) -> ResNetMini:
        return ResNetMini(shape[2], int(hp["num_units"]), self.num_blocks, classes, float(hp["dropout"]))


_ARCHITECTURE = ("filter_size", "conv_depth", "fc_depth", "conv_width", "fc_width")


@dataclass(frozen=True)
class NWSRecipe(Recipe):
    """The neural weight space (Eilertsen et al. 2020, section 3 and supplement A).

    Images are 32x32 in colour and in [0, 1]. A tenth of the training images is the validation set, whose accuracy ends a
    training early. The weights of every epoch are exported, and ``exports`` of them kept, uniformly from the first, before
    training, to the last.

    Attributes:
        exports: snapshots of each network.
        validation: share of the training images.
        test_images: use only so many test images, the first ones.
        most_train_images: of some image sets, use only so many training images, the first ones, the validation images among
            them.
        learning_rate_decay: factor of the learning rate in each epoch.
        stopping: see :class:`metanet.generation.stopping.StoppingRules`.
        zoom: of the augmentation, ``paper`` (3.3 %) or ``code`` (10 %).
        balanced: image sets of which an epoch draws as many images of every class as the rarest has.
        constants: of the optimizers, by rule.
        batch_norm: whether layers are normalised (section F.3, Figure 19).
        bn_scale_std: spread of the scales of batch normalisation before training, about 1.
    """

    exports: int = 20
    validation: float = 0.1
    test_images: int | None = None
    most_train_images: dict[str, int] = field(default_factory=dict)
    learning_rate_decay: float = 0.96
    stopping: dict[str, int] = field(default_factory=dict)
    zoom: str = "paper"
    balanced: Sequence[str] = ("svhn",)
    constants: dict[str, dict[str, float]] = field(default_factory=dict)
    batch_norm: bool | list[bool] = True
    bn_scale_std: float = BN_SCALE_STD

    name: ClassVar[str] = "nws"
    required: ClassVar[frozenset[str]] = frozenset(
        {"optimizer", "learning_rate", "batch_size", "augmentation", "activation", "w_init", "init_std", *_ARCHITECTURE}
    )
    known_choices: ClassVar[dict[str, Mapping[str, Any]]] = Recipe.known_choices | {"activation": NWS_ACTIVATIONS}
    group_keys: ClassVar[tuple[str, ...]] = ("hp.dataset", "hp.batch_size")
    size: ClassVar[int] = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("recipe.exports", self.exports, 2)  # the first and the last
        for data, most in self.most_train_images.items():
            check_whole(f"recipe.most_train_images.{data}", most)
        if not isinstance(self.learning_rate_decay, int | float) or not 0 < self.learning_rate_decay <= 1:
            raise MetanetError(f"recipe.learning_rate_decay={self.learning_rate_decay}: give a factor above 0, at most 1")
        if self.test_images is not None:
            check_whole("recipe.test_images", self.test_images)
        if not 0 < self.validation < 1:
            raise MetanetError(f"recipe.validation={self.validation}: give a share between 0 and 1")
        if not isinstance(self.bn_scale_std, int | float) or not 0 <= self.bn_scale_std < 1:
            raise MetanetError(
                f"recipe.bn_scale_std={self.bn_scale_std}: give a standard deviation from 0 up to, not including, 1"
            )
        if self.zoom not in ZOOM:
            raise MetanetError(f"recipe.zoom={self.zoom}: give {' or '.join(ZOOM)}")
        known = [f.name for f in fields(StoppingRules)]
        for key, value in self.stopping.items():
            if key not in known:
                raise MetanetError(f"recipe.stopping has no rule '{key}'{did_you_mean(key, known)}")
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise MetanetError(f"recipe.stopping.{key}={value}: give a whole number, 0 to switch it off")
        for rule, constants in self.constants.items():
            if rule not in RULES:
                raise MetanetError(f"recipe.constants has no optimizer '{rule}'{did_you_mean(rule, RULES)}")
            known = [p.name for p in inspect.signature(RULES[rule][0]).parameters.values() if p.default is not p.empty]
            for constant in constants:
                if constant not in known:
                    raise MetanetError(f"recipe.constants.{rule} has no '{constant}'{did_you_mean(constant, known)}")

    def distributions(self) -> dict[str, Distribution]:
        return self.hyperparameters | {"batch_norm": self.batch_norm}

    def rules(self) -> StoppingRules:
        """The stopping rules."""
        return StoppingRules(**self.stopping)

    def prepare(self, images: ImageSet) -> ImageSet:
        """Up- or down-sampled bilinearly to 32x32, grey replicated to three channels; so many test images."""
        most = self.most_train_images.get(images.name)
        few = replace(
            images,
            train_images=images.train_images[:most],
            train_labels=images.train_labels[:most],
            test_images=images.test_images[: self.test_images],
            test_labels=images.test_labels[: self.test_images],
        )
        return colour(resize_set(few, self.size))

    def _check_ranges(self, frame: pd.DataFrame) -> None:
        super()._check_ranges(frame)
        for name, least in (("batch_size", 2), ("filter_size", 1), ("conv_width", 1), ("fc_width", 2)):
            values = frame[f"hp.{name}"]
            if not (pd.api.types.is_integer_dtype(values) and (values >= least).all()):
                raise MetanetError(f"recipe.hyperparameters.{name} must be whole numbers from {least} up, not {values.iloc[0]}")
        for name in ("augmentation", "batch_norm"):
            if not pd.api.types.is_bool_dtype(frame[f"hp.{name}"]):
                raise MetanetError(f"{name} must be true or false, not {frame[f'hp.{name}'].iloc[0]}")

    def training_images(self, available: int) -> int:
        """Those that are left beside the validation set."""
        count = super().training_images(available)
        return count - round(self.validation * count)

    def network(self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> NWSNetwork:
        """The network of Algorithm 1."""
        sizes = {name: int(hp[f"hp.{name}"]) for name in _ARCHITECTURE}
        return NWSNetwork(shape, **sizes, batch_norm=bool(hp["hp.batch_norm"]), bn_scale_std=float(self.bn_scale_std))


def _rebuild(source: str, settings: dict[str, Any]) -> Recipe:
    return create_recipe(source, **settings)


RECIPES: dict[str, type[Recipe]] = {
    "small_cnn": SmallCNNRecipe,
    "mlp": MLPRecipe,
    "resnet_mini": ResNetMiniRecipe,
    "nws": NWSRecipe,
}


def list_recipes() -> list[str]:
    """Names that ``recipe=`` takes, besides configs built on them."""
    return sorted(RECIPES)


def create_recipe(name: str, **settings: Any) -> Recipe:
    """A recipe from the values of its config; ``name`` is one of :data:`RECIPES` or ``FILE.py:CLASS``."""
    if is_path(name):
        kind = load_object(name)
        if not (isinstance(kind, type) and issubclass(kind, ModuleRecipe)):
            raise MetanetError(f"recipe={name} is no subclass of metanet.generation.recipes.ModuleRecipe")
        kind.source = absolute(name)
        kind.name = f"{Path(kind.source).name}"
        inherited = (c for c in reversed(kind.__mro__) if issubclass(c, ModuleRecipe) and c is not ModuleRecipe)
        own = {key: value for c in inherited for key, value in vars(c).items()}
        settings = {f.name: own[f.name] for f in fields(kind) if f.name in own} | settings
    elif name in RECIPES:
        kind = RECIPES[name]
    else:
        raise MetanetError(f"no recipe '{name}'{did_you_mean(name, RECIPES)}")
    known = [f.name for f in fields(kind)]
    for key in settings:
        if key not in known:
            raise MetanetError(f"recipe {name} has no setting '{key}'{did_you_mean(key, known)}")
    try:
        return kind(**settings)
    except TypeError as error:
        raise MetanetError(f"recipe {name}: {error}") from None
