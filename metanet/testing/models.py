"""What every meta-model must do, on shares, numbers and categories; and every encoder besides."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metanet.errors import MetanetError, UnsuitableTargetError
from metanet.models.base import MetaModel, check_settings, constructor_arguments
from metanet.models.encoder import Encoder
from metanet.models.registry import create_model, load_model, model_class
from metanet.testing.contracts import alike, require, with_column
from metanet.testing.symmetry import assert_permutation_invariant
from metanet.testing.zoos import example_zoo
from metanet.zoo.zoo import View, Zoo

TARGETS = {"test_accuracy": "regression", "hp.learning_rate": "regression", "hp.optimizer": "classification"}
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib")
# Nothing here is learned by converging; each is given where the class takes it.
QUICK: dict[str, Any] = {
    "max_epochs": 2,
    "epochs": 1,
    "max_trees": 10,
    "channels": 4,
    "hidden": 8,
    "units": 8,
    "divide": 8,
    "slice": 24,
    "votes": 2,
    "folds": 3,
    "members": [{"name": "logit_linear", "max_epochs": 2}, {"name": "gbm", "max_trees": 10}],
}


@dataclass(frozen=True)
class _Made:
    """A class of models with the settings that it is checked with."""

    cls: type[MetaModel]
    title: str
    create: Callable[..., MetaModel]
    load: Callable[[Path], MetaModel]


def check_model(model: str | type[MetaModel], zoo: Zoo | None = None, **settings: Any) -> None:
    """Raise unless a meta-model keeps its contract; of an encoder, also what :func:`check_encoder` asks.

    It is fitted on a share, a number and a category; what it predicts has the right shape and range, depends on each network
    alone and not on its label, is the same for the same seed, and after saving and loading.

    Args:
        model: a name, ``FILE.py:CLASS``, or a class.
        zoo: at least 20 networks with the columns test_accuracy, hp.learning_rate and hp.optimizer; default
            :func:`example_zoo`.
        settings: of the model; what makes a fit long is cut where none is given.

    Raises:
        AssertionError: says which contract was broken, and by what.
    """
    made = _made(model, settings)
    train, test = (zoo or example_zoo(60)).view().split(test=0.4, seed=0)
    _check_settings(made)
    for target, task in TARGETS.items():
        if task in made.cls.tasks:
            fitted = _checked_fit(made, train, test, target)
            _check_saving(made, fitted, test)
        else:
            _check_refusal(made, train, target, task)
    _check_rows(made, fitted, test)
    again = made.create(seed=1).fit(train, fitted.target.name).output(test)
    once_more = made.create(seed=1).fit(train, fitted.target.name).output(test)
    require(np.array_equal(again, once_more), made.title, "two fits with seed=1 on the same networks answer differently")
    if zoo is None and issubclass(made.cls, Encoder):
        _check_architectures(made)


def check_encoder(model: str | type[Encoder], **settings: Any) -> None:
    """Raise unless an encoder keeps the contract of a meta-model, and those of its own.

    The order of hidden neurons changes no answer, different networks get different ones, and networks of widths that
    training never saw are judged as well.

    Raises:
        AssertionError: says which contract was broken, and by what.
    """
    made = _made(model, settings)
    require(issubclass(made.cls, Encoder), made.title, "is no subclass of metanet.models.encoder.Encoder")
    check_model(model, **settings)


def _made(model: str | type[MetaModel], settings: dict[str, Any]) -> _Made:
    cls = model_class(model) if isinstance(model, str) else model
    if not (isinstance(cls, type) and issubclass(cls, MetaModel)):
        raise AssertionError(f"{model!r} is neither a name nor a subclass of metanet.models.base.MetaModel")
    title = model.rpartition("/")[2] if isinstance(model, str) else cls.__name__
    known = constructor_arguments(cls)
    own = {key: value for key, value in QUICK.items() if key in known} | settings
    if abstract := sorted(getattr(cls, "__abstractmethods__", ())):
        raise AssertionError(f"{title}: does not write {', '.join(abstract)}, which every meta-model has")
    if isinstance(model, str):
        return _Made(cls, title, lambda **more: create_model(model, **own | more), load_model)
    return _Made(cls, title, lambda **more: cls(**own | more), cls.load)


def _check_settings(made: _Made) -> None:
    """Settings come back as they were given, and others are refused."""
    require(isinstance(getattr(made.cls, "name", None), str), made.title, "has no class attribute 'name', a text")
    model = made.create()
    try:
        settings = model.settings()
    except AttributeError as error:
        raise AssertionError(f"{made.title}: keeps no attribute of the name of each constructor's argument ({error})") from None
    again = type(model)(**settings).settings()
    changed = [key for key in settings if settings[key] != again.get(key)]
    require(not changed, made.title, f"the setting {changed[:1]} is another one when the model is made of its settings()")
    levels = set(model.access.split("+")) - {*"WAFDH", "-"}
    require(not levels, made.title, f"access={model.access}: levels are W, A, F, H and D, joined by +")
    try:
        check_settings(made.cls, {"fetures": "stats"})
    except MetanetError:
        return
    raise AssertionError(f"{made.title}: takes any setting, so that a slip of the pen is never found")


def _check_refusal(made: _Made, train: View, target: str, task: str) -> None:
    try:
        made.create().fit(train, target)
    except UnsuitableTargetError:
        return
    raise AssertionError(f"{made.title}: says that it does no {task}, but fits target={target} without a word")


def _checked_fit(made: _Made, train: View, test: View, target: str) -> MetaModel:
    """A fitted model whose answers have the right shape and range."""
    model = made.create()
    model.fit(train, target)
    require(hasattr(model, "target") and model.target.name == target, made.title, f"fit sets no target of the name {target}")
    output, predicted = model.output(test), model.predict(test)
    n, classes = len(test), model.target.classes
    wanted = (n, len(classes)) if classes else (n,)
    words = f"target={target}: output has shape {output.shape}, wanted is {wanted}"
    require(output.shape == wanted, made.title, words)
    require(np.isfinite(output).all(), made.title, f"target={target}: output has values that are no finite numbers")
    require(predicted.shape == (n,), made.title, f"target={target}: predict gave shape {predicted.shape}, wanted is {(n,)}")
    if classes:
        sums = output.sum(1)
        off = float(np.abs(sums - 1).max())
        require(
            off < TOTAL and output.min() >= 0, made.title, f"target={target}: probabilities of a network sum to 1 + {off:.2g}"
        )
    elif model.target.kind == "share":
        inside = predicted.min() >= 0 and predicted.max() <= 1
        require(
            inside, made.title, f"target={target}: predictions from {predicted.min():.3g} to {predicted.max():.3g} leave 0 to 1"
        )
    return model


TOTAL = 1e-4  # that probabilities may miss 1 by


def _check_rows(made: _Made, model: MetaModel, test: View) -> None:
    """What is said of a network depends on it alone, and on nothing that is to be predicted."""
    before = model.output(test)
    order = np.random.default_rng(0).permutation(len(test))
    words = "what is said of a network depends on the order of the view"
    require(alike(model.output(test.take(order)), before[order]), made.title, words)
    words = "what is said of a network depends on which others are in the view"
    require(alike(model.output(test.take(range(3))), before[:3]), made.title, words)
    target = model.target.name
    mixed = with_column(test, target, test.frame[target].to_numpy()[order])
    require(alike(model.output(mixed), before), made.title, f"predictions read {target}, which they are to predict")


def _check_saving(made: _Made, model: MetaModel, test: View) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        model.save(path)
        again = made.load(path)
        require(type(again) is type(model), made.title, f"load gives a {type(again).__name__}")
        same = np.array_equal(again.output(test), model.output(test))
        require(same, made.title, f"target={model.target.name}: answers otherwise after saving and loading")
        pickled = [p.name for p in path.rglob("*") if p.suffix in PICKLES]
        require(
            not pickled, made.title, f"save writes {pickled[:1]}; write JSON, safetensors or npz, which run no code when read"
        )


def _check_architectures(made: _Made) -> None:
    """Networks of several widths together, the order of their neurons, and a width that training never saw."""
    view = example_zoo(40, widths=(8, 6)).view()
    model = made.create()
    model.fit(view, "hp.optimizer")
    output = model.output(view)
    require(np.ptp(output, axis=0).max() > 1e-7, made.title, "answers the same for all networks")
    wider = example_zoo(8, widths=(12,), seed=1).view()
    require(np.isfinite(model.output(wider)).all(), made.title, "gives no finite answer for a width that training never saw")
    for networks in (view, wider):
        assert_permutation_invariant(model, networks)
