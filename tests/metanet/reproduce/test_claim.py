"""A sentence holds where its whole interval lies where it says, and fails where none of it does."""

from __future__ import annotations

import numpy as np
import pytest

from metanet.reproduce.claim import Claim


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (Claim("above 0", 0.01, 0.02), "holds"),
        (Claim("above 0", -0.02, -0.01), "does not hold"),
        (Claim("above 0", -0.01, 0.01), "not shown"),
        (Claim("above 1", 0.5, 1.5, above=1.0), "not shown"),
        (Claim("above 1", 1.1, 1.5, above=1.0), "holds"),
        (Claim("below .05", 0.01, 0.04, -np.inf, 0.05), "holds"),
        (Claim("below .05", 0.06, 0.07, -np.inf, 0.05), "does not hold"),
        (Claim("below .05", 0.04, 0.06, -np.inf, 0.05), "not shown"),
        (Claim.alike("alike", 0.001, 0.01, 0.02, {}), "holds"),
        (Claim.alike("alike", 0.03, 0.05, 0.02, {}), "does not hold"),
        (Claim.alike("alike", -0.05, -0.03, 0.02, {}), "does not hold"),
        (Claim.alike("alike", -0.05, 0.05, 0.02, {}), "not shown"),
        (Claim("no interval", np.nan, np.nan), "not shown"),
        (Claim("of one round", -np.inf, np.inf), "not shown"),
        (Claim("too few networks"), "not measured"),
        (Claim("", 0.1, 0.2), "-"),
    ],
    ids=lambda value: value.text if isinstance(value, Claim) else value,
)
def test_verdicts(claim: Claim, verdict: str) -> None:
    assert claim.verdict == verdict


def test_rows_say_which_zoo_what_and_whether() -> None:
    row = Claim("a above b", 0.1, 0.3, shown={"here": "+0.2"}).row(zoo="mnist")
    assert list(row.items()) == [("zoo", "mnist"), ("claim", "a above b"), ("here", "+0.2"), ("verdict", "holds")]
    assert Claim("", shown={"here": "+0.2"}).row()["claim"] == "-"
