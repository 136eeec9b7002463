"""Zoos: the store on disk, layouts, views and splits."""

from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.build import ZooBuilder
from metanet.zoo.layout import KINDS, Layout, TensorSpec
from metanet.zoo.reading import open_zoo
from metanet.zoo.split import Split, split_networks
from metanet.zoo.writer import ZooWriter
from metanet.zoo.zoo import View, Zoo

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
