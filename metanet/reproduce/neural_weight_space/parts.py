"""Image sets of zoos, which the figures show side by side."""

from __future__ import annotations

import pandas as pd

from metanet.reproduce.study import Study


def parts_of(study: Study) -> dict[str, tuple[str, str]]:
    """Every image set of every zoo, by a title."""
    return {
        f"{zoo}: {data}": (zoo, str(data))
        for zoo in study.zoos("nws")
        for data in sorted(study.zoo(zoo).view().frame["hp.dataset"].unique())
    }


def frame_of(study: Study, zoo: str, data: str | None = None) -> pd.DataFrame:
    """The last snapshots of a zoo, or of one of its image sets."""
    frame = study.zoo(zoo).view().frame
    return frame if data is None else frame[frame["hp.dataset"] == data].reset_index(drop=True)
