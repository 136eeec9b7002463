import pandas as pd
import pytest

from metanet.cli.terminal import print_table
from metanet.errors import printable


def test_names_are_shown_as_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["net[enc].weight", "[bold]x", "a[/b].w", "\x1b]0;title\x07\x1b[31mred", "line\nbreak"]
    table = pd.DataFrame({"[red]tensor": names, "mean": [2e-4, 0.0, 12.5, 3e7, float("nan")]})
    print_table(table, "[x] of \x1b[2J", scientific=True)
    shown = capsys.readouterr().out
    for name in (*names, "[red]tensor", "[x] of \x1b[2J"):
        assert printable(name) in shown
    assert "\x1b" not in shown
    for number in ("2.0e-04", "0.000", "12.500", "3.0e+07", "nan"):
        assert number in shown
