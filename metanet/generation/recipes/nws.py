"""The neural weight space (Eilertsen et al. 2020)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar

import pandas as pd

from metanet.constraints import Between, Count, Interval, OneOf, Portion, Rate
from metanet.data_modules.images import ImageSet, colour, resize_set, unit_pixels
from metanet.distributions import Distribution
from metanet.errors import MetanetError, did_you_mean
from metanet.generation.augmentation import ZOOM, kornia
from metanet.generation.nws import ACTIVATIONS, BN_SCALE_STD, NWSNetwork
from metanet.generation.optimizers import RULES
from metanet.generation.recipes.base import Recipe
from metanet.generation.stopping import StoppingRules

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

    exports: Annotated[int, Interval(2)] = 20  # the first and the last
    validation: Between = 0.1
    test_images: Count | None = None
    most_train_images: dict[str, Count] = field(default_factory=dict)
    learning_rate_decay: Portion = 0.96
    stopping: dict[str, Annotated[int, Interval(0)]] = field(default_factory=dict)
    zoom: Annotated[str, OneOf(*ZOOM)] = "paper"
    balanced: Sequence[str] = ("svhn",)
    constants: dict[str, dict[str, float]] = field(default_factory=dict)
    batch_norm: bool | list[bool] = True
    bn_scale_std: Rate = BN_SCALE_STD

    name: ClassVar[str] = "nws"
    required: ClassVar[frozenset[str]] = frozenset(
        {"optimizer", "learning_rate", "batch_size", "augmentation", "activation", "w_init", "init_std", *_ARCHITECTURE}
    )
    known_choices: ClassVar[dict[str, Mapping[str, Any]]] = Recipe.known_choices | {"activation": ACTIVATIONS}
    group_keys: ClassVar[tuple[str, ...]] = ("hp.dataset", "hp.batch_size")
    size: ClassVar[int] = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [f.name for f in fields(StoppingRules)]
        for key in self.stopping:
            if key not in known:
                raise MetanetError(f"recipe.stopping has no rule '{key}'{did_you_mean(key, known)}")
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
        """Up- or down-sampled bilinearly to 32x32, grey replicated to three channels; so many test images.

        Raises:
            MetanetError: networks may be augmented, and Kornia is not installed.
        """
        if self.hyperparameters.get("augmentation") is not False:
            kornia()  # found missing before anything grows
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

    def protocol(self, images: ImageSet) -> dict[str, Any]:
        return {"validation": self.validation, "balanced": images.name in self.balanced, "scale": unit_pixels}

    def training_images(self, available: int) -> int:
        """Those that are left beside the validation set."""
        count = super().training_images(available)
        return count - round(self.validation * count)

    def network(self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> NWSNetwork:
        """The network of Algorithm 1."""
        sizes = {name: int(hp[f"hp.{name}"]) for name in _ARCHITECTURE}
        return NWSNetwork(shape, **sizes, batch_norm=bool(hp["hp.batch_norm"]), bn_scale_std=float(self.bn_scale_std))
