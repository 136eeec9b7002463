"""Texts of LightGBM's own, whole and damaged. What passes the check is read by LightGBM in a process that may die alone."""

import subprocess
import sys

import lightgbm as lgb
import numpy as np
import pytest

from metanet.errors import MetanetError
from metanet.models.lightgbm_text import checked_text

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 3))
KINDS = {
    "mse": ({"objective": "regression"}, X[:, 0] + 0.1 * X[:, 1]),
    "cross_entropy": ({"objective": "cross_entropy"}, 1 / (1 + np.exp(-X[:, 0]))),
    "binary": ({"objective": "binary"}, (X[:, 0] > 0).astype(int)),
    "multiclass": ({"objective": "multiclass", "num_class": 3}, np.digitize(X[:, 0], [-0.5, 0.5])),
    "constant": ({"objective": "regression"}, np.full(120, 2.5)),
}


def text(kind: str, trees: int = 3) -> str:
    parameters, y = KINDS[kind]
    settings = parameters | {"extra_trees": kind == "mse"}
    settings |= {
        "verbosity": -1,
        "num_threads": 1,
        "num_leaves": 5,
        "min_data_in_leaf": 5,
        "extra_trees": kind == "mse",
    }
    return lgb.train(settings, lgb.Dataset(X, y), trees).model_to_string()


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_text_predicts_as_before(kind: str) -> None:
    whole = text(kind)
    with_missing = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
    before, after = (lgb.Booster(model_str=t).predict(with_missing, num_threads=1) for t in (whole, checked_text(whole)))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("left_child=", "left_child=0 ", "values of left_child"),
        ("num_leaves=5", "num_leaves=4", "values of"),
        ("end of trees", "end of tres", "does not end"),
        ("max_feature_idx=2", "max_feature_idx=9", "contradicts itself"),
        ("Tree=1\n", "Tree=7\n", "not where it should be"),
        ("num_cat=0", "num_cat=1", "num_cat=1"),
        ("objective=regression", "objective=refression", "objective=refression"),
        ("leaf_value=", "leaf_value=x", "leaf_value=x"),
    ],
)
def test_a_damaged_text_is_refused(old: str, new: str, says: str) -> None:
    damaged = text("mse").replace(old, new, 1)
    if len(old) != len(new):  # as one would mend the sizes by hand
        sizes = next(line for line in damaged.splitlines() if line.startswith("tree_sizes="))
        first, _, others = sizes.removeprefix("tree_sizes=").partition(" ")
        damaged = damaged.replace(sizes, f"tree_sizes={int(first) + len(new) - len(old)} {others}")
    with pytest.raises(MetanetError, match="trees are damaged") as raised:
        checked_text(damaged)
    assert says in str(raised.value)


@pytest.mark.parametrize("children", ["1 0 -2 -1", "1 2 2 -1", "3 -2 -3 1", "1 2 3 -9"])
def test_splits_that_make_no_tree_are_refused(children: str) -> None:
    line = next(line for line in text("mse").splitlines() if line.startswith("left_child="))
    damaged = text("mse").replace(line, f"left_child={children}", 1)
    size = next(line for line in damaged.splitlines() if line.startswith("tree_sizes="))
    first, _, others = size.removeprefix("tree_sizes=").partition(" ")
    grown = int(first) + len(f"left_child={children}") - len(line)
    with pytest.raises(MetanetError, match="damaged"):
        checked_text(damaged.replace(size, f"tree_sizes={grown} {others}"))


READ = """
import sys, numpy as np, lightgbm as lgb
x = np.random.default_rng(1).standard_normal((50, 3))
for text in sys.stdin.read().split("\\0"):
    assert np.isfinite(lgb.Booster(model_str=text).predict(x, num_threads=1)).all()
print("read")
"""


def test_bytes_changed_at_random_are_refused_or_harmless() -> None:
    rng, passed, refused = np.random.default_rng(2), [], 0
    for kind in ("mse", "multiclass"):
        whole = text(kind).partition("\nparameters:")[0].encode()
        for _ in range(400):
            raw, at = bytearray(whole), int(rng.integers(len(whole)))
            if rng.random() < 0.5:
                raw[at] = int(rng.integers(32, 127))
            else:
                del raw[at : at + int(rng.integers(1, 4))]
            try:
                passed.append(checked_text(raw.decode()))
            except MetanetError:
                refused += 1
    assert refused > 300
    answer = subprocess.run([sys.executable, "-c", READ], input="\0".join(passed), capture_output=True, text=True, timeout=120)
    assert answer.stdout == "read\n", answer.stderr[-500:]
