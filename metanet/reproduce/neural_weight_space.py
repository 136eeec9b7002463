"""Figures of Eilertsen et al. 2020 on the neural weight space itself: Figures 1 and 6 to 15."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

from metanet.errors import MetanetError
from metanet.plots.nws import coefficient_columns, embedding_scatter, progress_curves, smoothed_histogram
from metanet.plots.style import new_axes
from metanet.plots.tables import heat_table
from metanet.reproduce.study import Exhibit, Study

CATEGORIES = (
    *("batch_size", "augmentation", "optimizer", "activation", "w_init"),
    *("filter_size", "conv_depth", "fc_depth", "conv_width", "fc_width"),
)
GLOROT = ("glorot_uniform", "glorot_normal")
HARD = ("constant", "normal")
CLOSE = 0.05  # accuracies this near are called close


def _parts(study: Study) -> dict[str, tuple[str, str]]:
    """Every image set of every zoo, by a title."""
    return {
        f"{zoo}: {data}": (zoo, str(data))
        for zoo in study.zoos("nws")
        for data in sorted(study.zoo(zoo).view().frame["hp.dataset"].unique())
    }


def _frame(study: Study, zoo: str, data: str | None = None) -> pd.DataFrame:
    """The last snapshots of a zoo, or of one of its image sets."""
    frame = study.zoo(zoo).view().frame
    return frame if data is None else frame[frame["hp.dataset"] == data].reset_index(drop=True)


def sizes_and_times(study: Study, name: str) -> Exhibit:
    """Figure 6: distribution of model sizes and of training times."""
    zoos = study.zoos("nws")
    figure, axes = new_axes(2 * len(zoos), most=2)
    rows = []
    for i, zoo in enumerate(zoos):
        networks = study.zoo(zoo).networks
        values = networks["layout_id"].map({key: layout.size for key, layout in study.zoo(zoo).layouts.items()})
        axes[2 * i].hist(values, bins=40)
        axes[2 * i].set(xlabel="values of a network", ylabel="networks", title=zoo)
        axes[2 * i].ticklabel_format(useOffset=False)
        axes[2 * i + 1].hist(networks["seconds"], bins=40)
        axes[2 * i + 1].set(xlabel="seconds of a training", ylabel="networks", title=zoo)
        quartiles = networks["epochs_run"].quantile([0.25, 0.5, 0.75]).tolist()
        stops = networks["stopped_by"].value_counts() if "stopped_by" in networks else pd.Series(dtype=int)
        rows.append(
            {
                "zoo": zoo,
                "networks": len(networks),
                "architectures": networks["layout_id"].nunique(),
                "values, least": int(values.min()),
                "values, median": float(values.median()),
                "values, most": int(values.max()),
                "seconds, mean": networks["seconds"].mean(),
                "epochs, quartiles": " / ".join(f"{q:.0f}" for q in quartiles),
                **{f"ended by {reason}": int(count) for reason, count in stops.items()},
            }
        )
    return Exhibit(name, f"model sizes and training times; {', '.join(zoos)}", {name: pd.DataFrame(rows)}, {name: figure})


def training_curves(study: Study, name: str) -> Exhibit:
    """Figure 7: accuracies by progress; grey each network's test accuracy, in colour the means."""
    parts = _parts(study)
    figure, axes = new_axes(len(parts), most=3)
    rows = []
    for ax, (title, (zoo, data)) in zip(axes, parts.items(), strict=True):
        ids = set(study.zoo(zoo).networks.query("`hp.dataset` == @data")["network_id"])
        history = study.zoo(zoo).history
        history = history[history["network_id"].isin(ids)]
        progress_curves(history, ax, title)
        last = _frame(study, zoo, data)
        gap = last["train_accuracy"] - last["validation_accuracy"]
        rows.append(
            {
                "zoo": zoo,
                "data": data,
                "networks": len(last),
                **{f"{p}, last": last[f"{p}_accuracy"].mean() for p in ("train", "validation", "test")},
                "train - validation": gap.mean(),
            }
        )
    note = "The paper: hardly any over-fitting on MNIST, more on CIFAR-10 and STL-10 (train - validation)."
    return Exhibit(name, f"training curves; {', '.join(parts)}", {name: pd.DataFrame(rows)}, {name: figure}, [note])


