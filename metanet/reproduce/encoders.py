"""Encoders of raw weights beside the paper's baselines: scores, cost, and where each still holds.

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
from metanet.evaluation.differences import Difference, Scored, answers_of, beside_best
from metanet.evaluation.resampling import Resamples
from metanet.generation.execution import executors
from metanet.metrics import r2, tau
from metanet.models import MetaModel, create_model
from metanet.plots.encoders import cost_points, generalisation_bars
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
from metanet.reproduce.scores import gain, interval, without_ends
from metanet.reproduce.study import Exhibit, Fit, NotFittedError, Study, readable
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.identity import Seen, left_out
from metanet.zoo.split import Split
from metanet.zoo.zoo import View

SECTION = "encoders"
SEARCHED = "gbm:stats, searched"
IMAGES = 64  # labelled ones of the line that real images draw
IMAGES_LINE = f"accuracy on {IMAGES} labelled images"
TENTH = 0.1


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


# ------------------------------------------------------------------------------- scores


def encoder_table(study: Study, name: str) -> Exhibit:
    """R2 and tau of every model, what it took, and the paired differences to hyperparameters and to the GBM on statistics."""
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
    found: Found = {one.title: dict(collected(keys, partial(one.fit, study, zoo, snapshots=snapshots))) for one in _all(study)}
    if study.config[SECTION]["searched"]:
        found[SEARCHED] = dict(collected(keys, partial(searched, study, zoo)))
    if images := images_line(study, zoo, keys):
        found[IMAGES_LINE] = dict(images)
    return found


def _all(study: Study) -> list[Contender]:
    return contenders(study, SECTION)


def searched(study: Study, zoo: str, split: int, seed: int) -> Fit:
    """The GBM on statistics with the best of ``encoders.searched`` configurations, tuned on the training part of each split."""
    count = study.config[SECTION]["searched"]
    overrides = seeds_of(study, split, seed) | {"search": "random", "search.n": str(count)}
    return study.plain(zoo, "gbm", "stats", f"gbm-stats-searched{count}-split{split}-seed{seed}", overrides)


def _of_zoo(study: Study, zoo: str) -> str:
    frozen = study.config[SECTION]["frozen"]
    known = "where the defaults of the models were chosen is not said (encoders.frozen)"
    known = f"the defaults of all models were frozen before: {frozen}" if frozen else known
    return f"{zoo}: plan seed {study.zoo(zoo).header.get('seed')}, {len(study.zoo(zoo).networks)} networks; {known}."


def _rows(study: Study, zoo: str, part: Mapping[str, Sequence[Answered]]) -> Iterator[dict[str, Any]]:
    """The rows of models with the same fits, each beside the floor and the baselines of exactly these."""
    for title, own in part.items():
        row: dict[str, Any] = {"zoo": zoo, "plan seed": study.zoo(zoo).header.get("seed"), "model": title} | _scores(own)
        for other, short in ((FLOOR, "hyper"), (BASELINE, "baseline"), (SEARCHED, "searched")):
            pairs = [] if title == other else [(a.test, b.test) for a, b in zip(own, part.get(other, ()), strict=False)]
            for measure in ("r2", "tau"):
                row |= gain(pairs, measure, f"{measure} - {short}")
        yield row


def _scores(own: Sequence[Answered]) -> dict[str, Any]:
    scores = {measure: [of(*_columns(one.test)) for one in own] for measure, of in (("r2", r2), ("tau", tau))}
    held_out = [r2(*_columns(one.validation)) if len(one.validation) else np.nan for one in own]
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


def _columns(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return frame["true"].to_numpy(), frame["predicted"].to_numpy()


def _gap(zoo: str, words: str, part: Mapping[str, Sequence[Answered]]) -> list[str]:
    """How far labelled images are above the best that needs none, of the same fits."""
    if IMAGES_LINE not in part:
        return []
    free = {title: own for title, own in part.items() if level_of(str(own[0].metrics["access"])) in ("W", "F")}
    if not free:
        return []
    best = max(free, key=lambda title: np.mean([r2(*_columns(one.test)) for one in free[title]]))
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
    choice = {t: np.mean([r2(*_columns(own[key].validation)) for key in common]) for t, own in candidates.items()}
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
    scores = [float(np.mean([of(*_columns(test)) for test in tests])) for of in (r2, tau)]
    return f"R² {scores[0]:.3f}, tau {scores[1]:.3f}"


def images_line(study: Study, zoo: str, keys: Sequence[Key]) -> dict[Key, Told]:
    """What 64 labelled images of the networks' own set tell: a ceiling line. Empty where the images are not at hand.

    A GBM reads :func:`told_by_images`, on the same splits and seeds as all others.
    """
    view, name = study.zoo(zoo).view(), str(study.zoo(zoo).data.get("name"))
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


# ------------------------------------------------------------------------------- other networks

Make = Callable[[Contender, int, int], pd.DataFrame | None]


def generalisation(study: Study, name: str) -> Exhibit:
    """Where the models still hold: few networks, wider ones, other image sets, larger architectures. Kendall's tau, beside
    hyperparameters alone and the best model of the same access level.

    Trained on each zoo of small CNNs, and for the last rows on the smaller half of a mixed zoo.
    """
    twins: dict[str, None] = {}  # what is said of those that are left out, each sentence once
    rows: list[dict[str, Any]] = []
    notes = []
    for case, make, blind in _cases(study, twins):
        found: dict[str, dict[Key, pd.DataFrame]] = {}
        unable = []
        for one in _all(study):
            own = one.blind() if blind else one
            try:
                given = collected(keys_of(study, SECTION), partial(make, own))
            except MetanetError as error:  # no network of the other zoo is left to ask about, say
                notes.append(f"{case}, {own.title}: {error}.")
                given = {}
            unable += [own.title] if any(frame.empty for frame in given.values()) else []
            found[own.title] = {key: frame for key, frame in given.items() if not frame.empty}
        if not any(found.values()):
            notes.append(f"{case}: not measured.")
            continue
        if unable:
            notes.append(f"{case}: cannot be read by {', '.join(unable)}.")
        if missing := [title for title, own in found.items() if not own and title not in unable]:
            notes.append(f"{case}: not measured for {', '.join(missing)}.")
        baseline = Contender(BASELINE).blind().title if blind else BASELINE
        for keys, titles in by_fits(found, (FLOOR, baseline)):
            part = {title: [found[title][key] for key in keys] for title in titles}
            own_rows, words = _case_rows(part, f"{case}, {in_words(keys)}")
            rows += [{"case": case, "fits": in_words(keys), **row} for row in own_rows]
            notes += words
    if not rows:
        raise MetanetError("no case of generalisation was measured yet; give fit=true")
    table = pd.DataFrame(rows)
    figure = generalisation_bars(table.assign(case=table["case"] + ", " + table["fits"]))
    shown = without_ends(table.drop(columns="tied"))
    title = f"generalisation; {', '.join(study.zoos('generalisation'))}"
    return Exhibit(name, title, {name: shown}, {name: figure}, [*notes, *twins])


def _cases(study: Study, twins: dict[str, None]) -> Iterator[tuple[str, Make, bool]]:
    """What is asked, how a model answers it, and whether it is asked about any architecture."""
    cnn, every = study.zoos("cnn"), study.zoos("generalisation")
    for base in cnn:
        yield f"{base}, a tenth of the training networks", partial(_few, study, base), False
        layout = study.zoo(base).view().layout.id
        for other in every:
            if other != base:
                wider = study.zoo(other).view().layout.id != layout
                words = f"{base} to networks of other widths ({other})" if wider else f"{base} to {other}"
                yield words, partial(_transferred, study, base, other, twins), False
    for zoo in study.zoos("nws"):
        if len(study.zoo(zoo).layouts) > 1:
            yield f"{zoo}, smaller half to larger half", partial(_larger, study, zoo, twins), True


def _case_rows(part: Mapping[str, Sequence[pd.DataFrame]], case: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Models of one case and of the same fits, each beside hyperparameters alone and the best of its access level."""
    taus = {title: float(np.mean([tau(*_columns(f)) for f in own])) for title, own in part.items()}
    levels = {title: level_of(Contender(title).access) for title in part}
    rows, notes = [], []
    for level in dict.fromkeys(levels.values()):
        titles = [title for title in part if levels[title] == level]
        best = max(titles, key=lambda title: taus[title])
        tied = []
        for title, gap in zip(titles, _gaps(part, titles, best), strict=True):
            near = title == best or not gap.low > 0
            tied += [title] if near and title != best else []
            beside = {"tau - best": "best" if title == best else interval(-gap.high, -gap.low)}
            row = {"access": level, "model": title, "networks": len(part[title][0]), "tau": taus[title]}
            row |= {"r2": float(np.mean([r2(*_columns(f)) for f in part[title]])), "hyper": taus.get(FLOOR, np.nan)}
            row |= gain(_pairs(part, title, FLOOR), "tau", "tau - hyper") | beside | {"tied": near}
            rows.append(row)
        if level != "H":
            notes.append(f"{case}, access {level}: {_best_words(part, best, taus)}" + _tied_words(tied))
    return rows, notes


