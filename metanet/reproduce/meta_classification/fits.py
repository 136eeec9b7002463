"""Trainings of meta-classifiers, each a run that is kept, and their scores over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metanet.errors import MetanetError
from metanet.evaluation.differences import answers_of, widened
from metanet.evaluation.intervals import ERROR, quantile, score_interval
from metanet.evaluation.resampling import score_of
from metanet.evaluation.run_files import hyper_floor
from metanet.evaluation.seen import unseen
from metanet.plots.meta import score_bars
from metanet.plots.style import new_axes
from metanet.probing.maps import ProbeMap, probe_map
from metanet.reproduce.study import NotFittedError, Study, StudyRun
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View, Zoo

MISSING: dict[str, object] = {"score": np.nan, "verdict": "not measured"}
SLICES = 20  # single slices of each test network's last snapshot that a local model is scored on


def targets_of(study: Study, zoo: str, wanted: Sequence[str]) -> list[str]:
    """Those hyperparameters of a figure that vary among a zoo's converged networks, or those that ``meta.targets`` names."""
    given = study.config["meta"]["targets"]
    frame = study.zoo(zoo).view(converged=True).frame
    names = [name for name in wanted if given is None or name in given]
    return [name for name in names if f"hp.{name}" in frame and frame[f"hp.{name}"].nunique() > 1]


def fit(study: Study, zoo: str, model: str, target: str, number: int, features: str = "stats", **settings: Any) -> StudyRun:
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


def mapped(study: Study, zoo: str, made: StudyRun, positions: int, every: bool) -> ProbeMap:
    """The map of a fitted local model over its test networks, all snapshots or the last; kept beside the fit."""
    path = made.folder / f"map-{positions}-{'all' if every else 'last'}.npz"
    if not path.exists():
        study.begin(f"{zoo}: map of {made.folder.name}")
        probe_map(made.model(study.threads), held_out(study, zoo, made, every), positions).save(path)
    return ProbeMap.load(path)


def held_out(study: Study, zoo: str, made: StudyRun, every: bool = False) -> View:
    """The converged networks that a fit never saw: their last snapshots, or every one."""
    whole = study.zoo(zoo)
    last = unseen(whole.view(converged=True), made.folder)
    return whole.view(epoch="all").of_networks(last.network_ids) if every else last


def rounds_of(study: Study, model: str) -> range:
    """The trainings of a model: more of SVMs, which are cheap, than of deep meta-classifiers."""
    return range(int(study.config["meta"]["rounds_dmc" if model.startswith("dmc") else "rounds_svm"]))


def over_rounds(
    measured: list[tuple[float, float, float]], chances: list[float], networks: int, rarest: int
) -> dict[str, object]:
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


def of_whole_networks(
    study: Study, zoo: str, target: str, model: str, features: str = "stats", **settings: Any
) -> dict[str, object]:
    """Score of a meta-model of whole networks; with ``fit=false`` it may be missing."""
    measured, chances, floors, networks, rarest = [], [], [], 0, 0
    for number in rounds_of(study, model):
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
    return over_rounds(measured, chances, networks, int(rarest)) | {"hyperparameters": np.mean(floors)}


def of_single_slices(
    study: Study, zoo: str, target: str, model: str, **settings: Any
) -> tuple[dict[str, object], list[ProbeMap]]:
    """Score of a local model on single slices of the last snapshots; with ``fit=false`` it may be missing."""
    try:
        fits = [fit(study, zoo, model, target, number, **settings) for number in rounds_of(study, model)]
    except NotFittedError:
        return MISSING, []
    maps = [mapped(study, zoo, made, SLICES, every=False) for made in fits]
    return floored(maps, [hyper_floor(made.folder, "classification") for made in fits]), maps


def floored(maps: list[ProbeMap], floors: list[float]) -> dict[str, object]:
    """Score of the maps of several rounds, beside what all other hyperparameters tell."""
    return _mapped_row(maps) | {"hyperparameters": np.mean(floors)} if maps else MISSING


def _mapped_row(maps: list[ProbeMap]) -> dict[str, object]:
    return over_rounds([m.mean() for m in maps], [m.chance for m in maps], maps[0].networks, min(m.rarest for m in maps))


def with_batch_norm(study: Study) -> list[str]:
    """Zoos of one architecture that has batch normalisation; where there is none, all of one."""
    zoos = study.zoos("nws_fixed")
    normalised = [z for z in zoos if any(t.kind == "bn_mean" for t in layout_of(study.zoo(z)).tensors)]
    return normalised or zoos


def layout_of(zoo: Zoo) -> Layout:
    """The first layout of a zoo, which is the only one of an architecture."""
    return next(iter(zoo.layouts.values()))


def bars(table: pd.DataFrame, zoos: Sequence[str]) -> Figure:
    """A row of bars for each zoo."""
    figure, axes = new_axes(len(zoos), width=9.0, height=3.4, most=1)
    for ax, zoo in zip(axes, zoos, strict=True):
        score_bars(table[table["zoo"] == zoo], ax, zoo)
    return figure


def many_architectures(study: Study) -> list[str]:
    """Zoos of many architectures; where there is none, those of one."""
    return [z for z in study.zoos("nws") if z not in study.zoos("nws_fixed")] or study.zoos("nws")


def rows_of(rows: list[dict[str, object]], name: str) -> pd.DataFrame:
    """Rows as a table; an error where there is none."""
    return not_empty([pd.DataFrame(rows)] if rows else [], name)


def not_empty(frames: list[pd.DataFrame], name: str) -> pd.DataFrame:
    """Frames one below the other.

    Raises:
        MetanetError: there is none.
    """
    if not frames:
        raise MetanetError(f"{name}: no hyperparameter of meta.targets varies in these zoos")
    return pd.concat(frames, ignore_index=True)
