"""Comparisons of runs, their numbers against plain resampling."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, t, ttest_ind
from sklearn.metrics import mean_squared_error, r2_score

from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.evaluation.comparison import adjusted_means, compare, sentence
from metanet.evaluation.differences import LUCK, Scored, beside_best
from metanet.evaluation.resampling import Resamples
from metanet.plots.comparison import calibration
from metanet.plots.style import new_axes
from metanet.runs.folder import RunFolder
from metanet.runs.records import Answers, find_runs

CONFIG: dict[str, Any] = {
    "model": {"name": "gbm", "num_leaves": 15},
    "features": "stats",
    "target": "test_accuracy",
    "where": None,
    "view": {"epoch": "last"},
    "split": {"seed": 0},
    "seed": 0,
    "threads": 2,
}


def write(
    folder: Path,
    noise: float,
    networks: np.ndarray | None = None,
    zoo: str = "zoos/a",
    predictions: bool = True,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """A run whose predictions miss the truth by so much."""
    networks = np.arange(100) if networks is None else networks
    true = np.random.default_rng(0).uniform(0.1, 0.9, 300)[networks]
    predicted = true + noise * np.random.default_rng([seed, len(folder.name), *folder.name.encode()]).standard_normal(len(true))
    run = RunFolder(folder)
    config = json.loads(json.dumps(CONFIG)) | {"seed": seed}
    for key, value in changes.items():
        parts = key.split("__")
        (config if len(parts) == 1 else config[parts[0]])[parts[-1]] = value
    run.write_config(config | {"out": str(folder)})
    frame = pd.DataFrame(
        {"network_id": [f"{n:06d}" for n in networks], "epoch": 3, "part": "test", "true": true, "predicted": predicted}
    )
    if predictions:
        run.write_predictions(frame)
    model = config["model"]["name"]
    metrics = {"model": model, "features": config["features"], "access": "W", "target": config["target"], "zoo": zoo}
    metrics["n_test"] = len(frame)
    run.write_metrics(metrics | {"r2": r2_score(true, predicted), "tau": kendalltau(true, predicted).statistic, "seconds": 1.0})
    return folder


def rescored(folder: Path, **changes: Any) -> None:
    """Other metrics in a run."""
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | changes))


def alter(folder: Path, predicted: np.ndarray) -> None:
    """Other predictions in a run, and their scores."""
    frame = pd.read_parquet(folder / "predictions.parquet").assign(predicted=predicted)
    frame.to_parquet(folder / "predictions.parquet")
    rescored(folder, r2=r2_score(frame["true"], predicted), tau=kendalltau(frame["true"], predicted).statistic)


def test_seeds_make_one_row_and_the_difference_is_paired(tmp_path: Path) -> None:
    """Both rows err on the same networks, so that an interval that is not paired would be many times as wide."""
    truth = np.random.default_rng(0).uniform(0.1, 0.9, 300)[:100]
    common = 0.2 * np.random.default_rng(1).standard_normal(100)
    rows: dict[str, list[np.ndarray]] = {"good": [], "bad": []}
    for seed in range(3):
        for leaves, name in ((15, "good"), (31, "bad")):
            own = 0.02 * np.random.default_rng([seed, leaves]).standard_normal(100)
            rows[name].append(truth + common * (1 if name == "good" else 1.2) + own)
            alter(write(tmp_path / f"{name}{seed}", 0.0, seed=seed, model__num_leaves=leaves), rows[name][-1])
    (family,) = compare(find_runs([tmp_path]).records)
    table = family.table
    assert table["settings"].tolist() == ["num_leaves=15", "num_leaves=31"]
    assert table["runs"].tolist() == [3, 3]
    scores = {name: np.array([r2_score(truth, p) for p in own]) for name, own in rows.items()}
    assert table["r2"][0] == pytest.approx(scores["good"].mean())
    assert table["sd"][0] == pytest.approx(scores["good"].std(ddof=1))
    assert table["told_apart"].tolist() == ["best", "yes"]
    left = []  # without each network
    for i in range(100):
        rest = np.delete(np.arange(100), i)
        means = [np.mean([r2_score(truth[rest], p[rest]) for p in rows[name]]) for name in ("good", "bad")]
        left.append(means[0] - means[1])
    centre = scores["good"].mean() - scores["bad"].mean()
    networks = t.ppf(0.975, 99) * np.sqrt(99 * np.var(left)) * np.sqrt(1 + LUCK)  # one training part
    seeds = ttest_ind(scores["good"], scores["bad"]).confidence_interval(0.95)
    half = np.hypot(networks, (seeds.high - seeds.low) / 2)
    found = table[["difference_low", "difference_high"]].to_numpy()[1]
    np.testing.assert_allclose(found, [centre - half, centre + half], rtol=1e-9)
    assert "is best" in sentence(family)
    assert "told apart from 1 of 1 (95 % for the whole table)." in sentence(family)


def test_single_runs_are_told_apart_as_such(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.02)
    write(tmp_path / "b", 0.2, model__num_leaves=31)
    (family,) = compare(find_runs([tmp_path]).records)
    assert family.table["told_apart"].tolist() == ["best", "yes, of single runs"]
    words = sentence(family)
    assert "num_leaves=15 is ahead" in words
    assert "told apart from 1 of 1 (95 % for the whole table), as single runs" in words
    assert words.endswith(": what other seeds would give is not known.")


def test_intervals_are_those_of_the_whole_table(tmp_path: Path) -> None:
    """Of four rows; also where the smaller number is better."""
    noise = {15: 0.1, 31: 0.11, 63: 0.12, 127: 0.3}
    for leaves, own in noise.items():
        for seed in range(2):
            folder = write(tmp_path / f"{leaves}-{seed}", own, model__num_leaves=leaves, seed=seed)
            frame = pd.read_parquet(folder / "predictions.parquet")
            rescored(folder, mse=mean_squared_error(frame["true"], frame["predicted"]))
    records = find_runs([tmp_path]).records
    for measure, sign in (("r2", 1), ("mse", -1)):
        (family,) = compare(records, measure)
        answers = [[r.answers for r in g.records if r.answers is not None] for g in family.groups]
        resamples = Resamples(np.unique(answers[0][0].networks))
        rows = [Scored.of(own, measure, resamples) for own in answers]
        ends = np.array([sorted((sign * d.low, sign * d.high)) for d in beside_best(rows, 0)])[1:]
        found = family.table[["difference_low", "difference_high"]].to_numpy()[1:]
        np.testing.assert_allclose(found, ends)
        assert [word.split(",")[0] for word in family.table["told_apart"][1:]] == ["yes" if low > 0 else "no" for low, _ in ends]


def test_equal_runs_are_not_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.1)
    write(tmp_path / "b", 0.1, model__num_leaves=31)
    (family,) = compare(find_runs([tmp_path]).records)
    assert family.table["told_apart"].tolist() == ["best", "no"]
    words = sentence(family)
    assert re.search(
        r"is ahead .*, but not told apart from gbm on stats, num_leaves=\d+, so any of these 2 may be the best\.$", words
    )


def test_only_what_can_be_compared_is(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.02)
    write(tmp_path / "half", 0.2, networks=np.arange(50, 150), model__num_leaves=31)
    write(tmp_path / "apart", 0.2, networks=np.arange(200, 300), model__num_leaves=63)
    write(tmp_path / "silent", 0.2, predictions=False, model__num_leaves=127)
    write(tmp_path / "elsewhere", 0.2, zoo="zoos/b")
    write(tmp_path / "earlier", 0.2, view__epoch=3)
    families = compare(find_runs([tmp_path]).records)
    assert {(f.zoo, f.target, len(f.groups)) for f in families} == {
        ("a", "test_accuracy", 4),
        ("b", "test_accuracy", 1),
        ("a", "test_accuracy (epoch 3)", 1),
    }
    family = next(f for f in families if len(f.groups) == 4)
    said = dict(zip(family.table["settings"], family.table["told_apart"], strict=True))
    assert said == {
        "num_leaves=15": "best",
        "num_leaves=31": "yes, of single runs, on the 50 networks that both tested",
        "num_leaves=63": "other test networks (0 in common)",
        "num_leaves=127": "no predictions",
    }
    assert "2 cannot be compared" in sentence(family)
    assert "share no test part with the best: gbm on stats, num_leaves=" in family.notes[0]
    assert family.notes[1:] == [f"1 row: {word}" for word in family.table["told_apart"][1:]]


def test_what_is_not_known_is_not_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.02)
    broken = write(tmp_path / "b", 0.2, model__num_leaves=31)
    frame = pd.read_parquet(broken / "predictions.parquet").assign(predicted=np.nan)
    frame.to_parquet(broken / "predictions.parquet")
    (family,) = compare(find_runs([tmp_path]).records)
    assert family.table["told_apart"].tolist() == ["best", "predictions that are not finite"]


def test_a_best_that_is_behind_on_common_networks_is_not_told_apart(tmp_path: Path) -> None:
    ahead = write(tmp_path / "a", 0.05)
    behind = write(tmp_path / "b", 0.01, networks=np.arange(50, 150), model__num_leaves=31)
    predicted = pd.read_parquet(behind / "predictions.parquet")["predicted"].to_numpy(copy=True)
    predicted[50:] = 0.5  # on networks that the other never tested
    alter(behind, predicted)
    (family,) = compare(find_runs([ahead, behind]).records)
    assert family.table["settings"].tolist() == ["num_leaves=15", "num_leaves=31"]
    words = "reversed: this one is ahead on what both tested, on the 50 networks that both tested"
    assert family.table["told_apart"][1] == words
    assert "num_leaves=15 is ahead" in sentence(family)
    assert "though gbm on stats, num_leaves=31 scored better where both were tested" in sentence(family)


def test_rows_of_other_test_parts_are_adjusted_for_how_hard_these_are(tmp_path: Path) -> None:
    parts = {0: np.arange(100), 1: np.arange(100, 200), 2: np.arange(200, 300)}
    hard, good = {0: 0.0, 1: -0.3, 2: 0.1}, {15: 0.5, 31: 0.6, 63: 0.55}
    tested = {15: (0, 2), 31: (0, 1), 63: (1, 2)}  # no two have the same
    for leaves, own in tested.items():
        for part in own:
            folder = write(tmp_path / f"{leaves}-{part}", 0.1, networks=parts[part], model__num_leaves=leaves, seed=part)
            metrics = json.loads((folder / "metrics.json").read_text())
            (folder / "metrics.json").write_text(json.dumps(metrics | {"r2": good[leaves] + hard[part]}))
    (family,) = compare(find_runs([tmp_path]).records)
    table = family.table.set_index("settings")
    assert table.index.tolist() == [
        "num_leaves=31",
        "num_leaves=63",
        "num_leaves=15",
    ]  # by the plain means the last would be first
    assert table["r2"].idxmax() == "num_leaves=15"
    level = np.mean([hard[p] for own in tested.values() for p in own])
    for leaves, value in good.items():
        assert table.loc[f"num_leaves={leaves}", "adjusted"] == pytest.approx(value + level)
    assert "adjusted for test parts" in sentence(family)
    assert any("not the same test parts" in note for note in family.notes)
    assert sum("of its predictions" in note for note in family.notes) == 6  # these scores were written over theirs
    assert family.networks == 300
    assert table.loc["num_leaves=15", "told_apart"].endswith("on the 1 of 3 test parts that both have")


def test_rows_of_the_same_test_parts_keep_their_means(tmp_path: Path) -> None:
    for leaves in (15, 31):
        for seed, networks in ((0, np.arange(100)), (1, np.arange(100)), (2, np.arange(100, 200))):
            write(
                tmp_path / f"{leaves}-{seed}",
                0.1 if leaves == 15 else 0.2,
                networks=networks,
                model__num_leaves=leaves,
                seed=seed,
            )
    (family,) = compare(find_runs([tmp_path]).records)
    assert "adjusted" not in family.table
    parts = {id(r): r.part for g in family.groups for r in g.records}
    means, component = adjusted_means(family.groups, "r2", parts)
    assert means == pytest.approx([g.mean("r2") for g in family.groups])
    assert component.tolist() == [0, 0]


def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.02)
    short, diverged, listed = (write(tmp_path / name, 0.2, model__num_leaves=n) for name, n in (("b", 31), ("c", 63), ("d", 127)))
    frame = pd.read_parquet(short / "predictions.parquet")
    frame.head(60).to_parquet(short / "predictions.parquet")
    metrics = json.loads((diverged / "metrics.json").read_text())
    (diverged / "metrics.json").write_text(json.dumps(metrics | {"r2": None}))
    (listed / "metrics.json").write_text("[]")
    found = find_runs([tmp_path])
    assert f"{listed} (damaged metrics.json)" in found.notes[-1]
    (family,) = compare(found.records)
    assert family.table["settings"].tolist() == ["num_leaves=15", "num_leaves=31", "num_leaves=63"]
    assert family.table["told_apart"][1] == "predictions of 60 of 100 test snapshots"
    assert f"without r2 and not counted: 1 of 1 runs, {diverged}" in " ".join(family.notes)
    assert "num_leaves=15 is ahead" in sentence(family)


def test_one_run_without_a_score_is_left_out_of_its_row(tmp_path: Path) -> None:
    for seed in range(3):
        write(tmp_path / f"a{seed}", 0.05, seed=seed)
        write(tmp_path / f"b{seed}", 0.2, seed=seed, model__num_leaves=31)
    (whole,) = compare(find_runs([tmp_path]).records)
    for strange in (None, float("inf"), True, "0.9"):
        rescored(tmp_path / "a0", r2=strange)
        (family,) = compare(find_runs([tmp_path]).records)
        assert family.table["settings"].tolist() == ["num_leaves=15", "num_leaves=31"]
        assert family.table["runs"].tolist() == [2, 3]
        assert family.table["r2"][0] == pytest.approx(whole.groups[0].values("r2")[1:].mean())
        assert family.notes == [f"gbm on stats, num_leaves=15: without r2 and not counted: 1 of 3 runs, {tmp_path / 'a0'}"]
    for path in tmp_path.iterdir():
        rescored(path, r2=None)
    (family,) = compare(find_runs([tmp_path]).records)
    assert sentence(family) == "test_accuracy on a: no run has a r2, so none is best."
    assert family.table["told_apart"].tolist() == ["no r2", "no r2"]


def test_runs_without_any_score_are_compared_without_a_traceback(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rescored(write(tmp_path / "runs" / name, 0.1, seed=len(name)), r2=None)
    words = ["compare", str(tmp_path / "runs"), f"out={tmp_path}/out", "html=true", "latex=true", "published=true"]
    assert main(words) == 0
    assert "none is best" in (tmp_path / "out" / "comparison.md").read_text()
    assert "without r2 and not counted" in (tmp_path / "out" / "comparison.md").read_text()


def test_a_lost_file_makes_no_other_test_part(tmp_path: Path) -> None:
    for seed in range(3):
        for leaves in (15, 31):
            folder = write(tmp_path / f"{leaves}-{seed}", 0.05 if leaves == 15 else 0.2, seed=seed, model__num_leaves=leaves)
            (folder / "split.json").write_text(
                json.dumps({"plan_hash": "p", "hash": "s", "origin": {"recipe": {}, "data": {"name": "a"}}})
            )
    (tmp_path / "15-0" / "predictions.parquet").unlink()
    (tmp_path / "31-1" / "split.json").unlink()
    shuffled = tmp_path / "15-1" / "predictions.parquet"
    pd.read_parquet(shuffled).sample(frac=1, random_state=0).to_parquet(shuffled)
    (family,) = compare(find_runs([tmp_path]).records)
    assert "adjusted" not in family.table
    assert family.table["runs"].tolist() == [3, 3]
    assert family.notes == ["gbm on stats, num_leaves=15: its intervals are of 2 of 3 runs"]
    assert family.table["told_apart"][1] in ("yes", "no")


def test_a_row_of_unknown_settings_leads_no_table(tmp_path: Path) -> None:
    unknown = write(tmp_path / "a", 0.01)
    write(tmp_path / "b", 0.2)
    (unknown / "config.yaml").unlink()
    (family,) = compare(find_runs([tmp_path]).records)
    assert family.table["settings"].tolist() == ["", "settings not known"]


def test_zoos_of_one_name_are_told_by_their_paths(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write(tmp_path / name, 0.1, zoo=f"{name}/zoo")
    assert [f.zoo for f in compare(find_runs([tmp_path]).records)] == ["x/zoo", "y/zoo"]


def test_fewer_networks_than_twenty_are_too_few(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.02)
    for name, first, leaves in (("b", 80, 31), ("c", 81, 63)):
        write(tmp_path / name, 0.2, networks=np.arange(first, first + 100), model__num_leaves=leaves)
    (family,) = compare(find_runs([tmp_path]).records)
    said = dict(zip(family.table["settings"], family.table["told_apart"], strict=True))
    assert "on the 20 networks that both tested" in said["num_leaves=31"]
    assert said["num_leaves=63"] == "other test networks (19 in common)"


@pytest.mark.parametrize(
    ("file", "damage", "flaw"),
    [
        ("predictions.parquet", {"network_id": 3}, "damaged predictions"),
        ("predictions.parquet", {"network_id": None}, "damaged predictions"),
        ("predictions.parquet", {"predicted": "x"}, "predictions of another kind than its metrics"),
        ("predictions.parquet", {"part": "train"}, "no predictions of a test part"),
        ("metrics.json", {"r2": [1]}, None),
        ("metrics.json", {"model": ["gbm"]}, None),
        ("metrics.json", {"target": None}, None),
        ("metrics.json", {"heads": "two"}, None),
        ("config.yaml", b"\xff\xfe", ""),
        ("curve.csv", b"epoch,loss\n1,x\n", ""),
    ],
)
def test_damaged_files_stop_no_comparison(tmp_path: Path, file: str, damage: Any, flaw: str | None) -> None:
    write(tmp_path / "runs" / "a", 0.02)
    bad = write(tmp_path / "runs" / "b", 0.2, model__num_leaves=31)
    if file == "metrics.json":
        rescored(bad, **damage)
    elif file == "predictions.parquet":
        pd.read_parquet(bad / file).assign(**damage).to_parquet(bad / file)
    else:
        (bad / file).write_bytes(damage)
    assert main(["compare", str(tmp_path / "runs"), f"out={tmp_path}/out", "html=true", "latex=true"]) == 0
    found = find_runs([tmp_path / "runs"])
    if flaw is None:
        assert "damaged metrics.json" in found.notes[-1]
    else:
        assert {r.folder.name: r.flaw for r in found.records} == {"a": "", "b": flaw}


def test_an_evaluation_on_the_same_networks_is_no_rival(tmp_path: Path) -> None:
    fit = write(tmp_path / "a", 0.02)
    write(tmp_path / "b", 0.2, model__num_leaves=31)
    again = write(tmp_path / "again", 0.02, trained_on="a path that is gone")
    other = write(tmp_path / "other", 0.02, trained_on="another path", model__name="dnn")  # which happens to answer alike
    for folder in (again, other):
        shutil.copy(fit / "predictions.parquet", folder)
    write(tmp_path / "elsewhere", 0.02, networks=np.arange(50, 150), trained_on=str(fit.resolve()))
    (family,) = compare(find_runs([tmp_path]).records)
    assert len(family.groups) == 4
    assert f"{tmp_path / 'again'}: an evaluation that answers what its run" in family.notes[0]


def test_what_most_rows_have_is_not_named(tmp_path: Path) -> None:
    for leaves in (15, 31, 63):
        write(tmp_path / f"gbm{leaves}", leaves / 1000, model__num_leaves=leaves)
    write(tmp_path / "where", 0.1, where="hp.optimizer == 'adam'")
    write(tmp_path / "dnn", 0.2, model={"name": "dnn", "units": 3})
    (family,) = compare(find_runs([tmp_path]).records)
    said = set(zip(family.table["model"], family.table["settings"], strict=True))
    more = {("gbm", "where=hp.optimizer == 'adam', num_leaves=15"), ("dnn", "")}
    assert said == {("gbm", f"num_leaves={n}") for n in (15, 31, 63)} | more


def test_settings_of_a_search_tell_searches_apart_alone(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.02, search={"name": "none"})
    write(tmp_path / "b", 0.1, search={"name": "random", "n": 10, "halving": None})
    (family,) = compare(find_runs([tmp_path]).records)
    assert family.table["settings"].tolist() == ["search=none", "search=random"]
    write(tmp_path / "c", 0.2, search={"name": "random", "n": 20, "halving": None})
    (family,) = compare(find_runs([tmp_path]).records)
    assert family.table["settings"].tolist() == ["search=none", "search=random, search.n=10", "search=random, search.n=20"]


def test_copies_are_counted_once_and_heads_are_rows_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.02)
    shutil.copytree(tmp_path / "a", tmp_path / "again")
    head = write(tmp_path / "head", 0.1)
    metrics = json.loads((head / "metrics.json").read_text())
    (head / "metrics.json").write_text(json.dumps(metrics | {"heads": 2}))
    (family,) = compare(find_runs([tmp_path]).records)
    assert family.table["runs"].tolist() == [1, 1]
    assert family.table["settings"].tolist() == ["", "one of 2 heads"]
    assert "1 more of the same seeds, counted once" in family.notes[0]


def test_a_measure_decides_the_order(tmp_path: Path) -> None:
    write(tmp_path / "a", 0.02)
    write(tmp_path / "b", 0.2, model__num_leaves=31)
    for measure in ("tau", "mse"):
        for path in (tmp_path / "a", tmp_path / "b"):
            metrics = json.loads((path / "metrics.json").read_text())
            (path / "metrics.json").write_text(json.dumps(metrics | {"mse": 1 - metrics["r2"]}))
        (family,) = compare(find_runs([tmp_path]).records, measure)
        assert family.table["settings"].tolist() == ["num_leaves=15", "num_leaves=31"]
        assert family.table["difference_low"][1] > 0
    with pytest.raises(MetanetError, match="did you mean 'tau'"):
        compare(find_runs([tmp_path]).records, "tua")
    with pytest.raises(MetanetError, match="none of these runs"):
        compare(find_runs([tmp_path]).records, "accuracy")
    classes = write(tmp_path / "c", 0.1, target="hp.optimizer")
    metrics = json.loads((classes / "metrics.json").read_text())
    (classes / "metrics.json").write_text(json.dumps(metrics | {"accuracy": 0.5}))
    notes = [family.notes for family in compare(find_runs([tmp_path]).records, "tau")]
    assert notes == [[], ["measure=tau is none of a classification; accuracy decides"]]


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    for seed in range(2):
        write(tmp_path / "runs" / f"mnist{seed}", 0.02, zoo="zoos/mnist", seed=seed)
        write(tmp_path / "runs" / f"other{seed}", 0.3, zoo="zoos/mnist", seed=seed, model__name="dnn")
        write(tmp_path / "runs" / f"digits{seed}", 0.1, zoo="zoos/digits", seed=seed, features="flat")
    return tmp_path


def test_files_and_filters_of_the_command(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(compared / "runs"), f"out={compared}/out", "latex=true"]
    assert main([*words, "where=features == 'stats' and zoo.str.contains('mnist')"]) == 0
    assert "gbm on stats is best" in capsys.readouterr().out
    table = pd.read_csv(compared / "out" / "comparison.csv")
    assert table["model"].tolist() == ["gbm", "dnn"]
    assert len(pd.read_csv(compared / "out" / "leaderboard.csv")) == 4
    assert "where: features ==" in (compared / "out" / "config.yaml").read_text()
    text = (compared / "out" / "comparison.md").read_text()
    assert "| gbm" in text
    assert "told apart from 1 of 1" in text
    assert r"\begin{tabular}" in (compared / "out" / "comparison.tex").read_text()
    for bad, says in (
        ("where=model == 'x'", "no run is left"),
        ("measure=acuracy", "did you mean 'accuracy'"),
        ("where=nope > 1", "nope"),
    ):
        assert main([*words, bad]) == 2
        assert says in capsys.readouterr().err


def test_published_figures_stand_beside(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (compared / "runs").glob("mnist*"):
        (path / "split.json").write_text(json.dumps({"plan_hash": "m", "origin": [{}, {"name": "mnist"}, 0, None]}))
    words = ["compare", str(compared / "runs"), f"out={compared}/out", "published=true", "html=true", "latex=true"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "published on mnist: other networks" in said
    assert "0.993" in said  # of the GBM on stats
    for name in ("comparison.md", "comparison.tex", "comparison.html"):
        assert "released best configurations" in (compared / "out" / name).read_text()
    assert r"\label{tab:published-mnist}" in (compared / "out" / "comparison.tex").read_text()
    assert main([*words, "where=zoo.str.contains('digits')"]) == 0
    assert "networks of cifar10_gs, fashion_mnist, mnist, svhn_gs, not of images that are not known" in capsys.readouterr().out


def test_the_page_says_how_it_was_made_and_what_its_columns_mean(compared: Path) -> None:
    words = ["compare", str(compared / "runs"), f"out={compared}/out", "html=true", "where=model == 'gbm'", "measure=tau"]
    (compared / "runs" / "mnist0" / "curve.csv").write_text("trees,validation_loss\n1,0.5\n2,0.4\n")
    (compared / "runs" / "digits0" / "curve.csv").write_text("")  # damaged
    assert main(words) == 0
    text = (compared / "out" / "comparison.html").read_text()
    assert "<dt>where</dt><dd>model == &#x27;gbm&#x27;</dd>" in text
    assert "<dt>measure</dt><dd>tau</dd>" in text
    assert "100 test networks" in text
    assert "<th tabindex='0' title='Kendall" in text
    assert "The zoo is not at zoos/mnist" in text
    assert text.count("<img alt='losses'") == 1


def test_calibration_of_classes_is_by_confidence() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1.0, 5000)
    right = rng.uniform(size=5000) < confidence
    names = np.arange(5000).astype(str).astype(object)
    true = np.full(5000, "a", object)
    answers = Answers(names, true, np.where(right, "a", "b").astype(object), confidence)
    _, (ax,) = new_axes()
    calibration({"g": answers}, ax)
    x, y = ax.lines[0].get_data()
    order = np.argsort(confidence).reshape(10, 500)
    np.testing.assert_allclose(x, confidence[order].mean(1))
    np.testing.assert_allclose(y, right[order].mean(1))
    assert np.abs(x - y).max() < 0.1


def test_versions_that_differ_are_said(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (compared / "runs" / "mnist0" / "versions.json").write_text('{"metanet": "0.0.9"}')
    assert main(["compare", str(compared / "runs"), f"out={compared}/out"]) == 0
    assert "made by metanet 0.0.9, " in capsys.readouterr().out


def test_a_click_sorts_the_page(compared: Path) -> None:
    assert main(["compare", str(compared / "runs"), f"out={compared}/out", "html=true"]) == 0
    page = compared / "out" / "comparison.html"
    text = page.read_text()
    assert "http" not in text.replace("http://www.w3.org", "")  # nothing is fetched
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    click = "for (const head of document.querySelectorAll('th')) if (head.textContent === 'r2') head.click();"
    orders = []
    for times in range(3):
        copy = compared / "clicked.html"
        copy.write_text(text.replace("</body>", f"<script>{click * times}</script></body>"))
        words = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{copy}"]
        dom = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
        orders.append(re.findall(r"<tr>\s*<td>(\w+)</td>", dom))
    assert orders == [["gbm", "gbm", "dnn"], ["gbm", "gbm", "dnn"], ["gbm", "dnn", "gbm"]]


def test_many_runs_cost_little_more_than_reading_them(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / f"{i:04d}", 0.1, seed=i, model__num_leaves=1000)
    for i in range(5, 300):
        shutil.copytree(tmp_path / f"{i % 5:04d}", tmp_path / f"{i:04d}")
        config = tmp_path / f"{i:04d}" / "config.yaml"
        config.write_text(config.read_text().replace("num_leaves: 1000", f"num_leaves: {i // 5}"))
    began = time.process_time()
    records = find_runs([tmp_path]).records
    assert all(record.answers is not None for record in records)
    read = time.process_time()
    (family,) = compare(records)
    assert len(family.groups) == 60
    assert time.process_time() - read < 3 * (read - began)  # processor time, a third of it on an idle machine
