"""Independent tasks over the cores of this machine or a Ray cluster, results in whatever order they come."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from metanet.errors import MetanetError, check_whole, did_you_mean
from metanet.generation.cluster import ray_cluster

MAPPED_BYTES = 1_000_000  # arrays larger than this reach the workers as a memory map
MOST_RETRIES = 3


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
        if name not in ("local", "ray"):
            raise MetanetError(f"no launcher '{name}'{did_you_mean(name, ('local', 'ray'))}")
        if workers is not None:
            check_whole("launcher.workers", workers)
        return cls(name, workers or threads, config.get("address"))

    def run(self, function: Callable[..., Any], shared: Any, tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """``function(shared, *task)`` of each task; processes are never forked.

        Raises:
            MetanetError: a worker ended without an answer (the system kills the largest when memory ends).
        """
        if not tasks:
            return
        if self.name == "ray":
            yield from self._on_ray(function, shared, tasks)
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

    def _on_ray(self, function: Callable[..., Any], shared: Any, tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        with ray_cluster(self.address, self.workers) as ray:
            remote = ray.remote(num_cpus=1, max_retries=MOST_RETRIES)(function)
            reference = ray.put(shared)
            queue = deque(tasks)
            waiting: set[Any] = set()
            while queue or waiting:
                slots = max(1, int(ray.cluster_resources().get("CPU", 1))) + 1
                while queue and len(waiting) < slots:
                    waiting.add(remote.remote(reference, *queue.popleft()))
                finished, _ = ray.wait(list(waiting), timeout=5.0)
                for done in finished:
                    waiting.remove(done)
                    try:
                        yield ray.get(done)
                    except ray.exceptions.RayTaskError as error:
                        raise error.cause if isinstance(error.cause, MetanetError) else error from None
                    except ray.exceptions.RayError as error:
                        raise MetanetError(
                            f"Ray lost a task {MOST_RETRIES + 1} times ({type(error).__name__}); what was finished is kept: give "
                            "the same command again"
                        ) from None
