"""W&B sweep files, their commands expanded by the agent's own functions and run."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

import metanet
from metanet.cli.compose import compose, parse_overrides
from metanet.cli.main import main
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


def test_the_sweeps_that_come_with_it_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweeps"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for path in SWEEPS:
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{path.stem} "))
        assert lines[place].split(maxsplit=1)[1] in path.read_text().replace("\n# ", " ")
        assert lines[place + 1].strip() == str(path)
    assert f"  wandb sweep {SWEEPS[0]}" in lines


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


def draw(parameter: dict[str, Any], rng: np.random.Generator) -> Any:
    """A value of a parameter, as its distribution says."""
    if "values" in parameter:
        return parameter["values"][rng.integers(len(parameter["values"]))]
    low, high = parameter["min"], parameter["max"]
    kind = parameter["distribution"]
    if kind == "log_uniform_values":
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return int(rng.integers(low, high + 1)) if kind == "int_uniform" else float(rng.uniform(low, high))


class Controller:
    """Stands for the service that gives an agent its runs: ``count`` of them, drawn from a sweep, one at a time."""

    def __init__(self, sweep: dict[str, Any], count: int) -> None:
        rng = np.random.default_rng(0)
        self.sweep = sweep
        self.draws = {f"draw{i}": {k: draw(v, rng) for k, v in sweep["parameters"].items()} for i in range(count)}
        self.waiting = list(self.draws)

    def heartbeat(self, running: dict[str, bool]) -> list[dict[str, Any]]:
        if running or not self.waiting:
            return []
        run_id = self.waiting.pop(0)
        arguments = {k: {"value": v} for k, v in self.draws[run_id].items()}
        return [{"type": "run", "run_id": run_id, "program": self.sweep["program"], "args": arguments}]


def test_an_agent_runs_what_a_controller_draws(grown_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's own agent, our command, and what it logs is what the sweep is decided by."""
    import wandb
    from wandb.apis.public import sweeps
    from wandb.wandb_agent import Agent

    sweep = yaml.safe_load((config_root() / "sweep" / "gbm.yaml").read_text())
    controller = Controller(sweep, 2)
    monkeypatch.setattr(sweeps, "_sweep_with_runs", lambda *_, **__: {"config": yaml.safe_dump(sweep)})
    monkeypatch.setattr(sweeps, "_register_agent", lambda *_, **__: {"id": "agent"})
    monkeypatch.setattr(sweeps, "_agent_heartbeat", lambda api, agent, metrics, running: controller.heartbeat(running))
    monkeypatch.setattr(wandb, "Api", lambda: None)
    monkeypatch.setattr(Agent, "POLL_INTERVAL", 0.2)
    command = tmp_path / "bin" / "metanet"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m metanet "$@" threads=1 out="runs/$WANDB_RUN_ID"\n')
    command.chmod(0o755)
    variables = {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(metanet.__file__).parents[1]),
    }
    variables |= {"METANET_ZOO": str(grown_folder), "WANDB_MODE": "offline", "WANDB_SWEEP_ID": "s1", "WANDB_DIR": str(tmp_path)}
    for name, value in (variables | {"WANDB_RUN_ID": "", "WANDB_SWEEP_PARAM_PATH": ""}).items():
        monkeypatch.setenv(name, value)  # the agent sets the last two, which are taken back so
    monkeypatch.chdir(tmp_path)
    Agent(None, queue.Queue(), "s1", count=2).run()
    told = {}
    for run_id, drawn in controller.draws.items():
        (folder,) = (tmp_path / "runs" / run_id / "wandb").glob(f"offline-run-*-{run_id}")
        words = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(folder)]
        told[run_id] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        config = told[run_id]["config"]
        assert {k: config["model"][k.removeprefix("model.")] if "." in k else config[k] for k in drawn} == drawn
    metric = sweep["metric"]["name"]
    metrics = {run_id: json.loads((tmp_path / "runs" / run_id / "metrics.json").read_text())[metric] for run_id in told}
    assert {run_id: run["summary"][metric] for run_id, run in told.items()} == metrics
    assert len(set(metrics.values())) == 2  # so that there is a best one
