"""Small versions of ``scripts/simulate_intervals.py``: rates where the truth is known, bounded at three standard errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

MOST, LEAST = 0.06, 0.93  # tables of equal rows that may err, truths that an interval is to hold


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "scripts" / "simulate_intervals.py"
    spec = importlib.util.spec_from_file_location("simulate_intervals", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bound(rate: float, worlds: int) -> float:
    """Three standard errors."""
    return 3 * float(np.sqrt(rate * (1 - rate) / worlds))


def test_a_table_of_equal_rows_seldom_tells_any_apart(simulation: ModuleType) -> None:
    rates = simulation.table_errors(150, rows=5, networks=200, splits=1, seeds=1)
    assert rates["table"] <= MOST + bound(MOST, 150)
    assert rates["each"] > MOST + bound(MOST, 150)  # what each pair's own interval would do
    assert rates["pair"] <= 0.08 + bound(0.08, 150)
    repeated = simulation.table_errors(40, rows=4, networks=200, splits=3, seeds=2)
    assert repeated["table"] <= MOST + bound(MOST, 40)


def test_a_worse_row_is_told_apart(simulation: ModuleType) -> None:
    assert simulation.table_errors(30, rows=4, networks=400, splits=1, seeds=1, worse=1.5)["last"] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("rows", [5, 10])
@pytest.mark.parametrize("runs", [(1, 1), (1, 3), (5, 3)])
def test_larger_tables_of_equal_rows(simulation: ModuleType, rows: int, runs: tuple[int, int]) -> None:
    assert simulation.table_errors(300, rows, 400, *runs)["table"] <= MOST + bound(MOST, 300)


@pytest.mark.parametrize("population", ["normal", "two modes", "heavy tails", "weak"])
def test_intervals_of_numbers_hold_the_truth(simulation: ModuleType, population: str) -> None:
    for measure, rate in simulation.number_coverage(100, population, 100).items():
        assert rate >= LEAST - bound(LEAST, 100), measure


def test_intervals_of_shares_hold_the_truth(simulation: ModuleType) -> None:
    for classes in simulation.CLASSES:
        for slices in (1, 20):
            rates = simulation.share_coverage(100, classes, slices)
            assert min(rates["accuracy"], rates["balanced accuracy"]) >= LEAST - bound(LEAST, 100), (classes, slices)
            assert rates["all above the truth"] <= 0.04 + bound(0.04, 100), (classes, slices)
