from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import MINE

from metanet.cli.compose import compose, given_threads, parse_overrides, split_values
from metanet.cli.grids import Grid
from metanet.cli.main import VERBS, option_help, verb_help
from metanet.cli.settings import settings_of
from metanet.config_files import config_root, options
from metanet.constraints import fits
from metanet.errors import MetanetError
from metanet.generation.recipes import create_recipe
from metanet.models.registry import model_class
from metanet.runs.folder import RunFolder
from metanet.verbs import CONFIGS, NEEDED, keys_of, paragraphs

FILES = sorted(  # those of sweep are W&B's, see test_sweeps
    p.relative_to(config_root()).with_suffix("").as_posix() for p in config_root().rglob("*.yaml") if p.parent.name != "sweep"
)


def test_every_verb_declares_its_keys_and_no_group_is_strange() -> None:
    assert CONFIGS.keys() == VERBS.keys()
    assert {f.split("/")[0] for f in FILES} == {
        "data",
        "recipe",
        "model",
        "search",
        "trainer",
        "launcher",
        "tracking",
        "experiment",
    }


@pytest.mark.parametrize("file", FILES)
def test_every_file_composes_and_its_values_are_taken(file: str, tmp_path: Path) -> None:
    """Compose the file in a verb that uses it, and build what it describes without running it."""
    group, option = file.split("/")
    verb = {"data": "generate", "recipe": "generate", "launcher": "generate"}.get(group, "train")
    config = compose(verb, {group: option})
    if group == "recipe":
        create_recipe(**config["recipe"]).draw(5, 0, "digits")
    elif group == "model":
        settings = {k: v for k, v in config["model"].items() if k != "name"}
        assert settings.keys() == settings_of("model", option).keys()
        model_class(option)(**settings)
    elif group == "data":
        assert config["data"]["name"] == option
    elif group == "trainer":
        from metanet.lightning import quiet_trainer

        with quiet_trainer(config["trainer"], 3) as trainer:
            assert trainer.max_epochs <= 3


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_of_a_verb_means_something_and_may_be_its_default(verb: str) -> None:
    config, text = compose(verb, {}), verb_help(verb)
    for key, own in keys_of(verb).items():
        assert len(own.meaning) > 3, key
        assert own.meaning in text
        if own.over is not None:
            assert own.default in options(key)
            continue
        assert own.default == NEEDED or fits(own.default, own.kind), key
        found = config
        for part in key.split("."):
            found = found[part]
        assert found == own.default
    assert paragraphs(verb)[1]


def test_defaults_of_one_config_are_not_those_of_the_next() -> None:
    compose("reproduce", {})["curve"]["sizes"].append(7)
    assert 7 not in compose("reproduce", {})["curve"]["sizes"]


@pytest.mark.parametrize("file", [f for f in FILES if f.startswith(("model/", "recipe/"))])
def test_a_yaml_says_what_differs_from_the_class_alone(file: str) -> None:
    group, option = file.split("/")
    said = yaml.safe_load((config_root() / f"{file}.yaml").read_text())
    known = settings_of(group, said["name"])
    for key in said.keys() - {"name"}:
        assert known[key].needed or said[key] != known[key].default
    composed = compose("generate" if group == "recipe" else "train", {group: option})[group]
    assert composed == {key: s.default for key, s in known.items() if not s.needed} | said


@pytest.mark.parametrize("file", [f for f in FILES if f.startswith(("model/", "recipe/"))])
def test_help_says_of_every_setting_what_it_is_means_and_may_be(file: str) -> None:
    group, option = file.split("/")
    text = option_help("generate" if group == "recipe" else "train", group, option)
    known = settings_of(group, compose("generate" if group == "recipe" else "train", {group: option})[group]["name"])
    for key, setting in known.items():
        assert len(setting.meaning) > 2, key
        assert f"\n  {key}" in text
        assert setting.meaning in text
    assert "``" not in text
    assert ":class:" not in text


