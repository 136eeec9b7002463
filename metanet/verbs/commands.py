"""All verbs but ``metanet reproduce``."""

from __future__ import annotations

from dataclasses import dataclass

from metanet.constraints import Count, Seed
from metanet.verbs.keys import NEEDED, Text, group, key, part
from metanet.verbs.parts import ConvergedView, ProbeSplit, ProbeTraining, Probing, Split, Training, TrainSplit, View


@dataclass
class Quickstart:
    """From handwritten digits to a leaderboard of meta-models: grows a zoo, trains five estimators, draws figures.

    example: metanet quickstart
    example: metanet quickstart n=100 out=/tmp/quick
    A second call reuses the finished zoo.
    """

    data: str = group("digits", "image set; digits needs no download")
    recipe: str = group(
        "small_cnn",
        "which networks, how they are trained; here each draws from a seed of its own",
        {"epochs": 20, "batch_size": 64, "snapshots": [0, 1, 2, 5, 10, 20], "share": []},
    )
    trainer: str = group("default", "pl.Trainer settings; smoke ends in seconds")
    launcher: str = group("local", "where the networks are trained")
    tracking: str = group("none", "none or wandb")
    n: Count | None = key(1000, "number of networks")
    models: str | list[str] = key(["constant", "logit_linear", "gbm", "dnn", "random_forest"], "estimators")
    features: str | list[str] = key(
        ["stats", "stats_global", "flat", "norms_l2", "hyper"],
        "inputs; hyper is the floor of all hyperparameters",
    )
    target: str | list[str] = key("test_accuracy", "column to predict")
    split: Split = part(Split)
    seed: Seed = key(0, "of the plan and of the fits")
    engine: str = key("auto", "torch or fused; auto takes the faster")
    group_size: Count | None = key(None, "most networks of a group; default: what suits the engine")
    threads: Count | None = key(None, "of everything; default: all cores")
    out: str = key("quickstart", "folder for the zoo, the runs, the leaderboard and the figures")


@dataclass
class Generate:
    """Grow a zoo: train many small networks, keep their weights, hyperparameters and accuracies.

    example: metanet generate data=digits n=200 out=zoos/digits recipe.epochs=20 recipe.batch_size=64
    example: METANET_DATA=~/data metanet generate recipe=small_cnn_mini data=mnist n=2000 out=zoos/mnist
    example: metanet generate recipe=nws_main_mini data=[mnist,digits,cifar10] n=300 out=zoos/nws
    example: metanet generate recipe=./mine.py:MyRecipe n=100 out=zoos/mine
    example: metanet generate data=digits n=200 out=zoos/digits shard=1/8
    The same command on an interrupted zoo goes on where it stopped; on a finished one it says what is there.
    """

    data: str = group("digits", "image set; [a,b]: several, from which each network's is drawn")
    recipe: str = group("small_cnn", "which networks, and how they are trained; FILE.py:CLASS for a recipe of your own")
    trainer: str = group("default", "pl.Trainer settings; smoke ends in seconds")
    launcher: str = group("local", "local: this machine; ray: a Ray cluster")
    tracking: str = group("none", "none or wandb")
    n: Count | None = key(1000, "number of networks; null: all of a recipe.design that lists them")
    out: str = key(NEEDED, "folder of the zoo")
    seed: Seed = key(0, "of the plan: hyperparameters, networks' seeds, data order")
    engine: str = key(
        "auto",
        "torch, blocks, fused, fused_cuda or module; auto takes the fastest of those that can train the plan",
    )
    group_size: Count | None = key(None, "most networks of a group; default: what suits the engine")
    shard: str | None = key(None, "i/n: train the i-th of n shares into the same folder; the last to end completes the zoo")
    threads: Count | None = key(None, "cores to use; default: all")


