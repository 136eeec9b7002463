"""``metanet reproduce``, whose studies have keys of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from metanet.constraints import Count, Interval, Seed
from metanet.verbs.keys import NEEDED, AtLeastTwo, Text, group, key, part
from metanet.verbs.parts import TestSplit


@dataclass
class Configurations:
    """Configurations of one estimator, where they are not n."""

    gbm: Count | None = key(None, "of this estimator alone, where it is not n")
    dnn: Count | None = key(None, "the same for fully connected networks")
    logit_linear: Count | None = key(None, "the same for logit-linear models")


@dataclass
class Inputs:
    """What each estimator reads; [all]: the fifteen inputs of the paper's tables."""

    gbm: list[str] = key(["all"], "what is measured; [all]: the fifteen inputs of the paper's tables")
    dnn: list[str] = key(["all"], "the same for fully connected networks")
    logit_linear: list[str] = key(["all"], "the same for logit-linear models")


@dataclass
class Curve:
    """Of the item curve."""

    models: str | list[str] = key(
        ["gbm:flat", "gbm:stats", "gbm:hyper", "deepsets", "gnn"],
        "MODEL or MODEL:FEATURES, each with its defaults; gbm:stats and gbm:hyper are always among them",
    )
    sizes: list[Any] = key(
        [100, 200, 400, 800, 1600, 3200, 6400, 12800],
        "training networks, and all there are; a fifth of them for validation",
    )
    draws: Count = key(3, "subsets of a size that share no network, as far as there are networks for them")


@dataclass
class Sharing:
    """Of seed."""

    models: str | list[str] = key(
        [
            "gbm:flat",
            "gbm:flat:conv1",
            "gbm:flat:last",
            "gbm:stats",
            "gbm:hyper",
            "dnn:flat",
            "dnn:stats",
            "deepsets",
            "gnn",
            "dmc_global_mini",
            "dmc_local_mini",
        ],
        "MODEL or MODEL:FEATURES, each with its defaults",
    )
    splits: Count = key(3, "of the networks, the same in all zoos")
    seeds: Count = key(1, "of each split")


@dataclass
class MetaClassifiers:
    """Of the meta-classifiers of Eilertsen et al. 2020."""

    local: str = key("dmc_local_mini", "the local one; the paper's: dmc_local")
    global_: str = key("dmc_global_mini", "the global one; the paper's: dmc_global", name="global")
    epochs_local: Count = key(400, "the paper: 500")
    epochs_global: Count = key(60, "the paper: 100")
    rounds_svm: Count = key(
        10,
        "trainings of each support vector machine, of whole networks and of slices, with other seeds and splits",
    )
    rounds_dmc: Count = key(3, "trainings of each deep meta-classifier; the paper: 10")
    targets: Any = key(None, "hyperparameters such as [optimizer,activation]; default: those of the paper's figure")
    parts: list[Any] = key(["all", "conv", "fc"], "of the weights, for local ones")
    positions: AtLeastTwo = key(100, "of maps")
    slices: list[Any] = key([100, 500, 2000, 5000, 20000], "subset sizes of nws_fig18")


@dataclass
class Encoders:
    """Of encoder_table and generalisation."""

    models: str | list[str] = key(
        [
            "stat_net:stats",
            "stat_net:neurons+spectra+products",
            "deepsets",
            "nf_invariant",
            "gnn",
            "graph_transformer",
            "dmc_global_mini",
            "stat_net:stats+probe",
            "probe_net",
            "deepsets:probe",
            "stack",
            "stack:probe",
        ],
        "MODEL or MODEL:FEATURES (beside the weights for encoders); gbm:stats, which the others are compared "
        "with, is always among them",
    )
    splits: Count = key(5, "of each zoo")
    seeds: Count = key(3, "of each split")
    snapshots: str | int = key("last", "of the training networks: last, all, or so many of the last ones")
    searched: Annotated[int, Interval(0)] = key(
        50,
        "configurations of the GBM on statistics that is tuned on each training part, as a further baseline; 0: none",
    )
    frozen: Text | None = key(
        None,
        'where the defaults of all models were chosen, in words that the notes repeat: "plan seed 0, version 0.1.0"',
    )
    data_root: str | None = key(None, "images of the networks' own sets, for the line that they draw; default: METANET_DATA")


@dataclass
class Reproduce:
    """Make a table or figure of Unterthiner et al. 2020 or Eilertsen et al. 2020 again from your zoos, or all with a report.

    example: metanet reproduce table2 zoo=[zoos/mnist,zoos/fashion_mnist]
    example: metanet reproduce all zoo=quickstart/zoo out=reproduction
    example: metanet reproduce nws zoo=[zoos/nws_fixed,zoos/nws_main]
    example: metanet reproduce encoders zoo=[zoos/mnist,zoos/mnist_wide] encoders.splits=1 encoders.seeds=1
    example: metanet reproduce fig5 zoo=zoos/mnist n=1000
    example: metanet reproduce curve zoo=zoos/mnist split.test=0.25 curve.models=[gbm:flat,gbm:stats,gbm:hyper,deepsets,gnn]
    example: metanet reproduce seed zoo=[zoos/own,zoos/init,zoos/dropout,zoos/one,zoos/one_43]   (make seed grows these)
    Items: table1 to table11, fig2 to fig6; seeds, early and curve go beyond the paper; all makes report.html of every one.
    seed is another, of zoos of its own: what one seed for all networks changes, and whether initial weights or dropout do it.
    Of Eilertsen et al. 2020, from zoos of recipe=nws_...: nws_fig1, nws_fig6 to nws_fig15, or nws for all of these; and of its
    meta-classifiers nws_fig2 to nws_fig5, nws_fig16 to nws_fig21, and nws_votes beyond the paper, or meta for all of these.
    Beyond both: encoder_table and generalisation compare encoders of raw weights, or encoders for both.
    All inputs of all estimators with n=20 take about four hours on two cores for a zoo of 1,000 training networks, more than
    half of it dnn's; time grows with n and networks.
    A first look, in minutes: n=3 inputs.gbm=[stats,hyper] inputs.dnn=[] inputs.logit_linear=[]
    Fits lie below OUT/fits and are shared; the same command goes on where it was interrupted.
    """

    launcher: str = group("local", "where the searches' trials run")
    trainer: str = group("default", "pl.Trainer settings for models that Lightning trains")
    tracking: str = group("none", "none or wandb")
    item: str = key(
        NEEDED,
        "table1 ... table11, fig2 ... fig6, seeds, early, curve, seed, nws_fig1 ... nws_fig21, nws_votes, "
        "encoder_table ...; all, nws, meta or encoders",
    )
    zoo: str | list[str] = key(NEEDED, "folder of a zoo, or several in [a,b]")
    n: Count = key(20, "configurations that a search tries for each estimator and input, the same for all; the paper: 1000")
    n_of: Configurations = part(Configurations)
    inputs: Inputs = part(Inputs)
    curve: Curve = part(Curve)
    sharing: Sharing = part(Sharing)
    meta: MetaClassifiers = part(MetaClassifiers)
    encoders: Encoders = part(Encoders)
    folds: AtLeastTwo = key(3, "of the cross-validation")
    fit: bool = key(True, 'false: only what was fitted before; the rest reads "not measured"')
    split: TestSplit = part(TestSplit)
    seed: Seed = key(0, "of the fits and searches")
    threads: Count | None = key(None, "of torch, LightGBM and BLAS alike; default: all cores")
    out: str | None = key(None, "folder; default: runs/reproduce/<time>-<item>")
