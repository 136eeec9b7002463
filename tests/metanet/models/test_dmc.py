"""Deep meta-classifiers: the paper's counts and shapes, its schedule, balanced training, votes and attention."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import metanet
from metanet.errors import MetanetError
from metanet.models.dmc import GLOBAL, LOCAL, DMCNetwork
from metanet.zoo import Layout, View, Zoo, zoo_from_arrays


@pytest.mark.parametrize(
    ("convolutions", "length", "values", "flat"), [(GLOBAL, 92_868, 10_948_997, 5632), (LOCAL, 5000, 10_407_685, 4864)]
)
def test_values_are_as_many_as_the_papers(convolutions: str, length: int, values: int, flat: int) -> None:
    """Supplement F, Table 3: with five classes, batch normalisation's four values a channel counted."""
    network = DMCNetwork(convolutions, length, 5)
    counted = sum(v.numel() for k, v in network.state_dict().items() if "num_batches" not in k)
    assert counted == values
    assert next(m for m in network.modules() if isinstance(m, nn.Linear)).in_features == flat


@pytest.mark.parametrize(("length", "left"), [(100, 6), (500, 15), (5000, 19), (20_000, 19)])
def test_pools_of_other_lengths(length: int, left: int) -> None:
    """Supplement F.2: layers 6 to 11 pool while more than 50 positions are left."""
    network = DMCNetwork(LOCAL, length, 5, divide=8)
    assert next(m for m in network.modules() if isinstance(m, nn.Linear)).in_features == left * 256 // 8
    assert network(torch.randn(2, 1, length)).shape == (2, 5)


def test_the_network_is_one_of_one_dimensional_convolutions() -> None:
    """The same values through Conv1d, BatchNorm1d and MaxPool1d, layer by layer in the paper's order."""
    torch.manual_seed(0)
    network = DMCNetwork(LOCAL, 700, 3, divide=8).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(4, 1, 700)
    y = x
    for module in network.embedding:
        if isinstance(module, nn.Conv2d):
            y = nn.functional.conv1d(y, module.weight[:, :, 0], module.bias, padding=2)
        elif isinstance(module, nn.BatchNorm2d):
            y = nn.functional.batch_norm(y, module.running_mean, module.running_var, module.weight, module.bias)
        elif isinstance(module, nn.MaxPool2d):
            y = nn.functional.max_pool1d(y, 2)
        else:
            y = module(y)
    torch.testing.assert_close(network(x), network.last(y), rtol=1e-4, atol=1e-5)
    kinds = [type(m) for m in network.embedding]
    assert kinds[:4] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d]
    assert kinds[-4:] == [nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout]


def test_the_learning_rate_falls_fifty_times() -> None:
    from metanet.models.dmc import DMCLocal, _Training

    model = DMCLocal(epochs=20, divide=8)
    model.length = 64
    model.network = nn.Linear(2, 2)
    configured = _Training(model, 10).configure_optimizers()
    rates = []
    for _ in range(200):
        rates.append(configured["optimizer"].param_groups[0]["lr"])
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert len(set(rates)) == 50
    np.testing.assert_allclose([rates[0], rates[3], rates[4], rates[-1]], [1e-3, 1e-3, 0.95e-3, 1e-3 * 0.95**49])
    np.testing.assert_allclose(configured["optimizer"].param_groups[0]["lr"], 7.7e-5, rtol=0.01)  # the paper's last


def stripes(count: int = 90, wide: bool = False, seed: int = 0, shuffle: bool = False) -> Zoo:
    """Networks of two sizes whose weights rise and fall with a period that tells their optimizer, from a random phase on."""
    rng = np.random.default_rng(seed)
    layout = Layout.build([("a.weight", "a", "kernel", (40, 40))])  # without hidden neurons, whose order would not be kept
    names = rng.choice(["adam", "momentum", "sgd"], count, p=[0.45, 0.45, 0.1])
    period = {"adam": 4.0, "momentum": 7.0, "sgd": 13.0}
    at = np.arange(layout.size)
    weights = [np.sin(2 * np.pi * (at / period[n] + rng.uniform())) + 0.2 * rng.standard_normal(layout.size) for n in names]
    shown = rng.permutation(names) if shuffle else names
    frame = pd.DataFrame(
        {"network_id": [f"n{i:03d}" for i in range(count)], "hp.optimizer": shown, "test_accuracy": rng.uniform(size=count)}
    )
    return zoo_from_arrays(np.array(weights, np.float32), layout, frame, name="stripes")


def small(**settings: object) -> metanet.models.MetaModel:
    usual = {"slice": 64, "epochs": 40, "learning_rate": 0.005, "dropout": 0.1, "batch_size": 32}
    return metanet.create_model("dmc_local_mini", **usual | settings)


@pytest.fixture(scope="module")
def parts() -> tuple[View, View]:
    return stripes().view().split(test=0.5, seed=0)


