"""One contract for all registered meta-models: fit, predict, save, load, on shares, numbers and categories."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import metanet
from metanet.errors import MetanetError
from metanet.models.base import constructor_arguments
from metanet.models.registry import model_class
from metanet.testing import check_model
from metanet.zoo import View, Zoo

# The deep ones' code is the minis'; a probe net is told nothing by these networks' answers, see test_encoders.
BLIND = ("constant", "dmc_local", "dmc_global", "probe_net")
SLOW = ("dmc_local_mini", "dmc_global_mini")


def quick(name: str, **settings):  # type: ignore[no-untyped-def]
    """A model cut to seconds where it has rounds to cut."""
    known = constructor_arguments(model_class(name))
    cuts = {"max_epochs": 40, "max_trees": 60, "learning_rate": 0.003 if name in ("dnn", "stat_net") else 0.05}
    if "beside" in known:  # the encoders
        cuts = {
            "max_epochs": 25,
            "channels": 8,
            "hidden": 32,
            "dropout": 0.0,
            "learning_rate": 0.01,
            "batch_size": 16,
            "ema": 0.9,
        }
    if name in ("stack", "auto"):
        cuts = {"folds": 3, "members": ["logit_linear:stats", {"name": "gbm", "max_trees": 40}]}
    if name.startswith(("dmc", "local")):
        cuts = {
            "slice": 48,
            "epochs": 10,
            "divide": 8,
            "dropout": 0.0,
            "learning_rate": 0.01,
            "batch_size": 32,
            "votes": 3,
            "squash": False,
        }
    return metanet.create_model(name, **{k: v for k, v in cuts.items() if k in known} | settings)


@pytest.fixture(scope="module")
def parts(known: Zoo) -> tuple[View, View]:
    return known.view().split(test=0.4, seed=0)


@pytest.mark.parametrize("name", metanet.list_models())
def test_every_model_keeps_its_contract(name: str) -> None:
    check_model(name)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in metanet.list_models() if n not in BLIND],
)
def test_models_find_what_is_there(name: str, parts: tuple[View, View]) -> None:
    train, test = parts
    more = {"epochs": 80} if name.startswith("dmc") else {}
    if "regression" in model_class(name).tasks:
        assert quick(name, **more).fit(train).score(test)["r2"] > 0.7
    assert quick(name, **more).fit(train, "hp.optimizer").score(test)["accuracy"] > 0.8


@pytest.mark.parametrize("name", metanet.list_models())
def test_unknown_settings_are_named(name: str) -> None:
    with pytest.raises(MetanetError, match=r"has no setting 'fetures'.*'features'"):
        metanet.create_model(name, fetures="stats")


def test_the_constant_is_the_mean_and_the_commonest_class(parts: tuple[View, View]) -> None:
    train, test = parts
    held_out = train.take(range(20))
    rest = train.take(range(20, len(train)))
    model = metanet.create_model("constant").fit(rest, "test_accuracy", held_out)
    np.testing.assert_allclose(model.predict(test), train.target("test_accuracy").mean())
    names, counts = np.unique(train.target("hp.optimizer"), return_counts=True)
    assert set(metanet.create_model("constant").fit(train, "hp.optimizer").predict(test)) == {names[counts.argmax()]}


def test_log_uniform_targets_are_scored_in_log10(grown: Zoo) -> None:
    model = quick("gbm").fit(grown.view(), "hp.learning_rate")
    assert model.target.kind == "log"
    assert (model.predict(grown.view()) < 0).all()


def test_refit_uses_the_validation_part_too(parts: tuple[View, View]) -> None:
    train, test = parts
    held_out, rest = train.take(range(30)), train.take(range(30, len(train)))
    once = quick("gbm", refit=False).fit(rest, "test_accuracy", held_out)
    twice = quick("gbm", refit=True).fit(rest, "test_accuracy", held_out)
    assert once.rounds == twice.rounds
    assert np.array_equal(once.held_out.output, twice.held_out.output)
    assert not np.array_equal(once.predict(test), twice.predict(test))


def test_logit_linear_is_a_linear_model_of_the_features(parts: tuple[View, View]) -> None:
    """Its log-odds, over the standardised and clipped features, are w x + b with the stored weights."""
    train, test = parts
    model = quick("logit_linear").fit(train)
    z = np.clip((model.map.transform(test) - model.scaler.center) / model.scaler.spread, -5, 5)
    layer = model.network[0]
    odds = z @ layer.weight.detach().numpy()[0].astype(float) + float(layer.bias.detach())
    np.testing.assert_allclose(model.predict(test), 1 / (1 + np.exp(-odds)), rtol=1e-4)


def test_gbm_clamps_its_leaves_and_checks_its_objective(parts: tuple[View, View]) -> None:
    parameters = metanet.create_model("gbm", max_depth=3, num_leaves=9743)
    parameters.target = quick("constant").fit(parts[0]).target
    assert parameters._parameters(100, 56)["num_leaves"] == 8
    with pytest.raises(MetanetError, match="objective=absolute"):
        metanet.create_model("gbm", objective="absolute")
    with pytest.raises(MetanetError, match="needs a target from 0 to 1"):
        quick("gbm", objective="cross_entropy").fit(parts[0], "hp.learning_rate")
    assert quick("gbm", objective="cross_entropy").fit(parts[0]).score(parts[1])["r2"] > 0.7


def test_targets_that_tell_nothing_are_refused(known: Zoo) -> None:
    same = known.view(where="hp.optimizer == 'adam'")
    with pytest.raises(MetanetError, match="always 'adam'"):
        quick("gbm").fit(same, "hp.optimizer")


MINE = """
from pathlib import Path
import numpy as np
from metanet.models import MatrixModel

