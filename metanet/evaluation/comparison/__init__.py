"""Which meta-model is best on a zoo, and which differences are real: runs grouped and paired over test networks.

Runs whose configs differ in seeds alone are one group (:mod:`.groups`). All groups of one target on one zoo are a family, a table
(:mod:`.families`): its best is told apart from another row where the interval of their difference is above 0, as wide as it takes
for the whole table, with what splits or seeds add (:mod:`metanet.evaluation.differences`). Where groups have not the same test
parts, they are ordered by means adjusted for how hard each part is (:mod:`.adjusted`). :mod:`.words` says what was found.
"""

from metanet.evaluation.comparison.adjusted import adjusted_means
from metanet.evaluation.comparison.families import MEASURES, Family, compare
from metanet.evaluation.comparison.groups import AGREE, SEEDS, Group, agree, differing, grouped
from metanet.evaluation.comparison.words import MEANINGS, readable, sentence, tested, unanswered, verdict, write_comparison

__all__ = [
    "AGREE",
    "MEANINGS",
    "MEASURES",
    "SEEDS",
    "Family",
    "Group",
    "adjusted_means",
    "agree",
    "compare",
    "differing",
    "grouped",
    "readable",
    "sentence",
    "tested",
    "unanswered",
    "verdict",
    "write_comparison",
]
