from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metanet
from metanet.errors import MetanetError
from metanet.features.hyper import HyperEncoder
from metanet.features.unions import FeatureMap, parse
from metanet.zoo import Layout, Zoo, zoo_from_arrays


@pytest.mark.parametrize(
    ("spec", "columns"),
    [
        ("stats", 56),
        ("stats_global", 7),
        ("flat", 4970),
        ("norms_l1", 8),
        ("stats:conv1", 14),
        ("stats:first+last", 28),
        ("stats:last+norms_l2", 22),
        (["stats", "norms_l2"], 64),
        ("flat:dense", 170),
        ("hyper:learning_rate", 1),
        ("hyper:optimizer", 3),
        ("hyper:learning_rate+dropout", 2),
    ],
)
def test_specs_give_the_columns_they_name(grown: Zoo, spec: str | list[str], columns: int) -> None:
    view = grown.view()
    features = FeatureMap(spec).fit(view)
    assert features.transform(view).shape == (30, columns)
    assert len(features.names) == columns


def test_a_union_is_its_parts_side_by_side(grown: Zoo) -> None:
    view = grown.view()
    union = FeatureMap("stats+hyper+norms_l2").fit(view)
    parts = [FeatureMap(s).fit(view) for s in ("stats", "hyper", "norms_l2")]
    assert np.array_equal(union.transform(view), np.concatenate([p.transform(view) for p in parts], axis=1))
    assert union.names == [n for p in parts for n in p.names]
    assert union.access == "H+W"
    assert metanet.list_features() == sorted(metanet.list_features())


def test_hyper_holds_all_that_vary_and_hyper_paper_leaves_the_optimizer_out(grown: Zoo) -> None:
    view = grown.view()
    names = FeatureMap("hyper").fit(view).names
    assert {n.split("=")[0] for n in names} == {
        *("hp.optimizer", "hp.learning_rate", "hp.l2reg", "hp.dropout"),
        *("hp.init_std", "hp.w_init", "hp.activation", "hp.train_fraction"),
    }
    paper = {n.split("=")[0] for n in FeatureMap("hyper_paper").fit(view).names}
    assert paper == {n.split("=")[0] for n in names} - {"hp.optimizer"}


def test_hyper_codes_categories_one_hot_and_log_uniform_draws_in_log10(grown: Zoo) -> None:
    view = grown.view()
    features = FeatureMap("hyper").fit(view)
    table = pd.DataFrame(features.transform(view), columns=features.names)
    frame = view.frame
    np.testing.assert_allclose(table["hp.learning_rate"], np.log10(frame["hp.learning_rate"]))
    np.testing.assert_allclose(table["hp.dropout"], frame["hp.dropout"])
    assert (table["hp.optimizer=sgd"] == (frame["hp.optimizer"] == "sgd")).all()


def test_the_target_is_never_an_input(grown: Zoo) -> None:
    names = FeatureMap("hyper").fit(grown.view(), target="hp.optimizer").names
    assert not [n for n in names if "optimizer" in n]
    with pytest.raises(MetanetError, match="other than the target"):
        FeatureMap("metrics:test_accuracy").fit(grown.view(), target="test_accuracy")
    with pytest.raises(MetanetError, match="none of the hyperparameters"):
        FeatureMap("hyper:optimizer").fit(grown.view(), target="hp.optimizer")


def test_a_category_never_seen_in_training_is_all_zeros() -> None:
    encoder = HyperEncoder().fit(pd.DataFrame({"hp.a": ["x", "y"]}))
    assert encoder.transform(pd.DataFrame({"hp.a": ["z"]}))[0].tolist() == [[0.0, 0.0]]
    with pytest.raises(MetanetError, match=r"no column hp\.a"):
        encoder.transform(pd.DataFrame({"b": [1]}))


def test_fitted_features_survive_json(grown: Zoo) -> None:
    view = grown.view()
    features = FeatureMap("stats:last+hyper").fit(view)
    again = FeatureMap.from_json(features.to_json())
    assert np.array_equal(features.transform(view), again.transform(view))


@pytest.mark.parametrize(
    ("spec", "says"),
    [("stat", "did you mean 'stats'"), ("stats+conv1", "no features 'conv1'"), ("hyper_paper:x", "takes no names")],
)
def test_unknown_specs_are_named(spec: str, says: str) -> None:
    with pytest.raises(MetanetError, match=says):
        parse(spec)


def test_unknown_layers_and_hyperparameters_are_named(grown: Zoo) -> None:
    with pytest.raises(MetanetError, match="no layer 'conv4'"):
        FeatureMap("stats:conv4").fit(grown.view())
    with pytest.raises(MetanetError, match="did you mean 'dropout'"):
        FeatureMap("hyper:drop_out").fit(grown.view())


