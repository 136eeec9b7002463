"""A crew of worker processes of one thread each, for tasks that a death of their worker must not lose.

Each worker has a pipe of its own, so that one that dies can neither hold a lock nor leave half a message in another's way.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, cast

import torch

from metanet.errors import MetanetError

MOST_DEATHS = 3  # of workers in a row, before the tasks are given up

Task = tuple[Any, ...]


@dataclass
class _Worker:
    """One process, and what it does now."""

    process: BaseProcess
    task: Task | None = None


def run_in_crew(
    function: Callable[..., Any],
    shared: Any,
    tasks: Sequence[Task],
    workers: int,
    again: Callable[[Task], Task],
    on_progress: Callable[[Task, Any], None],
) -> Iterator[Any]:
    """``function(shared, *task, report)`` of each task, results in whatever order they come.

    Args:
        shared: sent to each worker once; what it loads there stays there.
        again: the task that takes the place of one whose worker died (the system kills the largest when memory ends).
        on_progress: told what ``report`` is given in a worker, with its task.

    Raises:
        MetanetError: more than :data:`MOST_DEATHS` workers ended in a row; what function raises.
    """
    context = multiprocessing.get_context("spawn")
    queue = deque(tasks)
    crew: dict[Connection, _Worker] = {}
    deaths = 0
    try:
        while queue or any(worker.task is not None for worker in crew.values()):
            while len(crew) < min(workers, len(queue) + sum(w.task is not None for w in crew.values())):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, function, shared), daemon=True)
                with _workers_ignore_interrupts():
                    process.start()
                theirs.close()  # so that a dead worker's pipe ends here too
                crew[ours] = _Worker(process)
            for pipe, worker in crew.items():
                if worker.task is None and queue:
                    worker.task = queue.popleft()
                    with suppress(OSError):  # a worker that is dead already shows below
                        pipe.send(worker.task)
            for pipe in cast("list[Connection]", connection.wait(list(crew))):
                worker = crew[pipe]
                if worker.task is None:  # it died while it had nothing to do
                    _dismiss(pipe, crew.pop(pipe))
                    continue
                try:
                    kind, content = pipe.recv()
                except (EOFError, OSError):
                    deaths += 1
                    if deaths > MOST_DEATHS:
                        raise MetanetError(
                            f"worker processes ended {deaths} times in a row (out of memory?); what was finished is kept: give "
                            "the same command again, perhaps with threads=1 or a smaller group_size"
                        ) from None
                    queue.appendleft(again(worker.task))
                    _dismiss(pipe, crew.pop(pipe))
                    continue
                if kind == "error":
                    raise content
                if kind == "progress":
                    on_progress(worker.task, content)
                else:
                    worker.task, deaths = None, 0
                    yield content
    finally:
        for pipe, worker in crew.items():
            _dismiss(pipe, worker)


def _dismiss(pipe: Connection, worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    pipe.close()


@contextmanager
def _workers_ignore_interrupts() -> Iterator[None]:
    """Processes started within never see Ctrl-C, not even while they import: the parent decides when to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(pipe: Connection, function: Callable[..., Any], shared: Any) -> None:
    """A worker's life: tasks come in, progress and results go out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where the parent started this worker from another thread
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        while True:
            task = pipe.recv()
            pipe.send(("result", function(shared, *task, lambda done: pipe.send(("progress", done)))))
    except EOFError:
        return
    except MetanetError as error:
        pipe.send(("error", error))
    except Exception:
        pipe.send(("error", RuntimeError(f"in a worker process:\n{traceback.format_exc()}")))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
