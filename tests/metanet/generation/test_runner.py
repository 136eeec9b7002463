from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
from conftest import assert_same_zoo, small_recipe

from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.generation import runner
from metanet.generation.runner import Progress, generate
from metanet.zoo import Zoo, open_zoo


def test_a_grown_zoo_holds_what_was_planned(grown: Zoo) -> None:
    assert len(grown.networks) == 30
    assert len(grown.snapshots) == 90
    assert set(grown.networks["status"]) == {"ok"}
    assert (grown.networks["seconds"] > 0).all()
    frame = grown.view(epoch="all").frame
    assert frame["test_accuracy"].between(0, 1).all()
    assert (frame["progress"] == frame["epoch"] / 2).all()
    assert grown.data.n_test == 360
    assert {c for c, kind in grown.columns.items() if kind == "log"} == {"hp.learning_rate", "hp.l2reg", "hp.init_std"}
    assert len(grown.history) == 90
    first, last = (frame[frame["epoch"] == e].set_index("network_id")["test_accuracy"] for e in (0, 2))
    assert last.mean() > first.mean() + 0.05


def test_workers_give_the_same_zoo_bit_by_bit(grown: Zoo, tmp_path: Path) -> None:
    other = generate(small_recipe(), n=30, out=tmp_path / "zoo", seed=3, group_size=8, converged=0.5, workers=2, engine="torch")
    assert_same_zoo(grown, other)


def test_history_may_be_finer_than_the_snapshots(tmp_path: Path) -> None:
    zoo = generate(small_recipe(epochs=3, snapshots=[0], evaluate_every=1), n=3, out=tmp_path / "zoo")
    assert sorted(set(zoo.snapshots["epoch"])) == [0, 3]
    assert sorted(set(zoo.history["epoch"])) == [0, 1, 2, 3]


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[Progress] = []
    generate(small_recipe(), n=6, out=tmp_path / "zoo", on_progress=seen.append)
    done = [p.done for p in seen]
    assert done == sorted(done)
    assert seen[-1].done == seen[-1].total > 0
    assert seen[-1].groups_done == seen[-1].groups


