"""Tasks whose texts stand behind a prompt, as the checkpoint's own library puts it there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from xopt.evaluate.tasks.base import Task
from xopt.text_spec import TextSpec

__all__ = ["Prompted"]


@dataclass(frozen=True)
class Prompted(Task):
    """A task whose texts are asked behind a prompt.

    Attributes:
        prefix: put before every sentence, of a pair before its first; None for the checkpoint's
            default prompt.
    """

    prefix: str | None = None

    def asked_of(self, spec: TextSpec) -> Self:
        """As the checkpoint's own library asks it, unless a prefix was chosen."""
        return self if self.prefix is not None else replace(self, prefix=spec.own_prompt)
