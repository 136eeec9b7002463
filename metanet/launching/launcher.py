"""Independent tasks over the cores of this machine or a Ray cluster, results in whatever order they come."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from metanet.constraints import Count, check
from metanet.errors import MetanetError, did_you_mean
from metanet.launching.cluster import Task, ray_cluster, run_on_ray
from metanet.launching.crew import run_in_crew

LAUNCHERS = ("local", "ray")
MAPPED_BYTES = 1_000_000  # arrays larger than this reach the workers as a memory map


@dataclass(frozen=True)
class Launcher:
    """Where tasks run: the ``launcher`` config group.

    Attributes:
        name: ``local`` or ``ray``.
        workers: processes of one thread each; 1 is this process.
        address: of a running Ray cluster; None starts one on this machine.
    """

    name: str = "local"
    workers: int = 1
    address: str | None = None

    @classmethod
    def of(cls, config: dict[str, Any], threads: int) -> Launcher:
        """From the config group; ``threads`` where it names no number of workers."""
        name, workers = config.get("name", "local"), config.get("workers")
        check("launcher.workers", workers, Count | None)
        return cls(name, workers or threads, config.get("address"))

    def __post_init__(self) -> None:
        if self.name not in LAUNCHERS:
            raise MetanetError(f"no launcher '{self.name}'{did_you_mean(self.name, LAUNCHERS)}")

    def run(self, function: Callable[..., Any], shared: Any, tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """``function(shared, *task)`` of each task; processes are never forked.

        Raises:
            MetanetError: a worker ended without an answer (the system kills the largest when memory ends).
        """
        if not tasks:
            return
        if self.name == "ray":
            yield from run_on_ray(function, shared, tasks, self.address, self.workers)
        elif self.workers == 1 or len(tasks) == 1:
            for task in tasks:
                yield function(shared, *task)
        else:
            # loky replaces a worker that keeps much memory, such as binned data; nothing is lost
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
            with parallel_config(backend="loky", n_jobs=min(self.workers, len(tasks)), inner_max_num_threads=1):
                pool = Parallel(return_as="generator_unordered", max_nbytes=MAPPED_BYTES, batch_size=1, pre_dispatch="2*n_jobs")
                try:
                    yield from pool(delayed(function)(shared, *task) for task in tasks)
                except TerminatedWorkerError:
                    raise MetanetError(
                        "a worker process ended without an answer (out of memory?); what was finished is kept: give the same "
                        "command again, perhaps with fewer threads"
                    ) from None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keeps one Ray cluster for all that runs within; nothing to keep on this machine."""
        if self.name == "ray":
            with ray_cluster(self.address, self.workers):
                yield
        else:
            yield

    def run_reported(
        self,
        function: Callable[..., Any],
        shared: Any,
        tasks: Sequence[Task],
        again: Callable[[Task], Task],
        on_progress: Callable[[Task, Any], None],
        on_gpu: bool = False,
        alone: bool = False,
    ) -> Iterator[Any]:
        """``function(shared, *task, report)`` of long tasks that report their progress and outlive the death of a worker.

        Args:
            again: the task that takes the place of one whose worker died.
            on_progress: told what ``report`` was given, with its task; not on a cluster.
            on_gpu: whether a task needs one of the cluster's GPUs.
            alone: stay in this process, whatever the number of workers.
        """
        if self.name == "ray":
            yield from run_on_ray(function, shared, tasks, self.address, self.workers, again, on_gpu)
        elif alone or min(self.workers, len(tasks)) <= 1:
            for task in tasks:
                yield function(shared, *task, functools.partial(on_progress, task))
        else:
            yield from run_in_crew(function, shared, tasks, min(self.workers, len(tasks)), again, on_progress)