def _gaps(part: Mapping[str, Sequence[pd.DataFrame]], titles: Sequence[str], best: str) -> list[Difference]:
    """Of the best minus each, intervals that hold for the whole table."""
    answered = [[answers_of(frame) for frame in part[title]] for title in titles]
    resamples = Resamples(np.unique(np.concatenate([own.units for fits in answered for own in fits])))
    return beside_best([Scored.of(fits, "tau", resamples) for fits in answered], titles.index(best))


def _pairs(part: Mapping[str, Sequence[pd.DataFrame]], title: str, other: str) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    return [] if title == other else list(zip(part[title], part.get(other, ()), strict=False))


def _best_words(part: Mapping[str, Sequence[pd.DataFrame]], best: str, taus: Mapping[str, float]) -> str:
    """The best of an access level with its floor: never one without the other."""
    if FLOOR not in part:
        return f"best {best} (tau {taus[best]:.3f}); no floor of hyperparameters can be had"
    spans = gain(_pairs(part, best, FLOOR), "tau", "gain")
    shown = "above" if spans["gain_low"] > 0 else "below" if spans["gain_high"] < 0 else "not told apart from"
    return f"best {best} (tau {taus[best]:.3f}), {shown} hyperparameters alone ({taus[FLOOR]:.3f}; {spans['gain']})"


