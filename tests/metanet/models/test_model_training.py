"""A fit that is stopped goes on to what an undisturbed one gives, bit by bit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import metanet
from metanet.cli.main import main
from metanet.models import training
from metanet.models.base import MetaModel
from metanet.zoo import View, Zoo

# Dropout, averages, cycles of the learning rate, early stopping, a refit, drawn slices: all that has a state.
MODELS: dict[str, dict[str, Any]] = {
    "dnn": {"max_epochs": 6, "units": 8, "patience": 2},
    "stat_net": {"max_epochs": 6, "units": 8, "ema": 0.9},
    "deepsets": {"max_epochs": 6, "channels": 4, "hidden": 8, "dropout": 0.2, "ema": 0.9},
    "dmc_local_mini": {"epochs": 4, "slice": 32, "dropout": 0.2, "batch_size": 24, "votes": 1},
    "auto": {
        "folds": 3,
        "members": [{"name": n, "features": "stats", "max_epochs": 2, "refit": False} for n in ("stat_net", "logit_linear")],
    },
}


@pytest.fixture(scope="module")
def parts(known: Zoo) -> tuple[View, View]:
    return known.view().take(range(50)).split(test=0.4, seed=0)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FIRST", 0.0)
    monkeypatch.setattr(training, "SHARE", float("inf"))


class Stop:
    """Ctrl-C as the given epoch of the fit ends, counted over all its trainings."""

    def __init__(self, at: int | None) -> None:
        self.at, self.seen = at, 0

    def __call__(self, done: int, total: int, loss: float) -> None:
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt


def fitted(name: str, train: View, at: int | None, folder: Path | None) -> tuple[MetaModel, int]:
    """The model, and the epochs that this call trained."""
    model = metanet.create_model(name, seed=1, **MODELS[name])
    stop = model.on_round = Stop(at)
    model.fit(train, "hp.optimizer")
    return model, stop.seen


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("name", MODELS)
def test_a_stopped_fit_goes_on_bit_by_bit(name: str, parts: tuple[View, View], tmp_path: Path) -> None:
    train, test = parts
    whole, epochs = fitted(name, train, None, None)
    total = 0
    for at in (3, 3, 100):  # within the first training, then after it where there are two
        try:
            with training.kept_in(tmp_path / "kept"):
                model, seen = fitted(name, train, at, tmp_path)
        except KeyboardInterrupt:
            total += at
            assert list((tmp_path / "kept").iterdir())
            continue
        total += seen
        break
    assert np.array_equal(model.output(test), whole.output(test))
    if whole.curve is not None:
        pd.testing.assert_frame_equal(model.curve, whole.curve)
    assert epochs <= total <= epochs + 2  # an epoch lost each time
    assert not (tmp_path / "kept").exists()


@pytest.mark.usefixtures("often")
def test_other_data_or_settings_do_not_go_on_from_it(parts: tuple[View, View], tmp_path: Path) -> None:
    train, _ = parts
    with pytest.raises(KeyboardInterrupt), training.kept_in(tmp_path / "kept"):
        fitted("dnn", train, 3, None)
    (left,) = (tmp_path / "kept").iterdir()
    before = left.read_bytes()
    with pytest.raises(KeyboardInterrupt), training.kept_in(tmp_path / "kept"):
        fitted("dnn", train.take(range(len(train) - 1)), 3, None)
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert left.read_bytes() == before


@pytest.mark.usefixtures("often")
def test_a_damaged_checkpoint_is_not_taken(parts: tuple[View, View], tmp_path: Path) -> None:
    train, test = parts
    with pytest.raises(KeyboardInterrupt), training.kept_in(tmp_path):
        fitted("dnn", train, 3, None)
    (left,) = tmp_path.iterdir()
    left.write_bytes(left.read_bytes()[:-400])
    with training.kept_in(tmp_path):
        model, _ = fitted("dnn", train, None, None)
    assert np.array_equal(model.output(test), fitted("dnn", train, None, None)[0].output(test))


def test_an_error_leaves_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "run" / "kept").mkdir(parents=True)
    with pytest.raises(ValueError, match="invalid literal"), training.kept_in(tmp_path / "run" / "kept"):
        int("wrong")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("epoch", "cost"), [(0.05, 0.02), (0.5, 0.02), (0.5, 3.0), (40.0, 0.3)])
def test_checkpoints_take_under_two_percent_of_the_time(
    epoch: float, cost: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own: epochs and writes of known lengths, over ten minutes."""
    clock = SimpleNamespace(now=0.0, written=[])
    monkeypatch.setattr(training.time, "monotonic", lambda: clock.now)

    def save(path: Path) -> None:
        path.touch()
        clock.now += cost
        clock.written.append(clock.now)

    saver = training.KeepTraining(tmp_path / "a.ckpt")
    strategy = SimpleNamespace(broadcast=lambda value: value)
    for number in range(int(600 / epoch)):
        trainer: Any = SimpleNamespace(current_epoch=number, strategy=strategy, save_checkpoint=save)
        saver.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        clock.now += epoch
    assert clock.written
    assert len(clock.written) * cost < 0.02 * clock.now
    lost = np.diff([0.0, *clock.written, clock.now]).max()
    assert lost <= max(training.FIRST, cost / training.SHARE) + epoch + cost + 1e-6


@pytest.mark.usefixtures("often")
def test_the_command_that_was_interrupted_goes_on(
    grown_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", f"zoo={grown_folder}", "model=dnn", "model.max_epochs=4", "model.units=8", "model.loss=cross_entropy"]
    words += ["tracking=none", "threads=1"]
    assert main([*words, "out=whole"]) == 0
    with monkeypatch.context() as patch:
        tell = training.Report.on_train_epoch_end
        stop = Stop(3)
        patch.setattr(training.Report, "on_train_epoch_end", lambda *a: (tell(*a), stop(0, 0, 0.0)))
        assert main(words) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    (run,) = Path("runs/train").iterdir()
    assert said == (
        f"metanet: interrupted; what was finished is kept, and the same command with out={run} goes on: at most one epoch of a "
        "network's fit, or a few seconds, is lost"
    )
    assert [p.name for p in run.iterdir()] == ["checkpoint"]
    assert main([*words, f"out={run}"]) == 0
    assert not (run / "checkpoint").exists()
    again, whole = (pd.read_parquet(folder / "predictions.parquet") for folder in (run, Path("whole")))
    pd.testing.assert_frame_equal(again, whole)
    assert (run / "curve.csv").read_text() == (tmp_path / "whole" / "curve.csv").read_text()


@pytest.mark.parametrize("of", [lambda values: values, lambda values: pd.DataFrame({"a": values})], ids=["array", "table"])
def test_a_training_is_known_by_all_values_of_its_data(of: Any) -> None:
    """What Python writes of long ones leaves out the middle."""
    values = np.array(["x"] * 5000, object)
    changed = values.copy()
    changed[2500] = "y"
    network = torch.nn.Linear(1, 1)
    keys = {training._key(network, [of(data)]) for data in (values, values.copy(), changed)}
    assert len(keys) == 2
