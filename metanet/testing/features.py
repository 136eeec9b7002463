"""What every feature must do: a row a network, which depends on that network alone."""

from __future__ import annotations

import json

import numpy as np

from metanet.features.unions import FeatureMap
from metanet.testing.contracts import alike, require, with_column
from metanet.testing.zoos import example_zoo
from metanet.zoo.zoo import Zoo


def check_features(features: str, zoo: Zoo | None = None, target: str = "test_accuracy") -> None:
    """Raise unless features keep their contract.

    Args:
        features: as ``features=`` takes them, such as ``stats`` or ``./mine.py:my_features``.
        zoo: default :func:`metanet.testing.example_zoo`.
        target: of the fit that they would be an input of; they must not read it.

    Raises:
        AssertionError: says which contract was broken, and by what.
    """
    train, test = (zoo or example_zoo(40)).view().split(test=0.5, seed=0)
    fitted = FeatureMap(features).fit(train, target)
    x = fitted.transform(test)
    title = features.rpartition("/")[2]
    require(x.ndim == 2 and len(x) == len(test), title, f"shape {x.shape}; wanted is a row for each of the {len(test)} networks")
    require(np.issubdtype(x.dtype, np.floating), title, f"values are {x.dtype}; floating-point numbers are wanted")
    names = list(fitted.names)
    require(len(names) == x.shape[1], title, f"{len(names)} names for {x.shape[1]} columns")
    doubled = [name for name in names if names.count(name) > 1]
    require(not doubled, title, f"the name {doubled[:1]} stands for several columns")
    require(not np.isinf(x).any(), title, "has infinite values; give NaN where a value is missing")
    alone = np.concatenate([fitted.transform(test.take([i])) for i in range(3)])
    require(alike(alone, x[:3]), title, "what is read of a network depends on which others are in the view")
    values = test.frame[target].to_numpy()
    mixed = fitted.transform(with_column(test, target, np.roll(values, 1)))
    require(alike(mixed, x), title, f"reads {target}, the target")
    again = FeatureMap.from_json(json.loads(json.dumps(fitted.to_json())))
    require(again.names == names and alike(again.transform(test), x), title, "is another one after saving and loading")
