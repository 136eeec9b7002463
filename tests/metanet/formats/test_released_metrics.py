"""Tables as resumed, crashed and edited runs leave them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from metanet.errors import MetanetError
from metanet.formats.released_metrics import checked_metrics

HYPERPARAMETERS = ("config.learning_rate", "config.w_init")
NUMBERS = ("test_accuracy", "test_loss", "config.learning_rate")


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "modeldir": ["a", "a", "b", "b"],
            "step": [0, 1, 0, 1],
            "test_accuracy": [0.1, 0.5, 0.1, np.nan],
            "test_loss": [2.3, 1.0, 2.3, 0.9],
            "config.learning_rate": [0.1, 0.1, 0.2, 0.2],
            "config.w_init": ["orthogonal", "orthogonal", np.nan, np.nan],
        }
    )


def check(given: pd.DataFrame) -> pd.DataFrame:
    return checked_metrics(given, HYPERPARAMETERS, NUMBERS)


def test_a_good_table_stays_as_it_is() -> None:
    pd.testing.assert_frame_equal(check(table()), table())


def test_numbers_as_text_are_numbers_and_rounding_is_clipped() -> None:
    odd = table().astype({"config.learning_rate": str, "step": float, "test_loss": object})
    odd.loc[1, "test_accuracy"] = 1 + 1e-7
    found = check(odd)
    assert found["config.learning_rate"].tolist() == [0.1, 0.1, 0.2, 0.2]
    assert found["step"].tolist() == [0, 1, 0, 1]
    assert found.loc[1, "test_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("column", "rows", "value", "says"),
    [
        ("step", [2], np.nan, "row 3: step=nan is no whole number"),
        ("step", [1], 0.5, "row 2: step=0.5 is no whole number"),
        ("step", [1], -1, "row 2: step=-1"),
        ("step", [3], 0, "row 4: run 'b' has a row of step 0 already"),
        ("modeldir", [3], np.nan, "row 4: modeldir is empty"),
        ("config.learning_rate", [0], "default", "row 1: config.learning_rate='default' is no number"),
        ("config.learning_rate", [1], 0.5, "row 2: run 'a' has config.learning_rate=0.5 here and another value before"),
        ("config.w_init", [1], np.nan, "row 2: run 'a' has config.w_init=nan"),
        (
            "test_accuracy",
            [0, 1],
            45.0,
            r"test_accuracy=45.0, but shares from 0 to 1 are expected; divide percent by 100 \(and 1 rows",
        ),
        ("test_accuracy", [0], -0.5, "row 1: test_accuracy=-0.5"),
        ("test_loss", [0], "x", "row 1: test_loss='x' is no number"),
    ],
)
def test_the_first_wrong_row_is_named(column: str, rows: list[int], value: Any, says: str) -> None:
    given = table()
    given[column] = given[column].astype(object)
    given.loc[rows, column] = value
    with pytest.raises(MetanetError, match=says):
        check(given)
