"""Targets: what kind of column is predicted, and how it is coded for an estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from metanet.errors import MetanetError, UnsuitableTargetError
from metanet.zoo.zoo import View

MOST_CLASSES = 20  # of numbers, or a tenth of the networks


@dataclass(frozen=True)
class Target:
    """A column to predict.

    Attributes:
        name: column of the view's frame.
        kind: ``share`` (accuracies: numbers from 0 to 1), ``number``, ``log`` (log-uniform draws, coded in
            log10) or ``category``; as the zoo declares it, see :attr:`metanet.zoo.zoo.Zoo.columns`.
        classes: the categories, sorted, as numbers where they are some; empty for numbers.
        center, scale: of the coded training values, for numbers.
    """

    name: str
    kind: str
    classes: tuple[str, ...] = ()
    center: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, view: View, name: str) -> Target:
        """A column as its zoo declares it, on the scale of the training part.

        Raises:
            UnsuitableTargetError: it has one value alone.
            MetanetError: there is no such column; a number is not finite; numbers are declared classes and are too many.
        """
        values = view.target(name)
        if values.dtype.kind != "f":
            classes = tuple(sorted(set(values.tolist()), key=_by_number))
            if len(classes) < 2:
                raise UnsuitableTargetError(f"target '{name}' is always '{classes[0]}' in this view; there is nothing to predict")
            _check_classes(view, name, classes)
            return cls(name, "category", classes)
        if not np.isfinite(values).all():
            missing = int((~np.isfinite(values)).sum())
            raise MetanetError(f"target '{name}' is not a finite number in {missing} of {len(values)} rows; use where=")
        if values.min() == values.max():
            raise UnsuitableTargetError(f"target '{name}' is always {values[0]:g} in this view; there is nothing to predict")
        kind = view.zoo.kind(name)
        if kind == "share":
            return cls(name, kind)
        log = kind == "log" and values.min() > 0
        coded = np.log10(values) if log else values
        return cls(name, "log" if log else "number", (), float(coded.mean()), float(coded.std()))

    @property
    def task(self) -> str:
        """``classification`` or ``regression``."""
        return "classification" if self.kind == "category" else "regression"

    def true(self, view: View) -> np.ndarray:
        """The column on the scale on which it is scored: shares, numbers, log10 or categories; shape (N,)."""
        values = view.target(self.name)
        return np.log10(values) if self.kind == "log" else values

    def encode(self, view: View) -> np.ndarray:
        """Codes for an estimator: shares as they are, numbers standardised, categories as int64; shape (N,).

        Raises:
            MetanetError: a category was not there in training.
        """
        values = self.true(view)
        if self.kind == "category":
            index = {c: i for i, c in enumerate(self.classes)}
            if unknown := set(values.tolist()) - set(index):
                raise MetanetError(f"target '{self.name}' has the category '{min(unknown)}', which training never saw")
            return np.array([index[v] for v in values], np.int64)
        return values if self.kind == "share" else (values - self.center) / self.scale

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Estimator output -> predictions on the scale of :meth:`true`.

        Regression: (N,) codes. Classification: (N, C) class probabilities -> (N,) categories.
        """
        if self.kind == "category":
            return np.array(self.classes)[output.argmax(1)]
        return self.clip(output) if self.kind == "share" else output * self.scale + self.center

    def recoded(self, output: np.ndarray, fitted: Target) -> np.ndarray:
        """A model's output in this target's codes, where the model was fitted on other networks of the same column.

        Numbers are standardised by each one's own training networks; classes that a model never saw get probability 0.

        Args:
            output: (N,) codes or (N, C) class probabilities.
            fitted: the model's own target.
        """
        if not self.classes:
            values = fitted.decode(output)
            return values if self.kind == "share" else (values - self.center) / self.scale
        probabilities = np.zeros((len(output), len(self.classes)))
        probabilities[:, [self.classes.index(c) for c in fitted.classes]] = output
        return probabilities

    def clip(self, codes: np.ndarray) -> np.ndarray:
        """Shares from 0 to 1; other codes as they are."""
        return np.clip(codes, 0.0, 1.0) if self.kind == "share" else codes

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "kind": self.kind, "classes": list(self.classes), "center": self.center, "scale": self.scale}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Target:
        """The inverse of :meth:`to_json`."""
        return cls(**values | {"classes": tuple(values["classes"])})


def _check_classes(view: View, name: str, classes: tuple[str, ...]) -> None:
    """Refuse numbers as classes where they are so many that they are no classes."""
    networks = len(set(view.network_ids))
    if len(classes) > max(MOST_CLASSES, networks / 10) and all(_by_number(c)[0] < float("inf") for c in classes):
        raise MetanetError(
            f"target '{name}' is declared a category, but has {len(classes)} different numbers among {networks} networks; say "
            "number or log in `columns` of the zoo's zoo.json"
        )


def _by_number(category: str) -> tuple[float, str]:
    try:
        return float(category), category
    except ValueError:
        return float("inf"), category