def test_help_shows_values_ranges_and_words(tmp_path: Path) -> None:
    text = option_help("train", "model", "dnn")
    assert "layers=3                    hidden layers and their width (a whole number from 0 up)" in text
    assert "clip=5.0                    bound on standardised inputs, in standard deviations (a number above 0, or null)" in text
    text = option_help("generate", "recipe", "small_cnn")
    assert "share=[init,dropout]" in text
    assert (
        "seeds=1                     networks of each configuration, alike but for their seed (a whole number from 1 up)" in text
    )
    (tmp_path / "mine.py").write_text(MINE)
    assert "epochs=3  " in option_help("generate", "recipe", f"{tmp_path}/mine.py:MyRecipe")


def test_the_number_of_threads_is_known_before_models_are_imported(tmp_path: Path) -> None:
    assert given_threads("train", {"threads": "3", "model": "no such model"}) == 3
    assert given_threads("train", {"model": "no such model"}) is None
    (tmp_path / "exp.yaml").write_text("defaults: {model: dnn}\nthreads: 2\n")
    assert given_threads("train", {"experiment": f"{tmp_path}/exp.yaml"}) == 2
    RunFolder(tmp_path / "run").write_config(compose("train", {"zoo": "z", "threads": "5"}))
    assert given_threads("train", {"from": f"{tmp_path}/run"}) == 5


def test_a_yaml_of_ones_own_names_its_class_by_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    for target in ("mine.MyModel", "./mine.py:MyModel", f"{tmp_path}/mine.py:MyModel"):
        (tmp_path / "mine.yaml").write_text(f"_target_: {target}\npower: 3\n")
        model = compose("train", {"model": f"{tmp_path}/mine.yaml", "model.depth": "2"})["model"]
        assert Path(model.pop("name").split(":")[0]).resolve() == (tmp_path / "mine.py").resolve()
        assert model == {"power": 3, "depth": 2}
    (tmp_path / "mine.yaml").write_text("_target_: json.decoder.JSONDecoder\n")
    name = compose("train", {"model": f"{tmp_path}/mine.yaml"})["model"]["name"]
    assert name.endswith("json/decoder.py:JSONDecoder")
    for target in ("nowhere_at_all.Model", "nowhere.at.all.Model", "Model", "./nowhere.py:Model"):
        (tmp_path / "mine.yaml").write_text(f"_target_: {target}\n")
        with pytest.raises(MetanetError, match=r"no such file or module; give MODULE\.CLASS"):
            compose("train", {"model": f"{tmp_path}/mine.yaml"})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a,b", ["a", "b"]),
        ("[a,b]", ["[a,b]"]),
        ("'x,y',z", ["'x,y'", "z"]),
        ("{a: 1, b: 2},c", ["{a: 1, b: 2}", "c"]),
        ("", [""]),
    ],
)
def test_commas_split_outside_brackets_and_quotes_alone(text: str, values: list[str]) -> None:
    assert split_values(text) == values


@pytest.mark.parametrize(
    ("verb", "given", "key", "value"),
    [
        ("train", {"model": "dnn", "model.units": "8"}, "model.units", 8),
        ("train", {"zoo": "z", "model": "gbm"}, "model.num_leaves", 15),
        ("train", {"where": 'hp.optimizer == "adam"'}, "where", 'hp.optimizer == "adam"'),
        ("train", {"features": "[stats,hyper]"}, "features", ["stats", "hyper"]),
        ("train", {"experiment": "optimizer_from_weights"}, "target", "hp.optimizer"),
        ("train", {"experiment": "optimizer_from_weights", "target": "hp.dropout"}, "target", "hp.dropout"),
        ("train", {"seed": "${split.seed}", "split.seed": "7"}, "seed", 7),
        ("train", {"model": "./mine.py:M", "model.anything": "3"}, "model", {"name": "./mine.py:M", "anything": 3}),
        ("train", {"trainer.precision": "64-true"}, "trainer.precision", "64-true"),
        ("generate", {"recipe.hyperparameters.optimizer": "adam"}, "recipe.hyperparameters.optimizer", "adam"),
        ("generate", {"recipe.hyperparameters.learning_rate": "1e-3"}, "recipe.hyperparameters.learning_rate", 1e-3),
        (
            "generate",
            {"recipe.hyperparameters.dropout.uniform": "[0, 0.1]"},
            "recipe.hyperparameters.dropout",
            {"uniform": [0, 0.1]},
        ),
        ("quickstart", {}, "recipe.epochs", 20),
        ("train", {"out": "2024"}, "out", "2024"),
        ("evaluate", {"zoo": "[1,b]"}, "zoo", ["1", "b"]),
        ("quickstart", {"recipe.epochs": "3"}, "recipe.epochs", 3),
    ],
)
def test_overrides_win_in_their_order(verb: str, given: dict[str, str], key: str, value: Any) -> None:
    found: Any = compose(verb, given)
    for part in key.split("."):
        found = found[part]
    assert found == value


