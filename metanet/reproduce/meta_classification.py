"""The meta-classifiers of Eilertsen et al. 2020: Figures 2 to 5 and 16 to 21, and votes beyond the paper.

Every fit is a run of ``metanet train`` on converged networks, its split and seed other in each round. Scores are balanced
accuracies (every class counts alike) of the test networks: of whole networks, or of single slices at even distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from metanet.errors import MetanetError
from metanet.evaluation.differences import LEAST_OF_CLASS, answers_of, widened
from metanet.evaluation.intervals import ERROR, margin, quantile, score_interval
from metanet.evaluation.resampling import score_of
from metanet.evaluation.run_files import hyper_floor
from metanet.evaluation.seen import unseen
from metanet.models.local import Local, default_length
from metanet.models.svm import SVMLinear
from metanet.plots.maps import map_grid
from metanet.plots.meta import coefficient_points, score_bars, size_curves
from metanet.plots.style import new_axes
from metanet.probing.maps import ProbeMap, probe_map
from metanet.reproduce.study import ARCHITECTURE, TRAINING, Exhibit, Fit, NotFittedError, Study
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View, Zoo

BAG = 8  # slices of a vector that attention sees at once
MISSING: dict[str, object] = {"score": np.nan, "verdict": "not measured"}
SLICES = 20  # single slices of each test network's last snapshot that a local model is scored on


def targets_of(study: Study, zoo: str, wanted: Sequence[str]) -> list[str]:
    """Those hyperparameters of a figure that vary among a zoo's converged networks, or those that ``meta.targets`` names."""
    given = study.config["meta"]["targets"]
    frame = study.zoo(zoo).view(converged=True).frame
    names = [name for name in wanted if given is None or name in given]
    return [name for name in names if f"hp.{name}" in frame and frame[f"hp.{name}"].nunique() > 1]


def fit(study: Study, zoo: str, model: str, target: str, number: int, features: str = "stats", **settings: Any) -> Fit:
    """One training: round ``number`` of a model on a hyperparameter; ``settings`` are the model's."""
    snapshots = 2 if model.startswith(("dmc_local", "local")) else 4
    overrides = {
        "target": f"hp.{target}",
        "seed": str(study.seed + number),
        "split.seed": str(study.config["split"]["seed"] + number),
        "train.snapshots": str(snapshots),
    }
    if model.startswith("dmc"):
        settings = {"epochs": study.config["meta"]["epochs_local" if "local" in model else "epochs_global"]} | settings
    overrides |= {
        f"model.{key}": str(value).lower() if isinstance(value, bool) else str(value) for key, value in settings.items()
    }
    words = [model, *([features] if model.startswith("svm") else []), target]
    words += [f"{key}={value}" for key, value in settings.items()]
    return study.plain(zoo, model, features, f"meta-{'-'.join(words)}-{number}", overrides)


def mapped(study: Study, zoo: str, made: Fit, positions: int, every: bool) -> ProbeMap:
    """The map of a fitted local model over its test networks, all snapshots or the last; kept beside the fit."""
    path = made.folder / f"map-{positions}-{'all' if every else 'last'}.npz"
    if not path.exists():
        study.begin(f"{zoo}: map of {made.folder.name}")
        probe_map(made.model(study.threads), _test(study, zoo, made, every), positions).save(path)
    return ProbeMap.load(path)


def _test(study: Study, zoo: str, made: Fit, every: bool = False) -> View:
    whole = study.zoo(zoo)
    last = unseen(whole.view(converged=True), made.folder)
    return whole.view(epoch="all").of_networks(last.network_ids) if every else last


def _rounds(study: Study, model: str) -> range:
    """The trainings of a model: more of SVMs, which are cheap, than of deep meta-classifiers."""
    return range(int(study.config["meta"]["rounds_dmc" if model.startswith("dmc") else "rounds_svm"]))


