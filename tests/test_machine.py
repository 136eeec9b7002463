"""The line that stands below every table of figures."""

import re

import lightgbm
import sklearn
import torch

from metanet.machine import describe_machine, processor, versions


def test_versions_are_those_that_are_imported() -> None:
    found = versions()
    assert found["torch"] == torch.__version__
    assert found["lightgbm"] == lightgbm.__version__
    assert found["scikit-learn"] == sklearn.__version__


def test_the_line_names_processor_cores_and_threads() -> None:
    line = describe_machine(3)
    assert processor() in line
    assert re.search(r", \d+ cores, 3 thread\(s\)", line)