class Nearest(MatrixModel):
    "One nearest neighbour."
    name = "nearest"
    standardise = True

    def __init__(self, power=2, **base):
        super().__init__(**base)
        self.power = power

    def fit_matrix(self, x, y, validation, rounds):
        self.x, self.y = x, y

    def output_matrix(self, x):
        gaps = np.abs(x[:, None] - self.x[None]) ** self.power
        nearest = self.y[gaps.sum(2).argmin(1)]
        return np.eye(self.classes)[nearest] if self.classes else nearest

    def save_estimator(self, folder):
        np.savez(folder / "memory.npz", x=self.x, y=self.y)

    def load_estimator(self, folder):
        memory = np.load(folder / "memory.npz")
        self.x, self.y = memory["x"], memory["y"]

class Other:
    pass
"""


def test_a_model_of_ones_own_by_path(parts: tuple[View, View], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    train, test = parts
    name = f"{tmp_path}/mine.py:Nearest"
    model = metanet.create_model(name, power=1).fit(train)
    assert model.score(test)["r2"] > 0.5
    assert metanet.create_model(name).fit(train, "hp.optimizer").score(test)["accuracy"] > 0.6
    model.save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "model.json").read_text())["settings"]["power"] == 1
    assert np.array_equal(metanet.load_model(tmp_path / "model").predict(test), model.predict(test))
    with pytest.raises(MetanetError, match="has no setting 'pwer'"):
        metanet.create_model(name, pwer=1)
    with pytest.raises(MetanetError, match="no meta-model"):
        metanet.create_model(f"{tmp_path}/mine.py:Other")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetanetError, match="holds no meta-model"):
        metanet.load_model(tmp_path)


def test_parameter_counts_of_the_dnn(parts: tuple[View, View]) -> None:
    model = metanet.create_model("dnn", layers=2, units=8, max_epochs=1).fit(parts[0])
    inputs = len(model.map.names)
    assert sum(p.numel() for p in model.network.parameters()) == (inputs * 8 + 8) + (8 * 8 + 8) + (8 + 1)


def test_a_forest_that_points_outside_itself_is_refused(parts: tuple[View, View], tmp_path: Path) -> None:
    model = quick("random_forest").fit(parts[0])
    state = model.forest.estimators_[0].tree_.__getstate__()
    state["nodes"]["left_child"][0] = 10_000
    model.forest.estimators_[0].tree_.__setstate__(state)
    model.save(tmp_path / "model")
    with pytest.raises(MetanetError, match="outside themselves"):
        metanet.load_model(tmp_path / "model")