def _row(measured: list[tuple[float, float, float]], chances: list[float], networks: int, rarest: int) -> dict[str, object]:
    """Mean over rounds, its spread, its interval, and whether that is clear of chance.

    The interval is as wide as a round's, since rounds share networks, and wider by what their splits and seeds add.

    Args:
        measured: score and ends of the interval of each round.
        rarest: the fewest test networks of a class in a round.
    """
    score, low, high = np.array(measured).T
    ends, rounds = (float(low.mean()), float(high.mean())), len(score)
    spread = float(score.std(ddof=1)) if rounds > 1 else np.nan
    if rounds > 1:
        ends = widened(*ends, float(score.mean()), quantile(ERROR, rounds - 1) * spread / np.sqrt(rounds))
    chance = float(np.mean(chances))
    return {
        "score": score.mean(),
        "low": ends[0],
        "high": ends[1],
        "sd of rounds": spread,
        "rounds": rounds,
        "chance": chance,
        "networks": networks,
        "rarest class": rarest,
        "verdict": "above chance" if ends[0] > chance + 1e-9 else "not shown",
    }


def _whole(study: Study, zoo: str, target: str, model: str, features: str = "stats", **settings: Any) -> dict[str, object]:
    """Score of a meta-model of whole networks; with ``fit=false`` it may be missing."""
    measured, chances, floors, networks, rarest = [], [], [], 0, 0
    for number in _rounds(study, model):
        try:
            made = fit(study, zoo, model, target, number, features, **settings)
        except NotFittedError:
            return MISSING
        test = answers_of(made.test)
        ends = score_interval([test], "balanced_accuracy")
        measured.append((score_of(test, "balanced_accuracy"), *ends))
        floors.append(hyper_floor(made.folder, "classification"))
        counts = np.unique(test.true.astype(str), return_counts=True)[1]
        chances.append(1 / len(counts))
        networks, rarest = len(test.true), min(counts.min(), rarest or counts.min())
    return _row(measured, chances, networks, int(rarest)) | {"hyperparameters": np.mean(floors)}


def _sliced(study: Study, zoo: str, target: str, model: str, **settings: Any) -> tuple[dict[str, object], list[ProbeMap]]:
    """Score of a local model on single slices of the last snapshots; with ``fit=false`` it may be missing."""
    try:
        fits = [fit(study, zoo, model, target, number, **settings) for number in _rounds(study, model)]
    except NotFittedError:
        return MISSING, []
    maps = [mapped(study, zoo, made, SLICES, every=False) for made in fits]
    return _floored(maps, [hyper_floor(made.folder, "classification") for made in fits]), maps


def _floored(maps: list[ProbeMap], floors: list[float]) -> dict[str, object]:
    return _mapped_row(maps) | {"hyperparameters": np.mean(floors)} if maps else MISSING


def _mapped_row(maps: list[ProbeMap]) -> dict[str, object]:
    return _row([m.mean() for m in maps], [m.chance for m in maps], maps[0].networks, min(m.rarest for m in maps))


# ------------------------------------------------------------------------------------------------ whole networks


def global_bars(study: Study, name: str) -> Exhibit:
    """Figure 2: hyperparameters from whole networks of one architecture."""
    deep = study.config["meta"]["global"]
    models = {
        "linear SVM, 16": ("svm_linear", "measures_global"),
        "linear SVM, by layer": ("svm_linear", "measures"),
        "RBF SVM, 16": ("svm_rbf", "measures_global"),
        "RBF SVM, by layer": ("svm_rbf", "measures"),
        deep: (deep, "stats"),
    }
    rows = []
    for zoo in _with_batch_norm(study):
        for target in targets_of(study, zoo, TRAINING):
            for label, (model, features) in models.items():
                rows.append({"zoo": zoo, "target": target, "model": label} | _whole(study, zoo, target, model, features))
    table = _rows_of(rows, name)
    claims = []
    for zoo, own in table.groupby("zoo", sort=False):
        by_layer = own[own["model"] == "linear SVM, by layer"]
        claims += [{"zoo": zoo} | claim for claim in _hardest(by_layer, "batch_size")]
    notes = [
        "Balanced accuracy of converged test networks at the end of training; bars: 95 % intervals over networks; lines: chance.",
        "hyperparameters: a GBM on all the others and the accuracy, without the weights.",
        "The paper: all but the batch size are predicted well by the deep one, the layer-wise linear SVM not far from it.",
    ]
    zoos = list(dict.fromkeys(table["zoo"]))
    tables = {name: table, f"{name}_claims": pd.DataFrame(claims)}
    return Exhibit(name, f"global meta-classification; {', '.join(zoos)}", tables, {name: _bars(table, zoos)}, notes)


def _with_batch_norm(study: Study) -> list[str]:
    zoos = study.zoos("nws_fixed")
    normalised = [z for z in zoos if any(t.kind == "bn_mean" for t in _layout(study.zoo(z)).tensors)]
    return normalised or zoos


