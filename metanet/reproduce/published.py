"""What the released best configurations of Unterthiner et al. 2020 score, to stand beside our own scores.

R2 in cross-validation on 15,000 training networks a collection, from the configurations released with the paper; the
figures of the paper's own Table 2 are not machine-readable.
"""

from __future__ import annotations

SOURCE = "released best configurations, R2 in cross-validation on 15,000 training networks"

COLLECTIONS = ("mnist", "fashion_mnist", "cifar10_gs", "svhn_gs")
ESTIMATORS = ("gbm", "dnn", "logit_linear")  # in the order of the figures below

# input -> collection by collection, and in each gbm, dnn, logit-linear
_R2: dict[str, tuple[tuple[float, float, float], ...]] = {
    "flat": ((0.988, 0.980, 0.847), (0.990, 0.981, 0.733), (0.970, 0.954, 0.662), (0.971, 0.931, 0.786)),
    "flat:last": ((0.987, 0.989, 0.808), (0.989, 0.989, 0.699), (0.969, 0.969, 0.707), (0.968, 0.973, 0.802)),
    "flat:conv1": ((0.977, 0.978, 0.716), (0.982, 0.982, 0.500), (0.959, 0.959, 0.361), (0.936, 0.935, 0.451)),
    "flat:conv2": ((0.966, 0.969, 0.634), (0.975, 0.973, 0.423), (0.926, 0.929, 0.404), (0.895, 0.876, 0.545)),
    "flat:conv3": ((0.969, 0.975, 0.659), (0.973, 0.976, 0.450), (0.928, 0.930, 0.428), (0.900, 0.890, 0.566)),
    "stats_global": ((0.953, 0.948, 0.780), (0.955, 0.938, 0.516), (0.914, 0.897, 0.187), (0.908, 0.904, 0.384)),
    "stats": ((0.9928, 0.9928, 0.920), (0.9931, 0.9919, 0.804), (0.9840, 0.9802, 0.727), (0.9857, 0.9852, 0.852)),
    "stats:first+last": ((0.989, 0.988, 0.902), (0.989, 0.988, 0.775), (0.971, 0.968, 0.633), (0.971, 0.971, 0.779)),
    "stats:last": ((0.973, 0.973, 0.842), (0.977, 0.975, 0.713), (0.941, 0.933, 0.605), (0.946, 0.946, 0.755)),
    "norms_l1": ((0.983, 0.959, 0.835), (0.982, 0.952, 0.716), (0.960, 0.927, 0.479), (0.967, 0.945, 0.629)),
    "norms_l2": ((0.981, 0.980, 0.848), (0.983, 0.981, 0.730), (0.960, 0.950, 0.542), (0.971, 0.971, 0.700)),
    "hyper": ((0.918, 0.898, 0.692), (0.924, 0.889, 0.614), (0.934, 0.903, 0.685), (0.935, 0.880, 0.636)),
    "hyper+flat": ((0.990, 0.979, 0.874), (0.991, 0.983, 0.794), (0.979, 0.955, 0.735), (0.978, 0.934, 0.814)),
    "hyper:learning_rate": ((0.024, 0.026, 0.025), (0.035, 0.036, 0.033), (0.015, 0.014, 0.003), (0.034, 0.034, 0.000)),
}

# The smallest Kendall tau of the paper's transfer matrix (Table 3): from SVHN-GS to MNIST.
SMALLEST_TRANSFER_TAU = 0.6


def released_r2(collection: str, estimator: str, features: str) -> float | None:
    """R2 of a released configuration; None where there is none."""
    if collection not in COLLECTIONS or estimator not in ESTIMATORS or features not in _R2:
        return None
    return _R2[features][COLLECTIONS.index(collection)][ESTIMATORS.index(estimator)]
