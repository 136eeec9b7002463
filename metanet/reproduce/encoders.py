"""Encoders of raw weights beside the paper's baselines: scores and cost.

Every fit is a run of ``metanet train`` with the model's defaults; what differs between rows of one table is the model alone, for
a table holds models of the same splits and seeds. Differences are paired: networks are resampled once for all splits and seeds,
and both models are scored on the same ones. One baseline more is tuned on each training part as widely as a search goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metanet.data_modules.images import NAMES, load_images, scale_pixels
from metanet.errors import MetanetError
from metanet.generation.execution import executors
from metanet.metrics import r2, tau
from metanet.models import create_model
from metanet.plots.encoders import cost_points
from metanet.plots.style import new_axes
from metanet.reproduce.contenders import (
    BASELINE,
    FLOOR,
    Contender,
    Key,
    by_fits,
    collected,
    contenders,
    in_words,
    keys_of,
    level_of,
    nth_split,
    predictions,
    seeds_of,
)
from metanet.reproduce.scores import gain, without_ends
from metanet.reproduce.study import Exhibit, Study, StudyRun
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.split import Split
from metanet.zoo.zoo import View

SECTION = "encoders"
SEARCHED = "gbm:stats, searched"
IMAGES = 64  # labelled ones of the line that real images draw
IMAGES_LINE = f"accuracy on {IMAGES} labelled images"


class Answered(Protocol):
    """Answers on a test part and on the validation part (empty where a model learns from that too), and facts of the fit."""

    @property
    def test(self) -> pd.DataFrame: ...
    @property
    def validation(self) -> pd.DataFrame: ...
    @property
    def metrics(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Told:
    """Answers that are no run's."""

    test: pd.DataFrame
    metrics: dict[str, Any]
    validation: pd.DataFrame = field(default_factory=pd.DataFrame)


Found = dict[str, dict[Key, Answered]]  # of one zoo, by title


