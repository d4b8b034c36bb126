"""How a bundle is compared with its reference, by ``xopt eval`` and in every cell of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xopt.errors import InputError

__all__ = ["EvalOptions", "check_max_drop"]

# Their draws are kept until the end, 8 bytes of each language's each.
MOST_RESAMPLES = 1_000_000


@dataclass(frozen=True)
class EvalOptions:
    """What both commands take.

    Attributes:
        batch_tokens: most slots of a batch, tokens and padding together.
        resamples: of the paired bootstrap between a bundle and its reference.
        seed: of that bootstrap.
    """

    batch_tokens: int = 4096
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            InputError: one is not possible.
        """
        for name, least in (("batch_tokens", 1), ("seed", 0)):
            if getattr(self, name) < least:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} is {getattr(self, name)}; possible: {least} and above.")
        if not 1 <= self.resamples <= MOST_RESAMPLES:
            raise InputError(
                f"--resamples is {self.resamples}; possible: 1 to {MOST_RESAMPLES:,}.",
                hint="An interval of 95 % needs about 2000.",
            )


def check_max_drop(points: float) -> None:
    """Refuse a loss in points of the score that no gate can be about.

    Raises:
        InputError: it is negative, infinite or no number.
    """
    if not 0 <= points < math.inf:
        raise InputError(
            f"--max-drop is {points}; possible: 0 and above, in points of the score.",
            hint="A gate of one point: --max-drop 1",
        )
