from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import r2_score

import metanet
from metanet.evaluation.protocol import evaluate_on, fit_and_score, fit_floors, floor_inputs, floors_on
from metanet.models.base import MatrixModel
from metanet.zoo import Layout, Split, Zoo, split_networks, zoo_from_arrays


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


def test_validation_rows_say_whether_the_model_has_learned_from_them_since(known: Zoo, split: Split) -> None:
    view = known.view()
    for refit, fit in ((True, "before refit"), (False, "final")):
        result = fit_and_score(metanet.create_model("gbm", max_trees=60, refit=refit), view, split, "test_accuracy")
        assert result.metrics["validation_fit"] == fit
        told = result.predictions.groupby("part")["fit"].unique()
        assert (list(told["validation"]), list(told["test"])) == ([fit], ["final"])
        rows = result.predictions.query("part == 'validation'")
        now = result.model.predict(view.part(split, "validation"))
        assert np.array_equal(rows["predicted"], now) is not refit
    assert "validation_fit" not in fit_and_score(metanet.create_model("constant"), view, split, "test_accuracy").metrics


def test_the_constant_floor_is_the_mean_of_training_and_validation_part(known: Zoo, split: Split) -> None:
    view = known.view()
    floors = fit_floors(view, split, "test_accuracy")
    np.testing.assert_allclose(
        floors["constant"].predicted, view.part(split, "train", "validation").target("test_accuracy").mean()
    )


def test_the_floor_of_a_hyperparameter_reads_the_others_and_the_accuracy(grown: Zoo) -> None:
    split = split_networks(grown.view().network_ids.tolist(), seed=0)
    view = grown.view()
    floor = metanet.create_model("gbm", features="hyper+metrics:test_accuracy")
    floor.fit(view.part(split, "train"), "hp.optimizer", view.part(split, "validation"))
    names = {name.split("=")[0] for name in floor.map.names}
    assert "test_accuracy" in names
    assert "hp.learning_rate" in names
    assert "hp.optimizer" not in names
    assert np.array_equal(fit_floors(view, split, "hp.optimizer")["hyper"].predicted, floor.predict(view.part(split, "test")))
    result = fit_and_score(metanet.create_model("gbm", max_trees=20), view, split, "hp.optimizer")
    true = view.part(split, "test").target("hp.optimizer")
    scored = result.metrics
    assert scored["accuracy_hyper"] == np.mean(true == floor.predict(view.part(split, "test")))
    assert scored["accuracy_floor"] == max(scored["accuracy_constant"], scored["accuracy_hyper"])
    assert scored["accuracy_floor"] == scored[f"accuracy_{scored['floor']}"]
    assert (
        scored["accuracy_minus_floor_low"] <= scored["accuracy"] - scored["accuracy_floor"] <= scored["accuracy_minus_floor_high"]
    )


def early_zoo(accuracies: bool = True) -> Zoo:
    """300 networks after epoch 1 and 5: the end is the accuracy so far and what the learning rate adds to it."""
    rng = np.random.default_rng(0)
    layout = Layout.build([("dense.weight", "dense", "kernel", (2, 3))])
    so_far, rate = rng.uniform(0.1, 0.5, 300), rng.uniform(0.0, 1.0, 300)
    ends = so_far + 0.4 * rate
    ids = [f"{i:06d}" for i in range(300)]
    frames = [
        pd.DataFrame({"network_id": ids, "epoch": epoch, "test_accuracy": accuracy, "hp.learning_rate": rate, "hp.dropout": 0.0})
        for epoch, accuracy in ((1, so_far), (5, ends))
    ]
    weights = np.repeat(rng.standard_normal((300, 1)) * 0.1 + ends[:, None], 6, axis=1)
    frame = pd.concat(frames).sort_values(["network_id", "epoch"], ignore_index=True)
    return zoo_from_arrays(np.repeat(weights, 2, axis=0), layout, frame if accuracies else frame.drop(columns="hp.learning_rate"))


