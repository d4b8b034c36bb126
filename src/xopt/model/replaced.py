"""What is said of texts that lose tokens in a bundle with a trimmed vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xopt.model.texts import Row
from xopt.packing import Encoding

__all__ = ["tell_replaced"]


def tell_replaced(
    rows: Sequence[Row], encodings: Sequence[Sequence[Encoding]], say: Callable[[str], None]
) -> None:
    """Name the first of some rows that lost tokens, and count the others; say nothing if none did.

    Args:
        rows: that were read together.
        encodings: of each, as they were read.
        say: takes the sentence.
    """
    lost = [
        (row, sum(e.replaced for e in parts)) for row, parts in zip(rows, encodings, strict=True)
    ]
    lost = [(row, count) for row, count in lost if count]
    if not lost:
        return
    row, count = lost[0]
    others = f" (so have {len(lost) - 1:,} more of {len(rows):,} texts)" if lost[1:] else ""
    plural = "" if count == 1 else "s"
    say(
        f"{row.name} has {count} token{plural} without a row in this trimmed bundle, read as "
        f"smaller pieces{others}; the answer may differ from the whole vocabulary's."
    )
