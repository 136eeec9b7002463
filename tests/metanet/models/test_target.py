"""Targets are what a zoo declares its columns to be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from metanet.errors import MetanetError
from metanet.models.target import MOST_CLASSES, Target
from metanet.zoo import Layout, View, zoo_from_arrays

LAYOUT = Layout.build([("w", "l", "kernel", (2, 2))])


def view(values: list[object], kind: str | None = None) -> View:
    frame = pd.DataFrame({"hp.x": values, "test_accuracy": 0.5})
    columns = {} if kind is None else {"hp.x": kind}
    return zoo_from_arrays(np.zeros((len(frame), 4)), LAYOUT, frame, columns=columns).view()


@pytest.mark.parametrize("kind", ["number", "share", "log", "category"])
def test_a_number_is_what_it_is_declared(kind: str) -> None:
    values = [0.1, 0.01, 0.1, 1.0]
    one = view([*values], kind)
    target = Target.of(one, "hp.x")
    assert target.kind == kind
    expected = {"log": np.log10(values), "category": np.array(values).astype(str)}.get(kind, np.array(values))
    assert target.true(one).tolist() == expected.tolist()
    if kind == "category":
        assert target.decode(np.eye(3)).tolist() == ["0.01", "0.1", "1.0"]  # by number
    else:
        np.testing.assert_allclose(target.decode(target.encode(one)), expected)


@pytest.mark.parametrize("networks", [MOST_CLASSES, 10 * MOST_CLASSES + 30])
def test_numbers_that_are_no_classes_are_refused_and_texts_are_not(networks: int) -> None:
    most = max(MOST_CLASSES, networks // 10)
    values = [float(i % most) for i in range(networks)]
    assert len(Target.of(view([*values], "category"), "hp.x").classes) == most
    more = [*values, float(most)]
    with pytest.raises(
        MetanetError, match=rf"declared a category, but has {most + 1} different numbers among {networks + 1} networks"
    ):
        Target.of(view([*more], "category"), "hp.x")
    assert len(Target.of(view([f"kind {v}" for v in more]), "hp.x").classes) == most + 1
