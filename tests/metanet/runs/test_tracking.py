"""W&B with its real client, offline; what it wrote is read back by the client's own reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from wandb.util import get_core_path

from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.plots.style import new_axes, save
from metanet.runs.folder import RunFolder
from metanet.runs.tracking import track

METRICS = {"r2": 0.5, "model": "gbm", "bad": None}
OFFLINE = {"name": "wandb", "project": "metanet-test", "mode": "offline"}


def records(folder: Path, count: int = 1) -> list[list[dict[str, Any]]]:
    """The records of each W&B run below a folder, the oldest first, once W&B's own process has written the last."""
    deadline = time.monotonic() + 15
    while True:
        files = sorted(folder.glob("**/offline-run-*/run-*.wandb"), key=lambda p: p.stat().st_mtime)
        found = [_read(file) for file in files]
        if len(found) >= count and all(of_kind(run, "exit") for run in found):
            return found
        assert time.monotonic() < deadline, "W&B wrote no end of the run"
        time.sleep(0.1)


def _read(file: Path) -> list[dict[str, Any]]:
    """What ``wandb leet inspect --json`` prints, by the program that it starts."""
    words = [get_core_path(), "leet", "inspect", "--json", "--run-file", str(file), str(file.parents[1])]
    lines = subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def of_kind(run: list[dict[str, Any]], kind: str) -> list[Any]:
    return [record[kind] for record in run if record["type"] == kind]


def steps(run: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record["item"] for record in of_kind(run, "history")]


def summary(run: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in of_kind(run, "summary"):
        found |= record.get("update", {})
    return found


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_a_login_a_run_is_written_offline(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    figure, _ = new_axes()
    save(figure, run.figures / "predictions.png")
    curves = pd.DataFrame({"validation_loss": [0.9, 0.25]}, index=pd.Index([1, 5], name="epoch"))
    table = pd.DataFrame({"network_id": ["000001"], "true": [0.5]})
    card = tmp_path / "README.md"
    card.write_text("a zoo")
    config = {"model": {"name": "gbm", "num_leaves": 15}, "zoo": "zoos/digits", "features": "stats", "target": "test_accuracy"}
    track(
        {"name": "wandb", "project": "p", "group": "g"},
        run,
        config,
        METRICS,
        "train",
        curves,
        {"predictions": table},
        {"zoo-digits": ("zoo", [card])},
    )
    (written,) = records(run.folder)
    (header, *_) = of_kind(written, "run")
    assert (header["project"], header["run_group"], header["job_type"]) == ("p", "g", "train")
    assert header["tags"] == ["digits", "stats", "gbm", "test_accuracy"]
    assert header["config"]["update"]["model"] == {"name": "gbm", "num_leaves": 15}
    curve = [(step["epoch"], step["validation_loss"]) for step in steps(written) if "validation_loss" in step]
    assert curve == [(1, 0.9), (5, 0.25)]
    told = summary(written)
    assert told["r2"] == 0.5
    assert told["model"] == "gbm"
    assert "bad" not in told
    ends = {metric["name"]: metric["summary"] for metric in of_kind(written, "metric") if "name" in metric}
    assert ends == {"r2": {"max": True}, "validation_loss": {"min": True}}
    assert ("zoo-digits", "zoo") in {(artifact["name"], artifact["type"]) for artifact in of_kind(written, "artifact")}
    media = {p.suffix for p in (run.folder / "wandb").glob("offline-run-*/files/media/**/*") if p.is_file()}
    assert {".png", ".json"} <= media


def test_a_folder_is_one_run_however_often_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path / "run")
    for r2 in (0.1, 0.2):
        track(OFFLINE, run, {}, {"r2": r2}, "train")
        time.sleep(1.1)  # W&B names its folders by the second
    ids = [of_kind(written, "run")[0]["run_id"] for written in records(run.folder, 2)]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    other = RunFolder(tmp_path / "other")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    track(OFFLINE, other, {}, {"r2": 0.3}, "train")
    assert of_kind(records(other.folder)[0], "run")[0]["run_id"] == "fromagent"


def test_a_fit_is_read_back_as_it_was_made(grown_folder: Path, tmp_path: Path) -> None:
    """Config, summary, tables, group, curves and artifacts; the first two also by the command that the pages name."""
    words = ["train", f"zoo={grown_folder}", "model=gbm", "model.max_trees=20", "threads=1", "tracking=wandb"]
    words += ["tracking.mode=offline", "tracking.project=meta", "tracking.group=trees"]
    assert main([*words, f"out={tmp_path}/run"]) == 0
    (written,) = records(tmp_path / "run")
    (header, *_) = of_kind(written, "run")
    assert (header["project"], header["run_group"], header["job_type"]) == ("meta", "trees", "train")
    losses = steps(written)
    trees = [step["trees"] for step in losses if "validation_loss" in step]
    assert trees == list(range(1, len(trees) + 1))
    named = {key.split(".")[0] for step in losses for key in step}
    assert {"figures/predictions", "figures/losses", "tables/predictions"} <= named
    assert {"zoo", "split"} <= {artifact["type"] for artifact in of_kind(written, "artifact")}
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    words = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(folder)]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert told["state"] == "finished"
    assert told["config"] == yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    known = {key: value for key, value in metrics.items() if value is not None}
    assert len(known) > 20
    assert {key: told["summary"][key] for key in known} == known
    table = told["summary"]["tables/predictions"]
    content = json.loads((folder / "files" / table["path"]).read_text())
    sent = pd.DataFrame(content["data"], columns=content["columns"])
    made = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert (table["nrows"], table["ncols"]) == made.shape
    keys = ["part", "network_id"]
    sent, made = (frame.sort_values(keys, ignore_index=True)[list(made)] for frame in (sent, made))
    pd.testing.assert_frame_equal(sent, made, check_dtype=False)


