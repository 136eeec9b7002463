"""Zoos: the store on disk, layouts, views and splits."""

from metanet.zoo.build import ZooBuilder
from metanet.zoo.layout import KINDS, Layout, TensorSpec
from metanet.zoo.split import Split, split_networks
from metanet.zoo.store import Zoo, ZooWriter, open_zoo, zoo_from_arrays
from metanet.zoo.view import View

__all__ = [
    "KINDS",
    "Layout",
    "Split",
    "TensorSpec",
    "View",
    "Zoo",
    "ZooBuilder",
    "ZooWriter",
    "open_zoo",
    "split_networks",
    "zoo_from_arrays",
]
