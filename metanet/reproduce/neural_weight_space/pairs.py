"""Figures 9 to 12: accuracy by pairs of hyperparameters, and what the paper says of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

from metanet.plots.style import new_axes
from metanet.plots.tables import heat_table
from metanet.reproduce.claim import Claim
from metanet.reproduce.neural_weight_space.parts import frame_of, parts_of
from metanet.reproduce.study import Exhibit, Study

GLOROT = ("glorot_uniform", "glorot_normal")
HARD = ("constant", "normal")
CLOSE = 0.05  # accuracies this near are called close


def _pairs(study: Study, name: str, first: str, second: str) -> Exhibit:
    parts = parts_of(study)
    figure, axes = new_axes(len(parts), width=3.9, height=2.9, most=3)
    tables = []
    for ax, (title, (zoo, data)) in zip(axes, parts.items(), strict=True):
        frame = frame_of(study, zoo, data)
        table = frame.pivot_table(index=f"hp.{first}", columns=f"hp.{second}", values="test_accuracy")
        heat_table(table, ax, title, form=".2f")
        counts = frame.groupby([f"hp.{first}", f"hp.{second}"])["test_accuracy"].agg(["mean", "std", "size"]).reset_index()
        tables.append(counts.assign(zoo=zoo, data=data))
    checks = [claim.row(zoo=zoo, data=data) for zoo, data in parts.values() for claim in CHECKS[name](frame_of(study, zoo, data))]
    title = f"mean test accuracy by {first} and {second}; {', '.join(parts)}"
    claims, long = {f"{name}_claims": pd.DataFrame(checks)}, {name: pd.concat(tables, ignore_index=True)}
    note = "A claim holds where the 95 % interval of the difference of means (Welch) is above 0; all networks, failed ones too."
    return Exhibit(name, title, claims, {name: figure}, [note], long=long)


def _compared(text: str, higher: pd.Series, lower: pd.Series, within: float | None = None) -> Claim:
    """One sentence of the paper as a difference of mean accuracies: above zero, or ``within`` so much of it on both sides."""
    if min(len(higher), len(lower)) < 2:
        return Claim(text, shown={"difference": np.nan, "95 %": "too few networks"})
    low, high = ttest_ind(higher, lower, equal_var=False).confidence_interval()
    shown = {"difference": higher.mean() - lower.mean(), "95 %": f"{low:+.3f} to {high:+.3f}"}
    return Claim(text, low, high, shown=shown) if within is None else Claim.alike(text, low, high, within, shown)


def _select(frame: pd.DataFrame, **values: Sequence[object]) -> pd.Series:
    keep = np.ones(len(frame), bool)
    for key, wanted in values.items():
        keep &= frame[f"hp.{key}"].isin(list(wanted)).to_numpy()
    return frame.loc[keep, "test_accuracy"]


def _initialiser_and_activation(frame: pd.DataFrame) -> list[Claim]:
    claims = [
        _compared("Glorot above constant and normal", _select(frame, w_init=GLOROT), _select(frame, w_init=HARD)),
        _compared("ELU above ReLU", _select(frame, activation=["elu"]), _select(frame, activation=["relu"])),
        _compared(
            "with constant or normal: ReLU and ELU above sigmoid and tanh",
            _select(frame, w_init=HARD, activation=["relu", "elu"]),
            _select(frame, w_init=HARD, activation=["sigmoid", "tanh"]),
        ),
        _compared(
            "with other initialisers than constant: sigmoid above tanh",
            _select(frame, w_init=("normal", *GLOROT), activation=["sigmoid"]),
            _select(frame, w_init=("normal", *GLOROT), activation=["tanh"]),
        ),
    ]
    means = frame.groupby(["hp.w_init", "hp.activation"])["test_accuracy"].mean()
    mine = ("constant", "sigmoid")
    if mine in means.index and len(means) > 1:
        worst = means.drop([mine]).idxmin()
        claims.append(
            _compared(
                f"constant with sigmoid worst: the worst other pair, {worst[0]} with {worst[1]}, is above it",
                _select(frame, w_init=[worst[0]], activation=[worst[1]]),
                _select(frame, w_init=["constant"], activation=["sigmoid"]),
            )
        )
    return claims


def _initialiser_and_optimizer(frame: pd.DataFrame) -> list[Claim]:
    adaptive = ["adam", "rmsprop"]
    return [
        _compared(
            "with constant or normal: Adam and RMSprop above momentum",
            _select(frame, w_init=HARD, optimizer=adaptive),
            _select(frame, w_init=HARD, optimizer=["momentum"]),
        ),
        _compared(
            f"with Glorot: momentum within {CLOSE:g} of Adam and RMSprop",
            _select(frame, w_init=GLOROT, optimizer=adaptive),
            _select(frame, w_init=GLOROT, optimizer=["momentum"]),
            within=CLOSE,
        ),
    ]


def _initialiser_and_augmentation(frame: pd.DataFrame) -> list[Claim]:
    on, off = ([True], [False])
    return [
        _compared(
            "with Glorot: augmentation above none",
            _select(frame, w_init=GLOROT, augmentation=on),
            _select(frame, w_init=GLOROT, augmentation=off),
        ),
        _compared(
            "with constant or normal: none above augmentation",
            _select(frame, w_init=HARD, augmentation=off),
            _select(frame, w_init=HARD, augmentation=on),
        ),
    ]


def _activation_and_optimizer(frame: pd.DataFrame) -> list[Claim]:
    best = frame["hp.optimizer"].isin(["adam", "rmsprop"]) & frame["hp.activation"].isin(["relu", "elu"])
    text = "Adam or RMSprop with ReLU or ELU, taken together, above all other pairs, taken together"
    return [_compared(text, frame.loc[best, "test_accuracy"], frame.loc[~best, "test_accuracy"])]


CHECKS = {
    "nws_fig9": _initialiser_and_activation,
    "nws_fig10": _initialiser_and_optimizer,
    "nws_fig11": _initialiser_and_augmentation,
    "nws_fig12": _activation_and_optimizer,
}
initialiser_and_activation = partial(_pairs, first="w_init", second="activation")
initialiser_and_optimizer = partial(_pairs, first="w_init", second="optimizer")
initialiser_and_augmentation = partial(_pairs, first="w_init", second="augmentation")
activation_and_optimizer = partial(_pairs, first="activation", second="optimizer")