def _layout(zoo: Zoo) -> Layout:
    return next(iter(zoo.layouts.values()))


def _bars(table: pd.DataFrame, zoos: Sequence[str]):  # type: ignore[no-untyped-def]
    figure, axes = new_axes(len(zoos), width=9.0, height=3.4, most=1)
    for ax, zoo in zip(axes, zoos, strict=True):
        score_bars(table[table["zoo"] == zoo], ax, zoo)
    return figure


def _gains(table: pd.DataFrame) -> pd.DataFrame:
    """How much of the way from chance to certainty each target's score goes, and the standard error of that."""
    room = 1 - table["chance"]
    gain, error = (table["score"] - table["chance"]) / room, (table["high"] - table["low"]) / (2 * 1.96 * room)
    return pd.DataFrame({"gain": gain.to_numpy(), "error": error.to_numpy()}, index=pd.Index(table["target"]))


def _compare(claim: str, gains: pd.DataFrame, better: str, worse: str) -> dict[str, object]:
    """Whether one target goes further from chance than another; networks are drawn for each, so errors add up in squares."""
    difference = gains.loc[better, "gain"] - gains.loc[worse, "gain"]
    half = 1.96 * np.hypot(gains.loc[better, "error"], gains.loc[worse, "error"])
    low, high = difference - half, difference + half
    words = f"{better} {gains.loc[better, 'gain']:.2f}, {worse} {gains.loc[worse, 'gain']:.2f} of the way from chance to 1"
    verdict = "holds" if low > 0 else "does not hold" if high < 0 else "not shown"
    return {"claim": claim, "here": f"{words}: {difference:+.2f} ({low:+.2f} to {high:+.2f})", "verdict": verdict}


def _hardest(table: pd.DataFrame, target: str) -> list[dict[str, object]]:
    gains = _gains(table)
    if target not in gains.index or len(gains) < 2:
        return []
    easier = gains["gain"].drop(target).idxmin()
    return [_compare(f"{target} is the hardest of the training hyperparameters", gains, easier, target)]


def coefficient_norms(study: Study, name: str) -> Exhibit:
    """Figures 3 and 16: norms over classes of a linear SVM's coefficients, by layer, kind of weight and measure."""
    wanted = ("dataset", "optimizer") if name == "nws_fig3" else TRAINING
    frames, claims = [], []
    for zoo in _with_batch_norm(study):
        for target in targets_of(study, zoo, wanted):
            table, rounds = _norms(study, zoo, target, lambda t, n, z=zoo: fit(study, z, "svm_linear", t, n, "measures"))
            frames.append(table.assign(zoo=zoo, target=target))
            claims.append({"zoo": zoo, "target": target} | _most_telling(table, rounds, target))
    table = _not_empty(frames, name)
    shown = list(dict.fromkeys(zip(table["zoo"], table["target"], strict=True)))
    figure, axes = new_axes(len(shown), width=6.4, height=3.0, most=2)
    for ax, (zoo, target) in zip(axes, shown, strict=True):
        coefficient_points(table.query("zoo == @zoo and target == @target"), ax, f"{zoo}: {target}")
    note = (
        "A point: the norm over classes of one measure's coefficient (inputs standardised); bar: mean of a kind of weight. "
        "Claims: means and 95 % intervals over the rounds, each of another split."
    )
    title = f"coefficients of linear SVMs; {', '.join(dict.fromkeys(table['zoo']))}"
    tables = {f"{name}_claims": pd.DataFrame(claims)}
    return Exhibit(name, title, tables, {name: figure}, [note], long={name: table})


def _norms(study: Study, zoo: str, target: str, train) -> tuple[pd.DataFrame, np.ndarray]:  # type: ignore[no-untyped-def]
    """Columns part (layer.kind), measure, norm, sd over rounds, one row an input; and the norms of each round, (rounds, F)."""
    norms, names = [], []
    for number in _rounds(study, "svm_linear"):
        model = train(target, number).model(study.threads)
        if isinstance(model, Local):
            model = model.model
        assert isinstance(model, SVMLinear)
        names = model.map.names
        norms.append(np.linalg.norm(model.coefficients, axis=0))
    split = [feature.rpartition(".") for feature in names]
    table = pd.DataFrame(
        {
            "part": [part or "slice" for part, _, _ in split],
            "measure": [measure for _, _, measure in split],
            "norm": np.mean(norms, axis=0),
            "sd": np.std(norms, axis=0, ddof=1) if len(norms) > 1 else np.nan,
        }
    )
    return table, np.stack(norms)


