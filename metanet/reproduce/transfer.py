"""From one zoo to another: Tables 3 and 4, Figures 4 and 6 of Unterthiner et al. 2020."""

from __future__ import annotations

import pandas as pd

from metanet.errors import MetanetError
from metanet.evaluation.intervals import score_interval
from metanet.evaluation.metrics import tau
from metanet.evaluation.transfer import transfer_table
from metanet.plots.style import new_axes
from metanet.plots.tables import heat_table
from metanet.plots.transfer import transfer_matrices, transfer_scatter, transfer_scatters
from metanet.reproduce.published import SMALLEST_TRANSFER_TAU
from metanet.reproduce.study import Exhibit, Study
from metanet.runs.records import Answers

INPUT = "stats"


def _scores(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All pairs of small-CNN zoos with the GBM on layer statistics."""
    names = study.zoos("cnn")
    fits = {name: study.searched(name, "gbm", INPUT) for name in names}
    models = {name: fit.model(study.threads) for name, fit in fits.items()}
    return transfer_table(models, {(a, b): study.test_view(fits[a], b) for a in names for b in names})


def transfer_tau(study: Study, name: str) -> Exhibit:
    """Table 3: Kendall's tau of the GBM on layer statistics, trained on rows, applied unchanged to columns."""
    scores, _ = _scores(study)
    zoos = study.zoos("cnn")
    figure = transfer_matrices(scores, zoos, zoos)
    across = scores[scores["trained_on"] != scores["tested_on"]]
    notes = ["A model's own zoo is scored on its test part, the others on all networks; nothing is adjusted to them."]
    if len(across):
        least = across.loc[across["tau"].idxmin()]
        notes.append(
            f"smallest tau across zoos: {least.tau:.3f} ({least.trained_on} -> {least.tested_on}); the paper's is "
            f"{SMALLEST_TRANSFER_TAU} (SVHN-GS -> MNIST, four collections of 30,000). R² may be far below 0 where two image "
            "sets differ in their mean accuracy: the ranking transfers, the level does not."
        )
    return Exhibit(name, f"transfer of the GBM on layer statistics; {', '.join(zoos)}", {name: scores}, {name: figure}, notes)


def transfer_pairs(study: Study, name: str) -> Exhibit:
    """Figure 4: true against predicted for two transfers; the paper's go to SVHN-GS and CIFAR10-GS."""
    scores, predictions = _scores(study)
    zoos = study.zoos("cnn")
    wanted = [("cifar10_gs", "svhn_gs"), ("mnist", "cifar10_gs")]
    across = [(r.trained_on, r.tested_on) for r in scores.itertuples() if r.trained_on != r.tested_on]
    theirs = [(a, b) for a, b in across if (study.data(a), study.data(b)) in wanted]
    pairs = ([*theirs, *(p for p in across if p not in theirs)] or [(z, z) for z in zoos])[:2]
    figure, axes = new_axes(len(pairs))
    for ax, pair in zip(axes, pairs, strict=True):
        transfer_scatter(predictions, *pair, ax)
        ax.set_title(f"{pair[0]} → {pair[1]}\n{ax.get_title()}")
    return Exhibit(name, f"transfer, true against predicted; {', '.join(zoos)}", {}, {name: figure})


def transfer_grid(study: Study, name: str) -> Exhibit:
    """Figure 6: true against predicted for every pair of zoos."""
    _, predictions = _scores(study)
    zoos = study.zoos("cnn")
    figure = transfer_scatters(predictions, zoos, zoos)
    return Exhibit(name, f"transfer, every pair of {', '.join(zoos)}", {}, {name: figure})


def other_architectures(study: Study, name: str) -> Exhibit:
    """Table 4: the GBM on the last layer's statistics ranks networks of architectures that it never saw."""
    sources, others = study.zoos("cnn"), study.zoos("other")
    if not sources:
        raise MetanetError(f"{name} needs a zoo of small CNNs to train on, beside {', '.join(others)}")
    rows = []
    for other in others:
        view = study.zoo(other).view()
        whole = view.frame
        widths = sorted(whole["hp.num_units"].unique()) if "hp.num_units" in whole else [None]
        for source in sources:
            predicted = study.searched(source, "gbm", "stats:last").model(study.threads).predict(view)
            for width in widths:
                part = whole["hp.num_units"].eq(width).to_numpy() if width is not None else whole["epoch"].ge(0).to_numpy()
                frame = whole[part]
                row: dict[str, object] = {"trained_on": source, "tested_on": other, "width": width or "-", "networks": len(frame)}
                for which in ("train", "test"):
                    true, ids = frame[f"{which}_accuracy"].to_numpy(), frame["network_id"].to_numpy()
                    low, high = score_interval([Answers(ids, true, predicted[part])], "tau")
                    row |= {f"tau, {which}": tau(true, predicted[part]), f"{which}, 95 %": f"{low:+.2f} to {high:+.2f}"}
                train, test = frame["train_accuracy"].to_numpy(), frame["test_accuracy"].to_numpy()
                row |= {
                    "tau(train, test)": tau(train, test),
                    "train above .95": float((train > 0.95).mean()),
                    "train above .95, gap above .1": float(((train > 0.95) & (train - test > 0.1)).mean()),
                }
                rows.append(row)
    table = pd.DataFrame(rows)
    figure, axes = new_axes(len(others), width=5.0, height=1.6 + 0.35 * len(sources) * 3)
    for ax, other in zip(axes, others, strict=True):
        part = table[table["tested_on"] == other]
        shown = part.set_index(part["trained_on"] + ", width " + part["width"].astype(str))
        heat_table(shown[["tau, train", "tau, test", "tau(train, test)"]], ax, f"Kendall's τ on {other}", low=-0.2)
    notes = [
        "The paper ranks 216 ResNet-32 of three widths: all tau clearly above zero, slightly higher for train than for test, and "
        "tau(train, test) falls with width."
    ]
    return Exhibit(name, f"ranking of other architectures; {', '.join(others)}", {name: table}, {name: figure}, notes)
