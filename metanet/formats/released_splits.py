"""The splits that others use on the released Small CNN Zoo: a stored permutation of its rows, and how it is cut."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from metanet.errors import MetanetError
from metanet.zoo.split import Split
from metanet.zoo.zoo import Zoo


def read_permutation(path: Path) -> np.ndarray:
    """A stored permutation of rows: a CSV with one index a line; a stray first line 0 that repeats index 0 is dropped.

    Raises:
        MetanetError: the file holds no permutation.
    """
    try:
        rows = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (OSError, ValueError) as error:
        raise MetanetError(f"'{path}' is no stored permutation (a CSV with one row number a line): {error}") from None
    if len(rows) > 1 and rows[0] == 0 and (rows[1:] == 0).any():
        rows = rows[1:]
    if not np.array_equal(np.sort(rows), np.arange(len(rows))):
        raise MetanetError(f"'{path}' is no permutation: {len(rows)} lines do not hold each of 0 to {len(rows) - 1} once")
    return rows


def permutation_split(zoo: Zoo, permutation: np.ndarray) -> Split:
    """The split that others use on the released Small CNN Zoo.

    The rows of the last epoch in the permutation's order; their second half is the test part; the first half is shuffled
    by Python's ``random.Random(0)`` and cut into 80 % training and 20 % validation.

    Args:
        zoo: an imported one, or one of ours, whose rows are counted in the order of an export.
        permutation: of all rows, shape (rows,).

    Raises:
        MetanetError: the permutation is of another number of rows than the zoo.
    """
    table = zoo.snapshots
    rows = table["row"].to_numpy() if "row" in table else np.arange(len(table))
    count = zoo.header.shards[0] // int(table["length"].iloc[0]) if "row" in table else len(table)
    if len(permutation) != count:
        raise MetanetError(f"the permutation has {len(permutation)} rows, {zoo.name} {count}; take the one of this zoo's files")
    network = np.full(count, None, object)
    final = table["epoch"].to_numpy() == table["epoch"].max()
    network[rows[final]] = table["network_id"].to_numpy(object)[final]
    ids = [i for i in network[permutation] if i is not None]
    half = int(0.5 * len(ids))
    order = list(range(half))
    random.Random(0).shuffle(order)
    cut = int(0.8 * half)
    parts = [[ids[i] for i in part] for part in (order[:cut], order[cut:])]
    return Split(tuple(parts[0]), tuple(parts[1]), tuple(ids[half:]))


# Of the repository of Permutation Equivariant Neural Functionals (Zhou et al. 2023), at one commit.
NFN_SPLITS = (
    "https://raw.githubusercontent.com/AllanYangZhou/nfn/c9387859e5e507910db0395d01b644f6e2080acb/"
    "experiments/predict_gen_data_splits/{}_split.csv"
)
NFN_NAMES = {"cifar10_gs": "cifar10", "svhn_gs": "svhn", "mnist": "mnist", "fashion_mnist": "fashion_mnist"}


def fetch_nfn_permutation(dataset: str) -> Path:
    """Fetch, once, the permutation that the neural functional papers use for a data set; the file in the user's cache.

    Raises:
        MetanetError: there is none for the image set, or it cannot be fetched.
    """
    import pooch
    import requests

    if dataset not in NFN_NAMES:
        raise MetanetError(f"split.file=nfn is for zoos of {', '.join(NFN_NAMES)}, not of {dataset}")
    url = NFN_SPLITS.format(NFN_NAMES[dataset])
    pooch.get_logger().setLevel("ERROR")
    try:
        # The address names a commit, and read_permutation refuses what is no permutation.
        return Path(
            pooch.retrieve(url, known_hash=None, fname=f"nfn_{dataset}.csv", path=Path(pooch.os_cache("metanet")) / "splits")
        )
    except (requests.RequestException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise MetanetError(f"{url} could not be fetched ({reason}); fetch it by hand and give split.file=PATH") from None
