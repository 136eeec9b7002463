"""Early stopping beside the paper's three sentences, followed literally."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metanet.generation.stopping import EarlyStopping, StoppingRules


def stop_of(values: list[float], rules: StoppingRules) -> tuple[int, set[str]]:
    """When training stops, and all rules that say so (Eilertsen et al. 2020, A.2), from the whole history each time."""
    for t in range(rules.earliest, len(values) + 1):
        v = values[:t]
        reasons = set()
        if len(v) > rules.decreases and all(v[-i] < v[-i - 1] for i in range(1, rules.decreases + 1)):
            reasons.add("decreases")
        smoothed, below = v[0], 0
        for now in v[1:]:
            below += now < smoothed
            smoothed = 0.5 * now + 0.5 * smoothed
        if below >= rules.below_smoothed:
            reasons.add("below_smoothed")
        if len(v) > rules.stationary and all(abs(v[-i] - v[-i - 1]) < 1e-8 for i in range(1, rules.stationary + 1)):
            reasons.add("stationary")
        if reasons:
            return t, reasons
    return 0, set()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), min_size=1, max_size=40), st.sampled_from([1, 4, 20]))
def test_it_stops_when_and_why_the_paper_says(values: list[float], earliest: int) -> None:
    rules = StoppingRules(earliest, decreases=3, below_smoothed=6, stationary=4)
    stopping = EarlyStopping(rules, 1)
    when, why = 0, ""
    for t, value in enumerate(values, 1):
        why = stopping.update(np.array([value]))[0]
        if why:
            when = t
            break
    expected, reasons = stop_of(values, rules)
    assert when == expected
    assert (why in reasons) if expected else not why


def test_networks_do_not_meet() -> None:
    stopping = EarlyStopping(StoppingRules(earliest=3, decreases=2, below_smoothed=0, stationary=2), 3)
    falls, still, rises = [0.5, 0.4, 0.3], [0.1, 0.1, 0.1], [0.1, 0.2, 0.3]
    answers = [stopping.update(np.array(column)).tolist() for column in zip(falls, still, rises, strict=True)]
    assert answers == [["", "", ""], ["", "", ""], ["decreases", "stationary", ""]]


def test_the_defaults_are_the_papers() -> None:
    assert StoppingRules() == StoppingRules(earliest=20, decreases=5, below_smoothed=30, stationary=30)
    stopping = EarlyStopping(StoppingRules(), 1)
    falling = [stopping.update(np.array([1 - t / 100]))[0] for t in range(20)]
    assert falling[:19] == [""] * 19  # never before 20 evaluations, that is 19 epochs
    assert falling[19] == "decreases"


@pytest.mark.parametrize("rule", ["decreases", "below_smoothed", "stationary"])
def test_zero_switches_a_rule_off(rule: str) -> None:
    rules = StoppingRules(**{"earliest": 1, "decreases": 2, "below_smoothed": 2, "stationary": 2} | {rule: 0})
    stopping = EarlyStopping(rules, 1)
    series = np.concatenate([np.full(9, 0.9), np.linspace(0.8, 0.1, 9)])
    seen = {stopping.update(np.array([v]))[0] for v in series}
    assert rule not in seen
    assert len(seen - {""}) >= 1
