"""Configs as OmegaConf writes them come back as it reads them; what a stranger may have written is bounded."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from metanet.cli.main import main
from metanet.runs.stored_yaml import MOST_VALUES, read_yaml

words = st.text(alphabet=st.characters(codec="ascii"), max_size=8)
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_subnormal=False), words)
configs = st.dictionaries(st.text("abc_", min_size=1, max_size=5), st.one_of(plain, st.lists(plain, max_size=3)), min_size=1)


@given(configs)
def test_what_omegaconf_writes_is_read_alike(config: dict[str, Any]) -> None:
    if "$" not in str(config):
        text = OmegaConf.to_yaml(OmegaConf.create(config))
        assert read_yaml(text) == OmegaConf.to_container(OmegaConf.create(text))


def nested(levels: int, fan: int) -> str:
    """Each level stands for the one before, ``fan`` times."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(fan))}}}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nested(9, 9), "aliases stand for"),
        ("a: &a\n  b: *a\n", "stands for what holds it"),
        ("where: ${oc.env:SECRET}", "holds an interpolation, ${oc.env:SECRET}"),
        ("[" * 50_000, "no config of a run"),
        ("x: " + "a" * 2_000_000, "2,000,003 characters"),
        ("a: !!python/object/apply:os.system ['touch PWNED']", "could not determine a constructor"),
    ],
)
def test_what_is_endless_or_reaches_out_is_refused(text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(yaml.YAMLError, match=re.escape(says)):
        read_yaml(text)
    assert os.listdir(tmp_path) == []


def test_aliases_in_bounds_are_written_out() -> None:
    assert read_yaml("a: &a [1, 2]\nb: *a") == {"a": [1, 2], "b": [1, 2]}
    assert MOST_VALUES >= 10_000  # far above any config of ours


def test_a_run_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("zoo: zoo\nwhere: \"test_accuracy >= 0 and '${oc.env:SECRET}' != ''\"\n")
    (run / "metrics.json").write_text("{}")
    assert main(["train", f"from={run}", f"out={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr()
    assert "interpolation" in said.err
    assert "hunter2" not in said.out + said.err
    assert not (tmp_path / "out").exists()
