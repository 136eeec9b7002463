"""Questions that the paper leaves open: do weights say more than the recipe, how early, and with how many networks?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from metanet.errors import MetanetError
from metanet.evaluation.differences import SINGLE
from metanet.metrics import r2, tau, tau_ceiling, trained
from metanet.models import MetaModel, create_model
from metanet.plots.curves import curves, line_styles, shared_legend, spanned_curves
from metanet.plots.style import new_axes, new_grid
from metanet.reproduce.contenders import BASELINE, FLOOR, Contender, contenders, nth_split, predictions
from metanet.reproduce.scores import floor_answers, gain, interval, mean_score, without_ends
from metanet.reproduce.study import Exhibit, Study
from metanet.zoo.zoo import View

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
        split = view.draw_split(test=0.5, validation=0.2, seed=study.seed)
        train, validation, test = (view.part(split, part) for part in ("train", "validation", "test"))
        own = create_model("gbm", features="stats", seed=study.seed, threads=study.threads)
        models: dict[str, tuple[MetaModel, View]] = {
            f"half of the configurations of {zoo}": (own.fit(train, validation=validation), test)
        }
        for other in study.zoos("cnn"):
            if study.data(other) != study.data(zoo):
                continue
            fit = study.searched(other, "gbm", "stats")
            rest, note = study.tested(fit, test)
            if rest is not None:
                models[other] = fit.model(study.threads), rest
            notes += [f"{zoo}, trained on {other}: {note}"] if note else []
        for trained_on, (model, tested) in models.items():
            row, taus = _within(tested, model.predict(tested))
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
    frame, chance, n_test = view.frame, view.zoo.data.chance, view.zoo.data.n_test
    if chance is None or n_test is None:
        raise MetanetError(
            f"{view.zoo.name} does not say what chance is or how many images it tests on; grow it, or import it again"
        )
    true, configuration = frame["test_accuracy"].to_numpy(), frame["configuration"].to_numpy()
    taus, ceilings, true_parts, predicted_parts, groups = [], [], [], [], []
    for one in np.unique(configuration):
        rows = np.flatnonzero(configuration == one)
        if len(rows) < 3 or not trained(true[rows].mean()[None], chance, n_test * len(rows))[0]:
            continue
        value = tau(true[rows], predicted[rows])
        if np.isfinite(value):
            taus.append(value)
            ceilings.append(tau_ceiling(true[rows], n_test))
            true_parts.append(true[rows] - true[rows].mean())
            predicted_parts.append(predicted[rows] - predicted[rows].mean())
            groups.append(np.full(len(rows), one))
    if not taus:
        raise MetanetError(f"no configuration of {view.zoo.name} has three networks above chance whose accuracies differ")
    values = np.array(taus)
    low, high = ttest_1samp(values, 0).confidence_interval() if np.ptp(values) > 0 else (np.nan, np.nan)
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

EARLY = {"weights": "stats", "weights, accuracy so far, hyperparameters": "stats+metrics:test_accuracy+hyper"}
# What needs no weights: the floors of those fits.
EARLY_FLOORS = {
    "accuracy so far": "so_far",
    "accuracy so far, hyperparameters": "so_far_hyper",
    "hyperparameters": "hyper",
}
SO_FAR = "accuracy so far, hyperparameters"
LOW, HIGH = (f"r2 - ({SO_FAR})_{end}" for end in ("low", "high"))


def early_prediction(study: Study, name: str) -> Exhibit:
    """The final accuracy from the snapshot of an early epoch: weights beside the accuracy so far and the hyperparameters.

    Raises:
        MetanetError: the zoo has no snapshot before the last.
    """
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
            for label, (test, access) in _early_answers(study, zoo, epoch).items():
                row = {"zoo": zoo, "epoch": epoch, "reads": label, "access": access}
                for measure, of in (("r2", r2), ("tau", tau)):
                    row[measure] = of(test["true"].to_numpy(), test["predicted"].to_numpy())
                beside = floor_answers(test, "so_far_hyper")
                rows.append(row | gain([] if beside is None else [(test, beside)], "r2", f"r2 - ({SO_FAR})"))
        part = pd.DataFrame([row for row in rows if row["zoo"] == zoo])
        curves(part, ax, x="epoch", y="r2", by="reads", title=zoo, legend=zoo == zoos[-1])
        notes.append(_early_words(zoo, part, epochs))
    table = without_ends(pd.DataFrame(rows))
    title = f"final accuracy from an early snapshot, GBM with its defaults; {', '.join(zoos)}"
    return Exhibit(name, title, {name: table}, {name: figure}, notes)


def _early_answers(study: Study, zoo: str, epoch: int) -> dict[str, tuple[pd.DataFrame, str]]:
    """Answers and access of the fits and of their floors, by what they read."""
    found = {}
    for label, features in EARLY.items():
        overrides = {"view.epoch": str(epoch), "target": "final_test_accuracy"}
        fit = study.plain(zoo, "gbm", features, f"early-{epoch}-{features}", overrides)
        found[label] = fit.test, str(fit.metrics["access"])
    test, _ = found["weights"]
    for label, floor in EARLY_FLOORS.items():
        if (beside := floor_answers(test, floor)) is not None:
            found[label] = beside, {"so_far": "D", "so_far_hyper": "D+H", "hyper": "H"}[floor]
    return found


def _early_words(zoo: str, part: pd.DataFrame, epochs: list[int]) -> str:
    weights = part[part["reads"] == "weights"].set_index("epoch")
    joint = part[part["reads"] == "weights, accuracy so far, hyperparameters"].set_index("epoch")
    ahead = [str(e) for e in epochs if weights.loc[e, LOW] > 0]
    behind = [str(e) for e in epochs if weights.loc[e, HIGH] < 0]
    gain = [str(e) for e in epochs if joint.loc[e, LOW] > 0]

    def listed(found: list[str]) -> str:
        return f"at epochs {', '.join(found)}" if found else "at no epoch"

    return (
        f"{zoo}: weights alone are ahead of accuracy so far with hyperparameters {listed(ahead)}, behind {listed(behind)}; "
        f"weights added to these two help {listed(gain)} (95 % intervals{SINGLE})."
    )


# ------------------------------------------------------------------------------- with how many networks


def learning_curve(study: Study, name: str) -> Exhibit:
    """R2 and tau by the number of training networks, measured: a fifth of them for validation, the test part always the same.

    Raises:
        MetanetError: nothing was fitted.
    """
    zoos, models = study.zoos("cnn"), contenders(study, "curve")
    rows, notes = [], []
    for zoo in zoos:
        view = study.zoo(zoo).view()
        split = nth_split(study, view)
        pool, test = view.part(split, "train", "validation"), view.part(split, "test")
        for count in sizes(study, len(pool)):
            found = {one.title: _subsets(study, zoo, one, pool, test, count) for one in models}
            for title, tables in found.items():
                rows += [{"zoo": zoo, "model": title, "networks": count} | _on_curve(tables, found)] if tables else []
        own = pd.DataFrame([row for row in rows if row["zoo"] == zoo])
        notes += [_overtaking(zoo, part) for _, part in (own.groupby("model", sort=False) if len(own) else ())]
    if not rows:
        raise MetanetError("no learning curve was fitted yet; give fit=true")
    table = pd.DataFrame(rows)
    figure, axes = new_grid(2, table["zoo"].nunique(), width=3.8, height=3.2)
    styles = line_styles(table["model"])
    for column, (zoo, part) in enumerate(table.groupby("zoo", sort=False)):
        for row, measure in enumerate(("r2", "tau")):
            spanned_curves(part, axes[row][column], measure, str(zoo), styles)
    shared_legend(figure, styles)
    drawn = (
        f"Every model with its defaults, on as many as {study.config['curve']['draws']} subsets of a size that share no network; "
        "intervals are over test networks, which are the same for all sizes."
    )
    title = f"learning curves, measured; {', '.join(zoos)}"
    return Exhibit(name, title, {name: without_ends(table)}, {name: figure}, [drawn, *(note for note in notes if note)])


def sizes(study: Study, most: int) -> list[int]:
    """Numbers of training networks: those of ``curve.sizes`` that there are, and all."""
    return [*sorted({int(size) for size in study.config["curve"]["sizes"] if size < most}), most]


def _subsets(study: Study, zoo: str, one: Contender, pool: View, test: View, count: int) -> list[pd.DataFrame]:
    """Answers of a model fitted on disjoint subsets of ``count`` networks of ``pool``, as many as there may be."""
    tables = []
    for draw, chosen in enumerate(subsets(len(pool), count, study.config["curve"]["draws"], study.config["split"]["seed"])):
        name = f"{one.title}-{count}-draw{draw}"
        frame = predictions(study, zoo, name, partial(_fitted, study, one, draw, pool.take(chosen)), test)
        tables += [] if frame is None or frame.empty else [frame]
    return tables


def subsets(total: int, count: int, most: int, seed: int) -> list[np.ndarray]:
    """At most so many disjoint subsets of ``count`` positions of ``total``, each sorted."""
    order = np.random.default_rng(seed).permutation(total)
    return [np.sort(order[draw * count : (draw + 1) * count]) for draw in range(min(most, total // count))]


def _fitted(study: Study, one: Contender, seed: int, view: View) -> MetaModel:
    return one.create(study, seed).fit(view)


def _on_curve(tables: list[pd.DataFrame], others: Mapping[str, list[pd.DataFrame]]) -> dict[str, Any]:
    """Mean scores of one point of a curve, and how far they are above statistics and hyperparameters on the same subsets."""
    row: dict[str, Any] = {"subsets": len(tables)}
    for measure in ("r2", "tau"):
        mean, low, high = mean_score(tables, measure)
        row |= {measure: mean, f"{measure}, 95 %": f"{low:.3f} to {high:.3f}", f"{measure}_low": low, f"{measure}_high": high}
    for title in (BASELINE, FLOOR):
        beside = others.get(title, [])
        pairs = [] if tables is beside else list(zip(tables, beside, strict=False))
        for measure in ("r2", "tau"):
            row |= gain(pairs, measure, f"{measure} - {title}")
    return row


def _overtaking(zoo: str, part: pd.DataFrame) -> str:
    """From how many networks on a model is above the GBM on statistics, and above hyperparameters alone."""
    title = str(part["model"].iloc[0])
    if title in (BASELINE, FLOOR):
        return ""
    words = [_from_where(part, other) for other in (BASELINE, FLOOR) if part[f"r2 - {other}_low"].notna().any()]
    return f"{zoo}, {title} (R² {part['r2'].iloc[-1]:.3f} with {part['networks'].iloc[-1]:,} networks): {'; '.join(words)}."


def _from_where(part: pd.DataFrame, other: str) -> str:
    low, high, counts = (part[c].to_numpy() for c in (f"r2 - {other}_low", f"r2 - {other}_high", "networks"))
    above, below = counts[low > 0], counts[high < 0]
    settled = next((n for i, n in enumerate(counts) if (low[i:] > 0).all()), None)
    if settled is not None:
        return f"above {other} from {settled:,} networks on"
    said = [
        f"{word} at {', '.join(f'{n:,}' for n in found)}" for word, found in (("above", above), ("below", below)) if len(found)
    ]
    return f"not shown above {other} at the most networks" + (f" ({'; '.join(said)})" if said else "")
