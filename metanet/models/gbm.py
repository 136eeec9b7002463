"""Gradient boosting machine on LightGBM (Unterthiner et al. 2020, section 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from metanet.errors import MetanetError
from metanet.models.base import MatrixModel

FEW_COLUMNS = 20  # such as hyperparameters: leaving some out only weakens each tree


class GBM(MatrixModel):
    """Boosted trees; the validation part stops the boosting.

    Args:
        objective: for regression ``mse`` (the paper's) or ``cross_entropy`` (targets from 0 to 1).
        max_depth, num_leaves: of a tree; num_leaves is cut to 2 ** max_depth, beyond which it only costs memory.
        max_trees, patience: boosting stops after ``patience`` trees without gain on the validation part.
        colsample_bytree: share of the inputs that a tree sees; None is all of up to 20 inputs, 0.4 of more.
        learning_rate, max_bin, min_child_weight, min_child_samples, reg_lambda, reg_alpha, subsample: as in LightGBM.
    """

    name = "gbm"

    def __init__(
        self,
        objective: str = "mse",
        learning_rate: float = 0.05,
        max_depth: int = 8,
        num_leaves: int = 15,
        max_bin: int = 255,
        min_child_weight: float = 1.0,
        min_child_samples: int = 5,
        reg_lambda: float = 1.0,
        reg_alpha: float = 0.0,
        subsample: float = 0.8,
        colsample_bytree: float | None = None,
        max_trees: int = 1000,
        patience: int = 50,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if objective not in ("mse", "cross_entropy"):
            raise MetanetError(f"model.objective={objective}: give mse or cross_entropy")
        self.objective = objective
        self.learning_rate, self.max_depth, self.num_leaves, self.max_bin = learning_rate, max_depth, num_leaves, max_bin
        self.min_child_weight, self.min_child_samples = min_child_weight, min_child_samples
        self.reg_lambda, self.reg_alpha = reg_lambda, reg_alpha
        self.subsample, self.colsample_bytree = subsample, colsample_bytree
        self.max_trees, self.patience = max_trees, patience

    def _parameters(self, rows: int, columns: int) -> dict[str, Any]:
        if self.classes:
            objective: dict[str, Any] = {"objective": "multiclass", "num_class": self.classes}
        elif self.objective == "cross_entropy":
            if self.target.kind != "share":
                raise MetanetError(f"model.objective=cross_entropy needs a target from 0 to 1, not {self.target.name}")
            objective = {"objective": "cross_entropy"}
        else:
            objective = {"objective": "regression"}
        leaves = min(self.num_leaves, 2**self.max_depth) if self.max_depth > 0 else self.num_leaves
        return objective | {
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "num_leaves": leaves,
            "max_bin": self.max_bin,
            "min_child_weight": self.min_child_weight,
            "min_child_samples": self.min_child_samples,
            "reg_lambda": self.reg_lambda,
            "reg_alpha": self.reg_alpha,
            "subsample": self.subsample,
            "subsample_freq": 1,
            "colsample_bytree": self.colsample_bytree or (1.0 if columns <= FEW_COLUMNS else 0.4),
            "num_threads": self.threads,
            "histogram_pool_size": 512,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": columns > rows,
            "force_row_wise": columns <= rows,
            "verbosity": -1,
        }

    def fit_matrix(
        self, x: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray] | None, rounds: int | None
    ) -> int:
        parameters = self._parameters(*x.shape)
        data = lgb.Dataset(x, y, params={"verbosity": -1, "max_bin": self.max_bin})
        if validation is None:
            self.booster = lgb.train(parameters, data, rounds or self.max_trees)
        else:
            held_out = lgb.Dataset(*validation, reference=data)
            stop = lgb.early_stopping(self.patience, verbose=False)
            self.booster = lgb.train(parameters, data, self.max_trees, valid_sets=[held_out], callbacks=[stop])
        return self.booster.best_iteration if self.booster.best_iteration > 0 else self.booster.current_iteration()

    def output_matrix(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster.predict(x, num_threads=self.threads))

    def save_estimator(self, folder: Path) -> None:
        self.booster.save_model(folder / "lightgbm.txt")

    def load_estimator(self, folder: Path) -> None:
        self.booster = lgb.Booster(model_file=folder / "lightgbm.txt")
