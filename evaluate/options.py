"""How a bundle is compared with its reference, by ``xopt eval`` and in every cell of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from xopt.errors import InputError

__all__ = ["EvalOptions"]


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
        for name, least in (("batch_tokens", 1), ("resamples", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; possible: {least} and above.")
