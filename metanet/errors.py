"""The one error that users see: what was given, what was expected, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_NAMED = 40  # of the names that one message lists


class MetanetError(Exception):
    """A mistake that the person at the keyboard can mend.

    The command line prints the message in one line and exits with code 2; nothing that was
    committed before is lost.

    Examples:
        >>> import metanet
        >>> try:
        ...     metanet.create_model("gmb")
        ... except metanet.MetanetError as error:
        ...     print(error)
        no model 'gmb'; did you mean 'gbm'?
    """


class UnsuitableTargetError(MetanetError):
    """A target that cannot be predicted from these networks, or not by this model; another one may."""


def nearest(given: str, options: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the option nearest to ``given``; empty where none is near."""
    near = difflib.get_close_matches(str(given), list(options), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def printable(text: str) -> str:
    """Text with its control characters written out: no name in a file clears a terminal, moves its cursor or adds a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(given: str, options: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the option nearest to ``given``, else the list of options."""
    names = sorted({str(option) for option in options})
    if near := nearest(given, names):
        return near
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED + 1 else ""
    return f"; choose from: {', '.join(names[:MOST_NAMED] if more else names)}{more}" if names else ""