def test_mixed_architectures_go_with_features_of_any_length_alone() -> None:
    layouts = [Layout.build([("w", "l", "kernel", (k, 3))]) for k in (2, 4)]
    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal(layouts[i % 2].size) for i in range(10)]
    zoo = zoo_from_arrays(vectors, [layouts[i % 2] for i in range(10)], pd.DataFrame({"test_accuracy": rng.random(10)}))
    view = zoo.view()
    matrix = FeatureMap("stats_global").fit(view).transform(view)
    np.testing.assert_allclose(matrix[:, 0], [v.astype(np.float32).mean() for v in vectors], rtol=1e-5)
    with pytest.raises(MetanetError, match="cannot go with this view"):
        FeatureMap("flat").fit(view).transform(view)


FUNCTION = """
import numpy as np
def spread(weights, layout):
    return weights.std(axis=1, keepdims=True), ["spread"]
def wrong(weights, layout):
    return weights.std(axis=1), ["spread"]
def worse(weights, layout):
    return 3
def failing(weights, layout):
    return weights.nothing
"""


def test_a_function_of_ones_own_by_path(known: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    view = known.view()
    spec = f"{tmp_path}/mine.py:spread+stats_global"
    features = FeatureMap(spec).fit(view)
    np.testing.assert_allclose(features.transform(view)[:, 0], view.weights().std(1), rtol=1e-6)
    assert features.names[0] == "spread"
    monkeypatch.chdir(tmp_path)
    relative = FeatureMap("./mine.py:spread").fit(view)
    monkeypatch.chdir("/")
    assert FeatureMap.from_json(relative.to_json()).transform(view).shape == (200, 1)
    for name, says in (
        ("wrong", "returned an array of shape"),
        ("worse", "must return"),
        ("failing", "AttributeError"),
        ("missing", "has no 'missing'"),
    ):
        with pytest.raises(MetanetError, match=says):
            FeatureMap(f"{tmp_path}/mine.py:{name}").fit(view)
    with pytest.raises(MetanetError, match="no file"):
        FeatureMap(f"{tmp_path}/yours.py:spread").fit(view)


def test_the_last_layers_statistics_fit_any_architecture(known: Zoo) -> None:
    wide = Layout.build(
        [("stem.w", "stem", "kernel", (5, 5)), ("out.w", "out", "kernel", (4, 7)), ("out.b", "out", "bias", (4,))]
    )
    rng = np.random.default_rng(0)
    other = zoo_from_arrays(rng.standard_normal((6, wide.size)), wide, pd.DataFrame({"test_accuracy": rng.random(6)}))
    features = FeatureMap("stats:last").fit(known.view())
    assert features.names[:2] == ["last.kernel.mean", "last.kernel.var"]
    found = features.transform(other.view())
    assert found.shape == (6, 14)
    np.testing.assert_allclose(found[:, 0], other.view().weights()[:, 25:53].mean(1), rtol=1e-5)
    with pytest.raises(MetanetError, match="architectures differ"):
        FeatureMap("stats").fit(known.view()).transform(other.view())


def test_columns_are_matched_by_name_where_the_order_differs(known: Zoo) -> None:
    """As between our zoos and released ones: bias before kernel, and the axes of a kernel in another order."""
    view = known.view()
    named = view.layout.unflatten(np.array(view.weights()))
    released = Layout.build(
        [
            ("fc1.bias", "fc1", "bias", (8,)),
            ("fc1.weight", "fc1", "kernel", (8, 4), (1, 0)),
            ("dense.bias", "dense", "bias", (3,)),
            ("dense.weight", "dense", "kernel", (3, 8), (1, 0)),
        ]
    )
    vectors = np.stack([released.flatten({k: v[i] for k, v in named.items()}) for i in range(len(view))])
    other = zoo_from_arrays(vectors, released, view.frame.drop(columns="layout_id")).view()
    for spec in ("stats", "norms_l1", "flat", "flat:fc1"):
        features = FeatureMap(spec).fit(view)
        np.testing.assert_allclose(features.transform(other), features.transform(view), rtol=1e-5, atol=1e-6)


def test_weights_that_are_not_finite_are_refused(known: Zoo) -> None:
    view = known.view()
    broken = np.array(view.weights())
    broken[3, 5] = np.nan
    frame = view.frame.drop(columns=["layout_id", "status"])
    zoo = zoo_from_arrays(broken, view.layout, frame)
    for spec in ("stats", "flat", "norms_l2"):
        with pytest.raises(MetanetError, match=r"1 of 200 networks have weights that are not finite.*status 'nan'"):
            FeatureMap(spec).fit(view).transform(zoo.view())
    marked = zoo_from_arrays(broken, view.layout, frame.assign(status=["nan" if i == 3 else "ok" for i in range(200)]))
    assert len(FeatureMap("stats").fit(view).transform(marked.view())) == 199
