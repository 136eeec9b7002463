"""scikit-learn's habits: plain arrays, parameters, clones, and its own tools on meta-models."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.linear_model import LinearRegression

import metanet
from metanet.errors import MetanetError
from metanet.models import MatrixModel
from metanet.models.registry import model_class
from metanet.zoo import Zoo

NUMBERS = [n for n in metanet.list_models() if issubclass(model_class(n), MatrixModel)]
QUICK = {"max_epochs": 3, "max_trees": 20}


def quick(name: str, **settings):  # type: ignore[no-untyped-def]
    known = metanet.create_model(name).get_params()
    return metanet.create_model(name, **{k: v for k, v in QUICK.items() if k in known} | settings)


@pytest.mark.parametrize("name", metanet.list_models())
def test_parameters_make_a_clone_that_reads_well(name: str) -> None:
    model = metanet.create_model(name, seed=3)
    copied = clone(model)
    assert copied is not model
    assert copied.get_params() == model.get_params()
    assert repr(copied) == repr(model)
    assert repr(model).startswith(f"{type(model).__name__}(")
    assert "seed=3" in repr(model)
    assert eval(repr(model), {type(model).__name__: type(model)}).get_params() == model.get_params()
    assert model.set_params(seed=4) is model
    assert model.seed == 4
    with pytest.raises(MetanetError, match="has no setting 'sed'; did you mean 'seed'"):
        model.set_params(sed=4)
    with pytest.raises(MetanetError, match="seed=-1"):
        model.set_params(seed=-1)


@pytest.mark.parametrize("name", NUMBERS)
def test_plain_classes(name: str) -> None:
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, words = x[order], np.array(["setosa", "versicolor", "virginica"])[y[order]]
    for labels in (words, y[order]):
        model = quick(name).fit(x[:100], labels[:100])
        assert model.classes_.tolist() == np.unique(labels).tolist()
        probabilities = model.predict_proba(x[100:])
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
        assert np.array_equal(model.predict(x[100:]), model.classes_[probabilities.argmax(1)])
        assert model.predict(x[100:]).dtype.kind == labels.dtype.kind
        assert model.score(x[100:], labels[100:]) == np.mean(model.predict(x[100:]) == labels[100:])


@pytest.mark.parametrize("name", ["gbm", "random_forest", "dnn"])
def test_plain_numbers(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    x, y = make_regression(120, 4, noise=1.0, random_state=0)
    model = quick(
        name, **({"max_epochs": 40, "learning_rate": 0.01} if name == "dnn" else {"max_trees": 200} if name == "gbm" else {})
    )
    model.fit(x[:90], y[:90])
    assert model.features == "stats"  # of a fit on a zoo, which this was not
    ceiling = LinearRegression().fit(x[:90], y[:90]).score(x[90:], y[90:])
    assert 0.4 < model.score(x[90:], y[90:]) <= ceiling
    with pytest.raises(MetanetError, match="predicts y, a number"):
        model.predict_proba(x)
    with pytest.raises(MetanetError, match="X has 3 columns, the model was fitted on 4"):
        model.predict(x[:, :3])
    model.save(tmp_path)
    assert np.array_equal(metanet.load_model(tmp_path).predict(x), model.predict(x))


def test_plain_arrays_are_a_view_of_them(known: Zoo) -> None:
    """A matrix of weights is what features=flat reads of the same networks, bit by bit."""
    train, test = known.view().split(test=0.4, seed=0)
    of_view = metanet.create_model("gbm", features="flat", max_trees=20).fit(train, "hp.optimizer")
    of_arrays = metanet.create_model("gbm", max_trees=20).fit(train.weights(), train.target("hp.optimizer"))
    assert np.array_equal(of_arrays.predict_proba(test.weights()), of_view.output(test))


def test_encoders_take_vectors_with_their_layout(known: Zoo) -> None:
    view = known.view().take(range(40))
    x, y = view.weights(), view.target("hp.optimizer")
    model = metanet.create_model("deepsets", max_epochs=1, channels=4, hidden=8)
    with pytest.raises(
        MetanetError, match=r"DeepSets\(.*\) reads weights of networks, and X does not say what its 67 values are"
    ):
        model.fit(x, y)
    model.fit(x, y, layout=view.layout)
    of_view = metanet.create_model("deepsets", max_epochs=1, channels=4, hidden=8).fit(view, "hp.optimizer")
    assert np.array_equal(model.predict_proba(x), of_view.output(view))
    with pytest.raises(MetanetError, match="was fitted on networks of a zoo"):
        of_view.predict(x)


def test_mistakes_are_one_line() -> None:
    x, y = load_iris(return_X_y=True)
    model = metanet.create_model("gbm", max_trees=3)
    for wrong, words in (
        ((x, "hp.optimizer"), "names a column of a zoo"),
        ((x, y[:5]), r"y has shape \(5,\); X has 150 rows"),
        ((x[0], y), r"X has shape \(4,\)"),
        (([["a"]], [1]), "X is no matrix of numbers"),
    ):
        with pytest.raises(MetanetError, match=words):
            model.fit(*wrong)
