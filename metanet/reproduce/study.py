"""A study: zoos, and the fits that several tables and figures share.

Every fit is a run folder below ``fits``; one that is there is not fitted again, so an interrupted study goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metanet.constraints import Count, Interval, check
from metanet.errors import MetanetError, did_you_mean
from metanet.evaluation.fitting import Fitter
from metanet.evaluation.run_files import finished_run
from metanet.evaluation.seen import stored_split, unseen
from metanet.features.hyper import HYPER_PAPER
from metanet.models import MetaModel, load_model
from metanet.zoo.identity import left_out
from metanet.zoo.split import Split
from metanet.zoo.zoo import View, Zoo

# Inputs in the order of the paper's tables, with its names for them (section 4.2).
INPUTS = {
    "flat": "W",
    "flat:conv1": "W_1",
    "flat:conv2": "W_2",
    "flat:conv3": "W_3",
    "flat:last": "W_4",
    "stats_global": "S",
    "stats": "S_l",
    "stats:first+last": "S_1, S_4",
    "stats:last": "S_4",
    "norms_l1": "L1",
    "norms_l2": "L2",
    "hyper": "hyperparameters",
    "hyper_paper": "hyperparameters (7)",
    "hyper+flat": "hyperparameters + W",
    "hyper:learning_rate": "learning rate",
}


# Hyperparameters that meta-classifiers predict (Eilertsen et al. 2020), and the parts of the weights that they read.
TRAINING = ("dataset", "batch_size", "augmentation", "optimizer", "activation", "w_init")
ARCHITECTURE = ("filter_size", "conv_depth", "fc_depth", "conv_width", "fc_width")
PARTS = ("all", "conv", "fc")
LEAST_NETWORKS = 20  # of a learning curve, a fifth of them for validation


class NotFittedError(MetanetError):
    """A fit that is not there, where ``fit=false`` asks for none to be made."""


@dataclass
class Exhibit:
    """One table or figure of a paper, made again.

    Attributes:
        name: such as ``table2``.
        title: with the data sets that were used.
        tables: by file name.
        figures: by file name.
        notes: what is claimed or restricted, a sentence each.
        long: tables too long to read, by file name; they are written alone.
        seconds: that making it took, fits included where they were not there.
    """

    name: str
    title: str
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    long: dict[str, pd.DataFrame] = field(default_factory=dict)

    def measured(self) -> list[pd.DataFrame]:
        """The tables without rows that were not measured; the CSVs have those too, and a note says how to measure them."""
        return [
            table.dropna(subset=[c for c in ("r2", "mse") if c in table], how="all") if {"r2", "mse"} & set(table) else table
            for table in self.tables.values()
        ]


@dataclass(frozen=True)
class StudyRun:
    """A finished run."""

    folder: Path
    metrics: dict[str, Any]

    @cached_property
    def test(self) -> pd.DataFrame:
        """Predictions on the test part: network_id, unit, true, predicted, constant_floor, hyper_floor; sorted by network."""
        return self._part("test")

    @property
    def validation(self) -> pd.DataFrame:
        """Predictions on the validation part, from before a refit on it; those of :attr:`test` without floors."""
        return self._part("validation")

    def _part(self, part: str) -> pd.DataFrame:
        frame = pd.read_parquet(self.folder / "predictions.parquet")
        if "unit" not in frame:  # of an older version, which resampled networks
            frame["unit"] = frame["network_id"]
        return frame[frame["part"] == part].sort_values("network_id", ignore_index=True)

    def model(self, threads: int = 1) -> MetaModel:
        """The fitted meta-model."""
        return load_model(self.folder / "model", threads)

    @property
    def split(self) -> Split:
        """The networks it was fitted on, and those it was scored on."""
        return stored_split(self.folder / "split.json")


class Study:
    """Fits on demand.

    Args:
        config: of ``metanet reproduce``.
        folder: of everything it makes.
        compose_fit: (zoo, model, features, overrides) -> a config of ``metanet train``.
        fitter: trains.
        begin: told of each fit that begins.

    Raises:
        MetanetError: the configuration asks for what cannot be, or two zoos have one name.
    """

    def __init__(
        self,
        config: dict[str, Any],
        folder: Path,
        compose_fit: Callable[[str, str, str, dict[str, str]], dict[str, Any]],
        fitter: Fitter,
        begin: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.config, self.folder, self.compose_fit, self.fitter, self.begin = config, folder, compose_fit, fitter, begin
        self.seed, self.threads = int(config["seed"]), int(config["threads"])
        self.paths: dict[str, str] = {}
        for path in config["zoo"] if isinstance(config["zoo"], list) else [config["zoo"]]:
            name = Path(path).expanduser().resolve().name
            if name in self.paths:
                raise MetanetError(f"two zoos are called '{name}'; the tables name zoos by their folders, so rename one")
            self.paths[name] = path
            fitter.zoo(path)  # a folder that is no zoo is refused before anything is fitted
        self._inputs = {estimator: _listed(estimator, given) for estimator, given in config["inputs"].items()}
        check("n", config["n"], Count)
        for estimator, count in config["n_of"].items():
            if count is not None:
                check(f"n_of.{estimator}", count, Count)
        _check_meta(config["meta"])
        _check_comparisons(config)

    def zoo(self, name: str) -> Zoo:
        """A zoo by the name of its folder."""
        return self.fitter.zoo(self.paths[name])

    def zoos(self, kind: str) -> list[str]:
        """Names of the zoos of a kind: ``cnn`` (small CNNs of one architecture), ``seeds``, ``mlp``, ``nws`` or ``other``.

        ``nws_fixed`` are those of ``nws`` whose networks share one architecture. ``cnn`` are those with the filters of the
        first of them, ``generalisation`` all.
        """
        if kind in ("cnn", "generalisation"):
            found = [name for name in self.paths if kind_of(self.zoo(name)) == "cnn"]
            own = {name: set(self.zoo(name).layouts) for name in found}
            return [name for name in found if kind == "generalisation" or own[name] == own[found[0]]]
        if kind == "nws_fixed":
            return [name for name in self.zoos("nws") if len(self.zoo(name).layouts) == 1]
        return [name for name in self.paths if kind_of(self.zoo(name)) == kind]

    def data(self, name: str) -> str:
        """The image set of a zoo."""
        return self.zoo(name).data.name or name

    def configurations(self, estimator: str) -> int:
        """How many configurations a search of an estimator tries: one number for all, but where one has its own."""
        own = self.config["n_of"].get(estimator)
        return int(self.config["n"] if own is None else own)

    def inputs(self, estimator: str) -> list[str]:
        """Inputs that the budget holds for an estimator."""
        return self._inputs[estimator]

    def known_of(self, source: str, other: str) -> str | None:
        """The features of all hyperparameters that vary in a zoo and that another has too; None where there are none."""
        frame, there = self.zoo(source).view().frame, self.zoo(other).view().frame
        varying = [c for c in frame if c.startswith("hp.") and frame[c].nunique() > 1]
        shared = [c.removeprefix("hp.") for c in varying if c in there and there[c].notna().any()]
        if len(shared) < len(varying):
            return f"hyper:{'+'.join(shared)}" if shared else None
        return "hyper" if shared else None

    def fit(self, zoo: str, estimator: str, features: str) -> StudyRun | None:
        """A searched fit; None where the budget does not hold it, the zoo has not what it reads, or ``fit=false``."""
        if features not in self.inputs(estimator) or lacking(self.zoo(zoo).view(), features):
            return None
        try:
            return self.searched(zoo, estimator, features)
        except NotFittedError:
            return None

    def why_not(self, zoo: str, features: str) -> str:
        """Why a cell is empty: what the zoo has not, or that it was not measured."""
        return lacking(self.zoo(zoo).view(), features) or "not measured"

    def searched(self, zoo: str, estimator: str, features: str) -> StudyRun:
        """A fit by the paper's protocol, whatever the budget holds; its number of configurations is the budget's."""
        overrides = {"search": "random", "search.n": str(self.configurations(estimator))}
        return self._fitted(zoo, estimator, features, f"{estimator}-{features}", overrides)

    def plain(self, zoo: str, estimator: str, features: str, name: str, overrides: dict[str, str]) -> StudyRun:
        """A fit with the model's defaults."""
        return self._fitted(zoo, estimator, features, name, overrides)

    def _fitted(self, zoo: str, estimator: str, features: str, name: str, overrides: dict[str, str]) -> StudyRun:
        fits = self.folder / "fits" / zoo
        folder = fits / name.replace(":", "_").replace("/", "_")
        config = self.compose_fit(self.paths[zoo], estimator, features, {"out": str(folder), "seed": str(self.seed)} | overrides)
        config = self.fitter.settled(config | {"threads": self.threads})
        metrics = finished_run(folder, config)
        if metrics is None and not self.config["fit"]:
            raise NotFittedError(f"{estimator} on {features} was not fitted on {zoo} yet; give fit=true")
        if metrics is None:
            self.begin(f"{zoo}: {estimator} on {features}")
            # all estimators stand beside one floor, that of the GBM's own row in the tables; other splits and seeds have theirs
            widest = max(self.configurations(estimator) for estimator in self.config["n_of"])
            tables = not {"seed", "split.seed"} & overrides.keys()

            def floors_at(name: str, key: str) -> Path:
                return fits / (f"gbm-{name}" if tables else f"gbm-{name}-{key}")

            (metrics,) = self.fitter.fit(self.fitter.prepare(config), folder, floors_at, widest)
        return StudyRun(folder, {k: np.nan if v is None else v for k, v in metrics.items()})

    def test_view(self, fit: StudyRun, zoo: str) -> View:
        """The networks of a zoo that a fit may be tested on: of its own (also copied or grown larger) those it never saw."""
        return unseen(self.zoo(zoo).view(), fit.folder)

    def tested(self, fit: StudyRun, view: View) -> tuple[View | None, str]:
        """The networks of a view that a fit may be scored on, and a sentence on those that are left out, empty where none is.

        None where the fit has seen all of them, or twins of them; the sentence says so then.
        """
        try:
            rest = unseen(view, fit.folder)
        except MetanetError as error:
            return None, f"{error}."
        note = left_out(view, rest)
        return rest, note and f"{note}."


