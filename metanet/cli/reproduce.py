"""``metanet reproduce``: a paper's table or figure, or all of them in one report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from metanet.cli.compose import compose, required
from metanet.cli.terminal import fit_bars, print_run, print_table
from metanet.errors import MetanetError
from metanet.evaluation.fitting import Fitter
from metanet.machine import describe_machine
from metanet.plots.predictions import draw_result
from metanet.reproduce.catalogue import Item, items
from metanet.reproduce.report import Missing, write_exhibit, write_report
from metanet.reproduce.study import Exhibit, Study
from metanet.runs.folder import RunFolder, folder_for
from metanet.runs.tracking import track


def run(config: dict[str, Any]) -> None:
    """Make each exhibit, print its tables and notes, write it, and the report."""
    wanted = items(str(required(config, "item", "metanet reproduce table2 zoo=zoos/mnist")))
    required(config, "zoo", "zoo=[zoos/mnist,zoos/fashion_mnist]")
    alone = len(wanted) == 1
    with folder_for(config["out"], "reproduce", next(iter(wanted)) if alone else config["item"]) as folder:
        _reproduce(config, wanted, folder)


def _reproduce(config: dict[str, Any], wanted: dict[str, Item], folder: Path) -> None:
    alone = len(wanted) == 1

    def compose_fit(zoo: str, model: str, features: str, overrides: dict[str, str]) -> dict[str, Any]:
        split = {f"split.{key}": str(value) for key, value in config["split"].items()}
        common = {"model": model, "zoo": zoo, "features": features, "target": "test_accuracy"}
        fit = compose("train", common | split | overrides)
        if fit["search"]["name"] != "none":
            fit["search"] |= {"folds": config["folds"], "seed": config["seed"]}
        return fit | {"launcher": config["launcher"], "trainer": config["trainer"], "tracking": config["tracking"]}

    made: list[Exhibit | Missing] = []
    report = folder / next(iter(wanted)) / "report.html" if alone else folder / "report.html"
    with fit_bars(1, show=True) as (begin, on_trial):
        study = Study(config, folder, compose_fit, Fitter(draw_result, on_trial, print), begin)
        record = RunFolder(folder)
        record.write_config(config)
        for name, item in wanted.items():
            begin(name)
            made.append(_make(study, name, item, alone))
            if isinstance(made[-1], Exhibit):
                write_exhibit(made[-1], folder / name)
            write_report(made, study, report)  # what is there so far
    for exhibit in made:
        _print(exhibit)
    tables = {f"{e.name}/{name}": table for e in made if isinstance(e, Exhibit) for name, table in e.tables.items()}
    track(config["tracking"], record, config, {"exhibits": len(made)}, "reproduce", tables=tables)
    print(describe_machine(study.threads))
    print(f"report: {report}")
    print_run(folder)


def _make(study: Study, name: str, item: Item, alone: bool) -> Exhibit | Missing:
    """An exhibit; where its zoo is missing, or it cannot be made of it, ``all`` has a word about it in its place."""
    began = time.perf_counter()
    try:
        exhibit = item.make(study, name)
    except MetanetError as error:
        if alone:
            raise
        return Missing(name, str(error))
    exhibit.seconds = time.perf_counter() - began
    return exhibit


def _print(exhibit: Exhibit | Missing) -> None:
    if isinstance(exhibit, Missing):
        print(f"{exhibit.name}: not measured; {exhibit.why}\n")
        return
    print(f"{exhibit.name}: {exhibit.title}")
    for table in exhibit.measured():
        print_table(table)
    for note in exhibit.notes:
        print(f"  {note}")
    print()
