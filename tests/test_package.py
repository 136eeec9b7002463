"""The wheel, installed elsewhere, carries code and configs and runs a recipe from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("no checkout to build a wheel from")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    copy = "git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference -t"
    source.mkdir()
    subprocess.run(f"{copy} {source}", shell=True, cwd=ROOT, check=True)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    answer = subprocess.run(build, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_one_package_with_its_configs_and_nothing_else(installed: Path) -> None:
    assert {p.name for p in installed.iterdir() if not p.name.endswith(".dist-info")} == {"metanet"}
    shipped = {p.relative_to(installed / "metanet/configs") for p in (installed / "metanet/configs").rglob("*.yaml")}
    assert shipped == {p.relative_to(ROOT / "configs") for p in (ROOT / "configs").rglob("*.yaml")}
    ours = [p.relative_to(ROOT) for p in (ROOT / "metanet").rglob("*.py") if "data_modules" not in p.parts]
    theirs = ["metanet" / p.relative_to(ROOT) for p in (ROOT / "data_modules").rglob("*.py")]
    assert {*ours, *theirs} == {p.relative_to(installed) for p in installed.rglob("*.py")}
    sources = [p for p in (ROOT / "metanet").rglob("*") if p.suffix in (".cpp", ".cu", ".cuh", ".hpp", ".inc")]
    assert len(sources) > 10
    assert not [p for p in sources if not (installed / p.relative_to(ROOT)).exists()]


def test_a_users_own_data_modules_is_left_alone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "data_modules").mkdir()
    (tmp_path / "data_modules" / "__init__.py").write_text("MINE = True\n")
    code = "import data_modules, metanet; metanet.create_model('deepsets'); print(data_modules.MINE, metanet.batches.__module__)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(installed)]), "PYTHONSAFEPATH": "1"}
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.stdout.strip() == "True metanet.data_modules.loaders", answer.stderr


def test_it_runs_a_recipe_from_another_folder(installed: Path, tmp_path: Path) -> None:
    words = ["quickstart", "n=12", "out=q", "recipe.epochs=1", "recipe.snapshots=[1]", "models=[gbm]", "features=[stats]"]
    code = "import metanet, sys; from metanet.cli.main import main; print(metanet.__file__); sys.exit(main(sys.argv[1:]))"
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    words += ["threads=1"]
    answer = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(str(installed))
    assert answer.stdout.splitlines()[-1] == "run: q"
    assert (tmp_path / "q" / "leaderboard.csv").exists()
