"""Support vector machines, one against the rest (Eilertsen et al. 2020, section 5.1).

Rare classes weigh as much as frequent ones. Fitted by scikit-learn; what predicts is a table of numbers that is written and
read without pickling.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import softmax
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from metanet.constraints import Positive
from metanet.distributions import Distribution
from metanet.models.base import MatrixModel


class LinearScores(MatrixModel):
    """Scores w x + b, one for each class, or one number.

    Attributes:
        coefficients: (C, F), of standardised features; (1, F) for a regression.
        intercepts: (C,).
    """

    standardise: ClassVar[bool] = True

    @abstractmethod
    def fit_scores(self, x: np.ndarray, y: np.ndarray) -> Any:
        """An estimator of scikit-learn with ``coef_`` and ``intercept_``."""

    def fit_matrix(self, x: np.ndarray, y: np.ndarray, validation: Any, rounds: int | None) -> None:
        estimator = self.fit_scores(x, y)
        w, b = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
        self.coefficients, self.intercepts = _all_classes(w, b, y, self.classes)

    def output_matrix(self, x: np.ndarray) -> np.ndarray:
        scores = x @ self.coefficients.T + self.intercepts
        return softmax(scores, axis=1) if self.classes else scores[:, 0]

    def save_estimator(self, folder: Path) -> None:
        save_file({"coefficients": self.coefficients, "intercepts": self.intercepts}, folder / "linear.safetensors")

    def load_estimator(self, folder: Path) -> None:
        arrays = load_file(folder / "linear.safetensors")
        self.coefficients, self.intercepts = arrays["coefficients"], arrays["intercepts"]


class SVMLinear(LinearScores):
    """Linear support vector machine; class probabilities are the softmax of the scores, for want of better.

    Args:
        C: how much an error costs, beside the width of the margin.
    """

    name = "svm_linear"

    @classmethod
    def space(cls, columns: int) -> dict[str, Distribution]:
        """The cost of errors."""
        return {"C": {"log_uniform": [1e-4, 1e2]}}

    def __init__(self, C: Positive = 0.1, **base: Any) -> None:  # noqa: N803  (its name everywhere)
        super().__init__(**base)
        self.C = C

    def fit_scores(self, x: np.ndarray, y: np.ndarray) -> Any:
        if self.classes:
            return LinearSVC(C=self.C, dual=False, class_weight="balanced", max_iter=10_000).fit(x, y)
        return LinearSVR(C=self.C, dual=False, loss="squared_epsilon_insensitive", max_iter=10_000).fit(x, y)


class SVMRBF(MatrixModel):
    """Support vector machine with radial basis functions exp(-gamma |x - x'|^2), gamma = 1 / (F var(x)).

    Args:
        C: how much an error costs, beside the width of the margin.

    Attributes:
        vectors: support vectors (M, F) of all classes.
        weights: of each class (C, M).
        intercepts: (C,).
        gamma: of the kernel.
    """

    name = "svm_rbf"
    standardise: ClassVar[bool] = True

    @classmethod
    def space(cls, columns: int) -> dict[str, Distribution]:
        """The cost of errors."""
        return {"C": {"log_uniform": [1e-2, 1e3]}}

    def __init__(self, C: Positive = 10.0, **base: Any) -> None:  # noqa: N803
        super().__init__(**base)
        self.C = C

    def fit_matrix(self, x: np.ndarray, y: np.ndarray, validation: Any, rounds: int | None) -> None:
        self.gamma = 1 / (x.shape[1] * (float(x.var()) or 1.0))
        if self.classes:
            machines = OneVsRestClassifier(SVC(C=self.C, gamma=self.gamma, class_weight="balanced")).fit(x, y).estimators_
        else:  # in units of its deviation, so that the tube of width 0.1 is a tenth of one
            center, spread = float(y.mean()), float(y.std()) or 1.0
            machines = [SVR(C=self.C, gamma=self.gamma).fit(x, (y - center) / spread)]
        weights = np.zeros((len(machines), len(x)))
        for row, machine in zip(weights, machines, strict=True):
            row[machine.support_] = machine.dual_coef_[0]
        used = weights.any(axis=0)
        self.vectors = np.ascontiguousarray(x[used], np.float64)
        intercepts = np.concatenate([machine.intercept_ for machine in machines])
        if not self.classes:
            weights, intercepts = weights * spread, intercepts * spread + center
        self.weights, self.intercepts = _all_classes(weights[:, used], intercepts, y, self.classes)

    def output_matrix(self, x: np.ndarray) -> np.ndarray:
        scores = np.empty((len(x), len(self.weights)))
        for start in range(0, len(x), 1024):  # the kernel of 1,024 rows at a time
            rows = slice(start, start + 1024)
            scores[rows] = rbf_kernel(x[rows].astype(np.float64), self.vectors, self.gamma) @ self.weights.T + self.intercepts
        return softmax(scores, axis=1) if self.classes else scores[:, 0]

    def save_estimator(self, folder: Path) -> None:
        arrays = {"vectors": self.vectors, "weights": self.weights, "intercepts": self.intercepts}
        save_file(arrays | {"gamma": np.array([self.gamma])}, folder / "rbf.safetensors")

    def load_estimator(self, folder: Path) -> None:
        arrays = load_file(folder / "rbf.safetensors")
        self.vectors, self.weights, self.intercepts = (arrays[k] for k in ("vectors", "weights", "intercepts"))
        self.gamma = float(arrays["gamma"][0])


def _all_classes(weights: np.ndarray, intercepts: np.ndarray, y: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A row for every class: two classes share one machine, and a class that y lacks scores far below the others."""
    if not classes:
        return weights.astype(np.float64), intercepts.astype(np.float64)
    present = np.unique(y)
    if len(present) == 2:
        weights, intercepts = np.vstack([0 * weights, weights]), np.array([0.0, intercepts[0]])
    every = np.zeros((classes, weights.shape[1])), np.full(classes, -1e3)
    every[0][present], every[1][present] = weights, intercepts
    return every
