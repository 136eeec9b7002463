"""The meta-classifiers of Eilertsen et al. 2020: Figures 2 to 5 and 16 to 21, and votes beyond the paper.

Every fit is a run of ``metanet train`` on converged networks, its split and seed other in each round. Scores are balanced
accuracies (every class counts alike) of the test networks: of whole networks, or of single slices at even distances.
"""