@pytest.mark.parametrize("settings", [{}, {"attention": True, "bag": 4}, {"balance": "drop", "epochs": 120}])
def test_slices_tell_what_every_place_of_the_vector_holds(parts: tuple[View, View], settings: dict) -> None:  # type: ignore[type-arg]
    train, test = parts
    assert small(**settings).fit(train, "hp.optimizer").score(test)["balanced_accuracy"] > 0.9


def test_a_few_huge_values_do_not_undo_in_evaluation_what_was_learned() -> None:
    """As running variances do among kernels; squashed by asinh(20 x), tested against numpy."""
    zoo = stripes(seed=5)
    weights = np.array(zoo.view().weights())
    weights[::5, 700:760] = 1e4
    spoilt = zoo_from_arrays(weights, zoo.view().layout, zoo.view().frame.drop(columns=["layout_id"]), name="spoilt")
    train, test = spoilt.view().split(test=0.5, seed=0)
    model = small().fit(train, "hp.optimizer")
    assert model.score(test)["balanced_accuracy"] > 0.85
    x = torch.from_numpy(weights[:2, None, :64])
    plain = DMCNetwork(LOCAL, 64, 3, divide=8).eval()
    squashed = DMCNetwork(LOCAL, 64, 3, divide=8, squash=True).eval()
    squashed.load_state_dict(plain.state_dict())
    torch.testing.assert_close(
        squashed(x), plain(torch.from_numpy(np.arcsinh(20 * weights[:2, None, :64]))), rtol=1e-4, atol=1e-4
    )


def test_shuffled_labels_leave_chance() -> None:
    train, test = stripes(160, shuffle=True, seed=3).view().split(test=0.5, seed=0)
    model = small().fit(train, "hp.optimizer")
    assert model.score(test)["balanced_accuracy"] < 0.55  # a third is chance


def test_a_vote_is_the_mean_of_the_slices_logits(parts: tuple[View, View]) -> None:
    train, test = parts
    model = small(votes=7).fit(train, "hp.optimizer")
    vector = next(test.vectors())
    starts = np.round(np.linspace(0, len(vector) - 64, 7)).astype(int)
    logits = model.logits(np.stack([vector[s : s + 64] for s in starts])).mean(0)
    np.testing.assert_allclose(model.output(test)[0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-4)


def test_attention_weighs_the_slices_of_a_bag() -> None:
    torch.manual_seed(0)
    network = DMCNetwork(LOCAL, 64, 3, divide=8, attention=True).eval()
    bag = torch.randn(1, 5, 64)
    embedded = torch.cat([network.embedding(bag[:, i : i + 1, None]) for i in range(5)])
    weights = network.attention(embedded).softmax(0)
    torch.testing.assert_close(network(bag), network.last((weights * embedded).sum(0, keepdim=True)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(bag), network(bag[:, [3, 1, 4, 0, 2]]))


def test_the_whole_training_part_is_learned_from(parts: tuple[View, View]) -> None:
    """Nothing is chosen, so the validation part is no less training."""
    train, test = parts
    held, rest = train.take(range(10)), train.take(range(10, len(train)))
    a = small().fit(rest, "hp.optimizer", held).output(test)
    b = small().fit(train, "hp.optimizer").output(test)
    np.testing.assert_array_equal(a, b)


def test_lengths_are_chosen_and_refused(parts: tuple[View, View], known: Zoo) -> None:
    train, _ = parts
    model = metanet.create_model("dmc_local_mini", epochs=1).fit(train, "hp.optimizer")
    assert model.length == 500  # vectors of 1,600 values
    wide = metanet.create_model("dmc_global_mini", epochs=1).fit(train, "hp.optimizer")
    assert wide.length == 1600
    with pytest.raises(MetanetError, match="vectors of 67 values were given, the model was trained on 1600"):
        wide.output(known.view())
    with pytest.raises(MetanetError, match=r"longer than the vectors of 45 of 45 .*at most 1600"):
        metanet.create_model("dmc_local_mini", slice=2000).fit(train, "hp.optimizer")
    with pytest.raises(MetanetError, match=r"model.divide=3: give 1, 2, 4 or 8"):
        metanet.create_model("dmc_local", divide=3)
    with pytest.raises(MetanetError, match=r"model.balance=drp: give drop, draw or none"):
        metanet.create_model("dmc_local", balance="drp")
    with pytest.raises(MetanetError, match="estimator=constant does not read features"):
        metanet.create_model("local", estimator="constant")


@pytest.mark.parametrize("estimator", ["svm_rbf", "gbm"])
def test_any_estimator_on_the_measures_of_slices(parts: tuple[View, View], estimator: str) -> None:
    train, test = parts
    model = metanet.create_model("local", estimator=estimator, slice=64).fit(train, "hp.optimizer")
    assert model.score(test)["balanced_accuracy"] > 0.9
    assert model.model.map.names[0] == "mean"
