"""Hyperparameters as inputs: the floor that every weights-only predictor is shown beside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, did_you_mean

# The seven of the released code of Unterthiner et al. 2020, which leaves the optimizer out.
HYPER_PAPER = ("w_init", "activation", "learning_rate", "init_std", "l2reg", "train_fraction", "dropout")


class HyperEncoder:
    """``hp.*`` columns -> numbers: categories one-hot, log-uniform draws in log10.

    Args:
        names: hyperparameters without ``hp.``; empty for all that vary.
        leave_out: names never taken, such as the target itself.
    """

    def __init__(self, names: Sequence[str] = (), leave_out: Collection[str] = ()) -> None:
        self.wanted, self.leave_out = tuple(names), frozenset(leave_out)
        self.columns: list[dict[str, Any]] = []

    def fit(self, frame: pd.DataFrame, kinds: Mapping[str, str] | None = None) -> HyperEncoder:
        """Find what varies, and its categories: of text and truth values; categories of numbers keep their order as numbers.

        Args:
            kinds: of columns, see :attr:`metanet.zoo.zoo.Zoo.columns`.

        Raises:
            MetanetError: the zoo has no such hyperparameter, or none that varies.
        """
        logarithms = {name for name, kind in (kinds or {}).items() if kind == "log"}
        known = [c.removeprefix("hp.") for c in frame if c.startswith("hp.")]
        for name in self.wanted:
            if name not in known:
                raise MetanetError(f"no hyperparameter '{name}' in this zoo{did_you_mean(name, known)}")
        varying = [n for n in known if frame[f"hp.{n}"].nunique() > 1]
        self.columns = []
        for name in self.wanted or varying:
            if name in self.leave_out or name not in varying:
                continue
            values = frame[f"hp.{name}"]
            if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
                self.columns.append({"name": name, "log": f"hp.{name}" in logarithms and bool((values > 0).all())})
            else:
                self.columns.append({"name": name, "categories": sorted(values.dropna().astype(str).unique())})
        if not self.columns:
            raise MetanetError(
                f"none of the hyperparameters {', '.join(self.wanted or known) or '(there are none)'} varies in this view, "
                "so they tell nothing; choose other features"
            )
        return self

    def transform(self, frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
        """(N rows) -> float64 (N, F) and names; categories never seen in training are all zeros.

        Raises:
            MetanetError: the zoo has not a hyperparameter that was fitted.
        """
        columns, names = [], []
        for column in self.columns:
            name = column["name"]
            if f"hp.{name}" not in frame:
                raise MetanetError(f"this zoo has no column hp.{name}, which the meta-model was trained on")
            values = frame[f"hp.{name}"]
            if "categories" in column:
                text = values.astype(str).to_numpy()
                columns += [(text == c).astype(np.float64) for c in column["categories"]]
                names += [f"hp.{name}={c}" for c in column["categories"]]
            else:
                number = values.to_numpy(np.float64)
                columns.append(np.log10(number) if column["log"] else number)
                names.append(f"hp.{name}")
        return np.stack(columns, axis=1), names
