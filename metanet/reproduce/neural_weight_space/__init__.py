"""Figures of Eilertsen et al. 2020 on the neural weight space itself: Figures 1 and 6 to 15."""
