"""One seed for all networks, or one of its own for each: what does that change for who reads their weights?

In the released zoo all networks share one seed, so that their initial weights come from one draw and their dropout from the same
bits. Position k of a weight vector then means the same in all of them. Zoos of the same hyperparameters, grown with initial
weights or dropout shared or not, part the two; a second shared seed tells what was learned of one seed alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from metanet.errors import MetanetError
from metanet.plots.curves import line_styles, shared_legend
from metanet.plots.sharing import share_points
from metanet.plots.style import new_axes
from metanet.reproduce.contenders import (
    BASELINE,
    FLOOR,
    Contender,
    Key,
    collected,
    contenders,
    in_words,
    keys_of,
    predictions,
)
from metanet.reproduce.scores import gain, mean_score, without_ends
from metanet.reproduce.study import Exhibit, Study, StudyRun

SECTION = "sharing"
INVARIANT = ("deepsets", "nf_invariant", "gnn", "graph_transformer")  # to the order of hidden neurons
IN_ORDER = "gbm:flat"  # reads each weight by its place
Tables = dict[Key, pd.DataFrame]


@dataclass(frozen=True)
class Sharing:
    """What the networks of a zoo draw from one seed.

    Attributes:
        share: of init and dropout; empty for seeds of their own.
        seed: of what is shared; None where nothing is.
    """

    zoo: str
    share: tuple[str, ...]
    seed: int | None

    @classmethod
    def of(cls, study: Study, zoo: str) -> Sharing:
        """As its header says; zoos from before recipes shared anything have seeds of their own."""
        shared = study.zoo(zoo).header.shared
        return cls(zoo, shared.of, shared.seed)

    @property
    def words(self) -> str:
        """``own seeds``, ``one init``, ``one init and dropout (43)``."""
        return f"one {' and '.join(self.share)} ({self.seed})" if self.share else "own seeds"


def seed_table(study: Study, name: str) -> Exhibit:
    """R2 and tau of every model on each zoo, beside that on networks with seeds of their own; and from one seed to another.

    Raises:
        MetanetError: nothing was fitted.
    """
    zoos = [Sharing.of(study, zoo) for zoo in study.paths]
    _check_same(study, zoos)
    keys, models = keys_of(study, SECTION), contenders(study, SECTION)
    where = _everywhere(study)
    fits = {
        (one.title, zoo.zoo): collected(keys, partial(one.fit, study, zoo.zoo, where=where)) for one in models for zoo in zoos
    }
    _check_splits(fits)
    tests = {key: {k: fit.test for k, fit in own.items()} for key, own in fits.items()}
    rows = [_row(one, zoo, zoos, tests) for zoo in zoos for one in models if tests[one.title, zoo.zoo]]
    if not rows:
        raise MetanetError("nothing was fitted on these zoos yet; give fit=true")
    table = pd.DataFrame(rows)
    across = pd.DataFrame(
        [_crossed(study, one, a, b, fits, tests) for one in models for a, b in _other_seeds(zoos) if fits[one.title, a.zoo]]
    )
    notes = [
        f"The same hyperparameters, networks and splits in all zoos; {in_words(keys)}; every model with its defaults. "
        "Intervals are over networks; those of differences draw the same networks on both sides.",
        *_answers(table, zoos),
        *_across_words(across),
        *_invariance(tests, zoos),
    ]
    styles = line_styles(table["model"])
    figure, axes = new_axes(2, width=4.4 + 0.3 * len(zoos), height=3.8)
    for ax, measure in zip(axes, ("r2", "tau"), strict=True):
        share_points(table, across, ax, measure, styles)
    shared_legend(figure, styles)
    tables = {name: without_ends(table)} | ({f"{name}_across": without_ends(across)} if len(across) else {})
    words = ", ".join(f"{zoo.zoo} ({zoo.words})" for zoo in zoos)
    return Exhibit(name, f"init or dropout: one seed beside own seeds; {words}", tables, {name: figure}, notes)


# ------------------------------------------------------------------------------- the zoos


def _check_same(study: Study, zoos: Sequence[Sharing]) -> None:
    """Refuse zoos that differ in more than what they share."""
    if len(zoos) < 2:
        raise MetanetError(
            f"seed compares zoos, and {zoos[0].zoo} is one; give others of its hyperparameters and another recipe.share"
        )
    first = zoos[0].zoo
    for zoo in zoos[1:]:
        if difference := _difference(study, first, zoo.zoo):
            raise MetanetError(
                f"seed needs zoos of the same hyperparameters: {zoo.zoo} has {difference} than {first}; grow both with the same "
                "data, n, seed and recipe, but for recipe.share and recipe.share_seed"
            )
    said = [zoo.words for zoo in zoos]
    for zoo in zoos:
        if said.count(zoo.words) > 1:
            raise MetanetError(f"seed: two of the zoos have {zoo.words}; give one of each")


def _difference(study: Study, first: str, other: str) -> str:
    """In what two zoos differ beside what their networks share: a few words, or none."""
    a, b = study.zoo(first), study.zoo(other)
    if a.networks["network_id"].tolist() != b.networks["network_id"].tolist():
        return f"other networks ({len(b.networks)}, not {len(a.networks)})"
    if study.data(first) != study.data(other):
        return f"another image set ({study.data(other)}, not {study.data(first)})"
    drawn = [c for c in a.networks if c.startswith("hp.")]
    if drawn != [c for c in b.networks if c.startswith("hp.")]:
        return "other columns of hyperparameters"
    for column in drawn:
        apart = ~((a.networks[column] == b.networks[column]) | (a.networks[column].isna() & b.networks[column].isna()))
        if apart.any():
            return f"another {column} (network {a.networks['network_id'][apart].iloc[0]})"
    recipes = [{k: v for k, v in z.header.recipe.to_json().items() if not k.startswith("share")} for z in (a, b)]
    others = sorted(k for k in recipes[0].keys() | recipes[1].keys() if recipes[0].get(k) != recipes[1].get(k))
    return f"another recipe.{others[0]}" if others else ""


def _everywhere(study: Study) -> str | None:
    """A filter of the networks that ended finite in all zoos; None where all did."""
    lost = {i for z in study.paths for i in study.zoo(z).networks.query("status != 'ok'")["network_id"]}
    return f"network_id not in {json.dumps(sorted(lost))}" if lost else None


def _check_splits(fits: Mapping[tuple[str, str], Mapping[Key, StudyRun]]) -> None:
    """The same networks are tested in all zoos: what a difference of two of them rests on."""
    drawn: dict[int, str] = {}
    for own in fits.values():
        for (split, _), fit in own.items():
            found = drawn.setdefault(split, fit.split.hash)
            if found != fit.split.hash:
                raise MetanetError(f"'{fit.folder}' has another split than its like; remove it, and it is fitted again")


def _other_seeds(zoos: Sequence[Sharing]) -> list[tuple[Sharing, Sharing]]:
    """Zoos that share the same from two seeds: trained on, tested on."""
    return [(a, b) for a in zoos for b in zoos if a.share and a.share == b.share and a.seed != b.seed]


# ------------------------------------------------------------------------------- rows


def _row(one: Contender, zoo: Sharing, zoos: Sequence[Sharing], tests: Mapping[tuple[str, str], Tables]) -> dict[str, Any]:
    """Scores of a model on one zoo, above its floor there, and above its own scores where networks have seeds of their own."""
    own = tests[one.title, zoo.zoo]
    row: dict[str, Any] = {"zoo": zoo.zoo, "shared": zoo.words, "model": one.title, "access": one.access, "fits": len(own)}
    row |= _scores(own)
    for measure in ("r2", "tau"):
        row |= _above(own, tests.get((FLOOR, zoo.zoo), {}) if one.title != FLOOR else {}, measure, f"{measure} - hyper")
        apart = next((z.zoo for z in zoos if not z.share), None)
        beside = {} if apart in (None, zoo.zoo) else tests[one.title, str(apart)]
        row |= _above(own, beside, measure, f"{measure} - own seeds")
    return row


def _scores(own: Tables) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for measure in ("r2", "tau"):
        mean, low, high = mean_score(list(own.values()), measure)
        row |= {measure: mean, f"{measure}, 95 %": f"{low:.3f} to {high:.3f}", f"{measure}_low": low, f"{measure}_high": high}
    return row


def _above(own: Tables, other: Tables, measure: str, name: str) -> dict[str, Any]:
    return gain([(own[key], other[key]) for key in own if key in other], measure, name)


def _crossed(
    study: Study,
    one: Contender,
    source: Sharing,
    other: Sharing,
    fits: Mapping[tuple[str, str], Mapping[Key, StudyRun]],
    tests: Mapping[tuple[str, str], Tables],
) -> dict[str, Any]:
    """A model trained on one shared seed and scored on another: on networks whose hyperparameters it never saw."""
    found: Tables = {}
    for (split, seed), fit in fits[one.title, source.zoo].items():
        view = study.zoo(other.zoo).view().of_networks(fit.split.test)
        name = f"{one.title}-to-{other.zoo}-split{split}-seed{seed}"
        frame = predictions(study, source.zoo, name, partial(fit.model, study.threads), view, {"split": fit.split.hash})
        if frame is not None and not frame.empty:
            found[split, seed] = frame.sort_values("network_id", ignore_index=True)
    row: dict[str, Any] = {"model": one.title, "access": one.access, "trained_on": source.words, "tested_on": other.words}
    if not found:
        return row | {"fits": 0}
    row |= {"fits": len(found)} | _scores(found)
    for measure in ("r2", "tau"):
        row |= _above(found, tests[one.title, other.zoo], measure, f"{measure} - trained there")
        row |= _above(found, tests.get((FLOOR, other.zoo), {}) if one.title != FLOOR else {}, measure, f"{measure} - hyper")
    return row


# ------------------------------------------------------------------------------- what they say


def _answers(table: pd.DataFrame, zoos: Sequence[Sharing]) -> list[str]:
    """Which of the two does it: what each kind of sharing adds to each model that reads weights, over seeds of their own."""
    if all(zoo.share for zoo in zoos):
        return ["No zoo has seeds of its own (recipe.share=[]), so what sharing adds is not measured."]
    words = []
    for model, part in table[table["access"].str.contains("W")].groupby("model", sort=False):
        if "own seeds" not in set(part["shared"]):
            continue
        shared = part[part["r2 - own seeds_low"].notna()]
        said = [f"{r['shared']} {r['r2 - own seeds']} ({_verdict(r)})" for r in shared.to_dict("records")]
        base = part[part["shared"] == "own seeds"]["r2"].iloc[0]
        words.append(f"{model}: R² {base:.3f} with own seeds; what is added: {'; '.join(said)}.")
    return [*words, _which(table)]


def _verdict(row: Mapping[str, Any]) -> str:
    low, high = row["r2 - own seeds_low"], row["r2 - own seeds_high"]
    return "more" if low > 0 else "less" if high < 0 else "no difference is shown"


def _which(table: pd.DataFrame) -> str:
    """The answer in a sentence, from the model that reads each weight by its place."""
    part = table[(table["model"] == IN_ORDER)].set_index("shared")
    alone = {what: [w for w in part.index if w.startswith(f"one {what} (")] for what in ("init", "dropout")}
    if part.empty or not all(alone.values()):
        return f"Which of the two does it needs {IN_ORDER} and zoos of recipe.share=[init] and [dropout]: not answered here."
    does = [what for what, rows in alone.items() if all(part.loc[r, "r2 - own seeds_low"] > 0 for r in rows)]
    answer = {0: "neither alone is shown to do it", 1: f"it is the {does[0]}" if does else "", 2: "each of the two does it alone"}
    spans = [f"{what} {part.loc[rows[0], 'r2 - own seeds']}" for what, rows in alone.items()]
    return f"Which of the two does it? For {IN_ORDER}, {answer[len(does)]} (gain of R²: {', '.join(spans)})."


def _across_words(across: pd.DataFrame) -> list[str]:
    """How much of what is learned of one seed holds of another."""
    if across.empty:
        return ["From one seed to another is not measured: give two zoos that share the same from two seeds (recipe.share_seed)."]
    return [
        f"{r['model']}, trained on {r['trained_on']}, tested on {r['tested_on']}: R² {r['r2']:.3f}, tau {r['tau']:.3f}; less "
        f"what the same model scores that was trained there: {r['r2 - trained there']} and {r['tau - trained there']}; less "
        f"hyperparameters alone: {r['r2 - hyper']} and {r['tau - hyper']}."
        for r in across[across["fits"] > 0].to_dict("records")
        if r["model"] != FLOOR
    ]


def _invariance(tests: Mapping[tuple[str, str], Tables], zoos: Sequence[Sharing]) -> list[str]:
    """Whether invariance to the order of neurons still pays where neurons have names."""
    words = []
    for model in dict.fromkeys(title for title, _ in tests if title.split(":")[0] in INVARIANT):
        said = []
        for zoo in zoos:
            own = tests[model, zoo.zoo]
            spans = [
                f"{other} {_above(own, tests.get((other, zoo.zoo), {}), 'r2', 'gain')['gain']}" for other in (IN_ORDER, BASELINE)
            ]
            said.append(f"{zoo.words}: above {', '.join(spans)}")
        words.append(f"{model}, R² of it minus others': {'; '.join(said)}.")
    return words
