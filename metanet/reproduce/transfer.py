"""From one zoo to another: Tables 3 and 4, Figures 4 and 6 of Unterthiner et al. 2020."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.evaluation.transfer import transfer_table
from metanet.metrics import tau
from metanet.models import MetaModel
from metanet.plots.style import new_axes
from metanet.plots.tables import heat_table
from metanet.plots.transfer import transfer_matrices, transfer_scatter, transfer_scatters
from metanet.reproduce.published import SMALLEST_TRANSFER_TAU
from metanet.reproduce.scores import gain, interval, mean_score
from metanet.reproduce.study import Exhibit, Study

INPUT = "stats"


def _scores(study: Study) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """All pairs of small-CNN zoos with the GBM on layer statistics, beside the GBM on hyperparameters alone; what is left out."""
    names = study.zoos("cnn")
    fits = {name: study.searched(name, "gbm", INPUT) for name in names}
    models = {name: fit.model(study.threads) for name, fit in fits.items()}
    views, floors, notes = {}, {}, []
    for a, b in itertools.product(names, names):
        view, note = study.tested(fits[a], study.zoo(b).view())
        if note and a != b:
            notes.append(f"{a} → {b}: {note}")
        if view is not None:
            views[a, b] = view
            if (floor := _floor(study, a, b)) is not None:
                floors[a, b] = floor
    return *transfer_table(models, floors, views), notes


def _floor(study: Study, source: str, other: str) -> MetaModel | None:
    """The GBM on the hyperparameters that two zoos have in common, searched on the first; None where they have none."""
    features = study.known_of(source, other)
    return None if features is None else study.searched(source, "gbm", features).model(study.threads)


def transfer_tau(study: Study, name: str) -> Exhibit:
    """Table 3: Kendall's tau of the GBM on layer statistics, trained on rows, applied unchanged to columns."""
    scores, _, left_out = _scores(study)
    zoos = study.zoos("cnn")
    figure = transfer_matrices(scores, zoos, zoos)
    across = scores[scores["trained_on"] != scores["tested_on"]]
    notes = [
        "A model's own zoo is scored on its test part, the others on all networks; nothing is adjusted to them. tau_hyper is the "
        "floor: the GBM on hyperparameters alone, searched as widely on the same networks and applied unchanged too.",
        *left_out,
    ]
    if len(across):
        least = across.loc[across["tau"].idxmin()]
        notes.append(
            f"smallest tau across zoos: {least.tau:.3f} ({least.trained_on} -> {least.tested_on}); the paper's is "
            f"{SMALLEST_TRANSFER_TAU} (SVHN-GS -> MNIST, four collections of 30,000). R² may be far below 0 where two image "
            "sets differ in their mean accuracy: the ranking transfers, the level does not."
        )
        notes += against_floor(across)
    return Exhibit(name, f"transfer of the GBM on layer statistics; {', '.join(zoos)}", {name: scores}, {name: figure}, notes)


def against_floor(across: pd.DataFrame) -> list[str]:
    """Where weights rank another zoo better than the recipe alone does, by each pair's own interval.

    Args:
        across: rows of :func:`metanet.evaluation.transfer.transfer_table`.
    """
    words = []
    low, high = across["tau_minus_hyper_low"], across["tau_minus_hyper_high"]
    for rows, verdict in (
        (across[low > 0], "weights rank better than hyperparameters alone"),
        (across[high < 0], "weights rank worse than hyperparameters alone"),
        (across[(low <= 0) & (high >= 0)], "no difference to hyperparameters alone is shown"),
        (across[low.isna()], "no floor of hyperparameters can be had, since the two zoos have none in common"),
    ):
        pairs = [f"{r.trained_on} -> {r.tested_on}{_span(r)}" for r in rows.itertuples()]
        words += [f"{verdict} in {len(pairs)} of {len(across)} transfers: {'; '.join(pairs)}."] if pairs else []
    return words


def _span(row: Any) -> str:
    ends = interval(row.tau_minus_hyper_low, row.tau_minus_hyper_high)
    return "" if ends == "-" else f" ({row.tau:.3f} beside {row.tau_hyper:.3f}, difference {ends})"


def transfer_pairs(study: Study, name: str) -> Exhibit:
    """Figure 4: true against predicted for two transfers; the paper's go to SVHN-GS and CIFAR10-GS."""
    scores, predictions, notes = _scores(study)
    zoos = study.zoos("cnn")
    wanted = [("cifar10_gs", "svhn_gs"), ("mnist", "cifar10_gs")]
    across = [(r.trained_on, r.tested_on) for r in scores.itertuples() if r.trained_on != r.tested_on]
    theirs = [(a, b) for a, b in across if (study.data(a), study.data(b)) in wanted]
    pairs = ([*theirs, *(p for p in across if p not in theirs)] or [(z, z) for z in zoos])[:2]
    figure, axes = new_axes(len(pairs))
    for ax, pair in zip(axes, pairs, strict=True):
        transfer_scatter(predictions, *pair, ax)
        ax.set_title(f"{pair[0]} → {pair[1]}\n{ax.get_title()}")
    return Exhibit(name, f"transfer, true against predicted; {', '.join(zoos)}", {}, {name: figure}, notes)


