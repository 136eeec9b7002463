"""What settings may be: words and bounds by hand, then every constrained setting of the package with values that it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import pytest

import metanet
from metanet.cli.compose import compose
from metanet.constraints import (
    Between,
    Count,
    Interval,
    NotNegative,
    OneOf,
    Portion,
    Positive,
    Rate,
    Seed,
    check,
    expected,
    fits,
    kinds_of,
)
from metanet.errors import MetanetError
from metanet.generation.recipes import create_recipe
from metanet.models.base import constructor_arguments, setting_kinds
from metanet.models.registry import model_class

WORD = Annotated[str, OneOf("all", "conv", "fc")]


@pytest.mark.parametrize(
    ("kind", "allowed", "refused", "words"),
    [
        (int, [0, -3, np.int64(3)], [1.5, True, "1", None, math.nan], "a whole number"),
        (float, [0, 0.5, np.float32(2)], [True, "1", None, [1.0]], "a number"),
        (bool, [True, False], [0, 1, "true", None], "true or false"),
        (str, ["a", ""], [1, None, ["a"]], "a name"),
        (Count, [1, 10**9], [0, -1, 1.0, None], "a whole number from 1 up"),
        (Seed, [0, 2**31 - 1], [-1, 2**31], "a whole number from 0 up to 2^31 - 1"),
        (Positive, [1e-300, 5, math.inf], [0, -1.0, math.nan], "a number above 0"),
        (NotNegative, [0, 0.1], [-0.1, math.nan], "a number from 0 up"),
        (Portion, [0.1, 1], [0, 1.01], "a number above 0 up to 1"),
        (Rate, [0, 0.99], [1, -0.1], "a number from 0 up to, not including, 1"),
        (Between, [0.5], [0, 1], "a number above 0 up to, not including, 1"),
        (Annotated[int, Interval(high=5)], [-9, 5], [6], "a whole number up to 5"),
        (WORD, ["conv"], ["convs", "", 3, None], "all, conv or fc"),
        (Annotated[int, OneOf(1, 2)], [2], [3, True, "1"], "1 or 2"),
        (Count | None, [None, 3], [0, "null"], "a whole number from 1 up, or null"),
        (WORD | Annotated[int, Interval(0)], ["all", 0], [-1, "none"], "all, conv or fc, or a whole number from 0 up"),
        (list[Count], [[], [1, 2], (3,)], [[0], [1, "a"], 1, "ab"], "a list, each member a whole number from 1 up"),
        (Sequence[str], [["a"]], ["a", [1]], "a list, each member a name"),
        (dict[str, Count], [{}, {"a": 1}], [{"a": 0}, [1]], "a mapping to a whole number from 1 up"),
        (dict[str, Any], [{}, {"a": None}], [[1], None], "a mapping"),
        (Any, [None, object()], [], "anything"),
    ],
)
def test_what_a_kind_allows_and_how_it_is_said(kind: Any, allowed: list[Any], refused: list[Any], words: str) -> None:
    for value in allowed:
        check("key", value, kind)
    for value in refused:
        with pytest.raises(MetanetError) as error:
            check("key", value, kind)
        assert str(error.value).split("; did you mean")[0].endswith(f": give {words}")
    assert expected(kind) == words


def test_the_message_shows_what_was_given_as_it_was_written() -> None:
    with pytest.raises(MetanetError, match=r"^part=convs: give all, conv or fc, or null; did you mean 'conv'\?$"):
        check("part", "convs", WORD | None)
    for value, shown in ((None, "null"), (True, "true"), ("x", "x"), ([1], "[1]")):
        with pytest.raises(MetanetError, match="^" + f"model.seed={shown}: give a whole number".replace("[", r"\[")):
            check("model.seed", value, Seed)


CANDIDATES = [None, True, "no such word", -7, 0, 1, 3, 2**40, 0.5, -0.5, 1.5, math.nan, [], ["no such word"], {}, {"a": -1}]


def refused(kind: Any) -> Iterator[Any]:
    """Values that a kind does not allow; none where it allows everything."""
    return (value for value in CANDIDATES if not fits(value, kind))


@pytest.mark.parametrize("name", metanet.list_models())
def test_every_setting_of_a_model_refuses_what_it_is_not(name: str) -> None:
    cls = model_class(name)
    kinds = setting_kinds(cls)
    assert kinds.keys() == constructor_arguments(cls).keys()  # none without an annotation
    for key, kind in kinds.items():
        assert fits(constructor_arguments(cls)[key].default, kind), key
        given = list(refused(kind))
        assert given, key
        for value in given:
            with pytest.raises(MetanetError, match=rf"^model\.{key}=.*: give "):
                cls(**{key: value})


@pytest.mark.parametrize("name", metanet.list_recipes())
def test_every_setting_of_a_recipe_refuses_what_it_is_not(name: str) -> None:
    config = compose("generate", {"recipe": name})["recipe"]
    kinds = kinds_of(type(create_recipe(**config)))
    for key in config.keys() - {"name", "hyperparameters", "design"}:
        given = list(refused(kinds[key]))
        assert given, key
        for value in given:
            if (key, value) == ("share", "no such word"):
                continue  # a word is a list of one
            with pytest.raises(MetanetError, match=rf"^recipe\.{key}=.*: give "):
                create_recipe(**config | {key: value})


def test_a_depth_beyond_any_tree_is_refused_or_costs_nothing() -> None:
    with pytest.raises(MetanetError, match="max_depth"):
        metanet.create_model("gbm", max_depth=10**11)
    x = np.random.default_rng(0).standard_normal((60, 3))
    deep, free = (metanet.create_model("gbm", max_depth=d, max_trees=3).fit(x, x[:, 0]).predict(x) for d in (2**31 - 1, -1))
    np.testing.assert_array_equal(deep, free)
