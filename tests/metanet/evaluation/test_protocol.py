from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

import metanet
from metanet.evaluation.protocol import evaluate_on, fit_and_score, fit_floors
from metanet.models.base import MatrixModel
from metanet.zoo import Split, Zoo, split_networks


@pytest.fixture(scope="module")
def split(known: Zoo) -> Split:
    return split_networks(known.view().network_ids.tolist(), seed=0)


def test_a_fit_stands_beside_its_floors(known: Zoo, split: Split) -> None:
    view = known.view()
    result = fit_and_score(metanet.create_model("gbm", max_trees=100), view, split, "test_accuracy")
    found = result.metrics
    test = result.predictions.query("part == 'test'")
    assert found["n_train"] == 100
    assert found["n_test"] == len(test) == 100
    assert found["r2"] == pytest.approx(r2_score(test["true"], test["predicted"]))
    assert found["r2_constant"] == pytest.approx(r2_score(test["true"], test["constant_floor"]))
    assert found["r2_hyper"] == pytest.approx(r2_score(test["true"], test["hyper_floor"]))
    assert found["r2_low"] < found["r2"] < found["r2_high"]
    assert found["r2_minus_hyper_low"] > 0  # here the hyperparameters say nothing of the accuracy
    assert found["r2_beyond_hyper"] > 0.5
    assert found["access"] == "W"
    assert set(test["network_id"]) == set(split.test)
    validation = result.predictions.query("part == 'validation'")
    assert set(validation["network_id"]) == set(split.validation)


def test_the_constant_floor_is_the_mean_of_training_and_validation_part(known: Zoo, split: Split) -> None:
    view = known.view()
    floors = fit_floors(view, split, "test_accuracy")
    np.testing.assert_allclose(floors.constant, view.part(split, "train", "validation").target("test_accuracy").mean())


def test_the_floor_of_a_hyperparameter_reads_the_others_and_the_accuracy(grown: Zoo) -> None:
    split = split_networks(grown.view().network_ids.tolist(), seed=0)
    view = grown.view()
    floor = metanet.create_model("gbm", features="hyper+metrics:test_accuracy")
    floor.fit(view.part(split, "train"), "hp.optimizer", view.part(split, "validation"))
    names = {name.split("=")[0] for name in floor.map.names}
    assert "test_accuracy" in names
    assert "hp.learning_rate" in names
    assert "hp.optimizer" not in names
    assert np.array_equal(fit_floors(view, split, "hp.optimizer").hyper, floor.predict(view.part(split, "test")))
    result = fit_and_score(metanet.create_model("gbm", max_trees=20), view, split, "hp.optimizer")
    true = view.part(split, "test").target("hp.optimizer")
    assert result.metrics["accuracy_hyper"] == np.mean(true == floor.predict(view.part(split, "test")))


def test_where_nothing_varies_there_is_no_hyperparameter_floor(known: Zoo, split: Split) -> None:
    view = known.view()
    known.networks, before = known.networks.drop(columns=["hp.optimizer", "hp.learning_rate"]), known.networks
    try:
        bare = known.view()
        assert fit_floors(bare, split, "test_accuracy").hyper is None
        metrics = fit_and_score(metanet.create_model("constant"), bare, split, "test_accuracy").metrics
        assert "r2_hyper" not in metrics
        assert len(view) == len(bare)
    finally:
        known.networks = before


class Spy(MatrixModel):
    """Remembers every row it is shown."""

    name = "spy"
    standardise = True

    def fit_matrix(self, x, y, validation, rounds):  # type: ignore[no-untyped-def]
        self.shown = getattr(self, "shown", [])
        self.shown.append((len(x), None if validation is None else len(validation[1]), rounds))
        return 7

    def output_matrix(self, x):  # type: ignore[no-untyped-def]
        return np.zeros(len(x))

    def save_estimator(self, folder):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def load_estimator(self, folder):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def test_the_test_part_is_never_shown_to_a_fit(known: Zoo, split: Split) -> None:
    model = Spy()
    fit_and_score(model, known.view(), split, "test_accuracy")
    assert model.shown == [(80, 20, None), (100, None, 7)]
    rows = known.view().part(split, "train", "validation")
    np.testing.assert_allclose(model.scaler.center, model.map.transform(rows).mean(0), rtol=1e-6)


def test_a_grown_zoo_has_a_ceiling_and_scores_of_trained_networks(grown: Zoo) -> None:
    split = split_networks(grown.view().network_ids.tolist(), seed=0)
    metrics = fit_and_score(metanet.create_model("constant"), grown.view(), split, "test_accuracy").metrics
    assert 0 < metrics["tau_ceiling"] < metrics["tau_ties"] <= 1
    accuracy = grown.view().part(split, "test").target("test_accuracy")
    chance = grown.data["chance"]
    assert metrics["n_trained"] == (accuracy > chance + 3 * np.sqrt(chance * (1 - chance) / 360)).sum()


def test_transfer_applies_the_model_unchanged(known: Zoo) -> None:
    model = metanet.create_model("gbm", features="stats_global", max_trees=30).fit(known.view())
    result = evaluate_on(model, known.view())
    np.testing.assert_allclose(result.predictions["predicted"], model.predict(known.view()))
    assert result.metrics["n_test"] == 200
