"""A Ray cluster (Moritz et al., 2018), reached by its address."""

from __future__ import annotations

import os
from typing import Any

from xopt.errors import InputError, require

__all__ = ["LOCAL", "connect"]

# The address of a cluster that is started on this machine, for this run.
LOCAL = "local"


def connect(address: str, *, why: str) -> Any:
    """The module ``ray``, connected.

    Args:
        address: as ``ray.init`` takes it, or :data:`LOCAL`.
        why: the command that asks, as a message says it.

    Raises:
        InputError: the cluster cannot be reached.
        MissingExtraError: ray is not installed.
    """
    ray = require("ray", extra="ray", why=why)
    # Ray's own start-up would report to its makers and serve a dashboard.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"include_dashboard": False}
    else:
        options |= {"address": address}
    try:
        ray.init(**options)
    except Exception as error:
        raise InputError(
            f"There is no Ray cluster at {address}: {error}",
            hint="Start one with: ray start --head, or use --ray local.",
        ) from error
    return ray
