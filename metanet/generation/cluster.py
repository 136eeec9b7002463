"""A Ray cluster for as long as it is needed (extra [ray])."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from metanet.errors import MetanetError


@contextmanager
def ray_cluster(address: str | None, workers: int) -> Iterator[Any]:
    """The ``ray`` module, connected; what was started here ends here.

    Args:
        address: of a running cluster (``auto`` or ``ray://...``); None starts one on this machine.
        workers: CPUs of a cluster that is started here.
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
