from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest

from metanet.errors import MetanetError
from metanet.plots.style import new_axes, save
from metanet.runs.folder import Run
from metanet.runs.tracking import track

METRICS = {"r2": 0.5, "model": "gbm", "bad": None}


def payload(raw: bytes) -> bytes:
    """The records of a W&B file end to end: in the file (LevelDB's log format) one may be cut at the end of a block.

    After a file header of 7 bytes, blocks of 32,768 bytes hold pieces: CRC (4 bytes), length (2), type (1), data.
    """
    pieces, position = [], 7
    while position + 7 <= len(raw):
        left = 32_768 - position % 32_768
        if left < 7:
            position += left
            continue
        length = int.from_bytes(raw[position + 4 : position + 6], "little")
        pieces.append(raw[position + 7 : position + 7 + length])
        position += 7 + length
    return b"".join(pieces)


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_a_login_a_run_is_written_offline(tmp_path: Path) -> None:
    """The real client; its record file holds the config, the summary and the figure."""
    run = Run(tmp_path / "run")
    figure, _ = new_axes()
    save(figure, run.figures / "predictions.png")
    curves = pd.DataFrame({"test_accuracy/group_001": [0.1, 0.75]}, index=pd.Index([0, 5], name="epoch"))
    track({"name": "wandb", "project": "metanet-test"}, run, {"model": {"num_leaves": 15}}, METRICS, "train", curves)
    (record,) = (run.folder / "wandb").glob("offline-run-*/run-*.wandb")
    words = {b"num_leaves", b"r2", b"gbm", b"metanet-test", b"figures/predictions", b"test_accuracy/group_001", b"0.75"}
    deadline = time.monotonic() + 10  # W&B's own process may still be writing
    while (missing := {w for w in words if w not in payload(record.read_bytes())}) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not missing
    assert list((run.folder / "wandb").glob("offline-run-*/files/media/images/figures/*.png"))


def test_an_outage_does_not_cost_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import wandb

    def broken(**_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(wandb, "init", broken)
    run = Run(tmp_path / "run")
    run.write_metrics(METRICS)
    track({"name": "wandb"}, run, {}, METRICS, "train")
    assert "no route" in capsys.readouterr().err
    assert (run.folder / "metrics.json").exists()


def test_none_does_nothing_and_an_unknown_tracker_is_named(tmp_path: Path) -> None:
    track({"name": "none"}, Run(tmp_path / "run"), {}, METRICS, "train")
    assert not list((tmp_path / "run").iterdir())
    with pytest.raises(MetanetError, match="did you mean 'wandb'"):
        track({"name": "wanb"}, Run(tmp_path / "run"), {}, METRICS, "train")
