"""Scaled columns, beside scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from metanet.models.scaling import Scaler


@pytest.fixture
def columns() -> np.ndarray:
    x = np.random.default_rng(0).standard_cauchy((50, 4)) * [1, 1e-6, 1e6, 1]
    x[:, 3] = 2.0  # without any spread
    x[::7, 0] = np.nan
    return x


@pytest.mark.parametrize("squash", [False, True])
def test_columns_are_those_of_another_scaler(columns: np.ndarray, squash: bool) -> None:
    given = np.arcsinh(columns / np.nanmedian(np.abs(columns), axis=0)) if squash else columns
    expected = StandardScaler().fit_transform(given)
    found = Scaler(squash).fit(columns).transform(columns)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.where(np.isnan(expected), 0, expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("squash", [False, True])
def test_they_are_cut_and_read_back(columns: np.ndarray, squash: bool) -> None:
    columns = columns.astype(np.float32)
    fitted = Scaler(squash, clip=0.5).fit(columns)
    again = Scaler.from_json(json.loads(json.dumps(fitted.to_json())), squash, clip=0.5)
    np.testing.assert_array_equal(again.transform(columns), fitted.transform(columns))
    free = Scaler(squash).fit(columns).transform(columns)
    np.testing.assert_array_equal(fitted.transform(columns), np.clip(free, -0.5, 0.5))
