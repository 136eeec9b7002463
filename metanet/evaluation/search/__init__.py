"""Search of a meta-model's settings by cross-validation on the training part (Unterthiner et al. 2020, section 4.2, A.4).

All configurations are drawn up front from one seed. Each is fitted on all folds but one and stopped by the fold that was
held out; the best mean loss wins, is fitted on the whole training part for the median number of trees or epochs, and is
scored on the test part once. Folds are of networks, never of snapshots, and part no networks of one configuration. Every
finished trial is a line of ``trials.jsonl``, so an interrupted search goes on where it stopped.

plan: what is drawn · trials: one cross-validation · log: what lies on disk · strategies: what is tried next · final: the fits
that follow · search: all of it.
"""

from metanet.evaluation.search.plan import SearchPlan, search_plan, search_space
from metanet.evaluation.search.search import OnTrial, Search
from metanet.evaluation.search.trials import Rows, Subject

__all__ = ["OnTrial", "Rows", "Search", "SearchPlan", "Subject", "search_plan", "search_space"]
