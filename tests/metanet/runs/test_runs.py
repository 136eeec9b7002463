from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from metanet.errors import MetanetError
from metanet.runs.folder import RunFolder, folder_for, read_metrics
from metanet.runs.leaderboard import leaderboard
from metanet.runs.records import find_runs


def row(model: str, r2: float, target: str = "test_accuracy") -> dict:
    return {"model": model, "features": "stats", "access": "W", "target": target, "n_train": 5, "n_test": 5, "r2": r2}


def test_the_best_comes_first_within_a_target() -> None:
    table = leaderboard([row("a", 0.1), row("b", 0.9), row("c", 0.5, "hp.dropout"), row("d", float("nan"))])
    assert table["model"].tolist() == ["c", "b", "a", "d"]
    assert "accuracy" not in table
    with pytest.raises(MetanetError, match="nothing to compare"):
        leaderboard([])


def test_runs_are_found_below_a_folder(tmp_path: Path) -> None:
    for name, r2 in (("x", 0.2), ("deep/y", 0.4)):
        RunFolder(tmp_path / name).write_metrics(row(name, r2))
    found = find_runs([tmp_path])
    assert {str(r.folder): r.metrics["r2"] for r in found.records} == {str(tmp_path / "x"): 0.2, str(tmp_path / "deep/y"): 0.4}
    again = find_runs([tmp_path / "x", tmp_path / "deep", tmp_path])  # each once
    assert {r.folder for r in again.records} == {r.folder for r in found.records}
    assert len(again.records) == 2
    (note,) = found.notes  # these have nothing but metrics
    assert note.startswith("2 of the runs have no config.yaml")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    RunFolder(tmp_path / "whole").write_metrics(row("x", 0.2))
    RunFolder(tmp_path / "half").write_config({"model": {"name": "gbm"}, "target": "test_accuracy"})
    RunFolder(tmp_path / "grown").write_metrics({"networks": 5})
    RunFolder(tmp_path / "broken")
    (tmp_path / "broken" / "metrics.json").write_text("{")
    found = find_runs([tmp_path])
    assert [r.folder.name for r in found.records] == ["whole"]
    assert "settings are not known" in found.notes[0]
    for note, name, why in zip(
        found.notes[1:], ("half", "broken", "grown"), ("not finished", "damaged", "no fitted"), strict=True
    ):
        assert name in note
        assert why in note


def test_folders_that_are_no_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(MetanetError, match="no folder"):
        find_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MetanetError, match="is no run; give the folder of a finished run"):
        find_runs([tmp_path / "empty"])
    (tmp_path / "empty" / "metrics.json").write_text("{")
    with pytest.raises(MetanetError, match="damaged"):
        find_runs([tmp_path / "empty"])
    (tmp_path / "file").write_text("")
    with pytest.raises(MetanetError, match="cannot be made"):
        RunFolder(tmp_path / "file" / "run")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(MetanetError, match="no permission"):
        RunFolder(tmp_path)


def test_metrics_are_valid_json_with_null_for_nan(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_metrics({"r2": float("nan"), "n": 3})
    assert json.loads((run.folder / "metrics.json").read_text(), parse_constant=pytest.fail) == {"r2": None, "n": 3}
    assert read_metrics(run.folder)["n"] == 3


def test_folders_are_new_and_safe_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with folder_for(None, "train", "./a b/c.py:X") as first, folder_for(None, "train", "./a b/c.py:X") as second:
        assert first.parent == Path("runs/train")
        assert first != second
        assert second.is_dir()  # no other command takes the name
        RunFolder(first).write_metrics({})
    assert first.exists()
    assert not second.exists()
    with pytest.raises(MetanetError), folder_for(None, "evaluate", "x"):
        raise MetanetError("a mistake")
    assert not Path("runs/evaluate").exists()
    with folder_for("~/x", "train", "n") as given:
        assert given == Path.home() / "x"


def test_an_interruption_says_where_something_was_left(tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "trials.jsonl").touch()
    for name, said in (("begun", (str(tmp_path / "begun"),)), ("new", ())):
        with pytest.raises(KeyboardInterrupt) as stop, folder_for(str(tmp_path / name), "train", "n"):
            raise KeyboardInterrupt
        assert stop.value.args == said


def test_folders_of_others_are_not_written_over(tmp_path: Path) -> None:
    for name, file, text in (("zoo", "zoo.json", "{}"), ("compared", "config.yaml", "runs: [a]"), ("begun", "config.yaml", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    (tmp_path / "file").touch()
    for name, says in (
        ("zoo", "is a zoo"),
        ("compared", "a key 'runs', which train has not"),
        ("begun", "damaged"),
        ("file", "is a file"),
    ):
        with pytest.raises(MetanetError, match=says), folder_for(str(tmp_path / name), "train", "n"):
            pass
    with folder_for(str(tmp_path / "compared"), "compare", "n") as folder:
        assert folder == tmp_path / "compared"