def accuracy_modes(study: Study, name: str) -> Exhibit:
    """Figure 8: distribution of test accuracy by image set, and its two modes."""
    parts = _parts(study)
    figure, axes = new_axes(len(parts), width=3.4, height=2.8, most=3)
    rows = []
    for ax, (title, (zoo, data)) in zip(axes, parts.items(), strict=True):
        frame = _frame(study, zoo, data)
        accuracy = frame["test_accuracy"].to_numpy()
        bound = study.zoo(zoo).data.get("converged")
        bound = bound.get(data) if isinstance(bound, dict) else bound
        peaks = smoothed_histogram(accuracy, ax, title, bound)
        rows.append(
            {
                "zoo": zoo,
                "data": data,
                "networks": len(frame),
                "converged above": np.nan if bound is None else bound,
                "converged": np.nan if bound is None else float((accuracy > bound).mean()),
                "below .15": float((accuracy < 0.15).mean()),
                ".15 to .25": float(((accuracy >= 0.15) & (accuracy < 0.25)).mean()),
                "mean": accuracy.mean(),
                "best": accuracy.max(),
                "peaks": " ".join(f"{p:.2f}" for p in peaks),
            }
        )
    note = (
        "The paper: two modes, failed and successful trainings; the failed one with peaks near 10 % and 20 %. 88 % of the "
        "fixed and 81 % of the main set converge there. Peaks are of a Gaussian kernel estimate."
    )
    return Exhibit(name, f"test accuracies; {', '.join(parts)}", {name: pd.DataFrame(rows)}, {name: figure}, [note])


# ------------------------------------------------------------------------------------------------ pairs


def _pairs(study: Study, name: str, first: str, second: str) -> Exhibit:
    parts = _parts(study)
    figure, axes = new_axes(len(parts), width=3.9, height=2.9, most=3)
    tables = []
    for ax, (title, (zoo, data)) in zip(axes, parts.items(), strict=True):
        frame = _frame(study, zoo, data)
        table = frame.pivot_table(index=f"hp.{first}", columns=f"hp.{second}", values="test_accuracy")
        heat_table(table, ax, title, form=".2f")
        counts = frame.groupby([f"hp.{first}", f"hp.{second}"])["test_accuracy"].agg(["mean", "std", "size"]).reset_index()
        tables.append(counts.assign(zoo=zoo, data=data))
    checks = [
        {"zoo": zoo, "data": data} | check for zoo, data in parts.values() for check in CHECKS[name](_frame(study, zoo, data))
    ]
    title = f"mean test accuracy by {first} and {second}; {', '.join(parts)}"
    claims, long = {f"{name}_claims": pd.DataFrame(checks)}, {name: pd.concat(tables, ignore_index=True)}
    note = "A claim holds where the 95 % interval of the difference of means (Welch) is above 0; all networks, failed ones too."
    return Exhibit(name, title, claims, {name: figure}, [note], long=long)


def _claim(text: str, higher: pd.Series, lower: pd.Series, within: float | None = None) -> dict[str, object]:
    """One sentence of the paper as a difference of mean accuracies: above zero, or ``within`` so much of it on both sides."""
    if min(len(higher), len(lower)) < 2:
        return {"claim": text, "difference": np.nan, "95 %": "too few networks", "verdict": "not measured"}
    low, high = ttest_ind(higher, lower, equal_var=False).confidence_interval()
    if within is None:
        verdict = "holds" if low > 0 else "does not hold" if high < 0 else "not shown"
    else:
        inside, outside = low > -within and high < within, low > within or high < -within
        verdict = "holds" if inside else "does not hold" if outside else "not shown"
    return {"claim": text, "difference": higher.mean() - lower.mean(), "95 %": f"{low:+.3f} to {high:+.3f}", "verdict": verdict}


def _select(frame: pd.DataFrame, **values: Sequence[object]) -> pd.Series:
    keep = np.ones(len(frame), bool)
    for key, wanted in values.items():
        keep &= frame[f"hp.{key}"].isin(list(wanted)).to_numpy()
    return frame.loc[keep, "test_accuracy"]


