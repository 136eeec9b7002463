"""Figures 1, 14 and 15: accuracy regressed on hyperparameters."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.plots.nws import coefficient_columns
from metanet.plots.style import new_axes
from metanet.plots.tables import heat_table
from metanet.reproduce.neural_weight_space.parts import parts_of
from metanet.reproduce.study import Exhibit, Study

CATEGORIES = (
    *("batch_size", "augmentation", "optimizer", "activation", "w_init"),
    *("filter_size", "conv_depth", "fc_depth", "conv_width", "fc_width"),
)


def regression(study: Study, name: str) -> Exhibit:
    """Figures 1, 14 and 15: accuracy regressed on all hyperparameters, data set by data set.

    Raises:
        MetanetError: too few networks converged.
    """
    coefficients, errors = [], []
    for zoo, data in parts_of(study).values():
        view = study.zoo(zoo).view(converged=True)
        frame = view.frame[view.frame["hp.dataset"] == data].reset_index(drop=True)
        if frame.empty:
            errors.append({"zoo": zoo, "data": data, "networks": 0, "coefficients": 0, "fitted": False})
            continue
        design, groups = sum_to_zero(frame)
        if len(frame) < 2 * design.shape[1]:
            errors.append({"zoo": zoo, "data": data, "networks": len(frame), "coefficients": design.shape[1], "fitted": False})
            continue
        accuracy = frame["test_accuracy"].to_numpy()
        scored = (accuracy - accuracy.mean()) / accuracy.std()
        table, linear, validated = fit_linear(design, groups, scored)
        coefficients.append(table.assign(zoo=zoo, data=data))
        errors.append(
            {
                "zoo": zoo,
                "data": data,
                "networks": len(frame),
                "coefficients": len(table),
                "fitted": True,
                "rmse, linear": linear * accuracy.std(),
                "rmse, 10-fold": validated * accuracy.std(),
                "rmse, constant": accuracy.std(),
            }
        )
    measured = pd.DataFrame(errors)
    if not coefficients:
        raise MetanetError(
            f"{name} needs two converged networks for each coefficient of one image set; these zoos have "
            f"{', '.join(f'{r.zoo} {r.data} {r.networks}' for r in measured.itertuples())}"
        )
    table = pd.concat(coefficients, ignore_index=True)
    wide = table.pivot_table(index=["hyperparameter", "category"], columns=["zoo", "data"], values="coefficient", sort=False)
    wide.columns = [f"{zoo}: {data}" for zoo, data in wide.columns]
    correlations = wide.corr()
    several = wide.shape[1] > 1
    figure, axes = new_axes(several + wide.shape[1], width=3.2, height=6.4, most=4)
    for ax, column in zip(axes, wide.columns, strict=False):
        part = table[(table["zoo"] + ": " + table["data"]) == column]
        coefficient_columns(part, ax, column)
    if several:
        heat_table(correlations, axes[-1], "correlation of coefficients", low=-1.0, form=".2f")
    notes = [
        "Converged networks, accuracy in standard scores of its data set; categories coded to sum to zero, so all of them are "
        "shown; * marks p above .05 (ordinary least squares). 10-fold: error on networks left out of the fit.",
        *(
            f"{r.zoo}, {r.data}: {r.networks} converged networks are too few for the coefficients."
            for r in measured.itertuples()
            if not r.fitted
        ),
    ]
    tables = {f"{name}_errors": measured, f"{name}_correlations": correlations.rename_axis("set").reset_index()}
    title = f"accuracy regressed on hyperparameters; {', '.join(wide.columns)}"
    return Exhibit(name, title, tables, {name: figure}, notes, long={name: table})


def sum_to_zero(frame: pd.DataFrame) -> tuple[np.ndarray, list[tuple[str, str, np.ndarray]]]:
    """The design of constant, learning rate (in standard scores) and categories whose effects sum to zero.

    Returns:
        The matrix (n, p), and for each of its effects hyperparameter, category and the contrast (p,) that gives it.
    """
    rate = frame["hp.learning_rate"].to_numpy(float)
    columns = [np.ones(len(frame)), (rate - rate.mean()) / (rate.std() or 1.0)]
    levels_of = {
        key: sorted(frame[f"hp.{key}"].unique().tolist())
        for key in CATEGORIES
        if f"hp.{key}" in frame and frame[f"hp.{key}"].nunique() > 1
    }
    width = 2 + sum(len(levels) - 1 for levels in levels_of.values())
    effects = [("constant", "", np.eye(width)[0]), ("learning_rate", "one deviation", np.eye(width)[1])]
    for key, levels in levels_of.items():
        start = len(columns)
        last = (frame[f"hp.{key}"] == levels[-1]).to_numpy(float)
        for i, level in enumerate(levels[:-1]):
            columns.append((frame[f"hp.{key}"] == level).to_numpy(float) - last)
            effects.append((key, str(level), np.eye(width)[start + i]))
        effects.append((key, str(levels[-1]), -np.eye(width)[start : start + len(levels) - 1].sum(0)))
    return np.column_stack(columns), effects


def fit_linear(
    design: np.ndarray, effects: list[tuple[str, str, np.ndarray]], target: np.ndarray
) -> tuple[pd.DataFrame, float, float]:
    """Coefficients with p-values, and the root mean squared error within and on left-out tenths.

    Raises:
        MetanetError: statsmodels is not installed.
    """
    try:
        import statsmodels.api as sm
    except ImportError:
        raise MetanetError("regressions on hyperparameters need statsmodels: pip install 'metanet-weights[nws]'") from None
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import KFold, cross_val_predict

    result = sm.OLS(target, design).fit()
    test = result.t_test(np.stack([contrast for _, _, contrast in effects]))
    names = itertools.zip_longest(*((key, level) for key, level, _ in effects))
    table = pd.DataFrame(dict(zip(("hyperparameter", "category"), names, strict=True)))
    table = table.assign(coefficient=np.atleast_1d(test.effect), p=np.atleast_1d(test.pvalue))
    folds = KFold(10, shuffle=True, random_state=0)
    left_out = cross_val_predict(LinearRegression(fit_intercept=False), design, target, cv=folds)
    return table, float(np.sqrt(np.mean(result.resid**2))), float(np.sqrt(np.mean((target - left_out) ** 2)))
