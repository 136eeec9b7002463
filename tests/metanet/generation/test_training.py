"""Many processes, many machines, and what goes wrong there."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import weakref
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_same_zoo, small_recipe

from metanet.data_modules.images import load_images
from metanet.errors import MetanetError
from metanet.generation import training
from metanet.generation.plan import make_plan
from metanet.generation.runner import generate
from metanet.generation.training import Job, train_group
from metanet.zoo import Zoo, open_zoo, writer
from metanet.zoo.reading import progress, read_header

COMMAND = [
    *(sys.executable, "-m", "metanet", "generate", "data=digits", "n=30", "seed=3", "group_size=8", "engine=torch"),
    *("recipe.epochs=2", "recipe.batch_size=32", "recipe.snapshots=[0,1,2]"),
    *("recipe.hyperparameters.train_fraction=[0.1,0.25]", "recipe.share=[]"),
]
ARGUMENTS = {"n": 30, "seed": 3, "group_size": 8, "converged": 0.5, "engine": "torch"}


def own_workers() -> list[BaseProcess]:
    """Worker processes of a generation; a search's pool, which outlives its search, is left alone."""
    return [process for process in multiprocessing.active_children() if not process.name.startswith("Loky")]


def test_shares_in_any_order_make_the_same_zoo_and_the_last_completes_it(grown: Zoo, tmp_path: Path) -> None:
    for i in (2, 3):
        assert generate(small_recipe(), out=tmp_path / "zoo", shard=(i, 3), **ARGUMENTS) is None  # type: ignore[arg-type]
        with pytest.raises(MetanetError, match="unfinished"):
            open_zoo(tmp_path / "zoo")
    zoo = generate(small_recipe(), out=tmp_path / "zoo", shard=(1, 3), **ARGUMENTS)  # type: ignore[arg-type]
    assert zoo is not None
    assert_same_zoo(grown, zoo)
    again = generate(small_recipe(), out=tmp_path / "zoo", shard=(2, 3), **ARGUMENTS)  # type: ignore[arg-type]
    assert again is not None  # a share of a finished zoo finds it finished


@pytest.mark.slow
def test_shares_at_once_from_the_command_line(grown: Zoo, tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [*COMMAND, f"out={tmp_path / 'zoo'}", f"shard={i}/2", "threads=1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in (1, 2)
    ]
    outputs = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert sum("groups are still missing" in out for out, _ in outputs) <= 1
    assert_same_zoo(grown, open_zoo(tmp_path / "zoo"))


@pytest.mark.parametrize(("first", "second"), [(None, (1, 2)), ((1, 2), None), ((1, 2), (1, 2)), ((1, 2), (2, 3))])
def test_writers_of_the_same_groups_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[int, int] | None, second: tuple[int, int] | None
) -> None:
    monkeypatch.setattr(writer, "BRIEF_LOCK_SECONDS", 0.2)
    refused: list[bool] = []

    def meanwhile(_: object) -> None:
        if not refused:
            refused.append(True)
            with pytest.raises(MetanetError, match="being written by another process"):
                generate(small_recipe(), out=tmp_path / "zoo", shard=second, **ARGUMENTS)  # type: ignore[arg-type]

    generate(small_recipe(), out=tmp_path / "zoo", shard=first, on_progress=meanwhile, **ARGUMENTS)  # type: ignore[arg-type]
    assert refused


