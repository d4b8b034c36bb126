"""Is INT8 faster here than the precision above it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["speed_note"]

# Closer than this two medians are the same.
MARGIN = 1.03


def speed_note(
    timed: Mapping[str, Mapping[str, Any]], candidate: str, reference: str, work: str = ""
) -> str:
    """One line where ``candidate`` is not faster than ``reference`` on this machine; else nothing.

    Args:
        timed: title -> timing, of calls in turn.
        candidate, reference: titles.
        work: what was answered, as the line calls it.
    """
    ours, theirs = (timed[title]["median_ms"] for title in (candidate, reference))
    if ours * MARGIN < theirs:
        return ""
    on = f" on {work}" if work else ""
    return (
        f"{candidate} is not faster than {reference} here{on} ({ours:.2f} and {theirs:.2f} ms): "
        f"take {reference}, which loses nothing."
    )