def test_a_later_metric_stands_beside_what_it_is_so_far() -> None:
    zoo = early_zoo()
    early, split = zoo.view(epoch=1), split_networks([f"{i:06d}" for i in range(300)], seed=0)
    assert floor_inputs(early, "final_test_accuracy") == {
        "hyper": ["hyper"],
        "so_far": ["metrics:test_accuracy"],
        "so_far_hyper": ["metrics:test_accuracy", "hyper"],
    }
    result = fit_and_score(metanet.create_model("gbm", features="stats_global"), early, split, "final_test_accuracy")
    found, test = result.metrics, result.predictions.query("part == 'test'")
    for name in ("constant", "hyper", "so_far", "so_far_hyper"):
        assert found[f"r2_{name}"] == pytest.approx(r2_score(test["true"], test[f"{name}_floor"]))
    assert found["r2_so_far_hyper"] > max(found["r2_so_far"], found["r2_hyper"]) > 0.2  # both are needed to know the end
    assert found["floor"] == "so_far_hyper"
    left = ((test["true"] - test["so_far_hyper_floor"]) ** 2).sum()
    assert found["r2_beyond_floor"] == pytest.approx(1 - ((test["true"] - test["predicted"]) ** 2).sum() / left)
    assert (found["r2_minus_floor_low"], found["r2_minus_floor_high"]) == (
        found["r2_minus_so_far_hyper_low"],
        found["r2_minus_so_far_hyper_high"],
    )


def test_what_is_not_later_has_no_accuracy_so_far() -> None:
    zoo = early_zoo()
    assert set(floor_inputs(zoo.view(epoch=1), "test_accuracy")) == {"hyper"}
    assert set(floor_inputs(zoo.view(), "final_test_accuracy")) == {"hyper"}  # of the last snapshot it is the answer itself
    assert set(floor_inputs(zoo.view(epoch="all"), "final_test_accuracy")) == {"hyper", "so_far", "so_far_hyper"}
    bare = early_zoo(accuracies=False).view(epoch=1)
    assert floor_inputs(bare, "final_test_accuracy") == {"so_far": ["metrics:test_accuracy"]}


def test_where_hyperparameters_mislead_the_constant_is_the_strongest_floor(known: Zoo, split: Split) -> None:
    view = known.view()
    result = fit_and_score(metanet.create_model("gbm", max_trees=100), view, split, "test_accuracy")
    found, test = result.metrics, result.predictions.query("part == 'test'")
    assert found["r2_hyper"] < found["r2_constant"]  # here they say nothing, and a GBM on them makes some of it up
    assert found["floor"] == "constant"
    left = ((test["true"] - test["constant_floor"]) ** 2).sum()
    assert found["r2_beyond_floor"] == pytest.approx(1 - ((test["true"] - test["predicted"]) ** 2).sum() / left)


def test_where_nothing_varies_there_is_no_hyperparameter_floor(known: Zoo, split: Split) -> None:
    view = known.view()
    known.networks, before = known.networks.drop(columns=["hp.optimizer", "hp.learning_rate"]), known.networks
    try:
        bare = known.view()
        assert set(fit_floors(bare, split, "test_accuracy")) == {"constant"}
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
    chance = grown.data.chance
    assert metrics["n_trained"] == (accuracy > chance + 3 * np.sqrt(chance * (1 - chance) / 360)).sum()


def test_transfer_applies_the_model_unchanged(known: Zoo) -> None:
    model = metanet.create_model("gbm", features="stats_global", max_trees=30).fit(known.view())
    result = evaluate_on(model, known.view())
    np.testing.assert_allclose(result.predictions["predicted"], model.predict(known.view()))
    assert result.metrics["n_test"] == 200


def test_transfer_stands_beside_the_floors_of_the_training_zoo() -> None:
    """Two zoos of one rule; in the other the accuracies are lower and the rates are drawn anew."""
    zoo, other = early_zoo(), early_zoo()
    view = zoo.view()
    split = split_networks(view.network_ids.tolist(), seed=0)
    models = {name: floor.model for name, floor in fit_floors(view, split, "test_accuracy").items()}
    floors, missing = floors_on(models, other.view())
    assert not missing
    model = metanet.create_model("gbm", features="stats_global").fit(view.part(split, "train"))
    result = evaluate_on(model, other.view(), floors)
    true, predicted = result.predictions["true"], result.predictions["predicted"]
    expected = models["hyper"].predict(other.view())
    assert result.metrics["tau_hyper"] == pytest.approx(kendalltau(true, expected).statistic)
    gain = kendalltau(true, predicted).statistic - kendalltau(true, expected).statistic
    low, high = result.metrics["tau_minus_hyper_low"], result.metrics["tau_minus_hyper_high"]
    assert low < gain < high
    draws, rng = [], np.random.default_rng(1)
    for _ in range(200):
        i = rng.integers(0, 300, 300)
        draws.append(kendalltau(true[i], predicted[i]).statistic - kendalltau(true[i], expected[i]).statistic)
    np.testing.assert_allclose([low, high], np.percentile(draws, [2.5, 97.5]), atol=0.02)
    floors, missing = floors_on(models, early_zoo(accuracies=False).view())
    assert set(floors) == {"constant"}
    assert "no column hp.learning_rate" in missing["hyper"]
