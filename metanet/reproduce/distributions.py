"""What zoos look like: Figures 2 and 3 of Unterthiner et al. 2020."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from metanet.evaluation.intervals import score_interval
from metanet.evaluation.resampling import score_of
from metanet.metrics import trained
from metanet.plots.style import new_grid
from metanet.plots.zoo import accuracy_histogram, bias_range_scatter, bias_ranges, train_against_test
from metanet.reproduce.study import Exhibit, Study
from metanet.runs.records import Answers
from metanet.zoo.header import DataFacts

BIAS_RULE = 0.1  # the paper's bound on the largest bias of the last layer (section 4.5)


def accuracies(study: Study, name: str) -> Exhibit:
    """Figure 2: distribution of test accuracy, and train against test accuracy."""
    zoos = study.zoos("cnn")
    figure, axes = new_grid(2, len(zoos), width=3.0, height=2.6)
    rows = []
    for column, zoo in enumerate(zoos):
        view = study.zoo(zoo).view()
        frame, data = view.frame, view.zoo.data
        accuracy_histogram(frame, axes[0][column], data.chance)
        axes[0][column].set_title(f"{zoo}\n{len(frame)} networks")
        train_against_test(frame, axes[1][column])
        works = above_chance(frame, data)
        gap = frame["train_accuracy"] - frame["test_accuracy"]
        rows.append(
            {
                "zoo": zoo,
                "networks": len(frame),
                "mean": frame["test_accuracy"].mean(),
                "best": frame["test_accuracy"].max(),
                "at chance": np.nan if works is None else float(np.mean(~works)),
                "train - test": np.nan if works is None else gap[works].mean(),
                "train - test, largest": gap.max(),
            }
        )
    note = "The gap between train and test accuracy is that of networks above chance; the paper sees none."
    return Exhibit(name, f"test and train accuracies; {', '.join(zoos)}", {name: pd.DataFrame(rows)}, {name: figure}, [note])


def bias_range_figure(study: Study, name: str) -> Exhibit:
    """Figure 3: ranges of the first and last layer's biases by optimizer, a zoom, and the rule of the largest last bias."""
    zoos = study.zoos("cnn")
    rows, figures, unknown = [], {}, []
    for zoo in zoos:
        view = study.zoo(zoo).view()
        ranges = bias_ranges(view)
        if "optimizer" not in ranges:
            continue
        sgd, best = ranges["optimizer"] == "sgd", float(ranges["test_accuracy"].max())
        figure, axes = new_grid(2, 2, width=3.6, height=2.9)
        for column, (part, title) in enumerate(((ranges[~sgd], "Adam, RMSprop"), (ranges[sgd], "SGD"))):
            if part.empty:
                axes[0][column].set_title(f"{zoo}: no network of {title}")
                continue
            bias_range_scatter(part, axes[0][column], best).set_title(f"{zoo}: {title}")
            bias_range_scatter(part, axes[1][column], best).set_title("upper right corner")
            for which, axis in (("first", "x"), ("last", "y")):
                low = float(part[which].quantile(0.5))
                high = max(float(part[which].max()), low + 1e-6)
                getattr(axes[1][column], f"set_{axis}scale")("linear")
                getattr(axes[1][column], f"set_{axis}lim")(low, high)
        figures[f"{name}_{zoo}"] = figure
        works = above_chance(ranges, view.zoo.data)
        if works is None:
            unknown.append(zoo)
        elif not sgd.all():
            rows.append(_bias_rule(zoo, ranges[~sgd], works[~sgd.to_numpy()]))
    notes = [
        f"The paper's rule, on networks of Adam and RMSprop: the largest bias of the last layer is below {BIAS_RULE} for those "
        "near chance and above for the rest. Few are near chance, so the rule is judged by its balanced accuracy: the mean of "
        "the shares that are right among those near chance and among the rest (a guess: .5). best bound is the one that parts "
        "them best here by that measure."
    ]
    notes += [_rule_words(row) for row in rows]
    notes += [
        f"{zoo}: it does not say on how many images accuracies were measured, so the rule is not counted there."
        for zoo in unknown
    ]
    return Exhibit(name, f"bias ranges; {', '.join(zoos)}", {name: pd.DataFrame(rows)}, figures, notes)


def above_chance(frame: pd.DataFrame, data: DataFacts) -> np.ndarray | None:
    """Which networks learned something, (N,); None where a zoo does not say what chance is or how many images it tests on."""
    if data.chance is None or data.n_test is None:
        return None
    return trained(frame["test_accuracy"].to_numpy(), data.chance, data.n_test)


def _bias_rule(zoo: str, ranges: pd.DataFrame, works: np.ndarray) -> dict[str, Any]:
    largest = ranges["last_max"].to_numpy()
    bounds = np.unique(np.concatenate([[BIAS_RULE], np.quantile(largest, np.linspace(0, 1, 201))]))
    balanced = np.array([_balanced(works, largest > bound) for bound in bounds])
    told = Answers(np.arange(len(works)), works.astype(str), (largest > BIAS_RULE).astype(str))
    low, high = score_interval([told], "balanced_accuracy")
    both = works.any() and not works.all()
    return {
        "zoo": zoo,
        "networks": len(ranges),
        "near chance": int((~works).sum()),
        "balanced accuracy": score_of(told, "balanced_accuracy") if both else np.nan,
        "low": low if both else np.nan,
        "high": high if both else np.nan,
        "right": float(np.mean((largest > BIAS_RULE) == works)),
        "right if always above": float(works.mean()),
        "near chance and below": float(np.mean(largest[~works] <= BIAS_RULE)) if (~works).any() else np.nan,
        "above chance and above": float(np.mean(largest[works] > BIAS_RULE)) if works.any() else np.nan,
        "best bound": float(bounds[balanced.argmax()]) if both else np.nan,
        "balanced with it": float(balanced.max()) if both else np.nan,
    }


def _balanced(works: np.ndarray, said: np.ndarray) -> float:
    """Mean of the shares that are right among networks above chance and among the others."""
    return float(np.mean([np.mean(said[works == value] == value) for value in (False, True) if (works == value).any()]))


def _rule_words(row: dict[str, Any]) -> str:
    if np.isnan(row["balanced accuracy"]):
        return f"{row['zoo']}: all {row['networks']} networks are on one side of chance, so there is nothing to part."
    return (
        f"{row['zoo']}: balanced accuracy {row['balanced accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f}): "
        f"{row['near chance and below']:.1%} of the {row['near chance']} networks near chance are below the bound, "
        f"{row['above chance and above']:.1%} of the others above it. Right in all for {row['right']:.1%} of {row['networks']}, "
        f"where 'above chance' said of every one is right for {row['right if always above']:.1%}."
    )
