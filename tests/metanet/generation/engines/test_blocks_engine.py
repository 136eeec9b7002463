"""Groups of the neural weight space's networks: each as it would train alone, until its own end."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_same_zoo
from torch.nn import functional

from metanet.cli.compose import compose
from metanet.cli.main import main
from metanet.config_files import config_root
from metanet.data_modules.images import ImageBatches, ImageDataModule, ImageMix, load_images, unit_pixels
from metanet.errors import MetanetError
from metanet.generation import blocks
from metanet.generation.plan import make_plan
from metanet.generation.recipes import create_recipe
from metanet.generation.recipes.nws import NWSRecipe
from metanet.generation.runner import generate
from metanet.generation.training import load_all, train_rows
from metanet.zoo import Zoo

SMALL = {"filter_size": 3, "conv_depth": [3, 4], "fc_depth": 2, "conv_width": 4, "fc_width": 16, "batch_size": [32, 64]}
TRAINER = {"accelerator": "cpu", "precision": "32-true"}


def recipe(**settings: Any) -> NWSRecipe:
    config = compose("generate", {"recipe": "nws_main_mini", "out": "z"})["recipe"]
    space = config["hyperparameters"] | SMALL | settings.pop("hyperparameters", {})
    made = create_recipe(**config | {"train_images": 160, "test_images": 60, "epochs": 3} | settings | {"hyperparameters": space})
    assert isinstance(made, NWSRecipe)
    return made


def test_the_papers_ranges_and_constants() -> None:
    full = create_recipe(**compose("generate", {"recipe": "nws_main", "out": "z"})["recipe"])
    frame = full.draw(5000, 0, ["mnist", "cifar10"])
    assert frame["hp.learning_rate"].between(2e-4, 5e-3).all()
    assert set(frame["hp.batch_size"]) == {32, 64, 128, 256}
    assert {tuple(sorted(frame[f"hp.{c}"].unique())) for c in ("optimizer", "activation", "w_init")} == {
        ("adam", "momentum", "rmsprop"), ("elu", "relu", "sigmoid", "tanh"),
        ("constant", "glorot_normal", "glorot_uniform", "normal"),
    }  # fmt: skip
    assert set(frame["hp.dataset"]) == {"mnist", "cifar10"}
    shapes = ["hp.filter_size", "hp.conv_depth", "hp.fc_depth", "hp.conv_width", "hp.fc_width"]
    assert len(frame[shapes].drop_duplicates()) == 243
    assert full.constants == {"adam": {"eps": 1e-8}, "rmsprop": {"eps": 1e-10}, "momentum": {"mu": 0.95}}
    fixed = create_recipe(**compose("generate", {"recipe": "nws_fixed", "out": "z"})["recipe"])
    row = fixed.draw(1, 0, "mnist").iloc[0].to_dict()
    assert fixed.network(row, (32, 32, 3), 10).layout.size == 92_868


def test_images_are_32_in_colour_from_0_to_1() -> None:
    digits = load_images("digits")
    seen = recipe().prepare(digits)
    assert seen.shape == (32, 32, 3)
    assert (len(seen.test_images), seen.facts().n_test) == (60, 60)
    assert torch.equal(seen.train_images[..., 0], seen.train_images[..., 2])
    pixels = unit_pixels(seen.train_images)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    average = functional.avg_pool2d(pixels[..., 0], 2)
    assert np.corrcoef(average.flatten(), unit_pixels(digits.train_images).flatten())[0, 1] > 0.98


def test_validation_images_are_a_tenth_that_no_step_sees() -> None:
    images = load_images("digits")
    data = ImageDataModule(images, 32, validation=0.1, train_images=500, scale=unit_pixels)
    assert (len(data.train_labels), len(data.validation_labels), len(data.test_labels)) == (450, 50, 360)
    flat = {bytes(i.numpy().tobytes()) for i in images.train_images}
    train = {bytes(i.numpy().tobytes()) for i in data.train_images}
    held = {bytes(i.numpy().tobytes()) for i in data.validation_images}
    assert held <= flat
    assert len(train & held) <= len(images.train_images) - len(flat)  # but for images that the set holds twice
    assert recipe().training_images(1437) == 160 - 16


def test_balanced_epochs_have_as_many_of_each_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 7 + [2] * 20)
    batches = ImageBatches(torch.arange(77, dtype=torch.uint8).view(77, 1, 1, 1), labels, 7, 0, balanced=True)
    first, second = batches.next_order(), batches.next_order()
    assert labels[first].bincount().tolist() == [7, 7, 7]
    assert len(set(first.tolist())) == 21
    assert set(first.tolist()) != set(second.tolist())


def test_a_batch_is_no_larger_than_a_balanced_epoch() -> None:
    labels = torch.tensor([0] * 60 + [1] * 5)
    batches = ImageBatches(torch.zeros(65, 1, 1, 1, dtype=torch.uint8), labels, 64, 0, balanced=True)
    assert (len(batches), batches.batch_size) == (1, 10)
    assert labels[batches.next_order()].bincount().tolist() == [5, 5]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "momentum"])
def test_a_network_trains_as_a_module_would_alone(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and running statistics of every epoch in float64, with torch.optim, its schedule and torch's layers."""
    monkeypatch.setattr(blocks, "DROPOUT", 0.0)
    own = recipe(epochs=3, hyperparameters={"optimizer": optimizer, "augmentation": False, "w_init": "glorot_uniform"})
    images = own.prepare(load_images("digits"))
    plan = make_plan(own, images.facts(), 3, seed=4, engine="blocks")
    for number in range(plan.groups):
        group = train_rows(plan, plan.group(number), images, {"accelerator": "cpu", "precision": "64-true"})
        data = group.data
        for k, row in group.table.iterrows():
            network = plan.networks[row["layout_id"]]
            module = network.module(row["hp.activation"], dropout=0.0).double()
            module.load_state_dict(
                {n: torch.from_numpy(v) for n, v in network.layout.unflatten(network.initial(row)).items()}, strict=False
            )
            rate = row["hp.learning_rate"]
            stepper: torch.optim.Optimizer = {
                "adam": lambda p, r: torch.optim.Adam(p, r, eps=1e-8),
                "rmsprop": lambda p, r: torch.optim.RMSprop(p, r, alpha=0.9, eps=1e-10),
                "momentum": lambda p, r: torch.optim.SGD(p, r, momentum=0.95),
            }[optimizer](module.parameters(), rate)
            schedule = torch.optim.lr_scheduler.ExponentialLR(stepper, 0.96)
            batch = row["hp.batch_size"]
            for epoch in range(3):
                order = torch.randperm(144, generator=torch.Generator().manual_seed(4 * 1_000_003 + epoch))
                for part in order[: 144 // batch * batch].view(-1, batch):
                    x = unit_pixels(data.train_images[part]).permute(0, 3, 1, 2).double()
                    stepper.zero_grad()
                    functional.cross_entropy(module.train()(x), data.train_labels[part]).backward()
                    stepper.step()
                schedule.step()
                expected = network.layout.flatten(module.state_dict())
                found = group.snapshots[epoch + 1].weights[k]  # type: ignore[index]
                # a convolution's bias before normalisation has a gradient of rounding noise alone; the running mean follows it
                noisy = ("bias", "bn_mean")
                same = [t for t in network.layout.tensors if t.kind not in noisy or not t.layer.startswith("conv")]
                for t in same:
                    np.testing.assert_allclose(found[t.start : t.stop], expected[t.start : t.stop], rtol=1e-4, atol=1e-6)
                means = [t for t in network.layout.tensors if t.kind == "bn_var"]
                assert all((found[t.start : t.stop] != 1).any() for t in means)
            outputs = module.eval()(unit_pixels(data.validation_images).permute(0, 3, 1, 2).double())
            accuracy = (outputs.argmax(1) == data.validation_labels).double().mean()
            assert group.snapshots[-1].metrics["validation_accuracy"][k] == pytest.approx(float(accuracy))


@pytest.mark.parametrize("spread", [0.002, 0.0])
def test_constant_initialisation_breaks_its_symmetry_by_the_scales(spread: float) -> None:
    """With scales of exactly 1 all filters of a convolution stay equal for ever; the released code draws N(1, .002)."""
    fixed = {"optimizer": "rmsprop", "w_init": "constant", "activation": "relu", "augmentation": False, "conv_depth": 3}
    own = recipe(bn_scale_std=spread, epochs=4, hyperparameters=fixed | {"batch_size": 32, "learning_rate": 5e-3})
    images = own.prepare(load_images("digits"))
    plan = make_plan(own, images.facts(), 1, engine="blocks")
    group = train_rows(plan, plan.table, images, TRAINER)
    layout = plan.networks[plan.table["layout_id"].iloc[0]].layout
    tensors = layout.unflatten(group.snapshots[-1].weights[0])  # type: ignore[index]
    apart = [np.ptp(tensors[name], axis=0).max() for name in ("conv1.weight", "conv2.weight", "conv3.weight")]
    assert min(apart) > 1e-5 if spread else apart == [0, 0, 0]


def grow(folder: Path, n: int = 12, **settings: Any) -> Zoo:
    arguments = {key: settings.pop(key) for key in ("group_size", "workers", "data", "seed") if key in settings}
    zoo = generate(recipe(**settings), n=n, out=folder, trainer=TRAINER, **arguments)
    assert zoo is not None
    return zoo


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_groups_and_workers_decide_nothing(tmp_path: Path, workers: int) -> None:
    a, b = grow(tmp_path / "a", group_size=1), grow(tmp_path / "b", group_size=8, workers=workers)
    assert_same_zoo(a, b)
    assert a.header.engine == "blocks"
    assert set(a.networks["hp.augmentation"]) == {False, True}
    assert len(a.layouts) == 2


def test_each_leaves_when_a_rule_stops_it(tmp_path: Path) -> None:
    rules = {"earliest": 3, "decreases": 1, "below_smoothed": 0, "stationary": 2}
    zoo = grow(tmp_path / "a", n=10, epochs=9, stopping=rules, exports=4)
    networks, history = zoo.networks.set_index("network_id"), zoo.history
    assert len(set(networks["stopped_by"])) >= 2
    assert networks["epochs_run"].min() < networks["epochs_run"].max() <= 9
    for name, own in history.groupby("network_id"):
        assert own["epoch"].tolist() == list(range(networks.loc[name, "epochs_run"] + 1))
        v = own["validation_accuracy"].tolist()
        if networks.loc[name, "stopped_by"] == "decreases":
            assert v[-1] < v[-2]
        elif networks.loc[name, "stopped_by"] == "stationary":
            assert v[-1] == v[-2] == v[-3]
        else:
            assert networks.loc[name, "epochs_run"] == 9
        kept = zoo.snapshots[zoo.snapshots["network_id"] == name]
        last = int(networks.loc[name, "epochs_run"])
        expected = np.linspace(0, last, min(4, last + 1)).round().astype(int)
        assert kept["epoch"].tolist() == expected.tolist()  # the first export is the one before training
        np.testing.assert_allclose(kept["progress"], expected / last)
    lone = grow(tmp_path / "b", n=10, epochs=9, stopping=rules, exports=4, group_size=1)
    assert_same_zoo(zoo, lone)  # whoever left early took nothing from the others


def test_a_killed_generation_goes_on_to_the_same_zoo(tmp_path: Path) -> None:
    rules = {"earliest": 2, "decreases": 1}
    whole = grow(tmp_path / "a", epochs=5, stopping=rules, group_size=3)

    class StopError(Exception):
        pass

    def stop_after(progress: Any) -> None:
        if progress.groups_done == 2:
            raise StopError

    with pytest.raises(StopError):
        generate(
            recipe(epochs=5, stopping=rules), n=12, out=tmp_path / "b", trainer=TRAINER, group_size=3, on_progress=stop_after
        )
    assert_same_zoo(whole, grow(tmp_path / "b", epochs=5, stopping=rules, group_size=3))


def test_a_zoo_of_several_image_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_images("digits")
    others = {"digits": digits, "mnist": replace(digits, name="mnist", train_labels=9 - digits.train_labels)}
    monkeypatch.setattr("metanet.generation.training.load_images", lambda name, *_: others[name])
    zoo = grow(tmp_path / "a", data=["digits", "mnist"])
    assert set(zoo.networks["hp.dataset"]) == {"digits", "mnist"}
    assert zoo.data.name == "digits+mnist"
    assert set(zoo.data.sets) == {"digits", "mnist"}
    plan = pd.read_parquet(tmp_path / "a" / "plan.parquet")
    assert (plan.groupby("group")["hp.dataset"].nunique() == 1).all()
    assert_same_zoo(zoo, grow(tmp_path / "b", data=["digits", "mnist"], group_size=1))


@pytest.mark.parametrize("name", ["nws_fixed", "nws_main"])
def test_the_papers_five_sets_are_loaded_each_by_its_own_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the recipes' own examples have them: STL-10 alone is made smaller, and some sets lend fewer images than they have."""
    (example,) = re.findall(r"data=(\[.*\])", (config_root() / "recipe" / f"{name}.yaml").read_text())
    config = compose("generate", {"recipe": name, "data": example, "out": "z"})
    asked = {}

    def load(data: str, root: Any, train_limit: Any, size: Any, on_download: Any) -> Any:
        asked[data] = (root, train_limit, size)
        few = load_images("digits")
        return replace(
            few, name=data, train_images=few.train_images[:1].expand(60_000, -1, -1, -1), train_labels=torch.zeros(60_000)
        )

    monkeypatch.setattr("metanet.generation.training.load_images", load)
    monkeypatch.setattr("metanet.generation.recipes.nws.resize_set", lambda images, size: images)
    data = config["data"]
    mix = load_all(create_recipe(**config["recipe"]), data["name"], data["root"], data["train_limit"], data["size"])
    assert asked == {n: (None, None, 32 if n == "stl10" else None) for n in data["name"]}
    assert set(data["name"]) == {"mnist", "cifar10", "svhn", "stl10", "fashion_mnist"}
    lent = {n: len(s.train_labels) for n, s in mix.sets.items()}
    assert lent == dict.fromkeys(("mnist", "fashion_mnist"), 55_000) | {"cifar10": 45_000, "svhn": 60_000, "stl10": 60_000}


def test_seconds_are_each_networks_own(tmp_path: Path) -> None:
    zoo = grow(tmp_path / "a", n=4, epochs=1)
    assert zoo.networks["seconds"].nunique() == 4


def test_image_sets_of_two_shapes_are_refused() -> None:
    digits = load_images("digits")
    with pytest.raises(MetanetError, match="one shape, but here are digits 16x16x1, small 8x8x1"):
        ImageMix({"digits": digits, "small": replace(load_images("digits", size=8), name="small")}).facts()


def test_one_that_is_not_finite_leaves_the_others_alone(tmp_path: Path) -> None:
    wild = {"learning_rate": [1e-3, 1e37], "optimizer": "momentum", "activation": "relu", "augmentation": False}
    zoo = grow(tmp_path / "a", hyperparameters=wild, batch_norm=False, group_size=12)
    status = zoo.networks.set_index("network_id")["status"]
    rates = zoo.networks.set_index("network_id")["hp.learning_rate"]
    assert "nan" in set(status[rates > 1])
    assert set(status[rates < 1]) == {"ok"}
    assert np.isfinite(np.concatenate(list(zoo.view(epoch="all", status=None).vectors()))).all()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("recipe.stopping.decrease=3", "did you mean"),
        ("recipe.validation=1.5", "recipe.validation=1.5: give a number above 0 up to, not including, 1"),
        ("recipe.zoom=wide", "paper or code"),
        ("recipe.hyperparameters.conv_depth=7", "3, 4 or 5"),
        ("recipe.hyperparameters.activation=gelu", "activation=gelu is not known"),
        ("recipe.hyperparameters.batch_size=1", "batch_size must be whole numbers from 2 up, not 1"),
        ("recipe.hyperparameters.filter_size=five", "filter_size must be whole numbers"),
        ("recipe.hyperparameters.fc_width=0", "fc_width must be whole numbers from 2 up"),
        ("recipe.hyperparameters.augmentation=[0.5,1.5]", "augmentation must be true or false"),
        ("recipe.constants.adam.epsilon=0.1", "recipe.constants.adam"),
        ("recipe.exports=1", "recipe.exports=1: give a whole number from 2 up"),
        ("recipe.learning_rate_decay=0.0", "give a number above 0 up to 1"),
        ("engine=torch", "engine=blocks"),
        ("data=[digits,digits]", "twice"),
        ("data=[digits,mnits]", "did you mean"),
    ],
)
def test_mistakes_are_one_line(word: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "recipe=nws_fixed_mini", "n=2", f"out={tmp_path}/z", word]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