def _listed(estimator: str, given: Any) -> list[str]:
    """``inputs.ESTIMATOR`` as a list of inputs in the paper's order."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list):
        raise MetanetError(f"inputs.{estimator}={given}: give a list of inputs, for example inputs.{estimator}=[stats,flat]")
    for name in names:
        if name not in INPUTS and name != "all":
            raise MetanetError(f"inputs.{estimator}: '{name}' stands in no table{did_you_mean(str(name), ['all', *INPUTS])}")
    return [name for name in INPUTS if name in names or "all" in names]


def _check_meta(meta: dict[str, Any]) -> None:
    """Refuse settings of the meta-classifiers that mean nothing, before anything is fitted."""
    for key in ("epochs_local", "epochs_global", "rounds_svm", "rounds_dmc"):
        check(f"meta.{key}", meta[key], Count)
    check("meta.positions", meta["positions"], Annotated[int, Interval(2)])
    for key, known in (("targets", (*TRAINING, *ARCHITECTURE)), ("parts", PARTS), ("slices", None)):
        listed = [] if meta[key] is None and key == "targets" else meta[key]
        if not isinstance(listed, list) or (not listed and meta[key] is not None):
            raise MetanetError(
                f"meta.{key}={meta[key]}: give a list such as meta.{key}=[{','.join(map(str, known or (500, 5000)))}]"
            )
        for name in listed:
            if known is None:
                check(f"meta.{key}", name, Annotated[int, Interval(16)])
            elif name not in known:
                raise MetanetError(f"meta.{key}: no '{name}'{did_you_mean(str(name), known)}")


def _check_comparisons(config: dict[str, Any]) -> None:
    """Refuse settings of encoders, seeds and learning curves that mean nothing, before anything is fitted."""
    for section in ("encoders", "sharing"):
        for key in ("splits", "seeds"):
            check(f"{section}.{key}", config[section][key], Count)
    check("encoders.searched", config["encoders"]["searched"], Annotated[int, Interval(0)])
    check("curve.draws", config["curve"]["draws"], Count)
    if not isinstance(listed := config["curve"]["sizes"], list):
        raise MetanetError(f"curve.sizes={listed}: give a list such as curve.sizes=[100,1000]")
    for size in listed:
        check("curve.sizes", size, Annotated[int, Interval(LEAST_NETWORKS)])


def kind_of(zoo: Zoo) -> str:
    """What a zoo's networks are, by its recipe: see :meth:`Study.zoos`."""
    recipe = zoo.header.recipe
    layouts = list(zoo.layouts.values())
    if recipe.name in ("mlp", "nws"):
        return recipe.name
    if len(layouts) == 1 and layouts[0].layers == ("conv1", "conv2", "conv3", "dense"):
        return "seeds" if (recipe.seeds or 1) > 1 else "cnn"
    return "other"


def readable(view: View, features: str) -> bool:
    """Whether a zoo has the hyperparameters that some features read, and they vary."""
    return not lacking(view, features)


def lacking(view: View, features: str) -> str:
    """What a zoo has not that some features read: a few words, empty where it has all."""
    frame = view.frame
    varying = {c.removeprefix("hp.") for c in frame if c.startswith("hp.") and frame[c].nunique() > 1}
    first = features.split("+")[0]
    if first.startswith("hyper:"):
        name = first.removeprefix("hyper:")
        return "" if name in varying else f"no {name} varies here"
    if features == "hyper_paper" and (missing := [n for n in HYPER_PAPER if f"hp.{n}" not in frame]):
        return f"this zoo has no {missing[0]}"
    return "" if varying or not first.startswith("hyper") else "no hyperparameter varies here"
