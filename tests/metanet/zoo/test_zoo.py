from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from metanet.errors import MetanetError
from metanet.zoo import Layout, Zoo, zoo_from_arrays


def test_views_select_epochs(grown: Zoo) -> None:
    last = grown.view()
    assert len(last) == 30
    assert (last.frame["epoch"] == 2).all()
    assert len(grown.view(epoch="all")) == 90
    assert set(grown.view(epoch=[0, 1]).frame["epoch"]) == {0, 1}
    with pytest.raises(MetanetError, match="no snapshot at epoch 7"):
        grown.view(epoch=7)
    for strange in ("first", 1.5, [0, "x"], None, True):
        with pytest.raises(MetanetError, match="epoch="):
            grown.view(epoch=strange)


def test_where_takes_dotted_columns_as_written(grown: Zoo) -> None:
    view = grown.view(where='hp.optimizer == "adam" and hp.learning_rate < 0.01')
    networks = grown.networks
    expected = networks[(networks["hp.optimizer"] == "adam") & (networks["hp.learning_rate"] < 0.01)]
    assert sorted(view.network_ids) == sorted(expected["network_id"])
    for bad in ("hp.nothing > 1", "hp.learning_rate", "epoch >", "hp.learning_rate + 1"):
        with pytest.raises(MetanetError, match="where="):
            grown.view(where=bad)


def test_methods_follow_dotted_columns(grown: Zoo) -> None:
    chosen = grown.view(where="hp.optimizer.str.startswith('ad')").frame["hp.optimizer"]
    assert set(chosen) == {"adam"}


def test_a_network_at_the_threshold_has_not_converged() -> None:
    layout = Layout.build([("w", "l", "kernel", (1, 1))])
    frame = pd.DataFrame({"test_accuracy": [0.49, 0.5, 0.51]})
    zoo = zoo_from_arrays(np.ones((3, 1)), layout, frame, header={"data": {"converged": 0.5}})
    assert zoo.view(converged=True).network_ids.tolist() == ["000002"]


def test_converged_is_the_image_sets_threshold(grown: Zoo) -> None:
    assert (grown.view(converged=True).frame["test_accuracy"] > 0.5).all()
    last = grown.view().frame
    every = grown.view(converged=True, epoch="all")  # all snapshots of networks whose last one is above the threshold
    assert set(every.network_ids) == set(last.loc[last["test_accuracy"] > 0.5, "network_id"])
    assert len(every) == 3 * len(set(every.network_ids))


def test_weights_follow_the_frame_in_any_order(grown: Zoo) -> None:
    view = grown.view(epoch="all")
    order = np.random.default_rng(0).permutation(len(view))
    assert np.array_equal(view.take(order).weights(), view.weights()[order])
    vectors = list(view.take(order[:5]).vectors())
    assert np.array_equal(np.stack(vectors), view.weights()[order[:5]])


def test_vectors_of_several_lengths_live_in_one_zoo() -> None:
    small = Layout.build([("w", "l", "kernel", (2, 3))])
    large = Layout.build([("w", "l", "kernel", (4, 3))])
    vectors = [np.full(6, 1.0), np.full(12, 2.0), np.full(6, 3.0)]
    zoo = zoo_from_arrays(vectors, [small, large, small], pd.DataFrame({"test_accuracy": [0.1, 0.2, 0.3]}))
    view = zoo.view()
    assert [len(v) for v in view.vectors()] == [6, 12, 6]
    with pytest.raises(MetanetError, match="mixes 2 layouts"):
        view.weights()
    found = {layout.size: positions.tolist() for layout, positions in view.by_layout()}
    assert found == {6: [0, 2], 12: [1]}
    assert np.array_equal(view.take([0, 2]).weights(), [[1] * 6, [3] * 6])


def test_equal_vectors_end_to_end_come_without_a_copy(known: Zoo) -> None:
    view = known.view()
    assert np.shares_memory(view.weights(), view.weights())


def test_targets(grown: Zoo) -> None:
    view = grown.view()
    assert view.target("test_accuracy").dtype == np.float64
    assert set(view.target("hp.optimizer")) <= {"sgd", "adam", "rmsprop"}
    with pytest.raises(MetanetError, match="did you mean 'test_accuracy'"):
        view.target("test_accurracy")
    with pytest.raises(MetanetError, match="does not measure it"):
        view.target("validation_accuracy")


@pytest.mark.parametrize(
    ("weights", "rows", "says"),
    [(np.zeros((3, 6)), 2, "do not match"), (np.zeros((2, 5)), 2, r"shape \(5,\)")],
)
def test_arrays_that_do_not_fit_are_refused(weights: np.ndarray, rows: int, says: str) -> None:
    layout = Layout.build([("w", "l", "kernel", (2, 3))])
    with pytest.raises(MetanetError, match=says):
        zoo_from_arrays(weights, layout, pd.DataFrame({"test_accuracy": np.arange(rows)}))


def test_the_final_accuracy_is_that_of_the_last_snapshot(grown: Zoo) -> None:
    early, last = grown.view(epoch=1), grown.view()
    final = dict(zip(last.network_ids, last.target("test_accuracy"), strict=True))
    np.testing.assert_array_equal(early.target("final_test_accuracy"), [final[i] for i in early.network_ids])
    assert not np.array_equal(early.target("final_test_accuracy"), early.target("test_accuracy"))
    with pytest.raises(MetanetError, match="did you mean 'final_test_accuracy'"):
        early.target("finl_test_accuracy")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("hp.optimiser == 'adam'", "it has no column 'hp.optimiser'; did you mean 'hp.optimizer'?"),
        ("optimizer == 'adam'", "did you mean 'hp.optimizer'?"),
        ("test_accuracy = 0.5", "compare a column with a value, by ==, < or >"),
        ("network_id.str.contain('1')", "did you mean 'contains'"),
        ("hp.optimizer == adam", "text stands in quotes, 'adam'"),
    ],
)
def test_a_query_that_is_none_is_mended(grown: Zoo, query: str, says: str) -> None:
    with pytest.raises(MetanetError) as raised:
        grown.view(where=query)
    assert says in str(raised.value)
    assert len(str(raised.value)) < 300
