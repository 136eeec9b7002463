"""The zoo card: its README, for people who have not metanet."""

from __future__ import annotations

from typing import Any

import pandas as pd


def zoo_card(header: dict[str, Any], networks: pd.DataFrame, snapshots: pd.DataFrame) -> str:
    """The zoo's README: what it holds, how it came to be, how to read it."""
    data, recipe = header.get("data", {}), header.get("recipe", {})
    status = networks["status"].value_counts().to_dict()
    last = snapshots.loc[snapshots.groupby("network_id")["epoch"].idxmax()]
    accuracy = last["test_accuracy"].describe()
    if recipe.get("imported"):
        losses, origin = "Losses are as published, with the l2 penalty.", f"Imported; its files: {header.get('files') or 'here'}."
    else:
        losses = "Losses are plain cross-entropy, without the l2 penalty."
        origin = (
            f"Seed {header.get('seed')}, device {header.get('device')}, engine {header.get('engine')}, {header.get('created')}."
        )
    images = " ".join(
        f"{name}: {facts.get('n_train')} training and {facts.get('n_test')} test images, {facts.get('classes')} classes."
        for name, facts in data.get("sets", {data.get("name", "?"): data}).items()
    )
    drawn = "\n".join(f"- {k}: {v}" for k, v in recipe.get("hyperparameters", {}).items())
    return f"""# Zoo: {recipe.get("name", "?")} on {data.get("name", "?")}

{len(networks)} networks ({", ".join(f"{v} {k}" for k, v in status.items())}), {len(snapshots)} snapshots at epochs
{sorted(snapshots["epoch"].unique().tolist())}. Test accuracy of the last snapshots: mean {accuracy["mean"]:.3f},
quartiles {accuracy["25%"]:.3f} / {accuracy["50%"]:.3f} / {accuracy["75%"]:.3f}.

{images} {losses}
{origin}

## Hyperparameters drawn
{drawn}

## Reading it without metanet
`snapshots.parquet` says for each snapshot its shard, offset and length: the weights are
`numpy.load("weights-SSSSS.npy", mmap_mode="r")[offset:offset + length]`, laid out as `layouts` in `zoo.json` says.
"""