def transfer_grid(study: Study, name: str) -> Exhibit:
    """Figure 6: true against predicted for every pair of zoos."""
    _, predictions, notes = _scores(study)
    zoos = study.zoos("cnn")
    figure = transfer_scatters(predictions, zoos, zoos)
    return Exhibit(name, f"transfer, every pair of {', '.join(zoos)}", {}, {name: figure}, notes)


def other_architectures(study: Study, name: str) -> Exhibit:
    """Table 4: the GBM on the last layer's statistics ranks networks of architectures that it never saw.

    Raises:
        MetanetError: there is no zoo to train on, or none of the others can be judged.
    """
    sources, others = study.zoos("cnn"), study.zoos("other")
    if not sources:
        raise MetanetError(f"{name} needs a zoo of small CNNs to train on, beside {', '.join(others)}")
    rows, notes = [], []
    for other, source in itertools.product(others, sources):
        fit = study.searched(source, "gbm", "stats:last")
        view, note = study.tested(fit, study.zoo(other).view())
        notes += [f"{source} → {other}: {note}"] if note else []
        if view is None:
            continue
        whole, predicted = view.frame, fit.model(study.threads).predict(view)
        known, floor = study.known_of(source, other), _floor(study, source, other)
        notes.append(f"{source} → {other}: {_what_the_floor_reads(known)}")
        expected = None if floor is None else floor.predict(view)
        for width in sorted(whole["hp.num_units"].unique()) if "hp.num_units" in whole else [None]:
            part = whole["hp.num_units"].eq(width).to_numpy() if width is not None else np.ones(len(whole), bool)
            row: dict[str, object] = {"trained_on": source, "tested_on": other, "width": width or "-"}
            own = whole[part].assign(unit=view.units[part])
            rows.append(row | _ranked(own, predicted[part], None if expected is None else expected[part]))
    if not rows:
        raise MetanetError(" ".join(notes))
    table = pd.DataFrame(rows)
    figure, axes = new_axes(len(others), width=6.0, height=1.6 + 0.35 * len(sources) * 3)
    for ax, other in zip(axes, others, strict=True):
        part = table[table["tested_on"] == other]
        shown = part.set_index(part["trained_on"] + ", width " + part["width"].astype(str))
        columns = ["tau, train", "hyper, train", "tau, test", "hyper, test", "tau(train, test)"]
        heat_table(shown[columns], ax, f"Kendall's τ on {other}", low=-0.2)
    paper = (
        "The paper ranks 216 ResNet-32 of three widths: all tau clearly above zero, slightly higher for train than for test, and "
        "tau(train, test) falls with width. hyper is the floor: the GBM on the hyperparameters that both zoos have, searched as "
        "widely on the same networks and applied unchanged too."
    )
    notes = [paper, *notes, *_beyond_the_floor(table)]
    shown = table.drop(columns=[f"{which}_{end}" for which in ("train", "test") for end in ("low", "high")])
    return Exhibit(name, f"ranking of other architectures; {', '.join(others)}", {name: shown}, {name: figure}, notes)


def _what_the_floor_reads(features: str | None) -> str:
    if features is None:
        return "no floor of hyperparameters can be had, since the two zoos have none in common."
    return f"the floor reads {'all hyperparameters' if features == 'hyper' else features.removeprefix('hyper:')}."


def _ranked(frame: pd.DataFrame, predicted: np.ndarray, expected: np.ndarray | None) -> dict[str, object]:
    """How predictions, and those of the floor, rank some networks by their train and test accuracies."""
    row: dict[str, object] = {"networks": len(frame)}
    for which in ("train", "test"):
        true = frame[f"{which}_accuracy"].to_numpy()
        own = frame[["network_id", "unit"]].assign(true=true, predicted=predicted)
        _, low, high = mean_score([own], "tau")
        row |= {f"tau, {which}": tau(true, predicted), f"{which}, 95 %": f"{low:+.2f} to {high:+.2f}"}
        row |= {f"hyper, {which}": np.nan, f"{which} - hyper": "-", f"{which}_low": np.nan, f"{which}_high": np.nan}
        if expected is not None:
            found = gain([(own, own.assign(predicted=expected))], "tau", which)
            row |= {f"hyper, {which}": tau(true, expected), f"{which} - hyper": found[which]}
            row |= {f"{which}_{end}": found[f"{which}_{end}"] for end in ("low", "high")}
    train, test = frame["train_accuracy"].to_numpy(), frame["test_accuracy"].to_numpy()
    return row | {
        "tau(train, test)": tau(train, test),
        "train above .95": float((train > 0.95).mean()),
        "train above .95, gap above .1": float(((train > 0.95) & (train - test > 0.1)).mean()),
    }


def _beyond_the_floor(table: pd.DataFrame) -> list[str]:
    words = []
    for which in ("train", "test"):
        known = table.dropna(subset=f"{which}_low")
        above, below = (known[f"{which}_low"] > 0).sum(), (known[f"{which}_high"] < 0).sum()
        if len(known):
            words.append(
                f"By {which} accuracy weights rank better than the floor in {above} of {len(known)} rows, worse in {below}; in "
                "the others no difference is shown (95 %)."
            )
    return words
