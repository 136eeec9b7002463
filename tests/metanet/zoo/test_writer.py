from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metanet.errors import MetanetError
from metanet.zoo import Layout, Zoo, ZooWriter, open_zoo
from metanet.zoo.header import DataFacts, RecipeFacts, ZooHeader
from metanet.zoo.reading import verify_zoo

LAYOUTS = {layout.id: layout for layout in (Layout.build([("w", "l", "kernel", (k, 3))]) for k in (2, 4))}


def writer(folder: Path, plan_hash: str = "p") -> ZooWriter:
    plan = pd.DataFrame({"network_id": ["a", "b", "c"]})
    header = ZooHeader(RecipeFacts("r"), DataFacts("d", n_test=10), plan_hash=plan_hash, n=3)
    return ZooWriter(folder, header, LAYOUTS, plan, groups=2)


def commit(zoo: ZooWriter, group: int) -> list[np.ndarray]:
    """Group 0 has networks a and b of different lengths, group 1 has network c; two epochs each."""
    rng = np.random.default_rng(group)
    ids = list(LAYOUTS)
    members = [("a", ids[0]), ("b", ids[1])] if group == 0 else [("c", ids[0])]
    networks = pd.DataFrame([{"network_id": n, "layout_id": i, "status": "ok", "hp.x": 1.0} for n, i in members])
    rows = [{"network_id": n, "epoch": e, "test_accuracy": 0.1 * e} for e in (0, 1) for n, _ in members]
    weights = [rng.standard_normal(LAYOUTS[i].size).astype(np.float32) for e in (0, 1) for _, i in members]
    snapshots = pd.DataFrame(rows)
    zoo.commit(group, weights, networks, snapshots, snapshots)
    return weights


def grow(folder: Path) -> dict[tuple[str, int], np.ndarray]:
    with writer(folder) as zoo:
        first, second = commit(zoo, 0), commit(zoo, 1)
        zoo.finish()
    keys = [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("c", 0), ("c", 1)]
    return dict(zip(keys, [*first, *second], strict=True))


def test_what_is_written_is_read_back_ragged_vectors_included(tmp_path: Path) -> None:
    weights = grow(tmp_path / "zoo")
    zoo = open_zoo(tmp_path / "zoo")
    view = zoo.view(epoch="all")
    for key, vector in zip(view.frame[["network_id", "epoch"]].itertuples(index=False), view.vectors(), strict=True):
        assert np.array_equal(vector, weights[tuple(key)])
    assert zoo.view().frame["network_id"].tolist() == ["a", "b", "c"]
    assert not (tmp_path / "zoo" / "growing").exists()


def test_a_zoo_is_readable_with_numpy_and_pandas_alone(grown_folder: Path, grown: Zoo) -> None:
    rows = pd.read_parquet(grown_folder / "snapshots.parquet")
    row = rows.sample(1, random_state=0).iloc[0]
    shard = np.load(grown_folder / f"weights-{row.shard:05d}.npy", mmap_mode="r")
    layout = json.loads((grown_folder / "zoo.json").read_text())["layouts"]
    assert shard.ndim == 1
    assert shard.dtype == np.float32
    assert [t["stop"] for t in next(iter(layout.values()))][-1] == row.length == 4970
    view = grown.view(epoch=int(row.epoch), where=f"network_id == '{row.network_id}'")
    assert np.array_equal(view.weights()[0], shard[row.offset : row.offset + row.length])


