"""Where encoders of raw weights still hold, beside hyperparameters alone and the best of their access level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.evaluation.differences import Difference, Scored, answers_of, beside_best
from metanet.evaluation.resampling import Resamples
from metanet.metrics import r2, tau
from metanet.models import MetaModel
from metanet.plots.encoders import generalisation_bars
from metanet.reproduce.contenders import (
    BASELINE,
    FLOOR,
    Contender,
    Key,
    by_fits,
    collected,
    in_words,
    keys_of,
    level_of,
    nth_split,
    predictions,
)
from metanet.reproduce.encoders import SECTION, all_of, columns_of
from metanet.reproduce.scores import gain, interval, without_ends
from metanet.reproduce.study import Exhibit, NotFittedError, Study, readable
from metanet.zoo.identity import Seen, left_out
from metanet.zoo.zoo import View

TENTH = 0.1
Make = Callable[[Contender, int, int], pd.DataFrame | None]


def generalisation(study: Study, name: str) -> Exhibit:
    """Where the models still hold: few networks, wider ones, other image sets, larger architectures. Kendall's tau, beside
    hyperparameters alone and the best model of the same access level.

    Trained on each zoo of small CNNs, and for the last rows on the smaller half of a mixed zoo.

    Raises:
        MetanetError: nothing was measured.
    """
    twins: dict[str, None] = {}  # what is said of those that are left out, each sentence once
    rows: list[dict[str, Any]] = []
    notes = []
    for case, make, blind in _cases(study, twins):
        found: dict[str, dict[Key, pd.DataFrame]] = {}
        unable = []
        for one in all_of(study):
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
    taus = {title: float(np.mean([tau(*columns_of(f)) for f in own])) for title, own in part.items()}
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
            row |= {"r2": float(np.mean([r2(*columns_of(f)) for f in part[title]])), "hyper": taus.get(FLOOR, np.nan)}
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
