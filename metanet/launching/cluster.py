"""Tasks on a Ray cluster (extra [ray]), which is there for as long as it is needed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from metanet.errors import MetanetError

MOST_RETRIES = 3  # of one task, by Ray itself
Task = tuple[Any, ...]


def run_on_ray(
    function: Callable[..., Any],
    shared: Any,
    tasks: Sequence[Task],
    address: str | None,
    workers: int,
    again: Callable[[Task], Task] | None = None,
    on_gpu: bool = False,
) -> Iterator[Any]:
    """``function(shared, *task)`` of each task on one CPU (or one GPU), results in whatever order they come.

    Args:
        shared: sent to the nodes once.
        address, workers: as for :func:`ray_cluster`.
        again: the task that takes the place of one that Ray lost; None: a loss ends the run.

    Raises:
        MetanetError: Ray lost a task too often, or the task raised it.
    """
    with ray_cluster(address, workers) as ray:
        remote = ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_retries=MOST_RETRIES)(function)
        reference = ray.put(shared)
        queue = deque(tasks)
        waiting: dict[Any, Task] = {}
        while queue or waiting:
            slots = max(1, int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1))) + 1
            while queue and len(waiting) < slots:
                task = queue.popleft()
                waiting[remote.remote(reference, *task)] = task
            finished, _ = ray.wait(list(waiting), timeout=5.0)
            for done in finished:
                task = waiting.pop(done)
                try:
                    yield ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, MetanetError) else error from None
                except ray.exceptions.RayError as error:
                    if again is None:
                        raise MetanetError(
                            f"Ray lost a task {MOST_RETRIES + 1} times ({type(error).__name__}); what was finished is kept: give "
                            "the same command again"
                        ) from None
                    queue.append(again(task))


@contextmanager
def ray_cluster(address: str | None, workers: int) -> Iterator[Any]:
    """The ``ray`` module, connected; what was started here ends here.

    Args:
        address: of a running cluster (``auto`` or ``ray://...``); None starts one on this machine.
        workers: CPUs of a cluster that is started here.

    Raises:
        MetanetError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise MetanetError("launcher=ray needs Ray: pip install 'metanet-weights[ray]'") from None
    begun_here = not ray.is_initialized()
    if begun_here:
        own: dict[str, Any] = {"include_dashboard": False, "num_cpus": workers} if address is None else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise MetanetError(f"launcher.address={address}: {str(error).splitlines()[0]}") from None
    try:
        yield ray
    finally:
        if begun_here:
            ray.shutdown()
