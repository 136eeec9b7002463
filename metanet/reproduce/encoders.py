"""Encoders of raw weights beside the paper's baselines: scores, learning curves, cost, and where each still holds.

Every fit is a run of ``metanet train`` with the model's defaults; what differs between rows of one table is the model alone.
Differences are paired: both models are scored on the same networks, and what splits and seeds add widens the interval. Those to
the baseline were named in advance; those to the best of a case hold for all models of its table.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from data_modules.images import NAMES, load_images, scale_pixels
from metanet.errors import MetanetError
from metanet.evaluation.differences import SINGLE, Scored, answers_of, beside_best, paired_interval
from metanet.evaluation.fitting import unseen
from metanet.evaluation.metrics import r2, tau
from metanet.evaluation.resampling import Resamples
from metanet.generation.execution import executors
from metanet.models import MetaModel, create_model
from metanet.models.registry import titled
from metanet.plots.curves import curves, line_styles, shared_legend
from metanet.plots.encoders import cost_points, generalisation_bars
from metanet.plots.style import new_axes
from metanet.reproduce.study import Exhibit, Fit, NotFittedError, Study, interval, readable
from metanet.zoo.split import Split, split_networks
from metanet.zoo.store import zoo_from_arrays
from metanet.zoo.view import View

BASELINE = "gbm:stats"
FLOOR = "gbm:hyper"  # what is known without any weight
VALIDATION = 0.2  # of the networks that are not in the test part
IMAGES = 64  # labelled ones of the line that real images draw
BLIND = {
    "stats": "stats_global",
    "stats+probe": "stats_global+probe:outputs",
    "probe": "probe:outputs",
}  # features of any architecture in the place of others


@dataclass(frozen=True)
class Contender:
    """A model of the tables, ``MODEL`` or ``MODEL:FEATURES``."""

    title: str

    @cached_property
    def parsed(self) -> tuple[str, dict[str, Any]]:
        """Its name in the registry, and its settings."""
        return titled(self.title)

    @property
    def model(self) -> str:
        """Its name in the registry."""
        return self.parsed[0]

    def fit(self, study: Study, zoo: str, split: int, seed: int) -> Fit:
        """A run of it with its defaults.

        Raises:
            NotFittedError: it is not there and ``fit=false``; the floor of a zoo in which no hyperparameter varies.
        """
        if self.title == FLOOR and not readable(study.zoo(zoo).view(), "hyper"):
            raise NotFittedError(f"no hyperparameter of {zoo} varies, so there is nothing to read")
        snapshots = study.config["encoders"]["snapshots"]
        overrides = {
            "split.seed": str(study.config["split"]["seed"] + split),
            "seed": str(study.seed + seed),
            "train.snapshots": str(snapshots),
        }
        overrides |= {f"model.{key}": value for key, value in self.parsed[1].items() if key != "features"}
        name = f"{self.title}-{snapshots}-split{split}-seed{seed}"
        return study.plain(zoo, self.model, self.parsed[1].get("features", "stats"), name, overrides)

    def create(self, study: Study, blind: bool = False) -> MetaModel:
        """The model with its defaults, not fitted; ``blind`` for any architecture."""
        given = {k: BLIND.get(v, v) if blind else v for k, v in self.parsed[1].items()}
        return create_model(self.model, **given, seed=study.seed, threads=study.threads)


def contenders(study: Study) -> list[Contender]:
    """Those that ``encoders.models`` names; the floor and the baseline are always among them."""
    names = study.config["encoders"]["models"]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise MetanetError(f"encoders.models={names}: give a list of MODEL or MODEL:FEATURES, such as [gbm:stats,deepsets]")
    found = [Contender(name) for name in dict.fromkeys([FLOOR, BASELINE, *names])]
    for one in found:
        _ = one.parsed  # a mistake is found before anything is fitted
    return found


def fits(study: Study, zoo: str, one: Contender) -> dict[tuple[int, int], Fit]:
    """The fits of a model by split and seed, as many as there are or may be made."""
    found = {}
    for split in range(study.config["encoders"]["splits"]):
        for seed in range(study.config["encoders"]["seeds"]):
            with suppress(NotFittedError):
                found[split, seed] = one.fit(study, zoo, split, seed)
    return found


# ------------------------------------------------------------------------------- scores


def encoder_table(study: Study, name: str) -> Exhibit:
    """R2 and tau of every model, what it took, and the paired difference to the GBM on statistics."""
    rows, notes = [], []
    for zoo in study.zoos("cnn"):
        baseline = fits(study, zoo, Contender(BASELINE))
        for one in contenders(study):
            own = fits(study, zoo, one)
            if not own:
                notes.append(f"{zoo}: {one.title} was not measured.")
                continue
            rows.append({"zoo": zoo, "model": one.title, **_scores(own), **_gain(own, baseline)})
        line = images_line(study, zoo) if any(row["zoo"] == zoo for row in rows) else None
        if line is not None:
            rows.append({"zoo": zoo, "model": f"accuracy on {IMAGES} labelled images", "access": "D", **line})
            notes += _gap(zoo, line, pd.DataFrame(rows[:-1]))
    if not rows:
        raise MetanetError("no encoder was fitted yet; give fit=true")
    table = pd.DataFrame(rows)
    for zoo, part in table.groupby("zoo", sort=False):
        notes.append(_verdict(str(zoo), part))
    drop = ["r2_low", "r2_high", "tau_low", "tau_high", "single"]
    figure, axes = new_axes(table["zoo"].nunique(), width=4.2, height=3.6)
    for ax, (zoo, part) in zip(axes, table[table["access"] != "D"].groupby("zoo", sort=False), strict=True):
        cost_points(part, ax, title=str(zoo))
    title = f"encoders and baselines, {study.config['encoders']['snapshots']} snapshots of the training networks"
    shown = table.drop(columns=[c for c in drop if c in table])
    return Exhibit(name, title, {name: shown}, {f"{name}_cost": figure}, notes)


def _scores(own: dict[tuple[int, int], Fit]) -> dict[str, Any]:
    metrics = [fit.metrics for fit in own.values()]
    values = {key: np.array([m.get(key, np.nan) for m in metrics], float) for key in ("r2", "tau", "r2_trained", "seconds")}
    held_out = [fit.validation for fit in own.values()]  # empty where a model learns from the validation part too
    choice = [r2(f["true"].to_numpy(), f["predicted"].to_numpy()) if len(f) else np.nan for f in held_out]
    return {
        "access": metrics[0]["access"],
        "splits": len({split for split, _ in own}),
        "fits": len(metrics),
        "r2": values["r2"].mean(),
        "r2 sd": values["r2"].std(ddof=1) if len(metrics) > 1 else np.nan,
        "tau": values["tau"].mean(),
        "tau sd": values["tau"].std(ddof=1) if len(metrics) > 1 else np.nan,
        "r2 of trained": np.nanmean(values["r2_trained"]),
        "validation r2": np.mean(choice),
        "tau ceiling": float(np.mean([m.get("tau_ceiling", np.nan) for m in metrics])),
        "seconds": np.median(values["seconds"]),
    }


def _gain(own: dict[tuple[int, int], Fit], baseline: dict[tuple[int, int], Fit]) -> dict[str, Any]:
    """Paired intervals of the differences of R2 and tau, over the fits that both have."""
    common = [key for key in own if key in baseline]
    if not common or all(own[key] is baseline[key] or own[key].folder == baseline[key].folder for key in common):
        return {"r2 - baseline": "", "tau - baseline": ""}
    pairs = [(answers_of(own[key].test), answers_of(baseline[key].test)) for key in common]
    spans: dict[str, Any] = {}
    for measure in ("r2", "tau"):
        found = paired_interval(pairs, measure)
        spans |= {f"{measure} - baseline": found.words, f"{measure}_low": found.low, f"{measure}_high": found.high}
    return spans | {"single": found.single}


def _chosen(part: pd.DataFrame, level: str) -> pd.Series | None:
    """The single model of an access level that the validation parts choose, of those fitted on the most splits; None where none
    has any.
    """
    singles = part[(part["access"].map(level_of) == level) & part["validation r2"].notna()]
    singles = singles[singles["splits"] == singles["splits"].max()]
    return None if singles.empty else singles.loc[singles["validation r2"].idxmax()]


def _gap(zoo: str, line: dict[str, Any], table: pd.DataFrame) -> list[str]:
    """How far labelled images are ahead of what needs none: of the chosen single model, and of stacks."""
    own = table[table["zoo"] == zoo]
    chosen = _chosen(own, "F")
    stacks = own[own["model"].str.startswith("stack") & (own["access"].map(level_of) == "F")]
    rivals = ([] if chosen is None else [chosen]) + [row for _, row in stacks.iterrows()]
    words = [f"{line['r2'] - r['r2']:+.3f} in R2 and {line['tau'] - r['tau']:+.3f} in tau ({r['model']})" for r in rivals]
    lead = f"{zoo}: {IMAGES} labelled images of the network's own set are ahead of what needs none by "
    return [lead + "; ".join(words) + "."] if words else []


def _verdict(zoo: str, part: pd.DataFrame) -> str:
    """Which single model the validation parts choose at each access level, and whether it is shown to beat the baseline."""
    words = []
    for level in ("W", "F"):
        best = _chosen(part, level)
        if best is None:
            continue
        if best["model"] == BASELINE:
            words.append(f"at access {level} the validation parts choose the baseline itself")
            continue
        shown = "above" if best["r2_low"] > 0 and best["tau_low"] > 0 else "not shown to be above"
        words.append(
            f"at access {level} the validation parts choose {best['model']} of the single models "
            f"({best['r2']:.3f} / {best['tau']:.3f}), {shown} {BASELINE} in both (95 %{SINGLE if best['single'] else ''})"
        )
    return f"{zoo}: " + "; ".join(words) + "."


def level_of(access: str) -> str:
    """The highest access level of those that a model reads: F before W, then what needs no weights."""
    return next((level for level in ("F", "W") if level in access.split("+")), access)


def images_line(study: Study, zoo: str) -> dict[str, Any] | None:
    """What 64 labelled images of the networks' own set tell: a ceiling line. None where the images are not at hand.

    A GBM reads :func:`told_by_images`.
    """
    view, name = study.zoo(zoo).view(), str(study.zoo(zoo).data.get("name"))
    root = study.config["encoders"]["data_root"] or os.environ.get("METANET_DATA")
    if name not in NAMES or (root is None and name != "digits"):
        return None
    try:
        images = load_images(name, root)
    except MetanetError:
        return None
    pixels, labels = scale_pixels(images.test_images[:IMAGES]), images.test_labels[:IMAGES]
    if tuple(pixels.shape[1:]) != executors(view)[view.layout.id].input_shape:
        return None
    columns = told_by_images(view, pixels, labels)
    beside = zoo_from_arrays(view.weights(), view.layout, view.frame.assign(**columns)).view()
    split = halves(study, view)
    train, validation, test = (beside.part(split, part) for part in ("train", "validation", "test"))
    gbm = create_model("gbm", features=f"metrics:{'+'.join(columns)}", seed=study.seed, threads=study.threads)
    metrics = gbm.fit(train, validation=validation).score(test)
    return {"splits": 1, "fits": 1, "r2": metrics["r2"], "tau": metrics["tau"]}


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


def halves(study: Study, view: View) -> Split:
    """The first of the splits: a test part, and a fifth of the rest for validation."""
    given = study.config["split"]
    return split_networks(view.network_ids.tolist(), given["test"], VALIDATION, given["seed"])


# ------------------------------------------------------------------------------- few networks


def encoder_curve(study: Study, name: str) -> Exhibit:
    """R2 and tau by the number of training networks, a fifth of them for validation; the test half is the same."""
    rows, notes = [], []
    zoos = study.zoos("cnn")
    for zoo in zoos:
        view = study.zoo(zoo).view()
        split = halves(study, view)
        pool, test = view.part(split, "train", "validation"), view.part(split, "test")
        for one in contenders(study):
            for share in study.config["encoders"]["shares"]:
                frame = few(study, zoo, one, pool, test, float(share))
                if frame is None or not len(frame):
                    continue
                true, predicted = frame["true"].to_numpy(), frame["predicted"].to_numpy()
                count = round(float(share) * len(pool))
                rows.append(
                    {"zoo": zoo, "model": one.title, "networks": count, "r2": r2(true, predicted), "tau": tau(true, predicted)}
                )
        part = pd.DataFrame([row for row in rows if row["zoo"] == zoo])
        if len(part):
            smallest = part[part["networks"] == part["networks"].min()]
            best = smallest.loc[smallest["tau"].idxmax()]
            notes.append(f"{zoo}: with {best['networks']} networks the best is {best['model']} (tau {best['tau']:.3f}).")
    if not rows:
        raise MetanetError("no learning curve was fitted yet; give fit=true")
    table = pd.DataFrame(rows)
    figure, axes = new_axes(table["zoo"].nunique(), width=4.0, height=3.6)
    styles = line_styles(table["model"])
    for ax, (zoo, part) in zip(axes, table.groupby("zoo", sort=False), strict=True):
        curves(part, ax, x="networks", y="tau", by="model", title=str(zoo), log=True, legend=False, styles=styles)
    shared_legend(figure, styles)
    return Exhibit(name, f"learning curves; {', '.join(zoos)}", {name: table}, {name: figure}, notes)


def few(study: Study, zoo: str, one: Contender, pool: View, test: View, share: float) -> pd.DataFrame | None:
    """Test predictions of a model fitted on a share of the networks of ``pool``; None where it was not fitted."""
    chosen = np.sort(np.random.default_rng(study.seed).permutation(len(pool))[: round(share * len(pool))])
    return predictions(study, zoo, f"{one.title}-share{share:g}", lambda: one.create(study).fit(pool.take(chosen)), test)


def predictions(study: Study, zoo: str, name: str, fitted: Callable[[], MetaModel], test: View) -> pd.DataFrame | None:
    """Predictions of a model on some networks, kept below ``fits``; None where ``fit=false`` and they are not there.

    A model that cannot read these networks gives an empty table, with the reason in a file beside it.
    """
    facts = {key: study.config[key] for key in ("split", "seed", "trainer")} | {
        "snapshots": study.config["encoders"]["snapshots"]
    }
    facts["zoos"] = [study.zoo(zoo).header.get("plan_hash"), test.zoo.header.get("plan_hash")]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    path: Path = study.folder / "fits" / zoo / "predictions" / f"{name.replace(':', '_').replace('/', '_')}-{key}.parquet"
    if path.exists():
        return pd.read_parquet(path)
    if not study.config["fit"]:
        return None
    study.begin(f"{zoo}: {name}")
    frame = pd.DataFrame({"network_id": test.network_ids.astype(str), "true": test.target("test_accuracy")})
    try:
        frame["predicted"] = fitted().predict(test)
    except MetanetError as error:
        frame = frame.iloc[:0].assign(predicted=[])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text(str(error))
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path)
    return frame


# ------------------------------------------------------------------------------- other networks


def generalisation(study: Study, name: str) -> Exhibit:
    """Where the models still hold: few networks, wider ones, other image sets, larger architectures. Kendall's tau, beside
    the best model of the same access level.

    Trained on the first zoo of small CNNs, and for the last row on the smaller half of a mixed zoo.
    """
    cnn = study.zoos("cnn")
    base, layout = cnn[0], study.zoo(cnn[0]).view().layout
    view = study.zoo(base).view()
    split = halves(study, view)
    pool, test = view.part(split, "train", "validation"), view.part(split, "test")
    cases: list[tuple[str, Callable[[Contender], pd.DataFrame | None]]] = [
        (f"{base}, a tenth of the training networks", lambda one: few(study, base, one, pool, test, 0.1))
    ]
    for other in study.zoos("generalisation"):
        if other == base:
            continue
        wider = study.zoo(other).view().layout.id != layout.id
        words = f"{base} to wider networks ({other})" if wider else f"{base} to {other}"
        cases.append((words, lambda one, other=other: _transferred(study, base, one, other)))  # type: ignore[misc]
    for zoo in study.zoos("nws"):
        if len(study.zoo(zoo).layouts) > 1:
            cases.append((f"{zoo}, smaller half to larger half", lambda one, zoo=zoo: _larger(study, zoo, one)))  # type: ignore[misc]
    rows: list[dict[str, Any]] = []
    notes = []
    levels = {one.title: level_of(one.create(study).access) for one in contenders(study)}
    for words, make in cases:
        found = {one.title: make(one) for one in contenders(study)}
        scored = {title: frame for title, frame in found.items() if frame is not None and len(frame)}
        if not scored:
            notes.append(f"{words}: not measured.")
            continue
        if missing := [title for title, frame in found.items() if frame is None]:
            notes.append(f"{words}: not measured for {', '.join(missing)}.")
        if unable := [title for title, frame in found.items() if frame is not None and not len(frame)]:
            notes.append(f"{words}: cannot be read by {', '.join(unable)}.")
        for level in dict.fromkeys(levels.values()):
            own, word = _beside_best({t: f for t, f in scored.items() if levels[t] == level})
            rows += [{"case": words, "access": level, **row} for row in own]
            notes += [f"{words}, access {level}: {word}"] if word else []
    if not rows:
        raise MetanetError("no case of generalisation was measured yet; give fit=true")
    table = pd.DataFrame(rows)
    shown = table.drop(columns="tied")
    figure = generalisation_bars(table.dropna(subset="tau"))
    return Exhibit(name, f"generalisation, trained on {base}", {name: shown}, {name: figure}, notes)


def _beside_best(scored: dict[str, pd.DataFrame]) -> tuple[list[dict[str, Any]], str]:
    """Models of one access level beside the best of them: rows, and a sentence."""
    taus = {title: tau(f["true"].to_numpy(), f["predicted"].to_numpy()) for title, f in scored.items()}
    if not taus:
        return [], ""
    best = max(taus, key=lambda title: taus[title])
    answers = {title: answers_of(frame) for title, frame in scored.items()}
    resamples = Resamples(np.unique(np.concatenate([own.units for own in answers.values()])))
    found = beside_best([Scored.of([own], "tau", resamples) for own in answers.values()], list(answers).index(best))
    rows, tied = [], []
    for (title, frame), gap in zip(scored.items(), found, strict=True):
        tied += [title] if title != best and not gap.low > 0 else []
        rows.append(
            {
                "model": title,
                "networks": len(frame),
                "tau": taus[title],
                "r2": r2(frame["true"].to_numpy(), frame["predicted"].to_numpy()),
                "tau - best": interval(-gap.high, -gap.low) if title != best else "best",
                "tied": title == best or title in tied,
            }
        )
    words = f"; not told apart from it: {', '.join(tied)}" if tied else ""
    return rows, f"best {best} (tau {taus[best]:.3f}){words} (95 % for the whole table{SINGLE})."


def _transferred(study: Study, base: str, one: Contender, other: str) -> pd.DataFrame | None:
    """A fit of the base zoo, asked about another zoo unchanged."""
    try:
        own = one.fit(study, base, 0, 0)
    except NotFittedError:
        return None
    view = unseen(study.zoo(other).view(), own.folder)
    return predictions(study, base, f"{one.title}-to-{other}", lambda: own.model(study.threads), view)


def _larger(study: Study, zoo: str, one: Contender) -> pd.DataFrame | None:
    """Fitted on the smaller half of the networks of a mixed zoo, asked about the larger half."""
    view = study.zoo(zoo).view(converged=False)
    sizes = np.array([view.zoo.layouts[i].size for i in view.frame["layout_id"]])
    small, large = (view.take(np.flatnonzero(rows)) for rows in (sizes <= np.median(sizes), sizes > np.median(sizes)))
    return predictions(study, zoo, f"{one.title}-larger", lambda: one.create(study, blind=True).fit(small), large)
