"""The commands as a user gives them; in this process where nothing about a process is tested."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_recipe
from safetensors.torch import save_file
from sklearn.metrics import r2_score

from metanet.cli.main import VERBS, main
from metanet.errors import MetanetError
from metanet.evaluation.seen import stored_split, unseen
from metanet.generation.runner import generate
from metanet.runs.folder import read_config
from metanet.zoo import open_zoo


def run(*words: str) -> int:
    return main(list(words))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def trained_run(grown_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert run("train", f"zoo={grown_folder}", f"out={out}", "model=gbm", "model.max_trees=20", "threads=1") == 0
    return out


def test_help_shows_examples_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from metanet.cli.main import VERBS, main\n"
        "for words in (['--help'], *([verb, '--help'] for verb in VERBS)):\n"
        "    assert main(words) == 0\n"
        "    print('=====')\n"
        "print([m for m in ('numpy', 'torch', 'pandas', 'lightgbm', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    overview, *pages, heavy = subprocess.check_output([sys.executable, "-c", code], text=True).split("=====\n")
    assert all(f"  {verb}" in overview for verb in VERBS)
    assert len(pages) == len(VERBS)
    assert all("Examples:" in page and page.startswith("metanet ") for page in pages)
    assert heavy.strip() == "[]"


def test_importing_metanet_is_light() -> None:
    code = "import metanet, sys; print([m for m in ('torch', 'numpy', 'pandas', 'omegaconf') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_models_on_statistics_need_no_torch() -> None:
    code = "import metanet.models.gbm, sys; print([m for m in ('torch', 'pytorch_lightning') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_verb_help_lists_keys_groups_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--help") == 0
    text = capsys.readouterr().out
    for words in ("features=stats", "split.test=0.5", "zoo=(needed)"):
        assert words in text
    for option in ("constant", "dnn", "gbm", "logit_linear", "random_forest"):
        assert re.search(rf"^    {option} +\S.*[a-z]", text, re.MULTILINE)


def test_help_says_what_each_recipe_is_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "--help") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("    ")}
    assert "one architecture of 92,868 values" in lines["nws_fixed"]
    assert lines["nws_fixed"].count(". ") == 1  # of "et al."
    assert "metanet generate" not in lines["nws_main_mini"]


def test_cfg_prints_the_composed_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "zoo=z", "model=gbm", "model.num_leaves=7", "--cfg") == 0
    assert "num_leaves: 7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "no verb 'trian'; did you mean 'train'"),
        (["train"], "zoo= is needed"),
        (["generate"], "out= is needed"),
        (["generate", "out=z", "n=0"], "n=0: give a whole number from 1 up"),
        (["generate", "out=z", "n=5,6"], "takes one value of n"),
        (["train", "zoo=nowhere"], "no folder 'nowhere'"),
        (["train", "zoo=."], "is no zoo"),
        (["train", "zoo=z", "threads=0"], "threads=0"),
        (["train", "--cgf"], "did you mean '--cfg'"),
        (["train", "zoo"], "'zoo' is not understood"),
        (["compare", "nowhere"], "no folder"),
        (["compare", "[nowhere,a]"], "no folder 'nowhere'"),
        (["compare", "x", "html=1"], "html=1: give true or false"),
        (["train", "from="], "from= is empty"),
        (["train", "zoo=z", "target=null"], "target= is needed"),
        (["compare", "a", "runs=b"], "runs= is given twice: a and b"),
        (["inspect", "nowhere"], "no file or folder"),
        (["inspect", "."], "is no zoo (zoo.json) and no run"),
        (["evaluate", "zoo=z"], "run= is needed"),
        (["inspect", "a", "b"], "takes one path"),
        (["train", "zoo=z", "threads=1,2"], "threads= takes one value"),
        (["generate", "out=z", "seed=-1"], "seed=-1"),
        (["generate", "out=z", "seed=100000000000000000000"], "seed=1"),
        (["generate", "out=z", "trainer.max_epochs=0"], "max_epochs=0"),
        (["generate", "out=z", "recipe.snapshots=5"], "give a list, each member a whole number from 0 up"),
        (["inspect", "2024"], "no file or folder '2024'"),
        (["evaluate", "run=5", "zoo=5"], "no folder '5'"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("metanet: error: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["target=test_acuracy"], "did you mean 'test_accuracy'"),
        (["target=validation_accuracy"], "does not measure it"),
        (["split.test=0.99"], "part"),
        (["features=stat"], "did you mean 'stats'"),
        (["features=stats:conv9"], "no layer 'conv9'"),
        (["where=hp.optimizer == 'lion'"], "no snapshot"),
        (["where=hp.optimiser == 'sgd'"], "is not a query"),
        (["model=./mine.py:X"], "no file"),
        (["model=dnn", "trainer.acelerator=cpu"], "did you mean 'accelerator'"),
        (["split.file=nowhere.json"], "not a stored split"),
        (["tracking.name=wanb"], "no tracking 'wanb'"),
        (["split.seed=-1"], "split.seed=-1"),
        (["split.file=7"], "not a stored split"),
        (["target=5"], "no target '5'"),
        (["features="], "features= is needed"),
        (["view.epoch=1.5"], "epoch=1.5"),
        (["view.epoch=[0,x]"], "epoch="),
        (["model=random_forest", "model.trees=0"], "model.trees=0: give a whole number from 1 up"),
        (["model=random_forest", "seed=-1"], "seed=-1"),
        (["model=gbm", "seed=3000000000"], "seed=3000000000"),
        (["model=gbm", "model.num_leaves=1"], "give a whole number from 2 up"),
        (["model=gbm", "model.subsample=2.0"], "give a number above 0 up to 1"),
        (["model=dnn", "model.batch_size=0"], "batch_size=0"),
        (["model=dnn", "model.dropout=2.0"], "give a number from 0 up to, not including, 1"),
        (["model=dnn", "model.max_epochs=0"], "max_epochs=0"),
        (["model=dnn", "trainer.precision=foo"], "trainer: "),
    ],
)
def test_mistakes_over_a_real_zoo(grown_folder: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", f"zoo={grown_folder}", "seed=0" if words[0].startswith("model=") else "model=gbm", *words) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["features=norms_l2,statz", "target=test_accuracy,test_acuracy", "split.test=0.5,1.5", "model=gbm,gmb"]
)
def test_a_mistake_in_a_grid_is_found_before_its_first_fit(grown_folder: Path, words: str) -> None:
    assert run("train", f"zoo={grown_folder}", "model=constant", words, "out=g") == 2
    assert not list(Path().rglob("metrics.json"))


def test_a_run_that_lost_its_predictions_is_made_again(grown_folder: Path) -> None:
    words = ["train", f"zoo={grown_folder}", "model=constant", "seed=0,1", "out=g"]
    assert run(*words) == 0
    lost = next(Path("g").glob("*seed=0/predictions.parquet"))
    lost.unlink()
    assert run(*words) == 0
    assert lost.exists()
    assert run("compare", "g", "out=g") == 2  # its tables would be written over


def test_train_writes_a_run_that_explains_itself(trained_run: Path) -> None:
    names = {p.name for p in trained_run.iterdir()}
    assert names >= {
        "config.yaml",
        "metrics.json",
        "predictions.parquet",
        "split.json",
        "model",
        "leaderboard.csv",
        "versions.json",
    }
    metrics = json.loads((trained_run / "metrics.json").read_text())
    test = pd.read_parquet(trained_run / "predictions.parquet").query("part == 'test'")
    assert metrics["r2"] == pytest.approx(r2_score(test["true"], test["predicted"]))
    assert (trained_run / "figures" / "predictions.png").stat().st_size > 5000
    split = json.loads((trained_run / "split.json").read_text())
    stored = json.loads(Path(split["stored"]).read_text())
    assert sorted(test["network_id"]) == sorted(stored["test"])
    assert {"torch", "python"} <= set(json.loads((trained_run / "versions.json").read_text()))


def test_a_grid_is_one_leaderboard_and_resumes(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", f"zoo={grown_folder}", "model=constant,random_forest", "seed=0,1", "features=norms_l2", "out=grid"]
    assert run(*words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "run: grid"
    table = pd.read_csv("grid/leaderboard.csv")
    assert len(table) == 4
    assert table["r2"].is_monotonic_decreasing
    assert set(table["split.seed"]) == {0}
    means = pd.read_csv("grid/comparison.csv").set_index("model")
    scores = table.loc[table["model"] == "random_forest", "r2"]
    assert means.loc["random_forest", "r2"] == pytest.approx(scores.mean())
    assert means.loc["random_forest", "sd"] == pytest.approx(scores.std())
    before = {p: p.stat().st_mtime_ns for p in Path("grid").glob("*/model/model.json")}
    assert len(before) == 4
    assert run(*words) == 0
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert run(*words[:-1], "split.test=0.4", "out=grid") == 2
    assert "split.test=0.5, now 0.4" in capsys.readouterr().err
    Path("cmp").mkdir()
    Path("cmp/comparison.tex").touch()  # of an earlier comparison
    assert run("compare", "grid", "out=cmp", "where=model == 'constant'", "html=true") == 0
    assert not Path("cmp/comparison.tex").exists()
    assert len(pd.read_csv("cmp/leaderboard.csv")) == 2
    page = Path("cmp/comparison.html").read_text()
    for name in ("scores", "predictions", "calibration", "errors_by_hyperparameter"):
        assert f"<img alt='{name}' src='data:image/png;base64," in page


@pytest.mark.parametrize("launcher", ["launcher.workers=2", pytest.param("launcher=ray", marks=pytest.mark.slow)])
def test_a_grid_in_processes_finds_what_one_process_does(launcher: str, grown_folder: Path, tmp_path: Path) -> None:
    words = ["train", f"zoo={grown_folder}", "model=constant,random_forest", "seed=0,1", "threads=2"]
    assert run(*words, f"out={tmp_path}/apart", launcher) == 0
    assert run(*words, f"out={tmp_path}/alone") == 0
    tables = [pd.read_csv(tmp_path / name / "leaderboard.csv") for name in ("apart", "alone")]
    for table in tables:
        table["run"] = [Path(p).name for p in table["run"]]
    keys = ["model", "seed"]
    apart, alone = (t.drop(columns="seconds").sort_values(keys, ignore_index=True) for t in tables)
    pd.testing.assert_frame_equal(apart, alone)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "apart").rglob("metrics.json")}
    assert len(before) == 4
    assert run(*words, f"out={tmp_path}/apart", launcher) == 0
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_run_is_made_again_from_its_folder(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", f"from={trained_run}", "out=again") == 0
    assert re.search(r"again: all \d+ metrics agree", capsys.readouterr().out)
    assert run("train", f"from={trained_run}", "out=again") == 0
    assert "was there already and is kept" in capsys.readouterr().out
    assert run("train", f"from={trained_run}", "model=constant", "out=constant") == 0  # a group on the command line counts
    assert json.loads(Path("constant/metrics.json").read_text())["model"] == "constant"
    assert "model.name=constant" in capsys.readouterr().out
    before, now = (json.loads((Path(p) / "metrics.json").read_text()) for p in (trained_run, "again"))
    assert {k: v for k, v in before.items() if k != "seconds"} == {k: v for k, v in now.items() if k != "seconds"}
    stored = Path("constant/config.yaml")
    stored.write_text(re.sub("^zoo: .*$", "zoo: zoos/gone", stored.read_text(), flags=re.MULTILINE))
    assert run("train", "from=constant") == 2
    assert "its zoo 'zoos/gone' is not here; give zoo=" in capsys.readouterr().err
    assert run("train", f"from={trained_run}", "seed=7", "split.seed=3", "out=other") == 0
    said = capsys.readouterr().out
    assert "other settings than" in said
    assert "seed=7, split.seed=3" in said
    assert "another split than" in said
    assert "metrics differ from those of" in said
    config = Path("again/config.yaml")
    config.write_text(config.read_text() + "\nnews: 3\n")
    heads = Path("other/metrics.json")
    heads.write_text(json.dumps(json.loads(heads.read_text()) | {"heads": 2}))
    Path("empty").mkdir()
    Path("empty/config.yaml").touch()
    Path("listed").mkdir()
    Path("listed/config.yaml").write_text("- a")
    for source, says in (
        ("again", "a key 'news'"),
        ("other", "one of 2 heads"),
        ("nowhere", "no folder 'nowhere'"),
        (".", "is no run itself; 3 lie below it"),
        ("empty", "is damaged (it holds no keys)"),
        ("listed", "is damaged (it holds no keys)"),
    ):
        assert run("train", f"from={source}") == 2
        assert says in capsys.readouterr().err


def test_evaluate_scores_other_zoos_and_its_own_test_part(
    trained_run: Path, grown_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recipe.epochs=2", "recipe.batch_size=32", "recipe.snapshots=[0,2]", "recipe.hyperparameters.train_fraction=0.1"]
    assert run("generate", "n=6", "out=other", "seed=9", "threads=1", *words) == 0
    assert run("evaluate", f"run={trained_run}", f"zoo=[other,{grown_folder}]", "out=transfer") == 0
    table = pd.read_csv("transfer/leaderboard.csv").set_index("zoo")
    assert table.loc["other", "n_test"] == 6
    assert run("evaluate", f"run={trained_run}", "zoo=other", "part=test") == 2
    assert run("train", "zoo=other", f"split.file={trained_run}/split.json", "model=constant") == 2
    assert "drawn for other networks" in capsys.readouterr().err
    own = json.loads((trained_run / "metrics.json").read_text())
    assert table.loc[str(grown_folder), "r2"] == pytest.approx(own["r2"])
    assert table.loc[str(grown_folder), "n_test"] == own["n_test"]
    assert run("evaluate", f"run={trained_run}", "zoo=nowhere") == 2
    assert run("evaluate", "run=other", "zoo=other") == 2
    assert run("evaluate", f"run={trained_run}", "zoo=other", "part=tset") == 2
    Path("half").mkdir()
    Path("half/metrics.json").write_text("{}")
    assert run("evaluate", "run=half", "zoo=other") == 2


def test_a_split_is_shared_by_file(trained_run: Path, grown_folder: Path) -> None:
    split = trained_run / "split.json"
    words = ["model=constant", f"split.file={split}", "split.seed=5", "out=again"]
    assert run("train", f"zoo={grown_folder}", *words) == 0
    assert json.loads(Path("again/split.json").read_text())["hash"] == json.loads(split.read_text())["hash"]


def test_inspect_tells_what_is_there(
    grown_folder: Path, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = torch.nn.Linear(3, 2)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    torch.save(net, tmp_path / "whole.pt")
    assert run("inspect", str(grown_folder)) == 0
    assert "4,970 values" in capsys.readouterr().out
    assert run("inspect", str(trained_run)) == 0
    assert "r2_beyond_hyper" in capsys.readouterr().out
    for file in ("net.safetensors", "net.pt"):
        assert run("inspect", file) == 0
        text = capsys.readouterr().out
        assert f"{float(net.weight.detach().mean()):.3f}" in text
        assert "2x3" in text
    assert run("inspect", "whole.pt") == 2  # a pickled module could run code; it is refused, not executed
    assert "read safely" in capsys.readouterr().err


def test_inspecting_a_zoo_loads_tables_and_no_networks(grown_folder: Path) -> None:
    code = (
        "import sys; from metanet.cli.main import main; main(['inspect', sys.argv[1]])\n"
        "print([m for m in ('torch', 'lightgbm', 'sklearn', 'scipy', 'matplotlib', 'pytorch_lightning') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code, str(grown_folder)], capture_output=True, text=True, check=True).stdout
    assert "hp.learning_rate    log" in told
    assert told.endswith("\n[]\n")


def test_quickstart_ends_with_a_leaderboard_and_reuses_its_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["quickstart", "n=40", "out=q", "recipe.epochs=2", "recipe.snapshots=[0,2]", "features=[stats]", "threads=1"]
    assert run(*words) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "run: q"
    assert "floors of test_accuracy" in text
    table = pd.read_csv("q/leaderboard.csv")
    assert len(table) == 1 + 4
    assert set(table["model"]) == {"constant", "logit_linear", "gbm", "dnn", "random_forest"}
    for picture in ("accuracies.png", "bias_ranges.png"):
        assert Path("q/figures", picture).stat().st_size > 10_000
    assert run(*words) == 0
    again = capsys.readouterr().out
    assert "was finished before" in again
    numbers = ["model", "features", "r2", "tau", "mad"]
    pd.testing.assert_frame_equal(pd.read_csv("q/leaderboard.csv")[numbers], table[numbers])
    assert len(open_zoo("q/zoo").networks) == 40


def test_threads_hold_for_torch_and_blas_alike() -> None:
    code = (
        "from metanet.cli.main import set_threads; set_threads(1)\n"
        "import numpy, torch, lightgbm, threadpoolctl\n"
        "print({p['num_threads'] for p in threadpoolctl.threadpool_info()} | {torch.get_num_threads()})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "{1}"


def test_output_to_a_closed_pipe_is_no_traceback(grown_folder: Path) -> None:
    command = f"{sys.executable} -m metanet inspect {grown_folder} | head -1"
    answer = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Traceback" not in answer.stderr


def test_a_larger_zoo_of_the_same_seed_is_scored_on_networks_the_fit_never_saw(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recipe.epochs=1", "recipe.batch_size=32", "recipe.hyperparameters.train_fraction=0.1", "threads=1"]
    for n in (20, 26):
        assert run("generate", f"n={n}", f"out=z{n}", *words) == 0
    assert run("train", "zoo=z20", "model=constant", "out=r") == 0
    assert run("evaluate", "run=r", "zoo=z26", "out=e") == 0
    assert "10 of 26 networks are ones that the fit has seen" in (out := capsys.readouterr().out)
    assert "scored on the 16 networks it never saw" in out
    assert int(pd.read_csv("e/leaderboard.csv")["n_test"][0]) == 10 + 6


def test_an_evaluation_writes_below_out_alone(grown_folder: Path, trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(grown_folder, "zoo/itself")
    inside = Path("zoo/itself/figures")
    inside.mkdir(exist_ok=True)
    Path("results").mkdir()
    Path("results/config.yaml").write_text("mine")
    monkeypatch.chdir(inside)
    before = {p.relative_to("../../..") for p in Path("../../..").rglob("*")}
    assert run("evaluate", f"run={trained_run}", "zoo=..", "out=../../../results/own", "threads=1") == 0
    after = {p.relative_to("../../..") for p in Path("../../..").rglob("*")}
    assert all(path.is_relative_to("results/own") for path in after - before)
    assert Path("../../../results/config.yaml").read_text() == "mine"


def test_twins_of_what_a_run_has_seen_are_not_scored(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed at another width: the same draws, and filters that begin alike."""
    twins, others = (
        generate(small_recipe(1, num_units=4), n=6, out=name, seed=seed, engine="torch")
        for name, seed in (("twins", 3), ("others", 4))
    )
    words = ["model=random_forest", "features=stats_global", "threads=1"]  # of any width
    assert run("train", f"zoo={grown_folder}", *words, "out=r") == 0
    split = stored_split(Path("r/split.json"))
    seen = [i for i in twins.view().network_ids if i not in split.test]
    assert 0 < len(seen) < 6
    assert run("evaluate", "run=r", "zoo=twins", "out=e", "threads=1") == 0
    assert f"twins: {len(seen)} of 6 networks are ones that the fit has seen, or twins of such" in capsys.readouterr().out
    assert set(pd.read_parquet("e/predictions.parquet")["network_id"]).isdisjoint(seen)
    assert run("evaluate", "run=r", "zoo=twins", f"where=network_id in {seen}", "out=f", "threads=1") == 2
    assert f"all {len(seen)} networks of twins are ones" in capsys.readouterr().err
    assert run("evaluate", "run=r", "zoo=twins", "part=all", "out=f", "threads=1") == 0
    assert f"part=all: {len(seen)} of the networks are ones that the fit has seen" in capsys.readouterr().out
    assert len(unseen(others.view(), Path("r"))) == 6
    Path("r/seen.json").unlink()
    with pytest.raises(MetanetError, match=r"seen.json' does not say which networks the run has seen"):
        unseen(twins.view(), Path("r"))
    facts = json.loads(Path("r/split.json").read_text())
    Path("r/split.json").write_text(json.dumps({k: v for k, v in facts.items() if k != "seen"}))  # of an older version
    assert len(unseen(twins.view(), Path("r"))) == 6
    assert set(unseen(open_zoo(grown_folder).view(), Path("r")).network_ids) == set(split.test)


