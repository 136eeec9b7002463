"""The trainer that everything is trained by, and what it keeps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import metanet
from metanet.errors import MetanetError
from metanet.lightning import KeepBest, check_trainer, named_callbacks
from metanet.zoo import Zoo


def test_of_equal_losses_the_first_epoch_is_kept() -> None:
    keeper, module = KeepBest(), torch.nn.Linear(1, 1)
    for epoch, loss in enumerate((0.5, 0.5, 0.7, 0.5)):
        with torch.no_grad():
            module.weight.fill_(epoch)
        trainer = SimpleNamespace(callback_metrics={"validation_loss": torch.tensor(loss)}, current_epoch=epoch)
        keeper.on_validation_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert keeper.epoch == 1
    assert keeper.state["weight"].item() == 0


def test_a_lower_loss_takes_its_place() -> None:
    keeper, module = KeepBest(), torch.nn.Linear(1, 1)
    for epoch, loss in enumerate((0.5, 0.4)):
        trainer = SimpleNamespace(callback_metrics={"validation_loss": torch.tensor(loss)}, current_epoch=epoch)
        keeper.on_validation_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert (keeper.epoch, keeper.best) == (2, torch.tensor(0.4).item())


@pytest.mark.parametrize("given", [{"devices": 2}, {"devices": "auto"}, {"devices": -1}, {"devices": [0, 1]}, {"num_nodes": 2}])
def test_a_fit_on_several_devices_is_refused_in_one_line(given: dict[str, object]) -> None:
    with pytest.raises(MetanetError, match=r"a fit runs on one device; give trainer\.devices=1") as error:
        check_trainer(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [{}, {"devices": 1}, {"devices": [1]}, {"devices": None}, {"num_nodes": 1}])
def test_one_device_is_what_a_fit_takes(given: dict[str, object]) -> None:
    check_trainer(given)


COUNTER = """
import pytorch_lightning as pl

class Counter(pl.Callback):
    def __init__(self, path, step=1):
        self.path, self.step = path, step

    def on_train_epoch_start(self, trainer, module):
        with open(self.path, "a") as file:
            file.write("x" * self.step)

no_callback = 3
"""


def test_callbacks_by_name_and_by_path_see_every_epoch(tmp_path: Path, known: Zoo) -> None:
    (tmp_path / "mine.py").write_text(COUNTER)
    counter = {"name": f"{tmp_path}/mine.py:Counter", "path": str(tmp_path / "count"), "step": 2}
    trainer = {"accelerator": "cpu", "callbacks": ["TQDMProgressBar", counter]}
    kinds = [type(callback).__name__ for callback in named_callbacks(trainer["callbacks"])]
    assert kinds == ["TQDMProgressBar", "Counter"]
    settings = {"max_epochs": 3, "patience": 3, "refit": False, "trainer": trainer | {"callbacks": [counter]}}
    metanet.create_model("dnn", features="stats", **settings).fit(known.view())
    assert (tmp_path / "count").read_text() == "xx" * 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("DeviceStatsMonitor", r"give a list"),
        (["DeviceStatMonitor"], "did you mean 'DeviceStatsMonitor'"),
        (["./none.py:X"], "no file"),
        ([{"name": "LearningRateMonitor", "speed": 3}], "trainer.callbacks: LearningRateMonitor: .*speed"),
        ([{}], "no callback"),
    ],
)
def test_callbacks_that_are_none_are_named(given: object, says: str) -> None:
    with pytest.raises(MetanetError, match=says):
        check_trainer({"callbacks": given})
