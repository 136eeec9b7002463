from __future__ import annotations

import metanet
from metanet.probing.importance import importance, importance_by_tensor, short_name
from metanet.zoo import Zoo


def test_counts_are_the_splits_of_the_trees(known: Zoo) -> None:
    model = metanet.create_model("gbm", features="flat", max_trees=20).fit(known.view())
    table = importance(model)
    nodes = model.booster.trees_to_dataframe()
    expected = nodes["split_feature"].dropna().value_counts()
    found = table[table["splits"] > 0].set_index("feature")["splits"]
    columns = {f"Column_{i}": name for i, name in enumerate(model.map.names)}
    assert found.to_dict() == {columns[k]: v for k, v in expected.items()}
    assert table["splits"].is_monotonic_decreasing
    by_tensor = importance_by_tensor(table).set_index("tensor")
    assert by_tensor["splits"].sum() == table["splits"].sum()
    assert by_tensor["inputs"].to_dict() == {"L1-W": 32, "L1-B": 8, "L2-W": 24, "L2-B": 3}


def test_short_names_are_the_papers() -> None:
    layers: dict[str, int] = {}
    features = ["conv1.kernel[123]", "conv1.bias[0]", "dense.kernel.q25", "dense.bias[7]", "learning_rate"]
    assert [short_name(f, layers) for f in features] == ["L1-W123", "L1-B0", "L2-W-q25", "L2-B7", "learning_rate"]