@dataclass
class Import:
    """Make a zoo of published files. The weights are mapped where they lie; those of an archive are streamed into the zoo.

    example: metanet import format=small_cnn_zoo source=~/cifar10 out=zoos/cifar10
    example: metanet import format=small_cnn_zoo source=~/cifar10.tar.xz out=zoos/cifar10
    example: metanet import format=small_cnn_zoo source=~/fashion out=zoos/fashion n_test=4000
    example: metanet import format=nws source=~/nws_main out=zoos/nws_main
    example: metanet import format=./mine.py:reader source=~/runs out=zoos/mine   (your function (source, zoo))
    """

    format: str = key(
        "small_cnn_zoo",
        "small_cnn_zoo (weights.npy, metrics.csv.gz, layout.csv) nws (run folders with meta.csv), or ./mine.py:reader",
    )
    source: str = key(NEEDED, "folder of the files; of a small_cnn_zoo also a tar archive of it")
    out: str = key(NEEDED, "folder of the zoo")
    n_test: Count | None = key(
        None,
        "images that the test accuracies were measured on: the ceiling of tau rests on it; default: the official test set",
    )


@dataclass
class Export:
    """Write a zoo as published files, which other programs read.

    example: metanet export zoo=zoos/digits format=small_cnn_zoo out=exported/digits
    """

    zoo: str = key(NEEDED, "folder of a finished zoo")
    format: str = key("small_cnn_zoo", "of the files: small_cnn_zoo (weights.npy, metrics.csv.gz, layout.csv)")
    out: str = key(NEEDED, "folder of the files")


@dataclass
class Inspect:
    """Tell what a zoo, a run, or a checkpoint of your own holds.

    example: metanet inspect zoos/digits
    example: metanet inspect my_network.safetensors
    """

    path: str = key(NEEDED, "zoo folder, run folder, .safetensors or .pt state_dict")


@dataclass
class Train:
    """Train a meta-model on a zoo and score it once on the zoo's test part, beside both floors.

    example: metanet train zoo=zoos/digits                                   (model=auto: the best of several families)
    example: metanet train zoo=zoos/digits model=gbm features=stats target=test_accuracy
    example: metanet train zoo=zoos/digits model=gbm,dnn features=stats,flat seed=0,1,2   (a grid: 12 runs)
    example: metanet train zoo=zoos/digits model=deepsets,gbm model.deepsets.max_epochs=5   (a setting of one of them)
    example: metanet train zoo=zoos/digits target=hp.optimizer where='hp.learning_rate < 0.01'
    example: metanet train zoo=zoos/digits model=gbm search=random search.n=100 out=runs/search   (goes on when given again)
    example: metanet train from=runs/train/20260101-120000-gbm-stats-test_accuracy   (again, and says whether the metrics agree)
    example: metanet train zoo=zoos/digits model=./mine.py:MyModel features=./mine.py:my_features
    example: metanet train zoo=zoos/digits model=deepsets target=[test_accuracy,hp.optimizer]   (one encoder, two heads)
    """

    model: str = group("auto", "estimator, or ./mine.py:MyModel")
    search: str = group("none", "random: the paper's protocol, many configurations cross-validated; optuna: guided")
    launcher: str = group("local", "where a search's trials run; with launcher.workers=N, or ray, a grid's runs too")
    trainer: str = group("default", "pl.Trainer settings for models that Lightning trains")
    tracking: str = group("none", "none or wandb")
    zoo: str = key(NEEDED, "folder of a finished zoo")
    target: str | list[str] = key(
        "test_accuracy",
        "column to predict: a metric or a hyperparameter such as hp.optimizer; [a,b]: one encoder, a head each",
    )
    features: str | list[str] = key(
        "stats",
        "what models on features read (model=gbm, say; auto reads the weights): stats, stats_global, flat, "
        "norms_l1, norms_l2, hyper, unions with +, ./mine.py:f",
    )
    where: Text | None = key(None, "pandas query over the columns of the zoo, hp.* as written")
    view: View = part(View)
    train: Training = part(Training)
    split: TrainSplit = part(TrainSplit)
    seed: Seed = key(0, "of the fit")
    from_: str | None = key(None, "folder of a finished run: its config in the place of the defaults", name="from")
    threads: Count | None = key(None, "of torch, LightGBM and BLAS alike; default: all cores")
    out: str | None = key(None, "run folder; default: runs/train/<time>-<name>")