_TELLING = {  # the paper's sentence, and the parts that it names (section 5.2)
    "dataset": (
        "differences of the first convolution's filters",
        lambda r: r["part"].startswith("conv1.kernel") and "_d" in r["measure"],
    ),
    "optimizer": ("biases of the convolutions", lambda r: r["part"].startswith("conv") and r["part"].endswith("bias")),
    "activation": (
        "running means of the fully connected layers",
        lambda r: r["part"].startswith("fc") and "bn_mean" in r["part"],
    ),
}


def _most_telling(table: pd.DataFrame, rounds: np.ndarray, target: str) -> dict[str, object]:
    """Whether the inputs that the paper names have larger coefficients than the others: their mean norms' ratio over rounds.

    Args:
        table, rounds: of :func:`_norms`.
    """
    top = table.sort_values("norm", ascending=False).head(10)
    found = ", ".join(f"{r.part} {r.measure}" for r in top.head(3).itertuples())
    if target not in _TELLING:
        return {"claim": "-", "here": f"largest: {found}", "verdict": "-"}
    words, named = _TELLING[target]
    mine = table.apply(named, axis=1).to_numpy()
    if not mine.any():
        return {
            "claim": f"most telling: {words}",
            "here": f"these networks have none; largest: {found}",
            "verdict": "not measured",
        }
    ratios = rounds[:, mine].mean(1) / rounds[:, ~mine].mean(1)
    half = stats.t.ppf(0.975, len(ratios) - 1) * ratios.std(ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else np.inf
    low, high = ratios.mean() - half, ratios.mean() + half
    verdict = "holds" if low > 1 else "does not hold" if high < 1 else "not shown"
    span = f"{low:.2f} to {high:.2f}" if len(ratios) > 1 else "one round, so no interval"
    share = f"{top.apply(named, axis=1).sum()} of the ten largest ({mine.mean():.0%} of the inputs)"
    here = f"{ratios.mean():.2f} times the mean norm of the others ({span}), {share}; {found}"
    return {"claim": f"most telling: {words}", "here": here, "verdict": verdict}


def slice_coefficient_norms(study: Study, name: str) -> Exhibit:
    """Figure 17: the same for slices, whose 16 measures know no layer."""
    frames = []
    for zoo in _main(study):
        for target in targets_of(study, zoo, TRAINING):
            table, _ = _norms(study, zoo, target, lambda t, n, z=zoo: fit(study, z, "local", t, n, estimator="svm_linear"))
            frames.append(table.assign(zoo=zoo, target=target))
    table = _not_empty(frames, name)
    shown = list(dict.fromkeys(zip(table["zoo"], table["target"], strict=True)))
    figure, axes = new_axes(len(shown), width=4.0, height=2.6, most=3)
    for ax, (zoo, target) in zip(axes, shown, strict=True):
        own = table.query("zoo == @zoo and target == @target")
        ax.bar(own["measure"], own["norm"], color=["tab:orange" if m.endswith("_d") else "tab:blue" for m in own["measure"]])
        ax.tick_params(axis="x", rotation=90, labelsize=6)
        ax.set_title(f"{zoo}: {target}")
    note = "Norms over classes of a linear SVM on slices; in orange the measures of differences."
    return Exhibit(
        name, f"coefficients on slices; {', '.join(dict.fromkeys(table['zoo']))}", {name: table}, {name: figure}, [note]
    )


def _rows_of(rows: list[dict[str, object]], name: str) -> pd.DataFrame:
    return _not_empty([pd.DataFrame(rows)] if rows else [], name)


def _not_empty(frames: list[pd.DataFrame], name: str) -> pd.DataFrame:
    if not frames:
        raise MetanetError(f"{name}: no hyperparameter of meta.targets varies in these zoos")
    return pd.concat(frames, ignore_index=True)


# ------------------------------------------------------------------------------------------------ slices


def _main(study: Study) -> list[str]:
    """Zoos of many architectures; where there is none, those of one."""
    return [z for z in study.zoos("nws") if z not in study.zoos("nws_fixed")] or study.zoos("nws")


def local_bars(study: Study, name: str) -> Exhibit:
    """Figure 4: hyperparameters from slices of 5,000 weights, of all, convolutional and fully connected ones."""
    deep, parts = study.config["meta"]["local"], study.config["meta"]["parts"]
    rows, claims = [], []
    for zoo in _main(study):
        maps: dict[tuple[str, str], ProbeMap] = {}
        for target in targets_of(study, zoo, (*TRAINING, *ARCHITECTURE)):
            for estimator in ("svm_linear", "svm_rbf"):
                row, _ = _sliced(study, zoo, target, "local", estimator=estimator)
                rows.append({"zoo": zoo, "target": target, "model": f"{estimator}, 16"} | row)
            for part in parts:
                row, drawn = _sliced(study, zoo, target, deep, part=part)
                rows.append({"zoo": zoo, "target": target, "model": f"{deep}, {part}"} | row)
                if drawn:
                    maps[target, part] = drawn[0]
        ours = [row for row in rows if row["zoo"] == zoo and row["model"] == f"{deep}, {parts[0]}"]
        own = pd.DataFrame([row for row in ours if row["verdict"] != MISSING["verdict"]])
        claims += [{"zoo": zoo} | claim for claim in (_local_claims(own, maps) if len(own) else [])]
    table = _rows_of(rows, name)
    notes = [
        f"Balanced accuracy of single slices ({SLICES} of each converged test network's last snapshot); bars: 95 % intervals "
        "over networks; lines: chance.",
        "The paper: the deep ones are far above the SVMs, initialisation is told best, the data set better from convolutions.",
    ]
    zoos = list(dict.fromkeys(table["zoo"]))
    tables = {name: table, f"{name}_claims": pd.DataFrame(claims)}
    return Exhibit(name, f"local meta-classification; {', '.join(zoos)}", tables, {name: _bars(table, zoos)}, notes)


def _local_claims(table: pd.DataFrame, maps: dict[tuple[str, str], ProbeMap]) -> list[dict[str, object]]:
    claims: list[dict[str, object]] = []
    training = table[table["target"].isin(TRAINING)]
    gains = _gains(training)
    if "w_init" in gains.index and len(gains) > 1:
        other = gains["gain"].drop("w_init").idxmax()
        claim = "initialisation is the most local of the training hyperparameters"
        claims.append(_compare(claim, gains, "w_init", other))
    claims += _hardest(training, "batch_size")
    if ("dataset", "conv") in maps and ("dataset", "fc") in maps:
        claim = "the data set is told better from convolutional than from fully connected weights"
        claims.append({"claim": claim} | _better(maps["dataset", "conv"], maps["dataset", "fc"]))
    return claims


def _better(one: ProbeMap, other: ProbeMap) -> dict[str, object]:
    """Whether one map scores higher than another of the same networks."""
    if not np.array_equal(one.strata, other.strata):
        return {"here": "maps of other networks", "verdict": "not shown"}
    gap, without = one.score() - other.score(), one.without() - other.without()
    half = _half(without, one)
    verdict = "holds" if gap - half > 0 else "does not hold" if gap + half < 0 else "not shown"
    return {"here": _signed(gap, half), "verdict": verdict}


def _half(without: np.ndarray, drawn: ProbeMap) -> float:
    """Half of the interval of a difference within a map; nan where a class has too few networks to say."""
    return float(margin(without)) if drawn.rarest >= LEAST_OF_CLASS else float("nan")


def _signed(gap: float, half: float) -> str:
    return (
        f"{gap:+.3f} ({gap - half:+.3f} to {gap + half:+.3f})" if np.isfinite(half) else f"{gap:+.3f} (too few of a class to say)"
    )


def maps(study: Study, name: str) -> Exhibit:
    """Figures 5, 20 and 21: score by position and progress; 20 and 21 also for convolutional and fully connected weights."""
    deep, positions = study.config["meta"]["local"], int(study.config["meta"]["positions"])
    parts = study.config["meta"]["parts"] if name != "nws_fig5" else ["all"]
    figures, rows, cells = {}, [], []
    zoos = [*_main(study), *(_with_batch_norm(study) if name == "nws_fig5" else [])]  # of one architecture, borders are drawn
    for zoo in dict.fromkeys(zoos):
        drawn = []
        for target, part in product(targets_of(study, zoo, ARCHITECTURE if name == "nws_fig21" else TRAINING), parts):
            with suppress(NotFittedError):  # with fit=false
                made = fit(study, zoo, deep, target, 0, part=part)
                drawn.append((target, part, mapped(study, zoo, made, positions, every=True)))
        if not drawn:
            continue
        figures[f"{name}_{zoo}"] = map_grid([m for _, _, m in drawn], columns=len(parts) if len(parts) > 1 else 2)
        for target, part, own in drawn:
            rows.append({"zoo": zoo, "target": target, "part": part} | _ends(own))
            cells.append(own.table().assign(zoo=zoo, part=part))
    if not rows:
        raise MetanetError(f"{name}: none of its hyperparameters varies in these zoos")
    notes = [
        "Balanced accuracy of slices of converged test networks; the scale of each map begins at chance.",
        "The paper: the optimizer is told best near the first layers; the initialisation fades first in the first layers.",
    ]
    words, long = ", ".join(dict.fromkeys(r["zoo"] for r in rows)), {f"{name}_cells": pd.concat(cells, ignore_index=True)}
    return Exhibit(name, f"probe maps; {words}", {name: pd.DataFrame(rows)}, figures, notes, long=long)


def _ends(drawn: ProbeMap) -> dict[str, object]:
    """Means of a map, and what its first tenth of positions and its end of training have more than the rest, with intervals."""
    mean, low, high = drawn.mean()
    first = max(1, len(drawn.positions) // 10)
    start, end, head, rest = 0, -1, slice(None, first), slice(first, None)
    contrasts: dict[str, tuple[list[Any], list[Any]]] = {  # cells that count for and against
        "first tenth - rest": ([np.s_[:, head]], [np.s_[:, rest]]),
        "end - start": ([np.s_[end, :]], [np.s_[start, :]]),
        "that, first tenth - rest": ([np.s_[end, head], np.s_[start, rest]], [np.s_[start, head], np.s_[end, rest]]),
    }
    words: dict[str, object] = {}
    for label, (plus, minus) in contrasts.items():
        gap = sum(drawn.score(cells) for cells in plus) - sum(drawn.score(cells) for cells in minus)
        without = np.sum([drawn.without(cells) for cells in plus], 0) - np.sum([drawn.without(cells) for cells in minus], 0)
        words[label] = _signed(gap, _half(without, drawn))
    return {"score": mean, "low": low, "high": high, "chance": drawn.chance, "networks": drawn.networks} | words


def subset_sizes(study: Study, name: str) -> Exhibit:
    """Figure 18: score of single slices by their length."""
    deep = study.config["meta"]["local"]
    rows = []
    for zoo in _main(study):
        shortest = min(layout.size for layout in study.zoo(zoo).layouts.values())
        usual = default_length(study.zoo(zoo).view(converged=True))
        for target in targets_of(study, zoo, ("dataset", "augmentation", "optimizer", "activation", "w_init")):
            for size in study.config["meta"]["slices"]:
                if int(size) <= shortest:
                    length = {} if int(size) == usual else {"slice": int(size)}  # the usual one is fitted for other figures too
                    row, _ = _sliced(study, zoo, target, deep, part="all", **length)
                    rows.append({"zoo": zoo, "target": target, "slice": int(size)} | row)
    table = _rows_of(rows, name)
    fits = [
        {"zoo": zoo, "target": target} | _logarithmic(own["slice"].to_numpy(float), own["score"].to_numpy())
        for (zoo, target), own in table.groupby(["zoo", "target"], sort=False)
    ]
    zoos = list(dict.fromkeys(table["zoo"]))
    figure, axes = new_axes(len(zoos), width=5.0, height=3.6)
    for ax, zoo in zip(axes, zoos, strict=True):
        size_curves(table[table["zoo"] == zoo], ax, zoo)
    note = "The paper: about logarithmic in the length, steepest for the activation. A length that some vector lacks is left out."
    tables = {name: table, f"{name}_slopes": pd.DataFrame(fits)}
    return Exhibit(name, f"subset size; {', '.join(zoos)}", tables, {name: figure}, [note])


def _logarithmic(sizes: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Gain for ten times the length, and the R2 of straight lines over log length and over length."""
    sizes, scores = sizes[np.isfinite(scores)], scores[np.isfinite(scores)]
    if len(sizes) < 3 or np.ptp(scores) == 0:
        return {"per ten times": np.nan, "R2 over log length": np.nan, "R2 over length": np.nan}
    slope = np.polyfit(np.log10(sizes), scores, 1)[0]
    both = [np.corrcoef(x, scores)[0, 1] ** 2 for x in (np.log10(sizes), sizes)]
    return {"per ten times": float(slope), "R2 over log length": float(both[0]), "R2 over length": float(both[1])}


# ------------------------------------------------------------------------------------------------ batch normalisation


def batch_norm(study: Study, name: str) -> Exhibit:
    """Figure 19: networks with and without batch normalisation; and vectors without its values and without biases."""
    deep = study.config["meta"]["local"]
    rows = []
    for zoo in study.zoos("nws_fixed"):
        normalised = any(t.kind == "bn_mean" for t in _layout(study.zoo(zoo)).tensors)
        for target in targets_of(study, zoo, TRAINING):
            whole, stripped, floors = [], [], []
            for number in _rounds(study, deep):
                try:
                    made = fit(study, zoo, deep, target, number, part="all")
                except NotFittedError:
                    continue
                floors.append(hyper_floor(made.folder, "classification"))
                whole.append(mapped(study, zoo, made, SLICES, every=False))
                path = made.folder / "map-stripped.npz"
                if not path.exists():
                    probe_map(made.model(study.threads), without_vectors(_test(study, zoo, made)), SLICES).save(path)
                stripped.append(ProbeMap.load(path))
            words = "with" if normalised else "without"
            for label, group in (("all values", whole), ("kernels alone", stripped)):
                label = f"{zoo}, {words} batch norm, {label}"
                rows.append({"zoo": zoo, "model": label, "target": target} | _floored(group, floors))
    table = _rows_of(rows, name)
    figure, axes = new_axes(1, width=9.0, height=3.4)
    score_bars(table, axes[0], "single slices")
    notes = [
        "Kernels alone: the same meta-classifiers on test vectors without batch normalisation's values and biases.",
        "The paper: no great difference between networks with and without batch normalisation, nor between the vectors.",
    ]
    if len({model.split(", ")[1] for model in table["model"]}) < 2:
        notes.append("Not measured: the other half, which needs a second zoo, grown with recipe.batch_norm=false (or true).")
    zoos = ", ".join(dict.fromkeys(table["zoo"]))
    return Exhibit(name, f"batch normalisation; {zoos}", {name: table}, {name: figure}, notes)


def without_vectors(view: View) -> View:
    """The same networks with their kernels alone."""
    kernels = [t for t in view.layout.tensors if t.kind == "kernel"]
    weights = view.weights()
    layout = Layout.build((t.name, t.layer, t.kind, t.shape, t.axes) for t in kernels)
    values = np.concatenate([weights[:, t.start : t.stop] for t in kernels], axis=1)
    zoo = zoo_from_arrays(values, layout, view.frame.drop(columns=["layout_id"]), name=f"{view.zoo.name}, kernels alone")
    zoo.header["recipe"] = view.zoo.header["recipe"]  # which says what are categories
    return zoo.view(epoch="all")


# ------------------------------------------------------------------------------------------------ votes


def votes(study: Study, name: str) -> Exhibit:
    """Beyond the paper: whole networks judged by the local model, by one slice, by the vote of 20, by attention over 20."""
    deep, wide = study.config["meta"]["local"], study.config["meta"]["global"]
    epochs = max(1, int(study.config["meta"]["epochs_local"]) // BAG)  # the same number of slices in all
    rows = []
    for zoo in dict.fromkeys([*_with_batch_norm(study), *_main(study)]):
        one_layout = zoo in study.zoos("nws_fixed")
        for target in targets_of(study, zoo, TRAINING):
            single, _ = _sliced(study, zoo, target, deep, part="all")
            scored = {
                "one slice": single,
                "vote of 20 slices": _whole(study, zoo, target, deep, part="all"),
                "attention over 20 slices": _whole(study, zoo, target, deep, attention=True, bag=BAG, epochs=epochs),
            }
            if one_layout:
                scored[wide] = _whole(study, zoo, target, wide)
            rows += [{"zoo": zoo, "target": target, "model": label} | row for label, row in scored.items()]
    table = _rows_of(rows, name)
    zoos = list(dict.fromkeys(table["zoo"]))
    notes = [
        "Balanced accuracy of whole converged test networks at the end of training, on the same split; all but the global model "
        "read any architecture and size. All local ones learned from as many slices, attention from eight of a vector at once.",
    ]
    return Exhibit(name, f"votes of slices; {', '.join(zoos)}", {name: table}, {name: _bars(table, zoos)}, notes)
