"""What the verbs print: progress bars on stderr (none when it is no terminal), tables on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from metanet.errors import printable
from metanet.zoo.zoo import Zoo


def _name() -> TextColumn:
    """What a bar is of, as it is written."""
    return TextColumn("{task.description}", markup=False)


def _transfer() -> tuple[ProgressColumn, ...]:
    """What a bar over bytes shows."""
    return _name(), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()


@contextmanager
def generation_bar() -> Iterator[Callable[..., None]]:
    """A bar over the training images of all networks, with rate, groups and time left."""
    console = Console(stderr=True)
    columns = (
        _name(),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[groups]}  {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("growing", total=None, groups="", rate="")

        def report(progress) -> None:  # type: ignore[no-untyped-def]
            speed = bar.tasks[0].speed
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                groups=f"groups {progress.groups_done}/{progress.groups}",
                rate=f"{speed / 1e3:,.0f}k net-images/s" if speed else "",
            )

        yield report


@contextmanager
def download_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each file that is fetched."""
    console = Console(stderr=True)
    with Progress(*_transfer(), console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def report(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(f"fetching {file}", total=total or None)
            bar.update(tasks[file], completed=done)

        yield report


@contextmanager
def bytes_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over the bytes of one file; call it with those done and all."""
    console = Console(stderr=True)
    with Progress(*_transfer(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def fit_bars(total: int, show: bool = False) -> Iterator[tuple[Callable[[str], None], Callable[[int, int, float], None]]]:
    """Two bars: over fits, and over the trials or epochs of the present one; call them with a fit's name, and with those done.

    ``show`` the first also for one fit: more may follow than are known at first.
    """
    console = Console(stderr=True)
    columns = (
        _name(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        fits = bar.add_task("fitting", total=total, visible=show or total > 1)
        trials = bar.add_task("searching", total=None, visible=False)
        begun = -1

        def begin(name: str) -> None:
            nonlocal begun
            begun += 1
            bar.update(fits, description=f"fitting: {name}", completed=begun, total=max(total, begun + 1))

        def on_trial(done: int, of: int, best: float) -> None:
            if bar.tasks[trials].completed >= done:
                bar.reset(trials)
            bar.update(trials, description=f"  loss {best:.2e}", completed=done, total=of, visible=done < of)

        yield begin, on_trial
        bar.update(fits, completed=total)


def print_table(table: pd.DataFrame, title: str = "", scientific: bool = False) -> None:
    """A frame as a terminal table, numbers to three decimals; names are shown as they are written, whatever they hold.

    Args:
        scientific: show small and large numbers as powers of ten.
    """
    head = Text(printable(title)) if title else None
    shown = Table(title=head, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, header_style="", title_style="")
    for column in table:
        numeric = pd.api.types.is_numeric_dtype(table[column])
        shown.add_column(Text(printable(str(column))), justify="right" if numeric else "left", no_wrap=True)
    for row in table.itertuples(index=False):
        shown.add_row(*(Text(_cell(value, scientific)) for value in row))
    # As wide as the table: a narrow terminal wraps the lines, but no number is cut.
    wide = Console(width=1000, no_color=True)
    wide.width = Measurement.get(wide, wide.options, shown).maximum
    with wide.capture() as captured:
        wide.print(shown)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _cell(value: object, scientific: bool) -> str:
    if not isinstance(value, float):
        return printable(str(value))
    if pd.isna(value):
        return "nan" if scientific else "-"
    plain = not scientific or value == 0 or 1e-3 <= abs(value) < 1e5
    return f"{value:.3f}" if plain else f"{value:.1e}"


def print_leaderboard(table: pd.DataFrame) -> None:
    """The leaderboard, one table a target; intervals side by side, fewer columns than the CSV has."""
    for target, rows in table.groupby("target", sort=False):
        print_table(_leaderboard_columns(rows.dropna(axis=1, how="all")), f"target: {target}")


def _leaderboard_columns(table: pd.DataFrame) -> pd.DataFrame:
    shown = table[[c for c in ("model", "features", "settings", "access") if c in table]].copy()
    if "settings" in shown:
        shown["settings"] = shown["settings"].fillna("")
    for column in ("seed", "split.seed", "zoo"):
        if column in table and table[column].nunique() > 1:
            shown[column] = table[column]
    measure = "r2" if "r2" in table else "accuracy"
    shown[measure] = table[measure]
    shown["95 %"] = _intervals(table, measure, ".3f")
    for column in ("balanced_accuracy", "chance", "mad", "tau"):
        if column in table:
            shown[column] = table[column]
    if "tau_minus_hyper_low" in table:  # of another zoo, where rankings are what transfers
        shown["tau - hyper"] = _intervals(table, "tau_minus_hyper", "+.3f")
    several = "r2_so_far" in table
    for column in ("r2_trained", "r2_beyond_hyper", *(("floor", "r2_beyond_floor") if several else ())):
        if column in table:
            shown[column] = table[column]
    if f"{measure}_minus_floor_low" in table:
        shown[f"{measure} - floor"] = _intervals(table, f"{measure}_minus_floor", "+.3f")
    shown["seconds"] = table["seconds"].map("{:.1f}".format)
    return shown


def _intervals(table: pd.DataFrame, name: str, form: str) -> list[str]:
    ends = zip(table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return ["-" if pd.isna(low) else f"{low:{form}} to {high:{form}}" for low, high in ends]


def print_run(folder: Path) -> None:
    """The last line of every verb that makes a run."""
    print(f"run: {folder}")


def print_zoo(zoo: Zoo) -> None:
    """One paragraph about a zoo's last snapshots."""
    frame = zoo.view().frame
    states = ", ".join(f"{count} {status}" for status, count in zoo.networks["status"].value_counts().items())
    words = [f"{len(zoo.networks)} networks ({states}{_converged(zoo)}), {len(zoo.snapshots)} snapshots"]
    if "test_accuracy" in frame:
        accuracy = frame["test_accuracy"]
        shares = f"{(accuracy < 0.2).mean():.0%} below 0.2, {(accuracy > 0.8).mean():.0%} above 0.8"
        words.append(f"test accuracy: mean {accuracy.mean():.3f}, {shares}")
    if shared := zoo.header.shared.of:
        words.append(f"one seed for {' and '.join(shared)} (recipe.share)")
    print("; ".join(words))


def _converged(zoo: Zoo) -> str:
    return "" if zoo.data.converged is None else f", {len(zoo.view(converged=True))} converged"