def test_a_stale_lock_stops_nobody(grown: Zoo, tmp_path: Path) -> None:
    """What a killed process or another machine leaves behind is a file, not a lock."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / ".lock").write_text("")
    (folder / ".lock-1-of-2").write_text("")
    zoo = generate(small_recipe(), out=folder, **ARGUMENTS)  # type: ignore[arg-type]
    assert zoo is not None
    assert_same_zoo(grown, zoo)


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root writes everywhere")
def test_a_read_only_folder_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "zoo"
    folder.mkdir()
    folder.chmod(0o555)
    for parent in tmp_path.parents:
        if parent == Path("/tmp"):
            break
        parent.chmod(0o755)
    words = [*COMMAND, f"out={folder}"]
    if os.geteuid() == 0:
        words = ["setpriv", "--reuid=65534", "--clear-groups", *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": str(tmp_path)})
    closed = "Permission denied" in done.stderr or "No module named metanet" in done.stderr
    if closed and "metanet:" not in done.stderr:
        pytest.skip("another user cannot read this Python, or this checkout")
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_killed_twenty_times_it_ends_with_the_same_zoo(tmp_path: Path) -> None:
    """kill -9 at random moments; what was committed is never trained again."""
    words = [w.replace("n=30", "n=120").replace("group_size=8", "group_size=4").replace("epochs=2", "epochs=4") for w in COMMAND]
    chance = random.Random(0)
    kills = 0
    for _ in range(60):
        child = subprocess.Popen(
            [*words, f"out={tmp_path / 'zoo'}", "threads=2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = progress(tmp_path / "zoo", read_header(tmp_path / "zoo"))[0] if (tmp_path / "zoo" / "zoo.json").exists() else 0
        try:
            child.wait(timeout=chance.uniform(3.0, 8.0))
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            kills += 1
            if (tmp_path / "zoo" / "zoo.json").exists():
                assert progress(tmp_path / "zoo", read_header(tmp_path / "zoo"))[0] >= before
        if kills == 20:
            break
        if child.returncode == 0:
            (tmp_path / "zoo").rename(tmp_path / f"whole{kills}")
    subprocess.run([*words, f"out={tmp_path / 'zoo'}", "threads=2"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*words, f"out={tmp_path / 'undisturbed'}", "threads=2"], check=True, stdout=subprocess.DEVNULL)
    assert kills == 20
    assert_same_zoo(open_zoo(tmp_path / "undisturbed"), open_zoo(tmp_path / "zoo"))


# ------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")])
def test_a_group_without_memory_is_halved_until_it_fits(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    plan = make_plan(small_recipe(train_fraction=0.1, activation="relu"), load_images("digits").facts(), 7)
    job = Job(plan, None, None, None, {"accelerator": "cpu"})
    whole = train_group(job, 0)
    sizes: list[int] = []
    train_rows = training.train_rows

    def narrow(plan, rows, *rest, **more):  # type: ignore[no-untyped-def]
        sizes.append(len(rows))
        if len(rows) > 2:
            raise type(error)(*error.args)
        return train_rows(plan, rows, *rest, **more)

    alive: list[weakref.ref[object]] = []

    def remembering(plan, rows, *rest, **more):  # type: ignore[no-untyped-def]
        gone = [r for r in alive if r() is None]
        assert len(gone) == len(alive)  # nothing of a group that failed is held while its half trains
        held = np.empty(1)
        alive.append(weakref.ref(held))
        return narrow(plan, rows, *rest, **more)

    monkeypatch.setattr(training, "train_rows", remembering)
    halved = train_group(job, 0)
    assert sizes == [7, 3, 1, 2, 4, 2, 2]
    assert halved.networks["network_id"].tolist() == whole.networks["network_id"].tolist()
    ids = halved.snapshots[["network_id", "epoch"]].apply(tuple, axis=1).tolist()
    order = [ids.index(key) for key in whole.snapshots[["network_id", "epoch"]].apply(tuple, axis=1)]
    np.testing.assert_allclose(np.stack(halved.weights)[order], np.stack(whole.weights), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(training, "train_rows", lambda *a, **k: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MetanetError, match="alone finds no memory"):
        train_group(job, 0)


def test_other_errors_of_a_group_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(make_plan(small_recipe(), load_images("digits").facts(), 2), None, None, None, {})
    monkeypatch.setattr(training, "train_rows", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("shape mismatch")))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        train_group(job, 0)


def test_a_worker_that_is_killed_is_replaced_and_its_group_redone(grown: Zoo, tmp_path: Path) -> None:
    """As the system does to the largest process when memory ends."""
    killed: list[int] = []

    def kill_one(state: training.Progress) -> None:
        if state.done and not killed:
            worker = own_workers()[0]
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    zoo = generate(small_recipe(), out=tmp_path / "zoo", workers=2, on_progress=kill_one, **ARGUMENTS)  # type: ignore[arg-type]
    assert killed
    assert zoo is not None
    a, b = (z.view(epoch="all") for z in (grown, zoo))
    assert a.frame["network_id"].tolist() == b.frame["network_id"].tolist()
    # The group that was under way is trained in halves, whose sums round otherwise.
    np.testing.assert_allclose(a.weights(), b.weights(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_worker_that_dies_with_nothing_to_do_is_no_loss(grown: Zoo, tmp_path: Path) -> None:
    """At the tail one worker is idle; both are killed once, and the zoo is complete all the same."""
    killed: list[int] = []

    def kill_at_the_tail(state: training.Progress) -> None:
        if state.groups_done == state.groups - 1 and not killed:
            for worker in own_workers():
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(worker.pid)

    zoo = generate(small_recipe(), out=tmp_path / "zoo", workers=2, on_progress=kill_at_the_tail, **ARGUMENTS)  # type: ignore[arg-type]
    assert len(killed) == 2
    assert zoo is not None
    assert zoo.networks["network_id"].tolist() == grown.networks["network_id"].tolist()


@pytest.mark.slow
def test_workers_that_always_die_are_given_up(tmp_path: Path) -> None:
    def kill_all(state: training.Progress) -> None:
        for worker in own_workers():
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(MetanetError, match=r"ended 4 times in a row .*give the same command again"):
        generate(small_recipe(), out=tmp_path / "zoo", workers=2, on_progress=kill_all, **ARGUMENTS)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ Ray


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_node_makes_the_same_zoo(grown: Zoo, tmp_path: Path) -> None:
    """Three nodes of one CPU on this machine; one is killed after the first group."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    removed: list[bool] = []

    def lose_a_node(state: training.Progress) -> None:
        if state.groups_done == 1 and not removed:
            removed.append(True)
            cluster.remove_node(nodes[0], allow_graceful=False)

    try:
        zoo = generate(
            small_recipe(), out=tmp_path / "zoo", launcher="ray", address=cluster.address, on_progress=lose_a_node, **ARGUMENTS
        )  # type: ignore[arg-type]
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert removed
    assert zoo is not None
    assert_same_zoo(grown, zoo)


@pytest.mark.slow
def test_ray_on_this_machine_alone(grown: Zoo, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    zoo = generate(small_recipe(), out=tmp_path / "zoo", launcher="ray", **ARGUMENTS)  # type: ignore[arg-type]
    assert zoo is not None
    assert_same_zoo(grown, zoo)


def test_ray_mistakes_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MetanetError, match="did you mean 'ray'"):
        generate(small_recipe(), out=tmp_path / "zoo", launcher="rya", **ARGUMENTS)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MetanetError, match=r"pip install 'metanet-weights\[ray\]'"):
        generate(small_recipe(), out=tmp_path / "zoo", launcher="ray", **ARGUMENTS)  # type: ignore[arg-type]
