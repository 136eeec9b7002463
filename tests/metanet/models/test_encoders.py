"""Encoders of raw weights: symmetry over random architectures, slots, several targets, learned probes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import metanet
from metanet.data_modules.networks import NetworkPart
from metanet.errors import MetanetError
from metanet.generation.mlp import MLP
from metanet.generation.nws import NWSNetwork
from metanet.generation.resnet import ResNetMini
from metanet.metrics import r2
from metanet.models.encoder import Encoder
from metanet.models.registry import model_class
from metanet.models.weight_space import TapLinear
from metanet.representations.slots import ROLES, Architecture, Slots
from metanet.zoo import Layout, Zoo, open_zoo, zoo_from_arrays
from metanet.zoo.wiring import wire

NAMES = [n for n in metanet.list_models() if issubclass(model_class(n), Encoder)]
READERS = [n for n in NAMES if n != "probe_net"]  # which do not run the networks


def drawn(layout: Layout, count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, layout.size)).astype(np.float32)


def network_of(name: str, samples: list[tuple[Layout, np.ndarray]]) -> tuple[nn.Module, Slots]:
    model = metanet.create_model(name)
    assert isinstance(model, Encoder)
    model.slots = Slots.of(samples)
    torch.manual_seed(0)
    return model.create_encoder().double().eval(), model.slots


def embedded(network: nn.Module, slots: Slots, layout: Layout, weights: np.ndarray) -> np.ndarray:
    architecture = Architecture(layout, slots)
    part = NetworkPart(architecture, torch.from_numpy(architecture.squashed(weights)).double(), None, np.full(len(weights), None))
    with torch.inference_mode():
        return network(part).numpy()


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=8, deadline=None)
@given(
    depth=st.integers(3, 4),
    width=st.sampled_from([2, 3]),
    dense=st.integers(1, 3),
    size=st.sampled_from([3, 5]),
    norm=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_random_architectures_are_read_whatever_their_neurons_order(name, depth, width, dense, size, norm, seed):
    own = NWSNetwork(
        (16, 16, 3), filter_size=size, conv_depth=depth, fc_depth=dense, conv_width=width, fc_width=8, batch_norm=norm
    )
    other = NWSNetwork((16, 16, 3), filter_size=3, conv_depth=3, fc_depth=2, conv_width=2, fc_width=4).layout
    layout, weights = own.layout, drawn(own.layout, seed=seed)
    wiring = wire(layout)
    places = wiring.positions(wiring.draw(np.random.default_rng(seed)))
    for samples in ([(layout, weights)], [(layout, weights), (other, drawn(other))]):
        network, slots = network_of(name, samples)
        before = embedded(network, slots, layout, weights)
        np.testing.assert_allclose(embedded(network, slots, layout, weights[:, places]), before, rtol=1e-9, atol=1e-9)
        assert np.abs(before[0] - before[1]).max() > 1e-3  # and networks differ
        moved = weights[:, np.random.default_rng(seed).permutation(layout.size)]
        assert np.abs(embedded(network, slots, layout, moved) - before).max() > 1e-3  # any other order is seen


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "module",
    [
        ResNetMini(1, 4, 2, 10, 0.0),
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(16, 3)),
    ],
    ids=["residual", "depthwise"],
)
def test_residual_and_depthwise_networks(name: str, module: nn.Module) -> None:
    layout = Layout.from_module(module)
    weights, wiring = drawn(layout), wire(layout)
    network, slots = network_of(name, [(layout, weights)])
    places = wiring.positions(wiring.draw(np.random.default_rng(1)))
    before = embedded(network, slots, layout, weights)
    np.testing.assert_allclose(embedded(network, slots, layout, weights[:, places]), before, rtol=1e-9, atol=1e-9)
    last = [t for t in layout.tensors if t.kind == "kernel"][-1]
    outputs = weights.copy().reshape(len(weights), -1)
    rows = outputs[:, last.start : last.stop].reshape(len(weights), *last.shape)
    outputs[:, last.start : last.stop] = rows[:, ::-1].reshape(len(weights), -1)
    assert np.abs(embedded(network, slots, layout, outputs) - before).max() > 1e-4  # classes have their places


def test_slots_are_layers_where_all_networks_have_the_same_and_roles_where_not() -> None:
    small = NWSNetwork((16, 16, 3), filter_size=3, conv_depth=3, fc_depth=2, conv_width=2, fc_width=4).layout
    wide = NWSNetwork((16, 16, 3), filter_size=3, conv_depth=3, fc_depth=2, conv_width=4, fc_width=8).layout
    deep = NWSNetwork((16, 16, 3), filter_size=5, conv_depth=4, fc_depth=3, conv_width=2, fc_width=4).layout
    layers = Slots.of([(small, drawn(small))])
    assert layers.numbers(wire(wide)) == list(range(6))  # a wider network has the same layers
    with pytest.raises(MetanetError, match=r"conv1.*are not those of the training networks.*mixed architectures"):
        layers.numbers(wire(deep))
    roles = Slots.of([(small, drawn(small)), (deep, drawn(deep))])
    words = [ROLES[i] for i in roles.numbers(wire(deep))]
    assert words == ["first convolution", *["middle convolution"] * 3, *["middle dense"] * 3, "last dense"]
    assert roles.grids[ROLES.index("middle convolution")] == (5, 5)
    assert Slots.from_json(roles.to_json()) == roles


def test_scales_are_the_geometric_mean_of_the_medians() -> None:
    layout = MLP((2, 2, 1), num_layers=1, num_units=3, classes=2).layout
    weights = drawn(layout, 50)
    weights[:, layout.tensors[1].start : layout.tensors[1].stop] = 0.0  # biases before training
    slots = Slots.of([(layout, weights)])
    first = layout.tensors[0]
    np.testing.assert_allclose(slots.scales[0][0], np.median(np.abs(weights[:, first.start : first.stop])), rtol=1e-5)
    assert slots.scales[0][1] == 1.0
    squashed = Architecture(layout, slots).squashed(weights)
    np.testing.assert_allclose(squashed[:, 0], np.arcsinh(weights[:, 0] / slots.scales[0][0]), rtol=1e-5)


def test_small_filters_are_read_as_if_padded_with_zeros() -> None:
    small = NWSNetwork((16, 16, 3), filter_size=3, conv_depth=3, fc_depth=1, conv_width=2, fc_width=4).layout
    large = NWSNetwork((16, 16, 3), filter_size=5, conv_depth=4, fc_depth=1, conv_width=2, fc_width=4).layout
    slots = Slots.of([(small, drawn(small)), (large, drawn(large))])
    taps = TapLinear(slots, 7)
    edge, wider = wire(small).edges[0], wire(large).edges[0]
    patch = torch.randn(1, 4, 3, 3, 3)
    padded = nn.functional.pad(patch, (1, 1, 1, 1))
    torch.testing.assert_close(taps(patch.flatten(3), edge, 0), taps(padded.flatten(3), wider, 0))


@pytest.mark.parametrize("name", NAMES)
def test_mixed_zoos_and_wider_networks(name: str, nws_zoos: dict[str, Path]) -> None:
    mixed = open_zoo(nws_zoos["mixed"]).view()
    model = metanet.create_model(name, max_epochs=2, batch_size=8, hidden=16).fit(mixed, "hp.optimizer")
    output = model.output(mixed)
    np.testing.assert_allclose(output.sum(1), 1, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(mixed))
    np.testing.assert_allclose(model.output(mixed.take(order)), output[order], atol=1e-5)  # whatever is batched together


def test_one_encoder_with_a_head_a_target(known: Zoo, tmp_path: Path) -> None:
    train, test = known.view().split(test=0.4, seed=0)
    targets = ["test_accuracy", "hp.optimizer", "hp.learning_rate"]
    model = metanet.create_model("deepsets", max_epochs=30, batch_size=16, channels=8, hidden=32, ema=0.9)
    assert isinstance(model, Encoder)
    fitted = model.fit_targets(train, targets)
    accuracy, optimizer, _ = fitted
    assert accuracy.score(test)["r2"] > 0.7
    assert optimizer.score(test)["accuracy"] > 0.8
    assert [own.target.name for own in fitted] == targets
    for i, head in enumerate(fitted):
        head.save(tmp_path / str(i))
        again = metanet.load_model(tmp_path / str(i))
        assert again.target == head.target
        assert np.array_equal(again.predict(test), head.predict(test))


def test_classes_that_training_never_saw_are_named(known: Zoo) -> None:
    few = known.view(where="hp.optimizer != 'sgd'")
    model = metanet.create_model("deepsets", max_epochs=1).fit(few, "hp.optimizer")
    with pytest.raises(MetanetError, match="'sgd', which training never saw"):
        model.target.encode(known.view())


def test_features_beside_the_weights(known: Zoo, tmp_path: Path) -> None:
    train, test = known.view().split(test=0.4, seed=0)
    model = metanet.create_model("deepsets", beside="stats", max_epochs=10, batch_size=16, channels=4).fit(train)
    assert model.access == "W"
    assert metanet.create_model("deepsets", beside="probe").access == "F+W"
    model.save(tmp_path)
    assert np.array_equal(metanet.load_model(tmp_path).predict(test), model.predict(test))
    with pytest.raises(MetanetError, match=r"columns other than the target"):
        metanet.create_model("deepsets", beside="metrics:test_accuracy").fit(train)


def test_probes_find_what_answers_tell(tmp_path: Path) -> None:
    """An accuracy that is how much a network prefers its first class, whatever it is shown."""
    rng = np.random.default_rng(0)
    layout = MLP((4, 4, 1), num_layers=1, num_units=6, classes=3).layout
    weights = rng.standard_normal((200, layout.size)).astype(np.float32) * 0.3
    bias = layout.tensors[-1]
    preference = rng.uniform(-2, 2, 200)
    weights[:, bias.start] = preference
    recipe = {"name": "mlp", "epochs": 1, "batch_size": 8, "snapshots": [1], "num_units": 6, "num_layers": 1}
    space = {"optimizer", "learning_rate", "l2reg", "dropout", "init_std", "w_init", "train_fraction"}
    recipe |= {"hyperparameters": {"activation": "tanh"} | {k: "sgd" if k == "optimizer" else 0.1 for k in space - {"w_init"}}}
    recipe["hyperparameters"]["w_init"] = "normal"
    frame = pd.DataFrame({"test_accuracy": 1 / (1 + np.exp(-preference)), "hp.activation": "tanh"})
    frame = frame.assign(**{"hp.num_units": 6, "hp.fc_depth": 1})
    zoo = zoo_from_arrays(weights, layout, frame, header={"recipe": recipe, "data": {"shape": [4, 4, 1], "classes": 3}})
    train, test = zoo.view().split(test=0.4, seed=0)
    for generator in (0, 2):
        model = metanet.create_model("probe_net", generator=generator, probes=8, max_epochs=30, batch_size=16).fit(train)
        assert model.access == "F"
        assert r2(test.target("test_accuracy"), model.predict(test)) > 0.7
    model.save(tmp_path)
    assert np.array_equal(metanet.load_model(tmp_path).predict(test), model.predict(test))
    unknown = zoo_from_arrays(weights, layout, frame)
    with pytest.raises(MetanetError, match=r"does not say how its networks work.*read weights alone"):
        model.predict(unknown.view())


def test_what_is_run_by_its_activation_does_not_predict_it(grown: Zoo) -> None:
    view = grown.view()
    for name, own in (
        ("gbm", {"features": "stats+probe"}),
        ("deepsets", {"beside": "probe"}),
        ("deepsets", {"canonical": True}),
        ("probe_net", {}),
    ):
        with pytest.raises(MetanetError, match="which is the target"):
            metanet.create_model(name, **own).fit(view, "hp.activation")
    with pytest.raises(MetanetError, match="which is the target"):
        metanet.create_model("deepsets", beside="probe").fit_targets(view, ["test_accuracy", "hp.activation"])
    metanet.create_model("gbm", features="probe:8+blind", max_trees=3).fit(view, "hp.activation")


def test_probes_of_another_size_leave_the_model_as_it_is(grown: Zoo, tmp_path: Path) -> None:
    model = metanet.create_model("probe_net", max_epochs=1, probes=4).fit(grown.view())
    header = replace(grown.header, data=replace(grown.data, shape=(20, 20, 1)))
    view = grown.view()
    larger = zoo_from_arrays(view.weights(), view.layout, view.frame, header=header).view()
    before = model.predict(larger)
    model.save(tmp_path)
    assert np.array_equal(metanet.load_model(tmp_path).predict(larger), before)


def test_an_encoder_of_ones_own_that_gives_another_width_is_named(known: Zoo, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from metanet.models.encoder import Encoder, EncoderNetwork\n"
        "class Net(EncoderNetwork):\n    width = 3\n"
        "    def forward(self, part):\n        return part.weights[:, :4]\n"
        "class Mine(Encoder):\n    name = 'mine'\n    def create_encoder(self):\n        return Net()\n"
    )
    with pytest.raises(MetanetError, match="Net gave vectors of 4 values, and its width is 3"):
        metanet.create_model(f"{tmp_path}/mine.py:Mine").fit(known.view())
    stack = metanet.create_model("stack", members=[f"{tmp_path}/mine.py:Mine", f"{tmp_path}/mine.py:Mine:stats"])
    assert stack.features == "mine, mine:stats"


def test_the_cycle_of_a_refit_is_that_of_the_choice(known: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refit stops in the cycle where the chosen epoch stood, at the learning rate that it had there."""
    cycles: list[int] = []

    class Spy(torch.optim.lr_scheduler.OneCycleLR):
        def __init__(self, optimizer: torch.optim.Optimizer, height: float, steps: int) -> None:
            cycles.append(steps)
            super().__init__(optimizer, height, steps)

    monkeypatch.setattr(torch.optim.lr_scheduler, "OneCycleLR", Spy)
    train, validation = known.view().split(test=0.25, seed=0)  # 150 and 50 networks
    metanet.create_model("deepsets", max_epochs=5, batch_size=50).fit(train, validation=validation)
    assert cycles == [5 * 3, 5 * 4]
