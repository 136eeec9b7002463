"""Features as an input beside something else: computed and scaled."""

from __future__ import annotations

from typing import Any

import numpy as np

from metanet.errors import MetanetError
from metanet.features.unions import FeatureMap
from metanet.models.scaling import Scaler
from metanet.zoo.zoo import View

CLIP = 5.0


class MatrixInput:
    """A union of features as float32 (N, F) of mean 0 and standard deviation 1 in training.

    Each column is squashed first and cut at five standard deviations, see :class:`metanet.models.scaling.Scaler`.

    Args:
        features: see :mod:`metanet.features.unions`.
    """

    def __init__(self, features: str | list[str], threads: int = 1) -> None:
        self.map = FeatureMap(features, threads)

    @property
    def access(self) -> str:
        """Access level of the features."""
        return self.map.access

    @property
    def width(self) -> int:
        """F, once fitted."""
        return len(self.map.names)

    def fit(self, view: View, targets: list[str]) -> MatrixInput:
        """Read sizes, means and spreads off the training part; the targets are never among the inputs.

        Raises:
            MetanetError: the features name a target, or hold hyperparameters beside several targets.
        """
        if len(targets) > 1 and {"H", "D"} & set(self.map.access.split("+")):
            raise MetanetError(f"model.beside={self.map.spec} cannot go with several targets, which may be among its columns")
        for target in targets:
            self.map.check_target(target)
        x = self.map.fit(view, targets[0]).transform(view)
        self.scaler = Scaler(squash=True, clip=CLIP).fit(x)
        return self

    def transform(self, view: View) -> np.ndarray:
        """Features of a view, (N, F)."""
        return self.scaler.transform(self.map.transform(view))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"features": self.map.to_json(), **self.scaler.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any], threads: int = 1) -> MatrixInput:
        """The inverse of :meth:`to_json`."""
        own = cls(values["features"]["spec"], threads)
        own.map = FeatureMap.from_json(values["features"], threads)
        own.scaler = Scaler.from_json(values, squash=True, clip=CLIP)
        return own
