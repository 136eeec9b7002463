"""Questions that the paper leaves open: do weights say more than the recipe, how early, and with how many networks?"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from metanet.errors import MetanetError
from metanet.evaluation.differences import SINGLE, answers_of, paired_interval
from metanet.evaluation.metrics import r2, tau, tau_ceiling, trained
from metanet.models import MetaModel, create_model
from metanet.plots.curves import curves
from metanet.plots.style import new_axes
from metanet.reproduce.study import Exhibit, Study, interval
from metanet.zoo.split import split_networks
from metanet.zoo.view import View

PAPER_NETWORKS = 15_000  # that the paper trains on
SUBSETS = 3  # draws of training networks for each size of the learning curve


# ------------------------------------------------------------------------------- many seeds of one configuration


def within_configurations(study: Study, name: str) -> Exhibit:
    """Kendall's tau among networks of one configuration that differ only in their seed.

    All hyperparameters are equal there, so every predictor from hyperparameters alone scores zero: what is above zero is
    what weights say beyond the recipe. Configurations, not networks, are split and resampled.
    """
    rows, notes = [], []
    figure, axes = new_axes(len(study.zoos("seeds")), width=4.6)
    for ax, zoo in zip(axes, study.zoos("seeds"), strict=True):
        view = study.zoo(zoo).view()
        configuration = view.frame["configuration"].astype(str).to_numpy()
        split = split_networks(configuration.tolist(), test=0.5, validation=0.2, seed=study.seed)
        parts = [view.take(np.flatnonzero(np.isin(configuration, ids))) for ids in (split.train, split.validation, split.test)]
        train, validation, test = parts
        own = create_model("gbm", features="stats", seed=study.seed, threads=study.threads)
        models: dict[str, MetaModel] = {f"half of the configurations of {zoo}": own.fit(train, validation=validation)}
        for other in study.zoos("cnn"):
            if study.data(other) != study.data(zoo):
                continue
            if study.zoo(other).header.get("seed") == study.zoo(zoo).header.get("seed"):
                notes.append(f"{other} was drawn from the same seed as {zoo} and shares its configurations: left out.")
            else:
                models[other] = study.searched(other, "gbm", "stats").model(study.threads)
        for trained_on, model in models.items():
            row, taus = _within(test, model.predict(test))
            rows.append({"zoo": zoo, "trained_on": trained_on, **row})
            ax.hist(taus, bins=np.linspace(-1, 1, 21).tolist(), alpha=0.6, label=f"{trained_on}: mean {row['tau within']:.2f}")
            better = "do" if row["low"] > 0 else "do not show that they"
            notes.append(
                f"{zoo}, trained on {trained_on}: weights {better} say more than the recipe: tau within a configuration "
                f"{row['tau within']:.3f} ({row['95 %']}), of at most {row['ceiling']:.3f} that a second measurement would reach."
            )
        ax.axvline(0, color="black", linewidth=0.8, linestyle=":")
        ax.set(xlabel="Kendall's τ within a configuration", ylabel="configurations", title=zoo)
        ax.figure.legend(loc="outside lower center", frameon=False, fontsize=7)
    notes.append(
        "Only configurations whose mean accuracy is above chance are counted; hyperparameters alone score 0 in all of them."
    )
    table = pd.DataFrame(rows).drop(columns="low")
    return Exhibit(name, f"seeds of one configuration; {', '.join(study.zoos('seeds'))}", {name: table}, {name: figure}, notes)


def _within(view: View, predicted: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Scores within the configurations of a view that learned something, and tau of each."""
    frame, data = view.frame, view.zoo.data
    true, configuration = frame["test_accuracy"].to_numpy(), frame["configuration"].to_numpy()
    taus, ceilings, true_parts, predicted_parts, groups = [], [], [], [], []
    for one in np.unique(configuration):
        rows = np.flatnonzero(configuration == one)
        if len(rows) < 3 or not trained(true[rows].mean()[None], data["chance"], data["n_test"] * len(rows))[0]:
            continue
        value = tau(true[rows], predicted[rows])
        if np.isfinite(value):
            taus.append(value)
            ceilings.append(tau_ceiling(true[rows], data["n_test"]))
            true_parts.append(true[rows] - true[rows].mean())
            predicted_parts.append(predicted[rows] - predicted[rows].mean())
            groups.append(np.full(len(rows), one))
    if not taus:
        raise MetanetError(f"no configuration of {view.zoo.name} has three networks above chance whose accuracies differ")
    values = np.array(taus)
    low, high = ttest_1samp(values, 0).confidence_interval() if len(values) > 1 else (np.nan, np.nan)
    deviation, estimate = np.concatenate(true_parts), np.concatenate(predicted_parts)
    return {
        "configurations": len(values),
        "networks": len(deviation),
        "tau within": float(values.mean()),
        "95 %": interval(low, high),
        "low": low,
        "above zero": float((values > 0).mean()),
        "ceiling": float(np.mean(ceilings)),
        "tau overall": tau(true, predicted),
        "r2 overall": r2(true, predicted),
        "r2 of deviations": r2(deviation, estimate),
        "sd within": float(deviation.std()),
        "sd overall": float(true.std()),
    }, values


# ------------------------------------------------------------------------------- from early to late

EARLY = {
    "weights": "stats",
    "accuracy so far": "metrics:test_accuracy",
    "accuracy so far, hyperparameters": "metrics:test_accuracy+hyper",
    "hyperparameters": "hyper",
    "weights, accuracy so far, hyperparameters": "stats+metrics:test_accuracy+hyper",
}
FLOOR = "accuracy so far, hyperparameters"