def encoder_table(study: Study, name: str) -> Exhibit:
    """R2 and tau of every model, what it took, and the paired differences to hyperparameters and to the GBM on statistics.

    Raises:
        MetanetError: nothing was fitted.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    notes = []
    for zoo in study.zoos("cnn"):
        found = _measured(study, zoo)
        if not any(found.values()):
            continue
        notes.append(_of_zoo(study, zoo))
        if missing := [title for title, own in found.items() if not own]:
            notes.append(f"{zoo}: not measured: {', '.join(missing)}.")
        for keys, titles in by_fits(found, (FLOOR, BASELINE, SEARCHED, IMAGES_LINE)):
            part = {title: [found[title][key] for key in keys] for title in titles}
            rows.setdefault(in_words(keys), []).extend(_rows(study, zoo, part))
            notes += _gap(zoo, in_words(keys), part)
        notes += [note for level in ("W", "F") if (note := _verdict(zoo, level, found))]
    if not rows:
        raise MetanetError("no encoder was fitted yet; give fit=true")
    fits = sorted(rows, key=lambda words: -rows[words][0]["fits"])
    tables = {name if i == 0 else f"{name}_{i + 1}": pd.DataFrame(rows[words]) for i, words in enumerate(fits)}
    notes = [f"{table}: {words}." for table, words in zip(tables, fits, strict=True)] + notes
    widest = tables[name]
    figure, axes = new_axes(widest["zoo"].nunique(), width=4.2, height=3.6)
    for ax, (zoo, part) in zip(axes, widest[widest["access"] != "D"].groupby("zoo", sort=False), strict=True):
        cost_points(part, ax, title=str(zoo))
    title = f"encoders and baselines, {study.config[SECTION]['snapshots']} snapshots of the training networks; {', '.join(fits)}"
    return Exhibit(name, title, {k: without_ends(v) for k, v in tables.items()}, {f"{name}_cost": figure}, notes)


def _measured(study: Study, zoo: str) -> Found:
    """All fits of a zoo, as many as there are or may be made."""
    keys, snapshots = keys_of(study, SECTION), study.config[SECTION]["snapshots"]
    found: Found = {one.title: dict(collected(keys, partial(one.fit, study, zoo, snapshots=snapshots))) for one in all_of(study)}
    if study.config[SECTION]["searched"]:
        found[SEARCHED] = dict(collected(keys, partial(searched, study, zoo)))
    if images := images_line(study, zoo, keys):
        found[IMAGES_LINE] = dict(images)
    return found


def all_of(study: Study) -> list[Contender]:
    """The models of the tables."""
    return contenders(study, SECTION)


def searched(study: Study, zoo: str, split: int, seed: int) -> StudyRun:
    """The GBM on statistics with the best of ``encoders.searched`` configurations, tuned on the training part of each split."""
    count = study.config[SECTION]["searched"]
    overrides = seeds_of(study, split, seed) | {"search": "random", "search.n": str(count)}
    return study.plain(zoo, "gbm", "stats", f"gbm-stats-searched{count}-split{split}-seed{seed}", overrides)


def _of_zoo(study: Study, zoo: str) -> str:
    frozen = study.config[SECTION]["frozen"]
    known = "where the defaults of the models were chosen is not said (encoders.frozen)"
    known = f"the defaults of all models were frozen before: {frozen}" if frozen else known
    return f"{zoo}: plan seed {study.zoo(zoo).header.seed}, {len(study.zoo(zoo).networks)} networks; {known}."


def _rows(study: Study, zoo: str, part: Mapping[str, Sequence[Answered]]) -> Iterator[dict[str, Any]]:
    """The rows of models with the same fits, each beside the floor and the baselines of exactly these."""
    for title, own in part.items():
        row: dict[str, Any] = {"zoo": zoo, "plan seed": study.zoo(zoo).header.seed, "model": title} | _scores(own)
        for other, short in ((FLOOR, "hyper"), (BASELINE, "baseline"), (SEARCHED, "searched")):
            pairs = [] if title == other else [(a.test, b.test) for a, b in zip(own, part.get(other, ()), strict=False)]
            for measure in ("r2", "tau"):
                row |= gain(pairs, measure, f"{measure} - {short}")
        yield row


def _scores(own: Sequence[Answered]) -> dict[str, Any]:
    scores = {measure: [of(*columns_of(one.test)) for one in own] for measure, of in (("r2", r2), ("tau", tau))}
    held_out = [r2(*columns_of(one.validation)) if len(one.validation) else np.nan for one in own]
    known = {key: [one.metrics.get(key, np.nan) for one in own] for key in ("r2_trained", "tau_ceiling", "seconds")}
    return {
        "access": own[0].metrics["access"],
        "fits": len(own),
        "r2": np.mean(scores["r2"]),
        "r2 sd": np.std(scores["r2"], ddof=1) if len(own) > 1 else np.nan,
        "tau": np.mean(scores["tau"]),
        "tau sd": np.std(scores["tau"], ddof=1) if len(own) > 1 else np.nan,
        "r2 of trained": np.mean(known["r2_trained"]),
        "validation r2": np.mean(held_out),
        "tau ceiling, about": np.mean(known["tau_ceiling"]),
        "seconds": np.median(known["seconds"]),
    }


def columns_of(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What is true and what was predicted, (N,) each."""
    return frame["true"].to_numpy(), frame["predicted"].to_numpy()


def _gap(zoo: str, words: str, part: Mapping[str, Sequence[Answered]]) -> list[str]:
    """How far labelled images are above the best that needs none, of the same fits."""
    if IMAGES_LINE not in part:
        return []
    free = {title: own for title, own in part.items() if level_of(str(own[0].metrics["access"])) in ("W", "F")}
    if not free:
        return []
    best = max(free, key=lambda title: np.mean([r2(*columns_of(one.test)) for one in free[title]]))
    pairs = [(a.test, b.test) for a, b in zip(part[IMAGES_LINE], free[best], strict=True)]
    spans = [gain(pairs, measure, measure)[measure] for measure in ("r2", "tau")]
    return [
        f"{zoo}, {words}: {IMAGES} labelled images of the network's own set, less the best that needs none, {best}: {spans[0]} "
        f"in R² and {spans[1]} in tau (95 %)."
    ]


def _verdict(zoo: str, level: str, found: Found) -> str:
    """Which single model of an access level the validation parts choose, on the fits that all candidates have."""
    of_level = {title: own for title, own in found.items() if own and title not in (FLOOR, SEARCHED)}
    of_level = {t: own for t, own in of_level.items() if level_of(str(next(iter(own.values())).metrics["access"])) == level}
    candidates = {t: own for t, own in of_level.items() if all(len(one.validation) for one in own.values())}
    if not candidates:
        return ""
    others = [title for title in of_level if title not in candidates]
    common = sorted(set.intersection(*(set(own) for own in candidates.values())))
    words = f"{zoo}, access {level}: "
    if not common:
        return words + f"no split and seed was fitted for all of {', '.join(candidates)}, so the validation parts choose none."
    choice = {t: np.mean([r2(*columns_of(own[key].validation)) for key in common]) for t, own in candidates.items()}
    best = max(choice, key=lambda title: choice[title])
    words += f"of {len(candidates)} models on the {in_words(common)} that all of them have, the validation parts choose {best}"
    words += _beside(found, best, common)
    return words + (f". Not candidates, for they learn from the validation part too: {', '.join(others)}." if others else ".")


