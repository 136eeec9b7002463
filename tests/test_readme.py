"""What the README and the pages of docs/ show runs as it stands there, and their numbers are those of results/."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metanet import testing
from metanet.cli.compose import compose
from metanet.cli.main import VERBS, main
from metanet.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
TEXT = "\n".join(PAGES.values())
PROSE = " ".join(TEXT.split())
FENCES = [fence for page in PAGES.values() for fence in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]
BLOCKS = [block for language, block in FENCES if language == "python"]


@pytest.fixture
def _with_a_zoo(tmp_path: Path, grown_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "zoo").symlink_to(grown_folder)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_with_a_zoo")
@pytest.mark.parametrize("block", [b for b in BLOCKS if "metanet.create_model" in b or "ZooBuilder" in b])
def test_scripts_run(block: str) -> None:
    answer = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout


@pytest.mark.usefixtures("_with_a_zoo")
def test_plug_ins_run(capsys: pytest.CaptureFixture[str]) -> None:
    (features,) = (b for b in BLOCKS if "def spread" in b)
    (model,) = (b for b in BLOCKS if "class Nearest" in b)
    Path("mine.py").write_text(f"{features}\n{model}")
    words = ["zoo=quickstart/zoo", "features=./mine.py:spread", "model=./mine.py:Nearest", "model.neighbours=3"]
    assert main(["train", *words, "out=run"]) == 0
    assert main(["evaluate", "run=run", "zoo=quickstart/zoo"]) == 0
    assert "Nearest" in Path("run/model/model.json").read_text()
    assert main(["train", *words[:-1], "model.neighbors=3", "out=other"]) == 2
    assert "did you mean 'neighbours'" in capsys.readouterr().err


def test_the_recipe_of_ones_own_grows_a_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (recipe,) = (b for b in BLOCKS if "class MyRecipe" in b)
    Path("mine.py").write_text(recipe)
    assert main(["generate", "recipe=./mine.py:MyRecipe", "n=4", "out=zoo", "recipe.epochs=1", "data.train_limit=200"]) == 0
    assert main(["inspect", "zoo"]) == 0


@pytest.mark.usefixtures("_with_a_zoo")
def test_an_encoder_of_ones_own() -> None:
    (encoder,) = (b for b in BLOCKS if "class NormsNetwork" in b)
    Path("mine.py").write_text(encoder)
    assert main(["train", "zoo=quickstart/zoo", "model=./mine.py:Norms", "model.max_epochs=2", "out=run"]) == 0
    assert main(["evaluate", "run=run", "zoo=quickstart/zoo"]) == 0


@pytest.mark.usefixtures("_with_a_zoo")
def test_a_plain_module_of_ones_own() -> None:
    (module,) = (b for b in BLOCKS if "class Net(nn.Module)" in b)
    Path("mine.py").write_text(module)
    words = ["model=./mine.py:Net", "features=stats", "model.width=16", "model.max_epochs=2", "out=run"]
    assert main(["train", "zoo=quickstart/zoo", *words]) == 0


def test_a_check_is_called_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract tests run it; here its call alone is looked at."""
    (block,) = (b for b in BLOCKS if "check_model" in b)
    calls = []
    signature = inspect.signature(testing.check_model)
    monkeypatch.setattr(testing, "check_model", lambda *given, **named: calls.append(signature.bind(*given, **named)))
    exec(block, {})
    assert [call.arguments["model"] for call in calls] == ["gbm"]


def test_every_block_is_tested() -> None:
    assert len(BLOCKS) == 11