def test_one_shard_of_equal_vectors_is_a_memory_map(tmp_path: Path) -> None:
    grow(tmp_path / "zoo")
    weights = open_zoo(tmp_path / "zoo").view(epoch="all", where="network_id == 'c'").weights()
    assert weights.shape == (2, 6)
    base = weights
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_growing_goes_on_after_an_interruption_at_any_step(tmp_path: Path) -> None:
    expected = grow(tmp_path / "whole")
    with writer(tmp_path / "zoo") as zoo:
        commit(zoo, 0)
    # what a kill leaves behind: temporary files, and a shard without its rows
    (tmp_path / "zoo" / "weights-00001.npy.tmp").write_bytes(b"half")
    (tmp_path / "zoo" / "growing" / "00001.tmp").mkdir()
    np.save(tmp_path / "zoo" / "weights-00001.npy", np.zeros(3, np.float32))
    with pytest.raises(MetanetError, match="unfinished: 1 of 2 groups"):
        open_zoo(tmp_path / "zoo")
    with writer(tmp_path / "zoo") as zoo:
        assert zoo.done == {0}
        commit(zoo, 1)
        zoo.finish()
    for name in ("weights-00000.npy", "weights-00001.npy", "snapshots.parquet", "networks.parquet"):
        assert (tmp_path / "zoo" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(open_zoo(tmp_path / "zoo").snapshots) == len(expected)
    assert not list((tmp_path / "zoo").rglob("*.tmp"))


def test_a_finished_zoo_is_left_alone(tmp_path: Path) -> None:
    grow(tmp_path / "zoo")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "zoo").iterdir() if p.name != ".lock"}
    with writer(tmp_path / "zoo") as zoo:
        assert zoo.complete
        zoo.finish()
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_scaffolding_that_a_kill_left_behind_a_finished_zoo_goes(tmp_path: Path) -> None:
    grow(tmp_path / "zoo")
    (tmp_path / "zoo" / "growing" / "00000").mkdir(parents=True)
    with writer(tmp_path / "zoo") as zoo:
        assert zoo.complete
    assert not (tmp_path / "zoo" / "growing").exists()


def test_another_plan_is_refused(tmp_path: Path) -> None:
    grow(tmp_path / "zoo")
    with pytest.raises(MetanetError, match="another plan"), writer(tmp_path / "zoo", plan_hash="q"):
        pass


def test_a_second_writer_is_refused_and_a_dead_ones_lock_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time, pandas as pd; from metanet.zoo import ZooWriter; from metanet.zoo.header import ZooHeader\n"
        "w = ZooWriter(sys.argv[1], ZooHeader(plan_hash='p'), {}, pd.DataFrame({'network_id': ['a']}), 2).__enter__()\n"
        "print('locked', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "zoo")], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    with pytest.raises(MetanetError, match="being written by another process"), writer(tmp_path / "zoo"):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with writer(tmp_path / "zoo") as zoo:
        assert zoo.done == set()


