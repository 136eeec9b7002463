"""Support vector machines against scikit-learn's own decision functions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC, SVR, LinearSVC

import metanet
from metanet.errors import MetanetError
from metanet.zoo import Zoo


@pytest.fixture(scope="module")
def fitted(known: Zoo):  # type: ignore[no-untyped-def]
    train, test = known.view().split(test=0.4, seed=0)

    def of(name: str, target: str = "hp.optimizer", **settings: object):  # type: ignore[no-untyped-def]
        model = metanet.create_model(name, features="measures", **settings).fit(train, target)
        held = model.held_out.view
        x = np.concatenate(
            [
                model._scale(model.map.transform(v))
                for v in (train.of_networks(set(train.network_ids) - set(held.network_ids)), held)
            ]
        )
        y = np.concatenate(
            [model.target.encode(v) for v in (train.of_networks(set(train.network_ids) - set(held.network_ids)), held)]
        )
        return model, x, y, model._scale(model.map.transform(test)), test

    return of


def test_the_linear_one_is_liblinears(fitted) -> None:  # type: ignore[no-untyped-def]
    model, x, y, z, test = fitted("svm_linear", C=0.1)
    theirs = LinearSVC(C=0.1, dual=False, class_weight="balanced").fit(x, y)
    np.testing.assert_allclose(model.output(test), softmax(theirs.decision_function(z), axis=1), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(model.coefficients, axis=0), np.linalg.norm(theirs.coef_, axis=0), rtol=1e-3)


def test_the_rbf_one_is_libsvms_one_against_the_rest(fitted) -> None:  # type: ignore[no-untyped-def]
    model, x, y, z, test = fitted("svm_rbf")
    theirs = OneVsRestClassifier(SVC(C=10.0, gamma="scale", class_weight="balanced")).fit(x, y)
    np.testing.assert_allclose(model.output(test), softmax(theirs.decision_function(z), axis=1), atol=1e-4)


def test_the_rbf_one_on_numbers_is_libsvms_regression(fitted) -> None:  # type: ignore[no-untyped-def]
    model, x, y, z, test = fitted("svm_rbf", "test_accuracy")
    theirs = SVR(C=10.0, gamma="scale").fit(x, (y - y.mean()) / y.std()).predict(z) * y.std() + y.mean()
    np.testing.assert_allclose(model.output(test), theirs, atol=1e-4)


def test_logistic_regression_is_scikit_learns(fitted) -> None:  # type: ignore[no-untyped-def]
    model, x, y, z, test = fitted("logistic")
    theirs = LogisticRegression(max_iter=2000, class_weight="balanced").fit(x, y)
    np.testing.assert_allclose(model.output(test), theirs.predict_proba(z), atol=1e-3)


def test_two_classes_share_one_machine(known: Zoo) -> None:
    view = known.view(where="hp.optimizer != 'sgd'")
    train, test = view.split(test=0.5, seed=1)
    for name in ("svm_linear", "svm_rbf", "logistic"):
        model = metanet.create_model(name, features="measures").fit(train, "hp.optimizer")
        assert model.output(test).shape == (len(test), 2)
        if name == "logistic":
            held = model.held_out.view
            rest = train.of_networks(set(train.network_ids) - set(held.network_ids))
            x = np.concatenate([model._scale(model.map.transform(v)) for v in (rest, held)])
            y = np.concatenate([model.target.encode(v) for v in (rest, held)])
            theirs = LogisticRegression(max_iter=2000, class_weight="balanced").fit(x, y)
            mine = model.output(test)
            np.testing.assert_allclose(mine, theirs.predict_proba(model._scale(model.map.transform(test))), atol=1e-3)
        assert model.score(test)["accuracy"] > 0.9


def test_numbers_are_not_for_logistic_regression(known: Zoo) -> None:
    with pytest.raises(MetanetError, match="logistic does no regression, which target=test_accuracy needs"):
        metanet.create_model("logistic").fit(known.view())


def test_a_cost_must_be_positive() -> None:
    with pytest.raises(MetanetError, match=r"model.C=0: give a number above 0"):
        metanet.create_model("svm_rbf", C=0)
