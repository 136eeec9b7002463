"""W&B sweep files, their commands expanded by the agent's own functions and run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from metanet.cli.compose import compose, parse_overrides
from metanet.config_files import config_root
from metanet.evaluation.protocol import fit_and_score
from metanet.models import create_model
from metanet.zoo import open_zoo
from metanet.zoo.split import split_networks

SWEEPS = sorted((config_root() / "sweep").glob("*.yaml"))


def first(parameter: dict[str, Any]) -> Any:
    """A value that the parameter may take."""
    if "value" in parameter:
        return parameter["value"]
    return parameter["values"][0] if "values" in parameter else parameter["min"]


def command_of(sweep: dict[str, Any]) -> list[str]:
    """What an agent runs for the first values."""
    arguments = create_sweep_command_args({"args": {k: {"value": first(v)} for k, v in sweep["parameters"].items()}})
    words: list[str] = []
    for chunk in create_sweep_command(list(sweep["command"])):
        macro = chunk.removeprefix("${").removesuffix("}")
        words += arguments[macro] if chunk.startswith("${") and macro in arguments else [chunk]
    return words


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_every_value_of_a_sweep_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METANET_ZOO", "zoos/digits")
    sweep = yaml.safe_load(path.read_text())
    assert sweep["method"] in ("bayes", "random", "grid")
    words = command_of(sweep)
    assert words[:3] == ["metanet", "train", "zoo=zoos/digits"]
    for key, parameter in sweep["parameters"].items():
        for value in parameter.get("values", [first(parameter), parameter.get("max")]):
            others = [w for w in words[2:] if not w.startswith(f"{key}=")]
            overrides = {k: v[0] for k, v in parse_overrides([*others, f"{key}={value}"]).items()}
            config = compose("train", overrides)
            settings = {k: v for k, v in config["model"].items() if k != "name"}
            create_model(config["model"]["name"], **settings)


def test_a_sweep_is_decided_by_a_metric_that_runs_have(grown_folder: Path) -> None:
    view = open_zoo(grown_folder).view()
    split = split_networks(view.network_ids.tolist(), 0.5, 0.2, 0)
    result = fit_and_score(create_model("gbm", max_trees=10), view, split, "test_accuracy")
    for path in SWEEPS:
        metric = yaml.safe_load(path.read_text())["metric"]
        assert metric["name"] in result.metrics
        assert "validation" in metric["name"]  # nothing is chosen on a test part
    held_out = result.predictions.query("part == 'validation'")
    error = ((held_out["true"] - held_out["predicted"]) ** 2).sum()
    total = ((held_out["true"] - held_out["true"].mean()) ** 2).sum()
    assert result.metrics["r2_validation"] == pytest.approx(1 - error / total)


def test_an_agents_command_runs(grown_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METANET_ZOO", str(grown_folder))
    words = command_of(yaml.safe_load((config_root() / "sweep" / "gbm.yaml").read_text()))
    words = [sys.executable, "-m", "metanet", *words[1:], "threads=1", f"out={tmp_path}/run"]
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "agents1"}
    subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "r2_validation" in metrics
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*-agents1"))
