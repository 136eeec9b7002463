"""Queries beside pandas' own comparisons of the same columns, and what must never run."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metanet.errors import MetanetError
from metanet.zoo.query import query_mask

FRAME = pd.DataFrame(
    {
        "network_id": ["000000", "000001", "000002", "000003"],
        "epoch": [0, 1, 2, 3],
        "test_accuracy": [0.1, 0.5, np.nan, 0.9],
        "train_accuracy": [0.2, 0.5, 0.7, 1.0],
        "hp.optimizer": ["adam", "sgd", None, "rmsprop"],
        "hp.batch_norm": [True, False, True, False],
        "with space": [3, 2, 1, 0],
    }
)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("hp.optimizer == 'adam'", [0]),
        ("hp.optimizer != 'adam'", [1, 2, 3]),
        ("'adam' == hp.optimizer", [0]),
        ("test_accuracy >= 0.5", [1, 3]),
        ("not test_accuracy >= 0.5", [0, 2]),
        ("0.1 < test_accuracy <= .9", [1, 3]),
        ("hp.optimizer in ['sgd', 'adam']", [0, 1]),
        ("hp.optimizer not in ('sgd', 'adam')", [2, 3]),
        ("epoch in {1, 3}", [1, 3]),
        ("epoch == 1 or epoch == 2 and hp.batch_norm", [1, 2]),
        ("(epoch > 0) & (epoch < 3) | (epoch == 0)", [0, 1, 2]),
        ("~hp.batch_norm", [1, 3]),
        ("hp.batch_norm == True", [0, 2]),
        ("train_accuracy - test_accuracy > 0.05", [0, 3]),
        ("epoch * 2 == -`with space` + 6", [3]),
        ("`hp.optimizer`.startswith('r')", [3]),
        ("hp.optimizer.str.contains('d')", [0, 1]),
        ("hp.optimizer.endswith('m')", [0]),
        ("hp.optimizer.contains('`a.*`')", []),
        ("network_id < '000002'", [0, 1]),
    ],
)
def test_rows(query: str, rows: list[int]) -> None:
    assert np.flatnonzero(query_mask(FRAME, query)).tolist() == rows


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("hp.optimiser == 'adam'", "it has no column 'hp.optimiser'; did you mean 'hp.optimizer'?"),
        ("epoch = 1", "one = compares nothing"),
        ("hp.optimizer == adam", "text stands in quotes, 'adam'"),
        ("hp.optimizer.contain('a')", "did you mean 'contains'"),
        ("hp.optimizer == 3", "holds text, 3 is a number"),
        ("epoch == '3'", "'epoch' holds numbers, '3' is text"),
        ("epoch in ['3']", "'epoch' holds numbers, '3' is text"),
        ("epoch", "gives no true or false"),
        ("epoch + 1", "gives no true or false"),
        ("1 == 1", "the same in all rows"),
        ("epoch > 1 & epoch < 3", "is neither true nor false"),
        ("hp.optimizer < 1", "holds text"),
        ("epoch / 0 > 1", "divides by zero"),
        ("hp.optimizer + 'a' == 'x'", "is no number"),
        ("'a' * 1000000000 == hp.optimizer", "is no number"),
        ("epoch == 9**9**9**9", "of sums + - * /"),
        ("", "not a query"),
        ("(" * 5000 + "epoch" + ")" * 5000, "not a query"),
        ("epoch == 1" + " and epoch == 1" * 5000, "characters"),
        ("epoch\x00", "not a query"),
        ("epoch == 1j", "no number, text"),
        ("epoch == None", "no number, text"),
        ("epoch is 1", "stands nowhere"),
    ],
)
def test_what_is_no_query_is_refused_in_one_line(query: str, says: str) -> None:
    with pytest.raises(MetanetError, match=r"where=") as raised:
        query_mask(FRAME, query)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "query",
    [
        "@pd.io.common.os.system('touch PWNED') == 0",
        "__import__('os').system('touch PWNED') == 0",
        "test_accuracy.to_csv('PWNED') == None",
        "epoch.map(open)",
        "(lambda: open('PWNED', 'w'))()",
        "[x for x in epoch]",
        "epoch.__class__",
        "epoch if epoch else 1",
        "(y := epoch) > 1",
        "f'{epoch}' == hp.optimizer",
        "epoch[0] == 0",
        "hp.optimizer.contains(open('PWNED', 'w'))",
        "eval('1') == epoch",
    ],
)
def test_nothing_runs(query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetanetError):
        query_mask(FRAME, query)
    assert os.listdir(tmp_path) == []


numbers = st.one_of(st.integers(-2, 4), st.floats(-1, 4, allow_subnormal=False))


@given(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers, numbers)
def test_comparisons_are_those_of_pandas(sign: str, low: Any, high: Any) -> None:
    columns = FRAME[["epoch", "train_accuracy"]]
    expected = columns.eval(f"epoch {sign} {low} and not (train_accuracy {sign} {high})")
    assert query_mask(FRAME, f"epoch {sign} {low} and not (train_accuracy {sign} {high})").tolist() == expected.tolist()


@settings(max_examples=300)
@given(st.text(alphabet="epochab.()[]'\"`=<>!&|~+-*/, 019_\\\n", max_size=30))
def test_any_text_is_rows_or_one_clear_error(query: str) -> None:
    with suppress(MetanetError):  # anything else would be a traceback
        mask = query_mask(FRAME, query)
        assert mask.shape == (4,)
        assert mask.dtype == bool
