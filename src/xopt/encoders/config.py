"""config.json, asked for one value at a time; what is missing or wrong is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xopt.encoders.spec import ACTIVATIONS, Activation
from xopt.errors import CheckpointError
from xopt.forms import spelled

__all__ = ["EXAMPLE", "UNLIKE", "Config"]

# A small checkpoint of a family that every target has, without the hub too.
EXAMPLE = "pip:multilingual-e5-small"
# The advice where the files are whole and another copy of them would be refused as well.
UNLIKE = (
    "Its files are not at fault: xopt has no such computation. Run this checkpoint with its own "
    f"library, or build another: xopt build {EXAMPLE}"
)

# Sizes and ids are 32 bits wide in the graph.
MOST = 2**31


@dataclass(frozen=True)
class Config:
    """A checkpoint's config.

    Attributes:
        raw: the JSON object.
        where: what errors call the checkpoint.
    """

    raw: Mapping[str, Any]
    where: str

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or ``default`` where it is absent or null."""
        value = self.raw.get(name)
        return default if value is None else value

    def size(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number of at least ``least``.

        Raises:
            CheckpointError: it is none, or absent without a default.
        """
        # What is present and null is no default: the checkpoint's own library would not take it.
        value = self.raw.get(name) if default is None or name in self.raw else default
        if type(value) is not int or not least <= value < MOST:
            raise CheckpointError(f"config.json lacks a number: {name} is {spelled(value)}.")
        return value

    def padding(self, default: int) -> int:
        """The padding's id.

        Raises:
            CheckpointError: it is no whole number.
        """
        return default if self.get("pad_token_id") is None else self.size("pad_token_id", least=0)

    def number(self, name: str, default: float) -> float:
        """A number.

        Raises:
            CheckpointError: it is none.
        """
        value = self.get(name, default)
        try:
            return float(value)
        except (OverflowError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.where}/config.json has a wrong number: {name} is {spelled(value)}."
            ) from error

    def epsilon(self, name: str, default: float) -> float:
        """What a norm adds: between 0 and 1.

        Raises:
            CheckpointError: it is not.
        """
        value = self.number(name, default)
        if not 0 < value < 1:
            raise CheckpointError(f"{self.where}: {name} is {value}.")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
            CheckpointError: it is neither.
        """
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"config.json: {name} is {spelled(value)}, not true or false.")
        return value

    def activation(self, name: str, default: str, *possible: Activation) -> Activation:
        """An activation that this family may have.

        Raises:
            CheckpointError: it is another.
        """
        value = self.get(name, default)
        found = ACTIVATIONS.get(value) if isinstance(value, str) else None
        if found is None or found not in (possible or ACTIVATIONS.values()):
            names = [n for n, ours in ACTIVATIONS.items() if not possible or ours in possible]
            raise CheckpointError(
                f"{self.where} uses the activation {spelled(value)}; supported: "
                + ", ".join(map(repr, names))
                + ".",
                hint=UNLIKE if isinstance(value, str) else "",
            )
        return found

    def choice(self, name: str, default: str, *possible: str) -> str:
        """One of several words.

        Raises:
            CheckpointError: it is another.
        """
        value = self.get(name, default)
        if value not in possible:
            raise CheckpointError(
                f"{self.where}: {name} is {spelled(value)}; supported: {', '.join(possible)}.",
                hint=UNLIKE if isinstance(value, str) else "",
            )
        return str(value)

    def refuse(self, name: str, *harmless: Any, hint: str = UNLIKE) -> None:
        """Stop where a value would change the computation in a way that no family here has.

        Args:
            name: of the value.
            harmless: those that change nothing.
            hint: what to do instead.

        Raises:
            CheckpointError: it is neither absent, null nor ``harmless``.
        """
        value = self.raw.get(name)
        if value is not None and value not in harmless:
            raise CheckpointError(
                f"{self.where}: {name} is {spelled(value)}, which xopt does not compile.",
                hint=hint,
            )

    def heads(self, hidden: int, name: str = "num_attention_heads") -> int:
        """How many heads share ``hidden``.

        Raises:
            CheckpointError: they cannot.
        """
        heads = self.size(name)
        if hidden % heads:
            raise CheckpointError(
                f"{self.where}: a hidden size of {hidden} is no multiple of {heads} heads."
            )
        return heads
