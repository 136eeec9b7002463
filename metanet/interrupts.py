"""Ctrl-C and SIGTERM end a command at once, wherever they come.

Both raise KeyboardInterrupt in the main thread. Python drops an exception that a finaliser raises, so one that comes while
objects are torn down would be lost: what came is remembered, :func:`check` raises it again, and :func:`held` puts it off.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class _State:
    """Whether a command runs, and which signal came last."""

    running: bool = False
    came: int | None = None


_state = _State()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, the first of the two signals raises KeyboardInterrupt and a second ends the process; only in the main thread."""
    if not _in_main_thread():
        yield
        return
    _state.running, _state.came = True, None
    try:
        with _handled_by(_stop):
            yield
    finally:
        _state.running = False


def _stop(number: int, _: Any) -> NoReturn:
    _state.came = number
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt


def check() -> None:
    """Raise the interruption that came within :func:`stoppable` and was swallowed since.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    if _state.running and _state.came is not None:
        raise KeyboardInterrupt


def exit_code() -> int:
    """Of a command that was interrupted: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_state.came or signal.SIGINT)


@contextmanager
def held() -> Iterator[None]:
    """Puts off both signals until the end, for work whose finalisers would swallow what they raise."""
    if not _in_main_thread():
        yield
        return
    pending: list[int] = []
    try:
        with _handled_by(lambda came, _: pending.append(came)):
            yield
    finally:
        if pending:
            signal.raise_signal(pending[0])


@contextmanager
def _handled_by(handler: Callable[[int, Any], object]) -> Iterator[None]:
    """Both signals go to one handler within, and to what they went to before afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number in SIGNALS:
            signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