COMMANDS = list(
    dict.fromkeys(
        line for language, block in FENCES if not language for line in block.splitlines() if line.startswith("metanet ")
    )
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "from=" in command:  # a run that is there
        monkeypatch.chdir(tmp_path)
        made = RunFolder(re.findall(r"from=(\S+)", command)[0])
        made.write_config(compose("train", {"zoo": "zoos/mnist"}))
        made.write_metrics({"r2": 0.5})
    assert main([*shlex.split(command, comments=True)[1:], "--cfg"]) == 0


def test_no_verb_is_left_out() -> None:
    assert {command.split()[1] for command in COMMANDS} == set(VERBS)


def test_its_numbers_are_those_of_the_tables_in_results() -> None:
    text, results = TEXT, RESULTS
    board = (results / "quickstart.txt").read_text()
    rows = [line for line in board.splitlines() if line.startswith((" gbm ", " constant ", " dnn ", "floors of", "gbm on stats"))]
    means = (results / "quickstart_splits.txt").read_text().split("means over")[1]
    own = [line for line in means.splitlines() if line.startswith((" gbm ", "test_accuracy on"))]
    assert len(own) == 6
    rows += own
    assert len(rows) > 15
    assert not [row for row in rows if row not in text]
    zoos = (results / "zoos.txt").read_text().splitlines()
    assert len(zoos) > 4
    assert not [line for line in zoos if line not in text]
    (ratio,) = re.findall(r"^ratio: ([\d.]+)$", (results / "bench_statistics.txt").read_text(), re.MULTILINE)
    ratios = re.findall(r"([\d.]+) times the trainer$", (results / "bench_generate.txt").read_text(), re.MULTILINE)
    assert len(ratios) == 6
    assert not [r for r in [ratio, *ratios] if r != "1.00" and f"**{r}**" not in text]
    linear = re.findall(r"([\d.]+) times the (?:time|peak memory)", (results / "bench_linear.txt").read_text())
    imported = re.findall(r"([\d.]+) s\b|(\d+) MiB", (results / "bench_import.txt").read_text())
    assert len(linear) == 2
    assert len(imported) == 4
    figures = [*linear, *(a or b for a, b in imported)]
    assert not [figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", text)]


def test_the_readme_is_short_and_its_table_is_part_of_the_quickstarts() -> None:
    readme = PAGES["README.md"]
    assert len(readme.splitlines()) <= 150
    board = (RESULTS / "quickstart.txt").read_text().splitlines()
    rows = [line for line in readme.splitlines() if line.startswith((" gbm ", " constant ", " model "))]
    assert len(rows) == 5
    assert not [row for row in rows if row not in board]


def test_what_comparing_and_tracking_cost_is_what_was_measured() -> None:
    measured = (RESULTS / "bench_runs.txt").read_text()
    (compared,) = re.findall(r"in all ([\d.]+) s", measured)
    ((first, further),) = re.findall(r"first run ([\d.]+) s .*further ones ([\d.]+) s", measured)
    text = TEXT
    assert f"after import | {compared} s |" in text
    assert f"further ones | {first} s; {further} s |" in text


def test_the_shared_seeds_figures_are_those_of_results() -> None:
    page = (ROOT / "docs" / "result_seed.md").read_text()
    rows = pd.read_csv(RESULTS / "seed" / "seed.csv")
    across = pd.read_csv(RESULTS / "seed" / "seed_across.csv")
    for table in (rows, across):
        for row in table.to_dict("records"):
            assert f"{row['r2']:.3f} ({row['r2, 95 %']})" in page
    differences = rows.set_index(["zoo", "model"])
    for zoo, model, column in (
        ("seed_init", "gbm:flat", "r2 - own seeds"),
        ("seed_init", "gbm:flat:last", "r2 - own seeds"),
        ("seed_dropout", "gbm:flat", "r2 - own seeds"),
        ("seed_one", "gbm:flat", "r2 - hyper"),
        ("seed_one", "gbm:flat:last", "r2 - hyper"),
        ("seed_own", "gbm:flat", "r2 - hyper"),
        ("seed_own", "gbm:flat:last", "r2 - hyper"),
    ):
        assert differences.loc[(zoo, model), column].replace("0.", ".") in " ".join(page.split())


def test_the_reproductions_figures_are_those_of_results() -> None:
    results = RESULTS
    prose = PROSE
    text = (results / "reproduction.txt").read_text()
    summary = pd.read_csv(results / "reproduction" / "summary.csv")
    rows = [line for line in text.splitlines() if re.match(rf" ({'|'.join(summary['features'])}) +0\.\d", line)]
    assert len(rows) == len(summary) > 5
    assert not [row for row in rows if row not in TEXT]
    order = pd.read_csv(results / "reproduction" / "order.csv").query("higher == 'stats' and lower == 'hyper'")
    stated = re.findall(r"\+0(\.\d+) to \+0(\.\d+)", " ".join(order["interval"]))
    assert len(stated) == 4
    assert not [pair for pair in stated if f"+{pair[0]} to +{pair[1]}" not in prose]
    transfer = pd.read_csv(results / "reproduction" / "table3.csv").query("trained_on != tested_on")
    assert f"tau {transfer['tau'].min():.3f} to {transfer['tau'].max():.3f}".replace("0.", ".") in prose
    assert f"R² down to {transfer['r2'].min():.1f}" in prose
    resnets = pd.read_csv(results / "reproduction" / "table4.csv").drop_duplicates("width")
    share = resnets["train above .95, gap above .1"].mean()
    assert f"{share:.0%}".replace("%", " %") + " with a train accuracy above .95" in prose
    search = (results / "bench_search.txt").read_text()
    (minutes,), (lost,), (memory,) = (re.findall(p, search) for p in (r"([\d.]+) minutes", r": ([\d.]+)%", r"peak ([\d.]+ GiB)"))
    assert f"{minutes} minutes, measured on 100; {lost} % of the time outside LightGBM" in prose
    assert f"{memory} of peak memory" in prose
    scores = re.findall(r"^ gbm +stats +W +0(\.\d+)", (results / "all_snapshots.txt").read_text(), re.MULTILINE)
    mnist, fashion, cifar, digits = scores
    assert f"{digits} on digits, {mnist} on mnist, {fashion} on fashion_mnist, {cifar} on cifar10_gs" in prose


def test_the_neural_weight_spaces_figures_are_those_of_results() -> None:
    results = RESULTS
    prose = PROSE
    modes = pd.read_csv(results / "nws" / "nws_fig8.csv")
    for row in modes.itertuples():
        peaks = ", ".join(p.removeprefix("0") for p in str(row.peaks).split())
        mean = f"{row.mean:.3f}".removeprefix("0")
        assert (
            f"| {row.zoo}, {row.data} | {row.networks} | {row.converged:.0%}".replace("%", " %") + f" | {mean} | {peaks} |"
            in prose
        )
    share = (modes["converged"] * modes["networks"]).sum() / modes["networks"].sum()
    assert f"Together {share:.0%}".replace("%", " %") + " converge" in prose
    sizes = pd.read_csv(results / "nws" / "nws_fig6.csv").set_index("zoo").loc["nws_main_mini"]
    assert f"{sizes['architectures']} architectures of {sizes['values, least']:,} to {sizes['values, most']:,} values" in prose
    errors = pd.read_csv(results / "nws" / "nws_fig1_errors.csv").set_index(["zoo", "data"])
    for key, words in (
        (("nws_fixed_mini", "digits"), "(constant) to "),
        (("nws_main_mini", "digits"), "to "),
        (("nws_main_mini", "cifar10"), "to "),
    ):
        constant, left_out = (f"{errors.loc[key, c]:.3f}".removeprefix("0") for c in ("rmse, constant", "rmse, 10-fold"))
        assert f"{constant} {words}{left_out}" in prose
    claims = pd.concat(pd.read_csv(results / "nws" / f"nws_fig{n}_claims.csv") for n in (9, 10, 11))
    verdicts = claims.groupby("claim")["verdict"].apply(list)
    assert set(verdicts["Glorot above constant and normal"]) == {"holds"}
    assert set(verdicts["with constant or normal: Adam and RMSprop above momentum"]) == {"holds"}
    assert "holds" not in verdicts["with Glorot: augmentation above none"]
    table = (results / "bench_nws.txt").read_text()
    for ours, theirs, ratio in re.findall(r"blocks ([\d.]+) s a network, pl.Trainer ([\d.]+) s: ([\d.]+) times", table):
        assert f"{ours}" in prose
        assert f"{theirs}" in prose
        assert f"**{ratio}**" in prose


def short(value: float) -> str:
    """``.43``, as the pages write scores."""
    return f"{value:.2f}".replace("0.", ".", 1)


def scored(row: Any) -> str:
    """``.43 (.36 to .49)``, or what stands for a score that is not there."""
    if not np.isfinite(row.score):
        return "not measured"
    return f"{short(row.score)} ({short(row.low)} to {short(row.high)})"


def meta_rows(results: Path) -> list[str]:
    """The rows of the two tables of meta-classifiers."""
    whole, slices, votes = (
        pd.read_csv(results / "meta" / f"{name}.csv").query("zoo == 'nws_fixed_three'")
        for name in ("nws_fig2", "nws_fig19", "nws_votes")
    )
    slices = slices[slices["model"].str.endswith("all values")]
    rows = []
    for target in slices["target"]:
        own = [whole[whole["model"] == "linear SVM, by layer"], whole[whole["model"] == "dmc_global_mini"], slices]
        own.append(votes[votes["model"] == "vote of 20 slices"])
        found = [next(part[part["target"] == target].itertuples(), None) for part in own]
        cells = ["not measured" if row is None else scored(row) for row in found]
        floors = f"{short(found[2].chance)} | {short(found[2].hyperparameters)}"
        rows.append(f"| {target} | {floors} | {' | '.join(cells)} |")
    local = pd.read_csv(results / "meta" / "nws_fig4.csv")
    for target, part in local.groupby("target", sort=False):
        cells = [scored(next(part[part["model"] == f"dmc_local_mini, {name}"].itertuples())) for name in ("all", "conv", "fc")]
        rows.append(f"| {target} | {short(part['chance'].iloc[0])} | {' | '.join(cells)} |")
    return rows


def test_the_meta_classifiers_figures_are_those_of_results() -> None:
    results, prose = RESULTS, PROSE
    for row in meta_rows(results):
        assert row in prose, row


def test_the_maps_figures_are_those_of_results() -> None:
    results, prose = RESULTS, PROSE
    for row in pd.read_csv(results / "maps" / "maps.csv").to_dict("records"):
        low, high = map(float, row["95 %"].split(" to "))
        ends = [row[k] for k in ("first tenth of weights", "last tenth", "first snapshot", "last snapshot")]
        cells = [f"{short(row['accuracy'])} ({short(low)} to {short(high)})", *map(short, ends)]
        start = f"| {row['target'].removeprefix('hp.')} | {short(row['chance'])} | {short(row['hyperparameters'])} | "
        assert f"{start}{' | '.join(cells)} |" in prose
    table = (results / "bench_probe.txt").read_text()
    seconds, outside = re.findall(r": (\d+) s, [\d,]+ slices/s, ([\d.]+)% outside", table)[0]
    assert f"{seconds} s, {outside} % of it outside" in prose


def test_the_encoders_figures_are_those_of_results() -> None:
    results, text = RESULTS, TEXT
    prose = PROSE
    table = pd.read_csv(results / "encoders" / "encoder_table.csv")
    assert table["zoo"].nunique() == 3
    for model, rows in table.groupby("model"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {model} |")]
        assert line.endswith("".join(f" {r2:.3f} / {tau:.3f} |" for r2, tau in zip(rows["r2"], rows["tau"], strict=True)))
        fits = list(dict.fromkeys(rows["fits"]))
        assert f"| {fits[0] if len(fits) == 1 else ', '.join(map(str, rows['fits']))} |" in line
    verdicts = (results / "encoders.txt").read_text()
    for zoo, rows in table.groupby("zoo"):
        assert re.search(
            rf"{zoo}: at access W the validation parts choose gnn .*, above gbm:stats in both .* choose deepsets:probe", verdicts
        )
        gnn = rows.set_index("model").loc["gnn"]
        spans = [re.sub(r"([+-])0\.", r"\1.", gnn[f"{measure} - baseline"]) for measure in ("r2", "tau")]
        assert f"{spans[0]} and {spans[1]} on {zoo}" in prose
    fashion = table[table["zoo"] == "fashion_mnist_mini"].set_index("model")
    assert fashion.loc["deepsets", "r2 - baseline"].startswith("-")
    at_f = table[table["access"].str.contains("F")].groupby("zoo")["r2"].max()
    assert {zoo for zoo, r2 in at_f.items() if r2 >= 0.98} == {"mnist_mini", "fashion_mnist_mini"}
    line_of_images = table[table["access"] == "D"].set_index("zoo")["r2"]
    assert line_of_images["cifar10_gs_mini"] < 0.98
    floors = table[table["model"] == "gbm:hyper"].set_index("zoo")["r2"]
    assert set(table[table["r2"] <= table["zoo"].map(floors)]["model"]) == {"gbm:hyper", "dmc_global_mini"}
    cases = pd.read_csv(results / "encoders" / "generalisation.csv")
    for word, model in (
        ("tenth", "stack"),
        ("tenth", "gbm:stats"),
        ("tenth", "stack:probe"),
        ("tenth", "gbm:hyper"),
        *(("to fashion", model) for model in ("gbm:hyper", "gbm:stats", "stack")),
        *(("to cifar10", model) for model in ("gbm:hyper", "gbm:stats", "graph_transformer")),
        *(("larger", model) for model in ("gbm:hyper", "gbm:stats", "deepsets")),
    ):
        assert tau_of(cases, word, model) in prose
    epochs, seconds = (results / "bench_encoders.txt").read_text().split("300 s each")
    words = r"  \+0\.\d+ to \+0\.\d+, \+0\.\d+ to \+0\.\d+$"
    above = [row.split() for row in epochs.splitlines() if re.search(words, row)]
    zoos = {"mnist_mini", "fashion_mnist_mini", "cifar10_gs_mini"}
    assert {(z, m) for z, m, fits, *_ in above if fits == "5"} == {(z, m) for z in zoos for m in ("gnn", "deepsets")}
    assert {(z, m) for z, m, fits, *_ in above if fits == "1"} == {
        ("mnist_mini", "nf_invariant"),
        ("mnist_mini", "graph_transformer"),
        ("cifar10_gs_mini", "graph_transformer"),
    }
    longer = {tuple(row.split()[:2]) for row in seconds.splitlines() if re.search(words, row)}
    assert longer == {("mnist_mini", "gnn"), ("mnist_mini", "deepsets")}


def test_the_encoders_rates_are_those_of_results() -> None:
    prose = PROSE
    one, two = (RESULTS / "bench_encoder_rates.txt").read_text().split("machine:")[1:]
    names = ("deepsets", "probe_net", "nf_invariant", "gnn", "graph_transformer", "nfn_hnp")
    rates = [[re.search(rf"^{n} +mnist_mini +\d+ +([\d,]+)", part, re.MULTILINE) for n in names] for part in (one, two)]
    first, second = ([found[1] for found in part if found] for part in rates)
    assert f"`deepsets` {first[0]} networks of 4,970 weights a second, `probe_net` {first[1]}, `nf_invariant` {first[2]}" in prose
    assert f"`gnn` {first[3]}, `graph_transformer` {first[4]}, nfn's HNP {first[5]} in its published form" in prose
    assert f"On two cores {', '.join(second[:4])} and {second[4]}, HNP {second[5]}" in prose
    mixed = [float(x) for x in re.findall(r"nws_main_mini .* +(\d\.\d\d) +[\d,]+$", one, re.MULTILINE)]
    assert f"{min(mixed):.2f} to {max(mixed):.2f} times".replace("0.", ".", 1) in prose


def tau_of(cases: pd.DataFrame, word: str, model: str) -> str:
    """A tau of the generalisation table as the prose writes it."""
    (row,) = cases[cases["case"].str.contains(word) & (cases["model"] == model)]["tau"]
    return f" {row:.3f}".replace(" 0.", " .")