def test_a_zoo_that_was_moved_is_still_the_runs_own(grown_folder: Path) -> None:
    shutil.copytree(grown_folder, "before")
    assert run("train", "zoo=before", "model=constant", "threads=1", "out=r") == 0
    Path("before").rename("after")
    assert run("evaluate", "run=r", "zoo=after", "part=test", "out=e", "threads=1") == 0
    tested = pd.read_parquet("r/predictions.parquet").query("part == 'test'")
    assert set(pd.read_parquet("e/predictions.parquet")["network_id"]) == set(tested["network_id"])


def test_a_search_is_trained_resumed_and_refused(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", f"zoo={grown_folder}", "model=gbm", "search=random", "search.n=3", "search.space.max_trees=20", "out=s"]
    words += ["threads=1"]
    assert run(*words) == 0
    text = capsys.readouterr().out
    assert "best of 3 configurations" in text
    assert "in cross-validation" in text
    for name in ("trials.csv", "trials.jsonl", "search.json", "figures/search.png", "metrics.json"):
        assert Path("s", name).exists()
    before = Path("s/trials.jsonl").read_text()
    Path("s/metrics.json").unlink()  # as if killed before the end
    assert run(*words) == 0
    assert Path("s/trials.jsonl").read_text() == before
    assert run(*[w for w in words if w != "search.n=3"], "search.n=4", "threads=2") == 0  # more of the same goes on
    assert Path("s/trials.jsonl").read_text().startswith(before)
    capsys.readouterr()
    assert run(*words, "model.num_leaves=7") == 2
    assert "model.num_leaves=15, now 7" in capsys.readouterr().err
    Path("s/metrics.json").unlink()
    assert run(*words, "search.space.num_leaves=[2,3]") == 2
    assert "holds a search with another space" in capsys.readouterr().err
    assert run("train", f"zoo={grown_folder}", "model=gbm", "search=random", "search.folds=20", "out=t") == 2
    assert "too few for search.folds=20" in capsys.readouterr().err
    assert not Path("t").exists()
    for wrong in ("search.space.num_leafs=[3]", "features=statz", "search.halving=1", "train=all"):
        assert run("train", f"zoo={grown_folder}", "model=gbm", "search=random", wrong, "out=u") == 2
        assert not Path("u").exists()  # found before the floor was searched
    assert run("train", f"zoo={grown_folder}", "model=gbm,deepsets", "search=random", "out=u") == 2
    assert "deepsets reads weights itself" in capsys.readouterr().err
    assert not Path("u").exists()
    assert run("train", f"zoo={grown_folder}", "train.snapshots=some", "out=t") == 2
    assert "give last, all" in capsys.readouterr().err


def test_early_snapshots_predict_the_final_accuracy(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["view.epoch=1", "target=final_test_accuracy", "model=gbm", "model.max_trees=20", "threads=1"]
    assert run("train", f"zoo={grown_folder}", *words, "out=e") == 0
    text = capsys.readouterr().out
    assert "test_accuracy so far (GBM) r2" in text
    assert "test_accuracy so far and all hyperparameters (GBM) r2" in text
    assert set(pd.read_parquet("e/predictions.parquet")["epoch"]) == {1}
    (row,) = pd.read_csv("e/leaderboard.csv").to_dict("records")
    assert row["r2_floor"] == max(row[f"r2_{name}"] for name in ("hyper", "so_far", "so_far_hyper") if row["floor"] != "constant")
    search = ["search=random", "search.n=2", "search.space.max_trees=10", "out=searched"]
    assert run("train", f"zoo={grown_folder}", *[w for w in words if "max_trees" not in w], *search) == 0
    searched = {p.name.rsplit("-", 1)[0] for p in Path("searched").glob("floor-*")}
    assert searched == {"floor-hyper", "floor-so_far", "floor-so_far_hyper"}
    floor = pd.read_parquet("searched/predictions.parquet").query("part == 'test'")
    assert json.loads(Path("searched/metrics.json").read_text())["r2_so_far"] == pytest.approx(
        r2_score(floor["true"], floor["so_far_floor"])
    )
    assert (
        run("train", f"zoo={grown_folder}", "target=final_test_accuracy", "model=gbm", "features=metrics:test_accuracy", "out=f")
        == 2
    )


def test_several_runs_on_several_zoos_make_a_matrix(
    grown_folder: Path, trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", f"zoo={grown_folder}", "model=constant", "out=second", "threads=1") == 0
    assert run("evaluate", f"run=[{trained_run},second]", f"zoo=[{grown_folder}]", "out=m", "threads=1") == 0
    table = pd.read_csv("m/transfer.csv")
    assert table["trained_on"].tolist() == ["run", "second"]
    assert table["tau"].iloc[1] == 0
    own = json.loads((trained_run / "metrics.json").read_text())
    assert table["tau_hyper"].iloc[0] == pytest.approx(own["tau_hyper"])  # of its own test part
    assert (table["tau_minus_hyper_low"] <= table["tau"] - table["tau_hyper"]).all()
    for floor in ("constant", "hyper"):
        assert Path("second/floors", floor, "model.json").exists()
    shutil.rmtree("second/floors")
    assert run("evaluate", "run=second", f"zoo={grown_folder}", "out=old", "threads=1") == 2
    assert "'second' keeps no floors; an earlier version made it: fit it again" in capsys.readouterr().err
    assert Path("m/figures/transfer.png").exists()
    assert Path("m/figures/transfer_scatters.png").exists()
    assert run("evaluate", "run=[second,second]", f"zoo={grown_folder}", "out=n", "threads=1") == 2


def quick_probe(*words: str) -> int:
    cuts = ("model.epochs=1", "probe.positions=6", "probe.slice=500", "threads=1", "trainer.accelerator=cpu")
    return run("probe", *cuts, *words)


def test_probe_makes_a_map_and_keeps_its_fits(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick_probe(f"zoo={grown_folder}", "target=[hp.optimizer,test_accuracy]", "out=map") == 0
    text = capsys.readouterr().out
    assert "15 test networks x 3 snapshots x 6 slices of 500 from all weights" in text
    assert "hyperparameters: what a GBM knows" in text
    assert text.rstrip().endswith("run: map")
    table = pd.read_parquet("map/map.parquet")
    assert table.groupby("target").size().to_dict() == {"hp.optimizer": 18, "test_accuracy": 18}
    assert set(table.query("target == 'hp.optimizer'")["epoch"]) == {0, 1, 2}
    metrics = json.loads(Path("map/metrics.json").read_text())
    assert metrics["hp.optimizer/accuracy"] == pytest.approx(table.query("target == 'hp.optimizer'")["score"].mean())
    for name in ("map", "map-hp.optimizer", "map-test_accuracy"):
        assert Path(f"map/figures/{name}.png").stat().st_size > 5000
    before = Path("map/hp.optimizer/metrics.json").stat().st_mtime_ns
    assert quick_probe(f"zoo={grown_folder}", "target=[hp.optimizer,test_accuracy]", "out=map") == 0
    assert Path("map/hp.optimizer/metrics.json").stat().st_mtime_ns == before
    assert run("probe", "run=map/hp.optimizer", "probe.positions=6", "out=again", "threads=1") == 0
    again = pd.read_parquet("again/map.parquet")
    pd.testing.assert_frame_equal(again, table.query("target == 'hp.optimizer'").reset_index(drop=True))


def test_a_run_is_mapped_elsewhere_and_says_what_it_cannot(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick_probe(f"zoo={grown_folder}", "target=hp.optimizer", "out=map") == 0
    assert run("probe", "run=map/hp.optimizer", "probe.positions=3", "probe.part=conv", "out=conv", "threads=1") == 0
    assert "slices of 500 from conv weights" in capsys.readouterr().out
    assert run("probe", "run=map/hp.optimizer", "probe.slice=400", "out=other", "threads=1") == 2
    assert "trained on slices of 500" in capsys.readouterr().err
    for word in ("target=hp.activation", "model=local", "split.test=0.9", "seed=3"):
        assert run("probe", "run=map/hp.optimizer", word, "out=other", "threads=1") == 2
        assert f"{word.partition('=')[0].partition('.')[0]}: " in capsys.readouterr().err
    assert not Path("other").exists()
    assert read_config("conv")["target"] == "hp.optimizer"
    assert run("probe", "run=map", f"zoo={grown_folder}", "out=other", "threads=1") == 2
    assert "is no run of metanet train" in capsys.readouterr().err


def test_short_networks_are_skipped_in_fit_and_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data=digits", "n=40", "recipe.epochs=1", "recipe.num_units=[2,8]", "engine=torch", f"out={tmp_path}/zoo"]
    words += ["recipe.hyperparameters.train_fraction=0.1", "recipe.batch_size=32"]
    assert run("generate", *words) == 0
    assert quick_probe(f"zoo={tmp_path}/zoo", "target=hp.activation", "probe.part=conv", "probe.short=skip", "out=map") == 0
    text = capsys.readouterr().out
    zoo = open_zoo(tmp_path / "zoo")
    small = int((zoo.networks["hp.num_units"] == 2).sum())
    assert f"{small} networks are shorter in this part than a slice, and are left out" in text
    assert json.loads(Path("map/metrics.json").read_text())["hp.activation/networks"] <= 40 - small


def test_all_leaves_out_what_cannot_be_mapped(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=local", "model.estimator=logistic", "probe.positions=3", "probe.slice=500", "threads=1", "out=all")
    assert run("probe", f"zoo={grown_folder}", "target=all", "where=hp.optimizer != 'sgd'", *words) == 0
    text = capsys.readouterr().out
    assert "test_accuracy: no map; model.estimator=logistic does no regression" in text
    assert "hp.optimizer" in set(pd.read_csv("all/maps.csv")["target"])


def test_probe_finds_which_targets_there_are(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick_probe(f"zoo={grown_folder}", "target=all", "model=local", "model.estimator=svm_linear", "out=all") == 2
    assert "no key 'model.epochs'" in capsys.readouterr().err
    words = ("model=local", "model.estimator=svm_linear", "probe.positions=3", "probe.slice=500", "threads=1", "out=all")
    assert run("probe", f"zoo={grown_folder}", "target=all", *words) == 0
    frame = open_zoo(grown_folder).view().frame
    varying = [c for c in frame if c.startswith("hp.") and frame[c].nunique() > 1]
    assert set(pd.read_csv("all/maps.csv")["target"]) == {*varying, "test_accuracy"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["target=hp.optimiser"], "did you mean 'hp.optimizer'"),
        (["model=gbm"], "model=gbm judges whole networks"),
        (["model=dmc_global_mini"], "model=dmc_global_mini judges whole networks"),
        (["probe.slice=0"], "slice=0: give a whole number"),
        (["probe.slice=9000", "probe.short=pad"], "longer than part=all of all 30 networks"),
        (["probe.positions=1000000000"], "give a whole number from 1 up to 10000"),
        (["target=[]"], "give a column, several in [a,b], or all"),
        (["probe.slice=9000"], "slices of 9000 values are longer than the vectors of 30 of 30 networks"),
        (["probe.slice=9000", "probe.short=skip"], "longer than part=all of all 30 networks"),
        (["probe.part=middle"], "part=middle: give all, conv or fc"),
        (["probe.short=cut"], "short=cut: give run_on, pad or skip"),
        (["probe.positions=0"], "probe.positions=0: give a whole number from 1 up"),
        (["where=hp.optimizer == 'adam'"], "always 'adam'"),
        (["run=nowhere"], "no folder 'nowhere'"),
        (["html=true", "probe.positions=3.5"], "probe.positions=3.5: give a whole number"),
        (["model.balance=half"], "model.balance=half: give drop, draw or none"),
        (["train.snapshots=0"], "train.snapshots=0: give last, all, or how many"),
        (["view.converged=2"], "view.converged=2: give true or false"),
    ],
)
def test_mistakes_of_probe(grown_folder: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    cuts = [] if any(w.startswith("model=") for w in words) else ["model.epochs=1"]
    assert run("probe", f"zoo={grown_folder}", *cuts, "threads=1", "out=wrong", *words) == 2
    assert says in capsys.readouterr().err


def test_one_encoder_for_several_targets_is_a_run_a_target(grown_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = "target=[test_accuracy,hp.optimizer]"
    words = [f"zoo={grown_folder}", targets, "model=deepsets", "model.max_epochs=2", "model.channels=4", "threads=1", "out=many"]
    assert run("train", *words) == 0
    shown = capsys.readouterr().out
    assert "target: hp.optimizer" in shown
    assert "target: test_accuracy" in shown
    before = Path("many/hp.optimizer/metrics.json").read_text()
    assert json.loads(before)["heads"] == 2
    assert run("train", *words) == 0  # nothing is fitted again
    assert Path("many/hp.optimizer/metrics.json").read_text() == before
    assert run("evaluate", "run=many/hp.optimizer", f"zoo={grown_folder}") == 0
    capsys.readouterr()
    assert run("train", f"zoo={grown_folder}", targets, "model=gbm") == 2
    assert "predicts one target a fit; give target=test_accuracy,hp.optimizer" in capsys.readouterr().err
    assert run("train", f"zoo={grown_folder}", targets, "model=deepsets", "search=random") == 2
    assert "give search=none" in capsys.readouterr().err
    assert run("train", f"zoo={grown_folder}", "model=deepsets", "search=random") == 2
    assert "looks for the settings of models on features" in capsys.readouterr().err
    assert run("train", f"zoo={grown_folder}", "model=deepsets", "features=flat") == 2
    assert "model deepsets reads weights, not features=flat; model.beside= gives" in capsys.readouterr().err
    assert run("train", f"zoo={grown_folder}", "target=[test_accuracy,hp.optimiser]", "model=deepsets") == 2
    assert "did you mean 'hp.optimizer'" in capsys.readouterr().err


def test_the_published_encoder_recipe_runs_on_released_files(grown_folder: Path, tmp_path: Path) -> None:
    """Ours, written as the released ones are; the published permutation is fetched, so another stands in for it."""
    assert run("export", f"zoo={grown_folder}", "format=small_cnn_zoo", f"out={tmp_path}/files") == 0
    assert run("import", "format=small_cnn_zoo", f"source={tmp_path}/files", f"out={tmp_path}/zoo") == 0
    count = len(open_zoo(tmp_path / "zoo").snapshots)
    np.savetxt(tmp_path / "order.csv", np.random.default_rng(0).permutation(count), fmt="%d")
    words = ["experiment=small_cnn_zoo_cifar10", f"zoo={tmp_path}/zoo", f"split.file={tmp_path}/order.csv"]
    assert run("train", *words, "model.max_epochs=2", "model.channels=4", "threads=1", "out=published") == 0
    metrics = json.loads(Path("published/metrics.json").read_text())
    assert metrics["model"] == "deepsets"
    assert metrics["n_train"] > metrics["n_test"]  # all snapshots of the training networks
