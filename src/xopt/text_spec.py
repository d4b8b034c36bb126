"""How a checkpoint's own library reads a text, apart from its tokenizer's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from xopt.forms import reads, spelled

__all__ = ["NORMALIZE", "SIDES", "Normalize", "Side", "TextSpec", "behind"]

Normalize = Literal["none", "nfc"]
NORMALIZE: tuple[Normalize, ...] = ("none", "nfc")
Side = Literal["right", "left"]
SIDES: tuple[Side, ...] = ("right", "left")


def behind(prompts: Sequence[str]) -> str:
    """What stands before texts, each in its turn, in words that follow them; else nothing."""
    named = ", ".join(repr(prompt) if prompt else "nothing" for prompt in prompts)
    return f" behind {named}{' in turn' if len(prompts) > 1 else ''}" if any(prompts) else ""


@dataclass(frozen=True)
class TextSpec:
    """What is done to a text before and by the tokenizer; ``text`` of a bundle's manifest.

    Attributes:
        max_tokens: of one text or pair, special tokens included.
        normalize: ``none``, or ``nfc``: composed form (Unicode TR 15) before anything else.
        lower: whether a Lowercase step stands before the tokenizer's own normalizer, as
            sentence-transformers puts it there for ``do_lower_case``.
        prompts: name -> text put before a text.
        default_prompt: name of the prompt of a text that is given without one.
        special_ids: where a prompt is left out of the pooling, the tokens of which the last one of
            a prompt that stands alone does not count: the tokenizer has added it.
        truncation_side: where a text that is cut loses tokens.
        cut_tokens: what a text that is cut keeps, where its library cuts to fewer tokens than the
            encoder takes; None for ``max_tokens``.
        trimmed: whether the encoder has rows for some pieces alone; ``pieces.npz`` says which.
    """

    max_tokens: int
    normalize: Normalize = "none"
    lower: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    default_prompt: str | None = None
    special_ids: tuple[int, ...] = ()
    truncation_side: Side = "right"
    cut_tokens: int | None = None
    trimmed: bool = False

    @property
    def own_prompt(self) -> str:
        """The text of the default prompt, which may be empty."""
        return "" if self.default_prompt is None else self.prompts[self.default_prompt]

    @property
    def kept_tokens(self) -> int:
        """What a text that is cut keeps, special tokens included."""
        return self.cut_tokens or self.max_tokens

    def prompt_tokens(self, ids: Sequence[int]) -> int:
        """How many tokens of a text are its prompt's, as sentence-transformers counts them.

        Args:
            ids: of the prompt alone, special tokens included.
        """
        return len(ids) - (len(ids) > 0 and int(ids[-1]) in self.special_ids)

    def manifest(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "max_tokens": self.max_tokens,
            "normalize": self.normalize,
            "lower": self.lower,
            "prompts": dict(self.prompts),
            "default_prompt": self.default_prompt,
            "special_ids": list(self.special_ids),
            "truncation_side": self.truncation_side,
            "cut_tokens": self.cut_tokens,
            **({"trimmed": True} if self.trimmed else {}),
        }

    @classmethod
    def read(cls, manifest: Mapping[str, Any]) -> TextSpec:
        """From a bundle's manifest; a bundle of before says its longest text alone.

        Raises:
            ArtifactError: it says something that this xopt does not know.
        """
        facts: Mapping[str, Any] = manifest.get("text") or {
            "max_tokens": int(manifest["signature"]["max_tokens"])
        }
        what = "The bundle reads texts in a way that this xopt does not know"
        with reads(what, hint="Build it again with this version."):
            spec = cls(**{**facts, "special_ids": tuple(facts.get("special_ids", ()))})
            for name, possible in (("normalize", NORMALIZE), ("truncation_side", SIDES)):
                if getattr(spec, name) not in possible:
                    raise ValueError(f"{name} is {spelled(getattr(spec, name))}")
        return spec
