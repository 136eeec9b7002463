"""The scripts around the package: what can be run in seconds is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import r2_score

from metanet.zoo import Zoo, open_zoo

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def test_the_slurm_script_gives_each_task_its_share(tmp_path: Path) -> None:
    """With Slurm's variables and two tasks, one after the other."""
    words = ["data=digits", "n=6", "recipe.epochs=1", "engine=torch", f"out={tmp_path / 'zoo'}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for task in ("1", "2"):
        slurm = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1", "PATH": path}
        done = subprocess.run(
            ["bash", str(SCRIPTS / "slurm_generate.sh"), *words], capture_output=True, text=True, env=os.environ | slurm
        )
        assert done.returncode == 0, done.stderr
        assert ("still missing" in done.stdout) == (task == "1")
    assert len(open_zoo(tmp_path / "zoo").networks) == 6
    alone = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    done = subprocess.run(["bash", str(SCRIPTS / "slurm_generate.sh"), *words], capture_output=True, text=True, env=alone)
    assert done.returncode != 0
    assert "sbatch --array=1-N" in done.stderr


def test_a_report_of_zoos_counts_and_draws(grown: Zoo, tmp_path: Path) -> None:
    assert grown.folder is not None
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "report_zoos.py"), str(grown.folder), "--out", str(tmp_path / "zoos.png")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    row = done.stdout.splitlines()[1].split()
    assert row[:4] == ["zoo", "30", "0", "torch"]
    assert float(row[5]) == pytest.approx(grown.view().frame["test_accuracy"].mean(), abs=1e-3)
    assert (tmp_path / "zoos.png").stat().st_size > 10_000


def test_the_fit_of_tanh_is_the_one_that_was_compiled() -> None:
    done = subprocess.run([sys.executable, str(SCRIPTS / "fit_tanh.py")], capture_output=True, text=True, check=True)
    compiled = (SCRIPTS.parent / "metanet" / "generation" / "native" / "tanh_coefficients.inc").read_text()

    def numbers(text: str) -> list[float]:
        return [float(line.split()[-1].rstrip("f;")) for line in text.splitlines() if line.endswith("f;")]

    np.testing.assert_allclose(numbers(done.stdout), numbers(compiled), rtol=1e-3)
    p, q = np.split(np.array(numbers(compiled)), [len(numbers(compiled)) // 2])
    x = np.linspace(1e-3, 9, 20_000)
    assert np.abs(x * np.polyval(p, x**2) / np.polyval(q, x**2) / np.tanh(x) - 1).max() < 1e-7


@pytest.mark.slow
def test_the_benchmark_of_probing_draws_trains_and_maps(nws_zoos: dict[str, Path]) -> None:
    words = [
        sys.executable,
        str(SCRIPTS / "bench_probe.py"),
        str(nws_zoos["fixed"]),
        "--quick",
        "--length",
        "200",
        "--threads",
        "1",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "a batch of 64 slices of 200" in done.stdout
    assert "a training step of dmc_local_mini on cpu" in done.stdout
    assert "a map of 8 networks x 5 snapshots x 100 slices of 200" in done.stdout


@pytest.mark.slow
def test_the_benchmark_of_encoders_fits_and_reports(grown_folder: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(SCRIPTS / "bench_encoders.py"), str(grown_folder)]
    words = ["--out", str(tmp_path), "--models", "deepsets", "--budgets", "50 epochs"]
    done = subprocess.run([*script, *words], capture_output=True, text=True, check=True)
    assert "zoo deepsets split 0: 50 epochs in" in done.stdout
    again = subprocess.run([*script, *words, "--report"], capture_output=True, text=True, check=True)
    (row,) = [line.split() for line in again.stdout.splitlines() if line.startswith("zoo ") and " deepsets " in line]
    with np.load(tmp_path / "zoo-deepsets-0-50epochs.npz") as found:
        assert float(row[4]) == pytest.approx(r2_score(found["true"], found["test"]), abs=1e-4)
    assert "nfn_hnp            not measured" in again.stdout


@pytest.mark.slow
def test_the_benchmark_of_encoders_times_each(grown_folder: Path) -> None:
    words = [sys.executable, str(SCRIPTS / "bench_encoders.py"), str(grown_folder), "--rates", "--seconds", "0.1"]
    timed = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "graph_transformer" in timed.stdout