def early_prediction(study: Study, name: str) -> Exhibit:
    """The final accuracy from the snapshot of an early epoch: weights beside the accuracy so far and the hyperparameters."""
    zoos = study.zoos("cnn")
    rows, notes = [], []
    figure, axes = new_axes(len(zoos), width=3.6, height=3.4)
    for ax, zoo in zip(axes, zoos, strict=True):
        epochs = sorted(study.zoo(zoo).snapshots["epoch"].unique().tolist())[:-1]
        if not epochs:
            raise MetanetError(
                f"early needs snapshots before the last epoch, and {zoo} has none; grow it with recipe.snapshots=[1,3]"
            )
        for epoch in epochs:
            fits = {}
            for label, features in EARLY.items():
                overrides = {"view.epoch": str(epoch), "target": "final_test_accuracy"}
                fits[label] = study.plain(zoo, "gbm", features, f"early-{epoch}-{features}", overrides)
            floor = fits[FLOOR].test
            for label, fit in fits.items():
                low, high, _ = paired_interval([(answers_of(fit.test), answers_of(floor))], "r2")
                rows.append(
                    {
                        "zoo": zoo,
                        "epoch": epoch,
                        "reads": label,
                        "access": fit.metrics["access"],
                        "r2": fit.metrics["r2"],
                        "tau": fit.metrics["tau"],
                        "r2 - (accuracy so far, hyperparameters)": interval(low, high),
                        "low": low,
                        "high": high,
                    }
                )
        part = pd.DataFrame([row for row in rows if row["zoo"] == zoo])
        curves(part, ax, x="epoch", y="r2", by="reads", title=zoo, legend=zoo == zoos[-1])
        notes.append(_early_words(zoo, part, epochs))
    table = pd.DataFrame(rows).drop(columns=["low", "high"])
    title = f"final accuracy from an early snapshot, GBM with its defaults; {', '.join(zoos)}"
    return Exhibit(name, title, {name: table}, {name: figure}, notes)


def _early_words(zoo: str, part: pd.DataFrame, epochs: list[int]) -> str:
    weights = part[part["reads"] == "weights"].set_index("epoch")
    joint = part[part["reads"] == "weights, accuracy so far, hyperparameters"].set_index("epoch")
    ahead = [str(e) for e in epochs if weights.loc[e, "low"] > 0]
    behind = [str(e) for e in epochs if weights.loc[e, "high"] < 0]
    gain = [str(e) for e in epochs if joint.loc[e, "low"] > 0]

    def listed(found: list[str]) -> str:
        return f"at epochs {', '.join(found)}" if found else "at no epoch"

    return (
        f"{zoo}: weights alone are ahead of accuracy so far with hyperparameters {listed(ahead)}, behind {listed(behind)}; "
        f"weights added to these two help {listed(gain)} (95 % intervals{SINGLE})."
    )


# ------------------------------------------------------------------------------- with how many networks


def learning_curve(study: Study, name: str) -> Exhibit:
    """R2 and tau by the number of training networks, and where a power law would end at the paper's number."""
    zoos = study.zoos("cnn")
    rows, notes = [], []
    figure, axes = new_axes(len(zoos), width=3.6, height=3.4)
    for ax, zoo in zip(axes, zoos, strict=True):
        for features in ("stats", "hyper"):
            fit = study.searched(zoo, "gbm", features)
            view = study.zoo(zoo).view()
            pool = view.part(fit.split, "train", "validation")
            test = view.part(fit.split, "test")
            settings = json.loads((fit.folder / "model" / "model.json").read_text())["settings"]
            settings = {k: v for k, v in settings.items() if k not in ("features", "seed")}
            for count in _sizes(len(pool)):
                for draw in range(SUBSETS if count < len(pool) else 1):
                    order = np.random.default_rng([study.seed, draw]).permutation(len(pool))
                    model = create_model("gbm", features=features, seed=study.seed, threads=study.threads, **settings)
                    predicted = model.fit(pool.take(np.sort(order[:count]))).predict(test)
                    true = test.target("test_accuracy")
                    rows.append(
                        {
                            "zoo": zoo,
                            "reads": features,
                            "networks": count,
                            "draw": draw,
                            "r2": r2(true, predicted),
                            "tau": tau(true, predicted),
                        }
                    )
        part = pd.DataFrame([row for row in rows if row["zoo"] == zoo])
        curves(part, ax, x="networks", y="r2", by="reads", title=zoo, log=True)
        for features, own in part.groupby("reads"):
            mean = own.groupby("networks")["r2"].mean()
            notes.append(f"{zoo}, {features}: {_extrapolated(mean)}")
    title = f"learning curve of the GBM, settings as found on the whole training part; {', '.join(zoos)}"
    return Exhibit(name, title, {name: pd.DataFrame(rows)}, {name: figure}, notes)


def _sizes(most: int) -> list[int]:
    sizes = [most]
    while sizes[-1] // 2 >= 30:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]


def _extrapolated(mean: pd.Series) -> str:
    """Where 1 - R2 goes if the power law of the largest sizes (at most four) held."""
    upper = mean[mean < 1].tail(4)
    words = f"R² {mean.iloc[-1]:.3f} with {mean.index[-1]:,} networks"
    if len(upper) < 3:
        return words + "; too few sizes for a slope."
    slope, start = np.polyfit(np.log(upper.index.to_numpy(float)), np.log(1 - upper.to_numpy()), 1)
    end = 1 - np.exp(start + slope * np.log(PAPER_NETWORKS))
    return (
        f"{words}; 1 - R² falls as n^{slope:.2f}, which would give {end:.3f} with the paper's {PAPER_NETWORKS:,} networks "
        "(an extrapolation, not a measurement)."
    )
