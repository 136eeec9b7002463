"""The zoo card: its README, for people who have not metanet. It says what is known and leaves out what is not."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from metanet.zoo.header import DataFacts, ZooHeader


def zoo_card(header: ZooHeader, networks: pd.DataFrame, snapshots: pd.DataFrame) -> str:
    """The zoo's README: what it holds, how it came to be, how to read it."""
    status = networks["status"].value_counts().to_dict()
    epochs = sorted(snapshots["epoch"].unique().tolist())
    counts = (
        f"{len(networks)} networks ({', '.join(f'{v} {k}' for k, v in status.items())}), {len(snapshots)} snapshots at epochs"
    )
    facts = [*map(_images, header.data.each.values()), _losses(header, snapshots)]
    drawn = "\n".join(f"- {k}: {v}" for k, v in header.recipe.hyperparameters.items())
    title = " on ".join(name for name in (header.recipe.name, header.data.name) if name) or "networks from elsewhere"
    return f"""# Zoo: {title}

{counts}
{epochs}.{_accuracy(snapshots)}

{" ".join(words for words in facts if words)}
{_origin(header)}

## Hyperparameters drawn
{drawn or _listed(header, "hp.")}

## Reading it without metanet
`snapshots.parquet` says for each snapshot its shard, offset and length: the weights are
`numpy.load("weights-SSSSS.npy", mmap_mode="r")[offset:offset + length]`, laid out as `layouts` in `zoo.json` says.
`columns` there says what kind of number each column holds, `checksums` how each file was written.
"""


def _accuracy(snapshots: pd.DataFrame) -> str:
    """How accurate the last snapshots are, where that was measured."""
    if "test_accuracy" not in snapshots:
        return ""
    last = snapshots.loc[snapshots.groupby("network_id")["epoch"].idxmax(), "test_accuracy"].describe()
    quartiles = " / ".join(f"{last[q]:.3f}" for q in ("25%", "50%", "75%"))
    return f" Test accuracy of the last snapshots: mean {last['mean']:.3f},\nquartiles {quartiles}."


def _images(data: DataFacts) -> str:
    """What is known of an image set, in a sentence."""
    counts = [f"{n} {part}" for n, part in ((data.n_train, "training"), (data.n_test, "test")) if n is not None]
    known = [f"{' and '.join(counts)} images"] if counts else []
    known += [] if data.classes is None else [f"{data.classes} classes"]
    return f"{data.name or 'Images'}: {', '.join(known)}." if known else ""


def _losses(header: ZooHeader, snapshots: pd.DataFrame) -> str:
    """What the losses are, where there are some and that is known."""
    if header.recipe.losses_include_l2 is None or not any(str(c).endswith("_loss") for c in snapshots):
        return ""
    if header.recipe.losses_include_l2:
        return f"Losses are {'as published, ' if header.recipe.imported else ''}with the l2 penalty."
    return "Losses are plain cross-entropy, without the l2 penalty."


def _origin(header: ZooHeader) -> str:
    """Where the networks come from."""
    if header.recipe.imported:
        return f"Imported; its files: {header.files or 'here'}."
    facts = {"Seed": header.seed, "device": header.more.get("device"), "engine": header.engine, "": header.more.get("created")}
    return _sentence(f"{name} {value}".strip() for name, value in facts.items() if value is not None)


def _listed(header: ZooHeader, prefix: str) -> str:
    """The columns of a prefix with their kinds, one a line."""
    return "\n".join(f"- {c.removeprefix(prefix)}: {kind}" for c, kind in header.columns.items() if c.startswith(prefix))


def _sentence(parts: Iterable[str]) -> str:
    words = ", ".join(parts)
    return f"{words[:1].upper()}{words[1:]}." if words else ""
