"""How much each input and each estimator explains: Tables 1, 2 and 5 to 8 of Unterthiner et al. 2020."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pandas as pd

from metanet.evaluation.differences import SINGLE
from metanet.plots.style import new_axes
from metanet.plots.tables import heat_table
from metanet.reproduce.claim import Claim
from metanet.reproduce.published import ESTIMATORS, SOURCE, released_r2
from metanet.reproduce.scores import gain, interval, without_ends
from metanet.reproduce.study import INPUTS, Exhibit, NotFittedError, Study, StudyRun

MAIN = ("flat", "flat:conv1", "flat:conv2", "flat:conv3", "flat:last", "stats_global", "stats", "hyper", "hyper+flat")
MORE = ("norms_l1", "norms_l2", "stats:last", "stats:first+last", "hyper:learning_rate")
# The paper's order of inputs: the first of a pair scores higher (sections 4.3 and 4.4).
ORDER = (
    ("stats", "flat"),
    ("stats", "flat:last"),
    ("flat", "flat:conv1"),
    ("flat", "flat:conv2"),
    ("flat", "flat:conv3"),
    ("flat:last", "flat:conv1"),
    ("flat:last", "flat:conv2"),
    ("flat:last", "flat:conv3"),
    ("flat:last", "stats_global"),
    ("flat", "stats_global"),
    ("stats", "stats:first+last"),
    ("stats:first+last", "stats:last"),
    ("flat:last", "stats:last"),
    ("stats", "hyper"),
    ("flat", "hyper"),
    ("hyper", "hyper:learning_rate"),
)
ALIKE = 0.02  # of R2
EQUAL = (("flat", "flat:last"), ("hyper+flat", "flat"))  # of these pairs the paper says that they score about alike
NAMES = {"gbm": "GBM", "dnn": "DNN", "logit_linear": "logit-linear"}


def estimators_by_input(study: Study, name: str) -> Exhibit:
    """Table 1: R2 of each estimator on each input; the paper's collection is CIFAR10-GS."""
    zoos = [z for z in study.zoos("cnn") if study.data(z) == "cifar10_gs"] or study.zoos("cnn")[:1]
    return _grid(study, name, zoos, list(INPUTS), ESTIMATORS, "R² of each estimator on each input")


def inputs_by_zoo(study: Study, name: str) -> Exhibit:
    """Table 2: R2 of the GBM on each input, zoo by zoo, with floors, ceilings and the order of the inputs."""
    zoos = study.zoos("cnn")
    exhibit = _grid(study, name, zoos, list(INPUTS), ("gbm",), "R² of the GBM on each input")
    exhibit.tables = {"summary": _summary(exhibit.tables[name], zoos)} | exhibit.tables
    exhibit.tables["floors"] = _floors(study, zoos)
    exhibit.tables["order"] = order = _order(study, zoos)
    exhibit.notes.append(f"order: 95 % of each pair, which the paper named in advance{SINGLE}.")
    exhibit.notes += [
        f"{row.zoo}: {row.higher} - {row.lower} is {row.difference:+.3f} ({row.interval}), the paper: {row.paper}: {row.verdict}"
        for row in order.itertuples()
        if row.verdict != "holds"
    ]
    exhibit.notes += [f"{zoo}: the paper's order holds in {_share(part)}." for zoo, part in order.groupby("zoo", sort=False)]
    return exhibit


def _share(part: pd.DataFrame) -> str:
    return f"{(part['verdict'] == 'holds').sum()} of {len(part)} comparisons, each by its own 95 % interval"


def all_r2(study: Study, name: str) -> Exhibit:
    """Table 5: R2 and its spread over the fold models, and the order of the estimators."""
    exhibit = _grid(study, name, study.zoos("cnn"), MAIN, ESTIMATORS, "R² with the spread of the fold models")
    exhibit.tables["estimators"] = table = _estimators(study, study.zoos("cnn"))
    for (higher, lower), part in table.groupby(["higher", "lower"], sort=False):
        above, below = (part["verdict"] == "holds").sum(), (part["verdict"] == "does not hold").sum()
        exhibit.notes.append(
            f"{higher} is above {lower} in {above} of {len(part)} cells, below in {below}; in the others no difference is shown "
            "(each by its own 95 % interval)."
        )
    return exhibit


def all_mse(study: Study, name: str) -> Exhibit:
    """Table 6: mean squared errors of the same fits."""
    title = "mean squared error in thousandths with the spread of the fold models"
    return _grid(study, name, study.zoos("cnn"), MAIN, ESTIMATORS, title, "mse")