class Counter(pl.Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.calls.append("fit")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        self.calls.append("batch")


def test_user_callbacks_see_every_group_and_step(tmp_path: Path) -> None:
    counter = Counter()
    recipe = small_recipe(train_fraction=0.1, activation="relu")
    generate(recipe, n=4, out=tmp_path / "zoo", group_size=2, callbacks=[counter], engine="torch")
    assert counter.calls.count("fit") == 2
    assert counter.calls.count("batch") == 2 * 2 * (143 // 32)


def test_a_full_disk_in_the_middle_loses_nothing(grown: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, write = [], np.lib.format.write_array_header_1_0

    def fill_up(*args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        if len(saved) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(1)
        write(*args, **kwargs)

    arguments = {"n": 30, "out": tmp_path / "zoo", "seed": 3, "group_size": 8, "converged": 0.5, "engine": "torch"}
    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_1_0", fill_up)
        with pytest.raises(MetanetError, match="full"):
            generate(small_recipe(), **arguments)
    with pytest.raises(MetanetError, match="unfinished: 3 of"):
        open_zoo(tmp_path / "zoo")
    trained: list[int] = []
    train_group = runner.train_group
    monkeypatch.setattr(runner, "train_group", lambda *a: (trained.append(a[1]), train_group(*a))[1])
    assert_same_zoo(grown, generate(small_recipe(), **arguments))
    assert 0 not in trained  # the groups that were committed are not trained again


@pytest.mark.parametrize(
    ("sign", "threads"),
    [
        pytest.param(signal.SIGKILL, 2, id="kill"),
        pytest.param(signal.SIGINT, 1, id="ctrl-c"),
        pytest.param(signal.SIGINT, 2, id="ctrl-c, workers", marks=pytest.mark.slow),
    ],
)
def test_stopped_in_the_middle_it_ends_the_same(grown: Zoo, tmp_path: Path, sign: signal.Signals, threads: int) -> None:
    words = ["generate", "data=digits", "n=30", "seed=3", "group_size=8", "engine=torch", f"out={tmp_path / 'zoo'}"]
    words += ["recipe.epochs=2", "recipe.batch_size=32", "recipe.snapshots=[0,1,2]"]
    words += ["recipe.hyperparameters.train_fraction=[0.1,0.25]", "recipe.share=[]"]
    command = [sys.executable, "-m", "metanet", *words, f"threads={threads}"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        if len(list((tmp_path / "zoo" / "growing").glob("0000[0-9]"))) >= 1:
            os.kill(child.pid, sign)
            break
        time.sleep(0.01)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == (-signal.SIGKILL if sign == signal.SIGKILL else 130)
    if sign == signal.SIGINT:
        assert "groups of" in errors
        assert "same command again" in errors
        assert "Traceback" not in errors
        assert errors.count("\n") == 1
    assert main([*words, "threads=1"]) == 0
    assert_same_zoo(grown, open_zoo(tmp_path / "zoo"))


def test_another_plan_on_an_old_folder_is_refused_with_the_difference(grown_folder: Path) -> None:
    with pytest.raises(MetanetError, match="there n=30, here 31"):
        generate(small_recipe(), n=31, out=grown_folder, seed=3, group_size=8, converged=0.5, engine="torch")
    with pytest.raises(MetanetError, match=r"there recipe\.epochs=2, here 3"):
        generate(small_recipe(epochs=3), n=30, out=grown_folder, seed=3, group_size=8, converged=0.5, engine="torch")


def test_nan_networks_stay_in_the_table_and_leave_the_views(tmp_path: Path) -> None:
    recipe = small_recipe(optimizer="sgd", activation="relu", w_init="he_normal", learning_rate=[0.01, 1e12])
    zoo = generate(recipe, n=8, out=tmp_path / "zoo")
    wild = zoo.networks["hp.learning_rate"] > 1
    assert 0 < wild.sum() < 8
    assert (zoo.networks["status"] == np.where(wild, "nan", "ok")).all()
    assert (zoo.networks["stopped_by"] == np.where(wild, "nan", "epochs")).all()
    assert set(zoo.view().network_ids) == set(zoo.networks.loc[~wild, "network_id"])
    assert np.isfinite(zoo.view(epoch="all", status=None).weights()).all()


def test_another_trainer_or_other_images_are_another_plan(grown_folder: Path) -> None:
    arguments = {"n": 30, "out": grown_folder, "seed": 3, "group_size": 8, "converged": 0.5, "engine": "torch"}
    with pytest.raises(MetanetError, match=r"there trainer=\{\}, here None|trainer\.limit_train_batches"):
        generate(small_recipe(), **arguments, trainer={"limit_train_batches": 1})
    with pytest.raises(MetanetError, match=r"data\.n_train=1437, here 1400"):
        generate(small_recipe(), **arguments, train_limit=1400)


@pytest.mark.slow
def test_an_error_in_the_callers_progress_comes_out_and_nothing_hangs(tmp_path: Path) -> None:
    def broken(progress: Progress) -> None:
        if progress.done:
            raise RuntimeError("no bar")

    with pytest.raises(RuntimeError, match="no bar"):
        generate(small_recipe(), n=20, out=tmp_path / "zoo", group_size=4, workers=2, on_progress=broken, engine="torch")


@pytest.mark.parametrize(
    ("trainer", "says"),
    [
        ({"max_epochs": 0}, "max_epochs=0"),
        ({"max_epochs": "abc"}, "max_epochs=abc"),
        ({"max_steps": 3}, "no setting 'max_steps'"),
        ({"logger": True}, "no setting 'logger'"),
        ({"precision": "foo"}, "trainer: "),
        ({"acelerator": "cpu"}, "did you mean 'accelerator'"),
    ],
)
def test_trainer_settings_that_cannot_be_are_named(tmp_path: Path, trainer: dict, says: str) -> None:
    with pytest.raises(MetanetError, match=says):
        generate(small_recipe(), n=2, out=tmp_path / "zoo", trainer=trainer)