def _tied_words(tied: Sequence[str]) -> str:
    return f"; not told apart from it (95 % for the whole table): {', '.join(tied)}." if tied else "."


def _few(study: Study, base: str, one: Contender, split: int, seed: int) -> pd.DataFrame | None:
    """Fitted on a tenth of the training networks of a split."""
    view = study.zoo(base).view()
    drawn = nth_split(study, view, split)
    pool, test = view.part(drawn, "train", "validation"), view.part(drawn, "test")
    order = np.random.default_rng([study.seed, split, seed]).permutation(len(pool))
    chosen = pool.take(np.sort(order[: round(TENTH * len(pool))]))
    name = f"{one.title}-tenth-split{split}-seed{seed}"
    return predictions(study, base, name, partial(_fitted, study, one, seed, chosen), test)


def _fitted(study: Study, one: Contender, seed: int, view: View) -> MetaModel:
    return one.create(study, seed).fit(view)


def _transferred(
    study: Study, base: str, other: str, twins: dict[str, None], one: Contender, split: int, seed: int
) -> pd.DataFrame | None:
    """A fit of the base zoo, asked about another zoo unchanged."""
    snapshots = study.config[SECTION]["snapshots"]
    own = one.fit(study, base, split, seed, snapshots)
    view, note = study.tested(own, study.zoo(other).view())
    twins |= {note: None} if note else {}
    if view is None:
        return None
    name = f"{one.title}-to-{other}-split{split}-seed{seed}"
    return predictions(study, base, name, partial(own.model, study.threads), view, {"snapshots": snapshots})


def _larger(study: Study, zoo: str, twins: dict[str, None], one: Contender, split: int, seed: int) -> pd.DataFrame | None:
    """Fitted on the smaller half of the networks of a mixed zoo, asked about the larger half: there is one such split."""
    view = study.zoo(zoo).view(converged=False)
    if split > 0 or (one.title == FLOOR and not readable(view, "hyper")):
        raise NotFittedError("the smaller and the larger half are one split")
    sizes = np.array([view.zoo.layouts[i].size for i in view.frame["layout_id"]])
    small, large = (view.take(np.flatnonzero(rows)) for rows in (sizes <= np.median(sizes), sizes > np.median(sizes)))
    try:
        rest = Seen.of(small).rest(large)
    except MetanetError as error:
        twins |= {f"{error}.": None}
        return None
    twins |= {f"{note}.": None} if (note := left_out(large, rest)) else {}
    return predictions(study, zoo, f"{one.title}-larger-seed{seed}", partial(_fitted, study, one, seed, small), rest)
