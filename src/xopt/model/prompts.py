"""The prompts of a checkpoint, which sentence-transformers puts before a text."""

from __future__ import annotations

from xopt.artifacts import Bundle
from xopt.errors import InputError, did_you_mean
from xopt.text_spec import TextSpec

__all__ = ["NO_PROMPT", "find_prompt", "prompts_of"]

# What the command line calls the absence of a prompt.
NO_PROMPT = "none"
# What sentence-transformers puts a prompt before; of a pair, before its first text.
PROMPTED = ("embed", "classify")


def prompts_of(bundle: Bundle) -> dict[str, str]:
    """Every prompt by its name; a bundle from before prompts has none."""
    return dict(TextSpec.read(bundle.manifest).prompts)


def find_prompt(bundle: Bundle, name: str | None = None) -> str:
    """The prompt of this name; the checkpoint's default if None; ``none`` is no prompt.

    Raises:
        InputError: the checkpoint has no prompt of this name.
    """
    prompts = prompts_of(bundle)
    if name is None and bundle.head["kind"] in PROMPTED:
        name = TextSpec.read(bundle.manifest).default_prompt
    if name is None or (name == NO_PROMPT and name not in prompts):
        return ""
    if name not in prompts:
        raise InputError(
            f"This bundle has no prompt {name!r:.80}.",
            hint=did_you_mean(name, [*prompts, NO_PROMPT]),
        )
    return prompts[name]