def more_r2(study: Study, name: str) -> Exhibit:
    """Table 7: as Table 5, of norms, parts of the statistics, and the learning rate; and each hyperparameter alone."""
    exhibit = _grid(study, name, study.zoos("cnn"), MORE, ESTIMATORS, "R² with the spread of the fold models, further inputs")
    exhibit.tables["alone"] = table = _alone(study, study.zoos("cnn"))
    for zoo, part in table.groupby("zoo", sort=False):
        best = part.loc[part["r2"].idxmax()]
        exhibit.notes.append(
            f"{zoo}: of single hyperparameters {best['hyperparameter']} tells most (R² {best['r2']:.3f}, {best['95 %']}), the "
            f"others up to {part['r2'].drop(best.name).max():.3f}; the paper: all about as badly as the learning rate."
        )
    return exhibit


def more_mse(study: Study, name: str) -> Exhibit:
    """Table 8: as Table 6, of the inputs of Table 7."""
    title = "mean squared error in thousandths with the spread of the fold models, further inputs"
    return _grid(study, name, study.zoos("cnn"), MORE, ESTIMATORS, title, "mse")


def _grid(
    study: Study,
    name: str,
    zoos: Sequence[str],
    inputs: Sequence[str],
    estimators: Sequence[str],
    title: str,
    measure: str = "r2",
) -> Exhibit:
    """One row a zoo, estimator and input; one picture a zoo; released figures beside ours where the zoo is one of theirs."""
    rows = []
    for zoo in zoos:
        for estimator in estimators:
            for features in sorted(inputs, key=lambda f: f != "hyper"):  # the floor first: the others stand beside it
                fit = study.fit(zoo, estimator, features)
                rows.append(_row(study, zoo, estimator, features, fit, measure))
    order = {features: i for i, features in enumerate(INPUTS)}
    table = pd.DataFrame(rows)
    table["at"] = table["features"].map(order)
    table = table.sort_values(["zoo", "estimator", "at"], ignore_index=True, kind="stable").drop(columns="at")
    data = ", ".join(dict.fromkeys(f"{zoo} ({study.data(zoo)}, {len(study.zoo(zoo).networks)} networks)" for zoo in zoos))
    exhibit = Exhibit(name, f"{title}; {data}", {name: table})
    figure, axes = new_axes(
        len(zoos), width=2.2 + 1.0 * len(estimators), height=1.2 + 0.3 * len(inputs), most=6 // len(estimators)
    )
    for ax, zoo in zip(axes, zoos, strict=True):
        part = table[table["zoo"] == zoo].pivot_table(index="features", columns="estimator", values=measure, dropna=False)
        part = part.reindex(index=[f for f in INPUTS if f in inputs], columns=[NAMES[e] for e in estimators])
        part.index = [INPUTS[f] for f in part.index]
        high = 1.0 if measure == "r2" or table[measure].isna().all() else float(table[measure].max())
        heat_table(part.astype(float), ax, zoo, high=high, form=".3f" if measure == "r2" else ".2f")
    exhibit.figures[name] = figure
    measured, missing = int(table[measure].notna().sum()), int(table[measure].isna().sum())
    budget = ", ".join(f"{NAMES[e]} {study.configurations(e)}" for e in estimators)
    exhibit.notes.append(
        f"Test part, scored once by the best of a random search (configurations: {budget}; {study.config['folds']} folds by "
        f"network); {measured} fits. Every row stands beside the floor of the GBM on all hyperparameters, searched as widely."
    )
    if missing:
        reasons = table.loc[table[measure].isna(), ["zoo", "features", "estimator", "why"]]
        words = [f"{why}: {len(part)}" for why, part in reasons.groupby("why", sort=False)]
        everything = " ".join(f"inputs.{e}=[all]" for e in estimators)
        exhibit.notes.append(f"{missing} cells are empty ({'; '.join(words)}); {everything} fit=true measures what there is.")
    else:
        exhibit.tables[name] = table.drop(columns="why")
    if "released" in table:
        exhibit.notes.append(f"released: {SOURCE}; ours have fewer networks, so the two are not the same measurement.")
    return exhibit


def _row(study: Study, zoo: str, estimator: str, features: str, fit: StudyRun | None, measure: str) -> dict[str, object]:
    metrics = {} if fit is None else fit.metrics
    scale = 1.0 if measure == "r2" else 1000.0
    row: dict[str, object] = {
        "zoo": zoo,
        "data": study.data(zoo),
        "estimator": NAMES[estimator],
        "features": features,
        "input": INPUTS[features],
        measure: scale * metrics.get(measure, np.nan),
        "fold_sd": scale * metrics.get(f"{measure}_fold_sd", np.nan),
        "why": "" if fit else study.why_not(zoo, features),
    }
    if measure == "mse":
        variance = np.nan if fit is None else float(np.var(fit.test["true"]))
        row["hyper"] = scale * variance * (1 - metrics.get("r2_hyper", np.nan))
    if measure == "r2":
        low, high = metrics.get("r2_low", np.nan), metrics.get("r2_high", np.nan)
        row |= {
            "95 %": f"{low:.3f} to {high:.3f}" if fit else study.why_not(zoo, features),
            "tau": metrics.get("tau", np.nan),
            "tau_ceiling": metrics.get("tau_ceiling", np.nan),
            "r2_trained": metrics.get("r2_trained", np.nan),
            "r2_beyond_hyper": metrics.get("r2_beyond_hyper", np.nan),
            "r2 - hyper": interval(metrics.get("r2_minus_hyper_low", np.nan), metrics.get("r2_minus_hyper_high", np.nan)),
        }
        released = released_r2(study.data(zoo), estimator, features)
        row["released"] = np.nan if released is None else released
    return row