def _beside(found: Found, best: str, keys: Sequence[Key]) -> str:
    """Scores of a chosen model with those of hyperparameters alone, and whether it is above each baseline."""
    tests = [found[best][key].test for key in keys]
    words = f" ({_means(tests)}"
    if set(keys) <= found.get(FLOOR, {}).keys():
        words += f"; hyperparameters alone {_means([found[FLOOR][key].test for key in keys])}"
    words += ")"
    for other in (BASELINE, SEARCHED):
        if other == best or not set(keys) <= found.get(other, {}).keys():
            continue
        pairs = [(a, found[other][key].test) for a, key in zip(tests, keys, strict=True)]
        spans = {measure: gain(pairs, measure, measure) for measure in ("r2", "tau")}
        shown = "above" if all(spans[m][f"{m}_low"] > 0 for m in spans) else "not shown to be above"
        words += f"; {shown} {other} in both (R² {spans['r2']['r2']}, tau {spans['tau']['tau']})"
    return words


def _means(tests: Sequence[pd.DataFrame]) -> str:
    scores = [float(np.mean([of(*columns_of(test)) for test in tests])) for of in (r2, tau)]
    return f"R² {scores[0]:.3f}, tau {scores[1]:.3f}"


def images_line(study: Study, zoo: str, keys: Sequence[Key]) -> dict[Key, Told]:
    """What 64 labelled images of the networks' own set tell: a ceiling line. Empty where the images are not at hand.

    A GBM reads :func:`told_by_images`, on the same splits and seeds as all others.
    """
    view, name = study.zoo(zoo).view(), study.zoo(zoo).data.name
    root = study.config[SECTION]["data_root"] or os.environ.get("METANET_DATA")
    if name not in NAMES or (root is None and name != "digits"):
        return {}
    try:
        images = load_images(name, root)
    except MetanetError:
        return {}
    pixels, labels = scale_pixels(images.test_images[:IMAGES]), images.test_labels[:IMAGES]
    if tuple(pixels.shape[1:]) != executors(view)[view.layout.id].input_shape:
        return {}
    asked = cache(lambda: told_by_images(view, pixels, labels))

    def told(number: int, seed: int) -> Told | None:
        split = nth_split(study, view, number)
        fitted = partial(_Asked, view, asked, split, study.seed + seed, study.threads)
        frame = predictions(study, zoo, f"images{IMAGES}-split{number}-seed{seed}", fitted, view.part(split, "test"))
        return None if frame is None else Told(frame.sort_values("network_id", ignore_index=True), {"access": "D"})

    return collected(keys, told)


class _Asked:
    """A GBM on what images tell of networks, which are asked when it is fitted."""

    def __init__(self, view: View, ask: Callable[[], dict[str, np.ndarray]], split: Split, seed: int, threads: int) -> None:
        told = ask()
        self.zoo = zoo_from_arrays(view.weights(), view.layout, view.frame.assign(**told))
        parts = [self.zoo.view().part(split, part) for part in ("train", "validation")]
        self.gbm = create_model("gbm", features=f"metrics:{'+'.join(told)}", seed=seed, threads=threads)
        self.gbm.fit(parts[0], validation=parts[1])

    def predict(self, view: View) -> np.ndarray:
        return self.gbm.predict(self.zoo.view().of_networks(view.network_ids))


def told_by_images(view: View, pixels: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """What images (n, H, W, C) with labels (n,) tell of each network: its accuracy, mean share of the right class and mean
    log-likelihood, (N,) each.
    """
    told = np.empty((len(view), 3))
    executor = executors(view)[view.layout.id]
    with torch.no_grad():
        for rows, responses in executor.stacks(view.weights(), pixels, view.frame["hp.activation"].to_numpy(object)):
            logs = responses.logits.log_softmax(2)
            right = (logs.argmax(2) == labels).double().mean(1)
            likely = logs[:, torch.arange(len(labels)), labels]
            told[rows] = torch.stack([right, likely.exp().mean(1), likely.mean(1)], 1).numpy()
    return dict(zip(("accuracy", "share", "log_likelihood"), told.T, strict=True))
