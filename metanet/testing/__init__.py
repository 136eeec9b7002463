"""Checks for what you write yourself: models, encoders, features, recipes, engines, formats; and proofs of symmetry.

Each check takes a name or ``FILE.py:NAME``, tries what metanet will ask of it on a small zoo, and raises an ``AssertionError``
that says which contract was broken, and by what. metanet's own are tested by the same checks.

>>> from metanet.testing import assert_function_unchanged
>>> from torch import nn
>>> assert_function_unchanged(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), (4,))
"""

from metanet.testing.features import check_features
from metanet.testing.formats import check_format
from metanet.testing.generation import check_engine, check_recipe
from metanet.testing.models import check_encoder, check_model
from metanet.testing.symmetry import assert_function_unchanged, assert_permutation_invariant, reordered
from metanet.testing.zoos import example_zoo

__all__ = [
    "assert_function_unchanged",
    "assert_permutation_invariant",
    "check_encoder",
    "check_engine",
    "check_features",
    "check_format",
    "check_model",
    "check_recipe",
    "example_zoo",
    "reordered",
]