def _summary(table: pd.DataFrame, zoos: Sequence[str]) -> pd.DataFrame:
    """R2 of each input by zoo, released figures beside ours; inputs that were not measured anywhere are left out."""
    ours = table.pivot_table(index="features", columns="zoo", values="r2", dropna=False).reindex(columns=list(zoos))
    released = table.pivot_table(index="features", columns="zoo", values="released", dropna=False).reindex(columns=list(zoos))
    both = ours.join(released.dropna(axis=1, how="all").add_suffix(", released")).dropna(how="all", subset=list(zoos))
    return both.reindex([f for f in INPUTS if f in both.index]).reset_index()


def _floors(study: Study, zoos: Sequence[str]) -> pd.DataFrame:
    rows = []
    for zoo in zoos:
        fits = [fit for features in study.inputs("gbm") if (fit := study.fit(zoo, "gbm", features)) is not None]
        if fits:
            m = fits[0].metrics
            rows.append(
                {
                    "zoo": zoo,
                    "n_train": m["n_train"],
                    "n_test": m["n_test"],
                    "constant r2": m.get("r2_constant"),
                    "all hyperparameters (GBM) r2": m.get("r2_hyper"),
                    "all hyperparameters (GBM) tau": m.get("tau_hyper"),
                    "tau_ceiling": m.get("tau_ceiling"),
                    "tau ties alone": m.get("tau_ties"),
                }
            )
    return pd.DataFrame(rows)


def _order(study: Study, zoos: Sequence[str]) -> pd.DataFrame:
    """The paper's order of inputs: paired differences of R2 on the same test networks, with 95 % intervals."""
    rows = []
    for zoo in zoos:
        for pair in (*ORDER, *EQUAL):
            fits = [study.fit(zoo, "gbm", features) for features in pair]
            words = "about alike" if pair in EQUAL else "higher"
            rows += _compared({"zoo": zoo, "higher": pair[0], "lower": pair[1], "paper": words}, *fits)
    columns = ["zoo", "higher", "lower", "paper", "difference", "interval", "verdict"]
    return without_ends(pd.DataFrame(rows)).reindex(columns=columns)


def _compared(row: dict[str, object], one: StudyRun | None, other: StudyRun | None) -> list[dict[str, object]]:
    """A row of a pair of fits on one test part, and whether what the paper says of them holds; none where one is missing."""
    if one is None or other is None:
        return []
    spans = gain([(one.test, other.test)], "r2", "interval")
    shown = {"difference": one.metrics["r2"] - other.metrics["r2"], **spans}
    text, ends = str(row["paper"]), (spans["interval_low"], spans["interval_high"])
    said = Claim.alike(text, *ends, ALIKE, shown) if text == "about alike" else Claim(text, *ends, shown=shown)
    return [said.row(**row)]


def _estimators(study: Study, zoos: Sequence[str]) -> pd.DataFrame:
    """The paper's order of estimators on each input: GBM, DNN, logit-linear."""
    rows = []
    for zoo in zoos:
        for features in MAIN:
            for higher, lower in (("gbm", "dnn"), ("dnn", "logit_linear")):
                pair: dict[str, object] = {"higher": NAMES[higher], "lower": NAMES[lower], "paper": "higher"}
                fits = (study.fit(zoo, estimator, features) for estimator in (higher, lower))
                rows += _compared(pair | {"zoo": zoo, "features": features}, *fits)
    columns = ["zoo", "features", "higher", "lower", "difference", "interval", "verdict"]
    return without_ends(pd.DataFrame(rows)).reindex(columns=columns)


def _alone(study: Study, zoos: Sequence[str]) -> pd.DataFrame:
    """R2 of the GBM on each hyperparameter that varies, alone; where the budget holds the learning rate, so all of them."""
    rows = []
    for zoo in zoos if "hyper:learning_rate" in study.inputs("gbm") else ():
        frame = study.zoo(zoo).view().frame
        for column in (c for c in frame if c.startswith("hp.") and frame[c].nunique() > 1):
            features = f"hyper:{column.removeprefix('hp.')}"
            with suppress(NotFittedError):
                metrics = study.searched(zoo, "gbm", features).metrics
                span = f"{metrics['r2_low']:.3f} to {metrics['r2_high']:.3f}"
                row = {"zoo": zoo, "hyperparameter": features.removeprefix("hyper:"), "r2": metrics["r2"]}
                rows.append(row | {"95 %": span, "tau": metrics["tau"]})
    return pd.DataFrame(rows, columns=["zoo", "hyperparameter", "r2", "95 %", "tau"])
