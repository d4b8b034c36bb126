"""How long an engine works at a batch, learned from those that were."""

from __future__ import annotations

__all__ = ["Pace"]

# Tokens a second before the first batch was timed.
FIRST_SPEED = 5_000.0
# Share of a new batch in what is remembered.
WEIGHT = 0.1
# A batch that was waited for this share of its time, or less, was done before that, nobody knows
# when: what was expected of its size was too much, and is made this much less.
DONE, LESS = 0.05, 0.8


class Pace:
    """Tokens a second of all batches, and seconds a token by size: of a small batch they are more.

    Attributes:
        speed: tokens a second.
    """

    def __init__(self) -> None:
        self.speed = FIRST_SPEED
        # By the binary digits of a batch's tokens.
        self._each: dict[int, float] = {}

    def expect(self, tokens: int) -> float:
        """Seconds that a batch of so many tokens takes; 0 where none of its size was seen."""
        return tokens * self._each.get(tokens.bit_length(), 0.0)

    def learn(self, tokens: int, spent: float, waited: float) -> None:
        """A batch is done.

        Args:
            tokens: that it has.
            spent: seconds since the engine was free for it.
            waited: how many of them nothing was done but to wait for its end.
        """
        self.speed += WEIGHT * (tokens / max(spent, 1e-6) - self.speed)
        size, each = tokens.bit_length(), spent / max(tokens, 1)
        before = self._each.get(size, each)
        if waited <= DONE * spent:
            self._each[size] = min(before, each) * LESS
        else:
            self._each[size] = before + WEIGHT * (each - before)
