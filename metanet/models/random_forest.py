"""Random forest (Unterthiner et al. 2020, Supplement E: 32 trees on the layer statistics of MLPs)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from metanet.constraints import Count, Portion
from metanet.errors import MetanetError
from metanet.models.base import MatrixModel


class RandomForest(MatrixModel):
    """scikit-learn's random forest.

    Args:
        trees: number of trees.
        max_features: share of the inputs tried at each split.
        min_samples_leaf: as in scikit-learn.
    """

    name = "random_forest"

    def __init__(self, trees: Count = 32, max_features: Portion = 0.33, min_samples_leaf: Count = 1, **base: Any) -> None:
        super().__init__(**base)
        self.trees, self.max_features, self.min_samples_leaf = trees, max_features, min_samples_leaf

    def fit_matrix(self, x: np.ndarray, y: np.ndarray, validation: Any, rounds: int | None) -> None:
        forest = RandomForestClassifier if self.classes else RandomForestRegressor
        self.forest = forest(
            self.trees,
            max_features=self.max_features,
            min_samples_leaf=self.min_samples_leaf,
            n_jobs=self.threads,
            random_state=self.seed,
        ).fit(x, y)

    def output_matrix(self, x: np.ndarray) -> np.ndarray:
        if not self.classes:
            return self.forest.predict(x)
        output = np.zeros((len(x), self.classes))
        output[:, self.forest.classes_] = self.forest.predict_proba(x)
        return output

    def save_estimator(self, folder: Path) -> None:
        skops.io.dump(self.forest, folder / "forest.skops")

    def load_estimator(self, folder: Path) -> None:
        """Read the forest, running no code of the file.

        Raises:
            MetanetError: it is damaged.
        """
        path = folder / "forest.skops"
        self.forest = skops.io.load(path, trusted=["sklearn.tree._tree.Tree"])
        if not all(_is_sound(tree.tree_, self.forest.n_features_in_) for tree in self.forest.estimators_):
            raise MetanetError(f"'{path}' holds trees that point outside themselves; restore it from a copy")
        self.forest.n_jobs = self.threads


def _is_sound(tree: Any, features: int) -> bool:
    """True where every child and feature index of a tree is within its arrays; scikit-learn does not look."""
    children = np.concatenate([tree.children_left, tree.children_right])
    return bool(
        children.min() >= -1 and children.max() < tree.node_count and tree.feature.min() >= -2 and tree.feature.max() < features
    )