def _initialiser_and_activation(frame: pd.DataFrame) -> list[dict[str, object]]:
    claims = [
        _claim("Glorot above constant and normal", _select(frame, w_init=GLOROT), _select(frame, w_init=HARD)),
        _claim("ELU above ReLU", _select(frame, activation=["elu"]), _select(frame, activation=["relu"])),
        _claim(
            "with constant or normal: ReLU and ELU above sigmoid and tanh",
            _select(frame, w_init=HARD, activation=["relu", "elu"]),
            _select(frame, w_init=HARD, activation=["sigmoid", "tanh"]),
        ),
        _claim(
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
            _claim(
                f"constant with sigmoid worst: the worst other pair, {worst[0]} with {worst[1]}, is above it",
                _select(frame, w_init=[worst[0]], activation=[worst[1]]),
                _select(frame, w_init=["constant"], activation=["sigmoid"]),
            )
        )
    return claims


def _initialiser_and_optimizer(frame: pd.DataFrame) -> list[dict[str, object]]:
    adaptive = ["adam", "rmsprop"]
    return [
        _claim(
            "with constant or normal: Adam and RMSprop above momentum",
            _select(frame, w_init=HARD, optimizer=adaptive),
            _select(frame, w_init=HARD, optimizer=["momentum"]),
        ),
        _claim(
            f"with Glorot: momentum within {CLOSE:g} of Adam and RMSprop",
            _select(frame, w_init=GLOROT, optimizer=adaptive),
            _select(frame, w_init=GLOROT, optimizer=["momentum"]),
            within=CLOSE,
        ),
    ]


def _initialiser_and_augmentation(frame: pd.DataFrame) -> list[dict[str, object]]:
    on, off = ([True], [False])
    return [
        _claim(
            "with Glorot: augmentation above none",
            _select(frame, w_init=GLOROT, augmentation=on),
            _select(frame, w_init=GLOROT, augmentation=off),
        ),
        _claim(
            "with constant or normal: none above augmentation",
            _select(frame, w_init=HARD, augmentation=off),
            _select(frame, w_init=HARD, augmentation=on),
        ),
    ]


def _activation_and_optimizer(frame: pd.DataFrame) -> list[dict[str, object]]:
    best = frame["hp.optimizer"].isin(["adam", "rmsprop"]) & frame["hp.activation"].isin(["relu", "elu"])
    text = "Adam or RMSprop with ReLU or ELU, taken together, above all other pairs, taken together"
    return [_claim(text, frame.loc[best, "test_accuracy"], frame.loc[~best, "test_accuracy"])]


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


# ------------------------------------------------------------------------------------------------ embedding


def embedding(study: Study, name: str) -> Exhibit:
    """Figure 13: UMAP of the first ten principal components of all snapshots' convolutional weights."""
    zoos = [zoo for zoo in study.zoos("nws") if len(study.zoo(zoo).layouts) == 1]
    if not zoos:
        raise MetanetError(f"{name} needs a zoo of one architecture: metanet generate recipe=nws_fixed_mini out=zoos/nws_fixed")
    figures, rows, notes = {}, [], []
    for zoo in zoos:
        view = study.zoo(zoo).view(epoch="all")
        components, explained = principal_components(view.weights(), view.layout, 10)
        points, how = _two_dimensions(components, study.seed)
        frame = view.frame.assign(x=points[:, 0], y=points[:, 1], error=1 - view.frame["test_accuracy"])
        drawn = [c for c in frame if c.startswith("hp.") and c != "hp.init_std" and frame[c].nunique() > 1]
        figure, axes = new_axes(len(drawn) + 2, width=3.4, height=3.0, most=3)
        for ax, column in zip(axes, [*drawn, "progress", "error"], strict=True):
            embedding_scatter(frame, ax, column)
        figures[f"{name}_{zoo}"] = figure
        rows.append({"zoo": zoo, "snapshots": len(frame), **{f"PC {i + 1}": v for i, v in enumerate(explained)}})
        notes.append(f"{zoo}: {how}; ten components hold {sum(explained):.0%} of the variance of the convolutional weights.")
    title = f"embedding of convolutional weights; {', '.join(zoos)}"
    return Exhibit(name, title, {name: pd.DataFrame(rows)}, figures, notes)


def principal_components(weights: np.ndarray, layout, count: int) -> tuple[np.ndarray, list[float]]:  # type: ignore[no-untyped-def]
    """The first components of the convolutional weights, (N, count), and their shares of the variance.

    Only kernels and biases of layers called conv*, batch normalisation's vectors included, as in the paper (16,880 values of
    the fixed architecture).
    """
    from sklearn.decomposition import IncrementalPCA

    columns = np.concatenate([np.arange(t.start, t.stop) for t in layout.tensors if t.layer.startswith("conv")])
    pca = IncrementalPCA(min(count, len(weights)))
    batch = max(5 * count, 500)
    chunks = [range(i, min(i + batch, len(weights))) for i in range(0, len(weights), batch)]
    if len(chunks) > 1 and len(chunks[-1]) < count:  # a last batch must hold as many rows as components
        chunks[-2:] = [range(chunks[-2].start, chunks[-1].stop)]
    for chunk in chunks:
        pca.partial_fit(weights[chunk][:, columns])
    points = np.concatenate([pca.transform(weights[chunk][:, columns]) for chunk in chunks])
    return points, pca.explained_variance_ratio_.tolist()


def _two_dimensions(components: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Tensorflow is missing, and that a fixed seed allows one thread only
        try:
            import umap
        except ImportError:
            return components[:, :2], "first two principal components (pip install 'metanet-weights[umap]' for UMAP)"
        return umap.UMAP(random_state=seed).fit_transform(components), "UMAP of ten principal components"


# ------------------------------------------------------------------------------------------------ regression


def regression(study: Study, name: str) -> Exhibit:
    """Figures 1, 14 and 15: accuracy regressed on all hyperparameters, data set by data set."""
    coefficients, errors = [], []
    for zoo, data in _parts(study).values():
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
    """Coefficients with p-values, and the root mean squared error within and on left-out tenths."""
    import statsmodels.api as sm
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