def test_an_option_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: gbm\nnum_leaves: 3\n")
    assert compose("train", {"model": f"{tmp_path}/mine.yaml"})["model"]["num_leaves"] == 3
    (tmp_path / "exp.yaml").write_text("defaults: {model: dnn}\nsplit: {test: 0.3}\n")
    config = compose("train", {"experiment": f"{tmp_path}/exp.yaml"})
    assert (config["model"]["name"], config["split"]["test"]) == ("dnn", 0.3)


@pytest.mark.parametrize(
    ("verb", "given", "says"),
    [
        ("train", {"zo": "x"}, "no key 'zo'; did you mean 'zoo'"),
        ("train", {"model": "gmb"}, "no model 'gmb'; did you mean 'gbm'"),
        ("train", {"model": "gbm", "model.num_leavs": "3"}, "did you mean 'model.num_leaves'"),
        ("train", {"split.tset": "0.3"}, "did you mean 'split.test'"),
        ("train", {"seed": "x"}, "seed=x: give a whole number"),
        ("train", {"seed": "1.5"}, "give a whole number"),
        ("train", {"split.test": "half"}, "split.test=half: give a number"),
        ("probe", {"probe.balance": "1"}, "true or false"),
        ("train", {"split.seed": "null"}, "split.seed=null: give a whole number"),
        ("train", {"split.test": "null"}, "give a number"),
        ("generate", {"seed": "null"}, "seed=null: give a whole number"),
        ("train", {"model.name": "3"}, "model.name=3: give a name"),
        ("train", {"features": "[a"}, "no YAML value"),
        ("train", {"seed": "${nowhere}"}, "cannot be resolved"),
        ("train", {"experiment": "nope"}, "no experiment 'nope'"),
        ("generate", {"data": "minst"}, "did you mean 'mnist'"),
        ("generate", {"recipe": "none.yaml"}, "cannot be read"),
    ],
)
def test_mistakes_are_named(verb: str, given: dict[str, str], says: str) -> None:
    with pytest.raises(MetanetError, match=says.replace("$", r"\$")):
        compose(verb, given)


def test_an_experiment_names_known_groups(tmp_path: Path) -> None:
    (tmp_path / "exp.yaml").write_text("defaults: {modle: dnn}\n")
    with pytest.raises(MetanetError, match="did you mean 'model'"):
        compose("train", {"experiment": f"{tmp_path}/exp.yaml"})
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(MetanetError, match="no mapping"):
        compose("train", {"experiment": f"{tmp_path}/list.yaml"})


def test_words_without_a_value_are_named() -> None:
    with pytest.raises(MetanetError, match="give key=value"):
        parse_overrides(["stats"])
    assert "gbm" in options("model")


EXAMPLES = [example for verb in VERBS for example in paragraphs(verb)[1]]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_help_is_understood(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(example.split("   (")[0])
    verb, *given = words[words.index("metanet") + 1 :]
    overrides = parse_overrides(word for word in given if "=" in word)
    if "from" in overrides:  # a run that is there
        run = RunFolder(overrides["from"][0])
        run.write_config(compose(verb, {"zoo": "zoos/digits"}))
        run.write_metrics({"r2": 0.5})
    for combination in Grid.of(overrides).cells:
        config = compose(verb, combination)
        if "recipe" in config:
            create_recipe(**config["recipe"]).draw(3, 0, "digits")