@pytest.mark.parametrize("kind", ["missing", "empty", "foreign", "file"])
def test_a_folder_that_is_no_zoo_is_named(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "zoo"
    if kind == "file":
        folder.write_text("x")
    elif kind != "missing":
        folder.mkdir()
        if kind == "foreign":
            (folder / "thesis.tex").write_text("x")
    with pytest.raises(MetanetError, match=r"no folder|is no zoo"):
        open_zoo(folder)
    if kind in ("foreign", "file"):
        with pytest.raises(MetanetError, match=r"holds 'thesis.tex'|is a file"), writer(folder):
            pass


def test_a_newer_format_is_refused(grown_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    shutil.copytree(grown_folder, folder)
    header = json.loads((folder / "zoo.json").read_text())
    (folder / "zoo.json").write_text(json.dumps(header | {"format_version": 99}))
    with pytest.raises(MetanetError, match="format version 99"):
        open_zoo(folder)
    broken = [header | {"format_version": "1"}, {k: v for k, v in header.items() if k != "shards"}, []]
    for text in ("{", *(json.dumps(b) for b in broken)):
        (folder / "zoo.json").write_text(text)
        with pytest.raises(MetanetError, match="damaged"):
            open_zoo(folder)


def test_damage_to_a_shard_is_found(grown_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    shutil.copytree(grown_folder, folder)
    shard = folder / "weights-00000.npy"
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 1
    shard.write_bytes(raw)
    zoo = open_zoo(folder)
    with pytest.raises(MetanetError, match="differ from their checksum"):
        zoo.view(epoch="all").weights()
    shard.write_bytes(raw.replace(b"<f4", b">f4", 1))
    with pytest.raises(MetanetError, match="float32 of shape"):
        open_zoo(folder).view(epoch="all").weights()
    shard.write_bytes(raw[:-400])
    with pytest.raises(MetanetError, match="truncated"):
        open_zoo(folder)
    shard.unlink()
    with pytest.raises(MetanetError, match="truncated: 0 bytes"):
        open_zoo(folder)
    table = folder / "networks.parquet"
    raw = bytearray(table.read_bytes())
    raw[len(raw) // 3] ^= 1
    table.write_bytes(raw)
    shutil.copy(grown_folder / "weights-00000.npy", shard)
    with pytest.raises(MetanetError, match="cannot be read"):
        open_zoo(folder)


def test_a_header_that_contradicts_itself_is_damaged(grown_folder: Path, tmp_path: Path) -> None:
    header = json.loads((grown_folder / "zoo.json").read_text())
    (layout_id, tensors), *_ = header["layouts"].items()
    moved = [tensors[0] | {"shape": [tensors[0]["shape"][1], tensors[0]["shape"][0], *tensors[0]["shape"][2:]]}, *tensors[1:]]
    for changes, says in (
        ({"layouts": {layout_id: moved}}, rf"layout {layout_id} is not what was written"),
        ({"shards": header["shards"][1:]}, rf"{header['groups'] - 1} shards of {header['groups']} groups"),
        ({"data": header["data"] | {"n_test": "360"}}, r"data.n_test='360': give a whole number"),
        ({"columns": {"hp.l2reg": "logs"}}, r"column 'hp.l2reg' cannot be of kind 'logs'"),
        ({"checksums": {"networks.parquet": 3}}, ""),
    ):
        (tmp_path / "zoo.json").write_text(json.dumps(header | changes))
        with pytest.raises(MetanetError, match=rf"zoo.json' is damaged \(.*{says}") as told:
            open_zoo(tmp_path)
        assert "\n" not in str(told.value)


def test_every_file_has_a_checksum_and_the_damaged_one_is_named(grown_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    shutil.copytree(grown_folder, folder)
    written = json.loads((folder / "zoo.json").read_text())["checksums"]
    files = [path for path in folder.iterdir() if path.suffix in (".npy", ".parquet")]
    assert written == {p.name: {"bytes": p.stat().st_size, "crc32": zlib.crc32(p.read_bytes())} for p in files}
    assert verify_zoo(folder) == len(files)
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(MetanetError, match=path.name):
            verify_zoo(folder)
        path.write_bytes(whole)
    shard = folder / "weights-00000.npy"
    shard.write_bytes(shard.read_bytes() + b"more")
    with pytest.raises(MetanetError, match=r"shard .*weights-00000.npy' is damaged: [\d,]+ bytes, [\d,]+ were written"):
        open_zoo(folder)


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with writer(tmp_path / "zoo") as zoo:
        commit(zoo, 0)
        with monkeypatch.context() as patch:
            patch.setattr(np.lib.format, "write_array_header_1_0", full)
            with pytest.raises(MetanetError, match=r"disk of .* is full"):
                commit(zoo, 1)
    assert not list((tmp_path / "zoo").glob("weights-00001*"))
    with writer(tmp_path / "zoo") as zoo:
        assert zoo.done == {0}
        commit(zoo, 1)
        zoo.finish()
    assert len(open_zoo(tmp_path / "zoo").networks) == 3


def test_a_real_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        with writer(small / "zoo") as zoo:
            commit(zoo, 0)
            (small / "filler").write_bytes(b"x" * (small_free(small) - 4096))
            with pytest.raises(MetanetError, match=r"disk of .* is full"):
                commit(zoo, 1)
        (small / "filler").unlink()
        with writer(small / "zoo") as zoo:
            assert zoo.done == {0}
            commit(zoo, 1)
            zoo.finish()
        assert len(open_zoo(small / "zoo").networks) == 3
    finally:
        subprocess.run(["umount", str(small)], check=True)


def small_free(folder: Path) -> int:
    """Bytes left on a file system."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MetanetError, match="cannot be written"), writer(tmp_path / "file" / "zoo"):
        pass


def test_the_card_says_what_the_zoo_is(grown_folder: Path) -> None:
    card = (grown_folder / "README.md").read_text()
    assert "small_cnn on digits" in card
    assert "30 networks" in card
    assert "learning_rate" in card