@dataclass
class Evaluate:
    """Apply fitted meta-models unchanged to other zoos: transfer.

    example: metanet evaluate run=runs/train/20260101-120000-gbm-stats zoo=zoos/mnist
    example: metanet evaluate run=RUN zoo=[zoos/mnist,zoos/fashion_mnist]
    example: metanet evaluate run=[RUN_MNIST,RUN_FASHION] zoo=[zoos/mnist,zoos/fashion_mnist]   (the matrix of transfer)
    """

    tracking: str = group("none", "none or wandb")
    run: str | list[str] = key(NEEDED, "run folder of metanet train, or several in [a,b]")
    zoo: str | list[str] = key(NEEDED, "folder of a zoo, or several in [a,b]")
    where: Text | None = key(None, "pandas query over the columns of the zoo, hp.* as written")
    view: View = part(View)
    part: str = key("auto", "all networks; test: those its fit never saw, of its own zoo; auto: test on its own zoo, else all")
    threads: Count | None = key(None, "of torch, LightGBM and BLAS alike; default: all cores")
    out: str | None = key(None, "run folder; default: runs/evaluate/<time>-<name>")


@dataclass
class Probe:
    """Ask a local meta-model everywhere: a map of its score by position in the weight vector and by training progress.

    example: metanet probe zoo=quickstart/zoo target=hp.activation
    example: metanet probe zoo=zoos/nws_main_mini target=hp.optimizer probe.positions=100 html=true
    example: metanet probe zoo=zoos/nws_main_mini target=all out=maps         (every hyperparameter that varies, and the accuracy)
    example: metanet probe zoo=zoos/nws_main_mini target=hp.w_init probe.part=conv model=local model.estimator=svm_rbf
    example: metanet probe run=runs/train/... zoo=zoos/nws_main_mini          (a local meta-model that was fitted before)
    A meta-model is trained for each target on slices of the training networks' last snapshots; the map is of the test networks.
    """

    model: str = group(
        "dmc_local_mini",
        "a meta-model of slices: dmc_local, dmc_local_mini, or local (any estimator on 16 measures)",
    )
    trainer: str = group("default", "pl.Trainer settings")
    tracking: str = group("none", "none or wandb")
    zoo: str | None = key(None, "folder of a finished zoo; with run= the run's own unless given")
    run: str | None = key(None, "a run of `metanet train` with a local meta-model, instead of training one")
    target: str | list[str] = key("hp.optimizer", "column to predict, several in [a,b], or all")
    where: Text | None = key(None, "pandas query over the columns of the zoo, hp.* as written")
    view: ConvergedView = part(ConvergedView)
    probe: Probing = part(Probing)
    train: ProbeTraining = part(ProbeTraining)
    split: ProbeSplit = part(ProbeSplit)
    html: bool = key(False, "true: an interactive page too, with tensor names under the pointer (needs the plotly extra)")
    seed: Seed = key(0, "of the fits")
    threads: Count | None = key(None, "of torch, LightGBM and BLAS alike; default: all cores")
    out: str | None = key(None, "run folder; default: runs/probe/<time>-<name>")


@dataclass
class Sweeps:
    """List the sweep files that come with metanet: a line each, its path, and how W&B takes it.

    example: metanet sweeps
    """


@dataclass
class Compare:
    """Which meta-model is best, and which differences are real.

    Runs that differ in seeds alone are one row, and all rows of one target on one zoo are scored on the same resampled networks.
    example: metanet compare runs/train
    example: metanet compare runs/train html=true where='features == "stats" and zoo.contains("mnist")'
    example: metanet compare runs/train measure=tau latex=true out=tables
    """

    tracking: str = group("none", "none or wandb: one run with the tables and figures")
    runs: str | list[str] = key(NEEDED, "run folders of any verb, or folders that hold them")
    where: Text | None = key(None, "pandas query over metrics and settings, such as model.num_leaves > 15")
    measure: str | None = key(
        None,
        "that decides: r2, tau, mse or mad; accuracy or balanced_accuracy; default: r2 and accuracy",
    )
    html: bool = key(False, "true: a page with tables that a click sorts, and figures; it needs no server and no network")
    published: bool = key(False, "true: what others published on the same image sets beside")
    latex: bool = key(False, "true: comparison.tex too")
    out: str | None = key(None, "folder of the tables; default: runs/compare/<time>-comparison")