def test_a_search_is_one_run_with_its_trials_as_a_table(grown_folder: Path, tmp_path: Path) -> None:
    words = ["train", f"zoo={grown_folder}", "model=gbm", "search=random", "search.n=3", "search.space.max_trees=20", "threads=1"]
    assert main([*words, "tracking=wandb", f"out={tmp_path}/run"]) == 0
    (written,) = records(tmp_path / "run")
    assert any(key.startswith("tables/trials") for step in steps(written) for key in step)
    (table,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media/table/tables/trials*.json")
    content = json.loads(table.read_text())
    assert len({row[content["columns"].index("trial")] for row in content["data"]}) == 3


def test_a_comparison_is_one_run(grown_folder: Path, tmp_path: Path) -> None:
    for leaves in (4, 8):
        words = ["train", f"zoo={grown_folder}", "model=gbm", "model.max_trees=10", f"model.num_leaves={leaves}", "threads=1"]
        assert main([*words, f"out={tmp_path}/runs/{leaves}"]) == 0
    assert main(["compare", f"{tmp_path}/runs", f"out={tmp_path}/compared", "tracking=wandb"]) == 0
    (written,) = records(tmp_path / "compared")
    assert of_kind(written, "run")[0]["job_type"] == "compare"
    (said,) = [v for k, v in summary(written).items() if k.startswith("test_accuracy on")]
    assert "(r2 " in said
    assert len(list((tmp_path / "compared" / "figures").glob("*.png"))) >= 3


def test_an_outage_does_not_cost_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    def broken(**_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(wandb, "Table", broken)  # in the middle
    run = RunFolder(tmp_path / "run")
    run.write_metrics(METRICS)
    track(OFFLINE, run, {}, METRICS, "train", tables={"predictions": pd.DataFrame({"true": [1.0]})})
    assert "no route" in capsys.readouterr().err
    assert (run.folder / "metrics.json").exists()
    monkeypatch.undo()
    track(OFFLINE | {"mode": "offline"}, RunFolder(tmp_path / "next"), {}, METRICS, "train")  # the next run is its own
    assert summary(records(tmp_path / "next")[0])["r2"] == 0.5


def test_with_a_login_and_no_network_it_is_written_offline(tmp_path: Path) -> None:
    """With the real client, and a server that nobody is."""
    code = (
        "import sys; from pathlib import Path; from metanet.runs import tracking; from metanet.runs.folder import RunFolder\n"
        "tracking.INIT_SECONDS = 2\n"
        "for name in 'ab': tracking.track({'name': 'wandb'}, RunFolder(Path(sys.argv[1]) / name), {}, {'r2': 0.5}, 'train')"
    )
    given = {"WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=os.environ | given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the run is whole" not in done.stderr
    assert done.stderr.count("from now on runs are written offline") == 1  # the second is not even tried
    for name in "ab":
        assert summary(records(tmp_path / name)[-1])["r2"] == 0.5


def test_none_does_nothing_and_an_unknown_tracker_is_named(tmp_path: Path) -> None:
    track({"name": "none"}, RunFolder(tmp_path / "run"), {}, METRICS, "train")
    assert not list((tmp_path / "run").iterdir())
    with pytest.raises(MetanetError, match="did you mean 'wandb'"):
        track({"name": "wanb"}, RunFolder(tmp_path / "run"), {}, METRICS, "train")
