"""Gradient boosting machine on LightGBM (Unterthiner et al. 2020, section 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import lightgbm as lgb
import numpy as np
import pandas as pd

from metanet.constraints import Count, Interval, NotNegative, OneOf, Portion, Positive
from metanet.distributions import Distribution
from metanet.errors import MetanetError
from metanet.models.base import MatrixModel
from metanet.models.lightgbm_text import checked_text

FEW_COLUMNS = 20  # such as hyperparameters: leaving some out only weakens each tree
MANY_COLUMNS = 1000  # such as flat weights: the paper draws a small share of them for each tree


class GBM(MatrixModel):
    """Boosted trees; the validation part stops the boosting.

    Args:
        objective: for regression ``mse`` (the paper's) or ``cross_entropy`` (targets from 0 to 1).
        max_depth, num_leaves: of a tree; num_leaves is cut to 2 ** max_depth, beyond which it only costs memory; 0 or -1 for no
            bound on the depth.
        max_trees, patience: boosting stops after ``patience`` trees without gain on the validation part.
        colsample_bytree: share of the inputs that a tree sees; None is all of up to 20 inputs, 0.4 of more.
        extra_trees: draw one threshold of each input at random and take the best of these (Geurts et al. 2006), which a mean over
            many trees likes: they err differently.
        learning_rate, max_bin, min_child_weight, min_child_samples, reg_lambda, reg_alpha, subsample: as in LightGBM.
    """

    name = "gbm"
    rounds_setting: ClassVar[str | None] = "max_trees"

    @classmethod
    def space(cls, columns: int) -> dict[str, Distribution]:
        """Supplement A.4; ends that the paper's text lost are read off its released configurations."""
        share = {"log_uniform": [0.0316, 0.1]} if columns > MANY_COLUMNS else {"uniform": [0.7, 1.0]}
        return {
            "max_depth": {"integer": [5, 15]},
            "learning_rate": {"log_uniform": [0.01, 0.1]},
            "num_leaves": {"integer": [16, 10_000]},
            "max_bin": [63, 127, 255],
            "min_child_weight": [1, 2, 3, 4, 5],
            "reg_lambda": {"uniform": [0.0, 100.0]},
            "reg_alpha": {"uniform": [0.0, 5.0]},
            "subsample": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
            "colsample_bytree": share,
            "max_trees": 1000,
            "patience": 200,
        }

    def __init__(
        self,
        objective: Annotated[str, OneOf("mse", "cross_entropy")] = "mse",
        learning_rate: Positive = 0.05,
        max_depth: Annotated[int, Interval(-1, 2**31 - 1)] = 8,
        num_leaves: Annotated[int, Interval(2)] = 15,
        max_bin: Annotated[int, Interval(2)] = 255,
        min_child_weight: NotNegative = 1.0,
        min_child_samples: Annotated[int, Interval(0)] = 5,
        reg_lambda: NotNegative = 1.0,
        reg_alpha: NotNegative = 0.0,
        subsample: Portion = 0.8,
        colsample_bytree: Portion | None = None,
        extra_trees: bool = False,
        max_trees: Count = 1000,
        patience: Count = 50,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.objective = objective
        self.learning_rate, self.max_depth, self.num_leaves, self.max_bin = learning_rate, max_depth, num_leaves, max_bin
        self.min_child_weight, self.min_child_samples = min_child_weight, min_child_samples
        self.reg_lambda, self.reg_alpha = reg_lambda, reg_alpha
        self.subsample, self.colsample_bytree, self.extra_trees = subsample, colsample_bytree, extra_trees
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
        # LightGBM allocates by num_leaves, so what neither depth nor rows allow is cut off
        leaves = min(self.num_leaves, max(2, rows // max(1, self.min_child_samples)))
        if self.max_depth > 0:
            leaves = min(leaves, 2 ** min(self.max_depth, 31))
        return objective | {
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "num_leaves": leaves,
            "max_bin": self.max_bin,
            "min_child_weight": self.min_child_weight,
            "min_child_samples": self.min_child_samples,
            "reg_lambda": self.reg_lambda,
            "reg_alpha": self.reg_alpha,
            "subsample": max(self.subsample, min(1.0, 2 / rows)),  # LightGBM takes no bag without a row
            "subsample_freq": 1,
            "colsample_bytree": self.colsample_bytree or (1.0 if columns <= FEW_COLUMNS else 0.4),
            "extra_trees": self.extra_trees,
            "num_threads": self.threads,
            "histogram_pool_size": 512,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": columns > rows,
            "force_row_wise": columns <= rows,
            "feature_pre_filter": False,
            "verbosity": -1,
        }

    def fit_matrix(
        self, x: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray] | None, rounds: int | None
    ) -> int:
        parameters = self._parameters(*x.shape)
        data, held_out = self._datasets(x, y, validation)
        if held_out is None:
            self.booster = lgb.train(parameters, data, rounds or self.max_trees)
        else:
            losses: dict[str, dict[str, list[float]]] = {}
            callbacks: list[Any] = [lgb.early_stopping(self.patience, verbose=False), lgb.record_evaluation(losses)]
            self.booster = lgb.train(parameters, data, self.max_trees, valid_sets=[held_out], callbacks=callbacks)
            (own,) = losses["valid_0"].values()
            self.curve = pd.DataFrame({"validation_loss": own}, index=pd.RangeIndex(1, len(own) + 1, name="trees"))
        return self.booster.best_iteration if self.booster.best_iteration > 0 else self.booster.current_iteration()

    def _datasets(
        self, x: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray] | None
    ) -> tuple[lgb.Dataset, lgb.Dataset | None]:
        """Binned once for each ``max_bin``, for as long as fits share their rows."""
        kept = {} if self.shared is None else self.shared
        if self.max_bin not in kept:
            binning = {"verbosity": -1, "max_bin": self.max_bin, "feature_pre_filter": False, "num_threads": self.threads}
            data = lgb.Dataset(x, y, params=binning)
            kept[self.max_bin] = data, None if validation is None else lgb.Dataset(*validation, reference=data)
        return kept[self.max_bin]

    def output_matrix(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster.predict(x, num_threads=self.threads))

    def save_estimator(self, folder: Path) -> None:
        self.booster.save_model(folder / "lightgbm.txt")

    def load_estimator(self, folder: Path) -> None:
        self.booster = lgb.Booster(model_str=checked_text((folder / "lightgbm.txt").read_text()))
