"""How fast rotary positions turn, in the form of transformers 5 or the one before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xopt.encoders.config import UNLIKE, Config
from xopt.encoders.spec import Rotary
from xopt.errors import CheckpointError
from xopt.forms import spelled

__all__ = ["turning"]

# Those that do not depend on the text.
KINDS = ("default", "linear", "llama3", "yarn")
TRAINED = "original_max_position_embeddings"


def turning(
    config: Config, default: float, layer_type: str | None = None, *, old: str = "rope_theta"
) -> Rotary:
    """The rotary positions of a config.

    Args:
        config: of the checkpoint.
        default: base of the angles where the config names none.
        layer_type: the key in ``rope_parameters`` where kinds of layers differ.
        old: the name that older configs have for the base.

    Raises:
        CheckpointError: they are scaled in another way than ours, or a number is none.
    """
    config.refuse("partial_rotary_factor", 1.0)
    whole, older = config.get("rope_parameters", {}), config.get("rope_scaling", {})
    if not isinstance(whole, dict) or not isinstance(older, dict):
        raise CheckpointError("config.json: rope_parameters is no object.")
    found = whole if layer_type is None else whole.get(layer_type) or {}
    if layer_type is None and _kind(older) != "default":
        # It stands for all of the newer form.
        found, older = older, {}
    kind, share = _kind(found), found.get("partial_rotary_factor", 1.0)
    wrong = next((name for name in (kind, _kind(older)) if name not in KINDS), "")
    if wrong or share != 1.0:
        raise CheckpointError(
            f"{config.where} scales its rotary positions ({spelled(wrong or kind)}, share "
            f"{share}); supported: {', '.join(map(repr, KINDS))} over the whole head.",
            hint=UNLIKE,
        )
    if _kind(older) != "default" or "rope_theta" in older or (older and kind != "default"):
        # Its class writes those values over some of the newer ones.
        raise CheckpointError(
            f"{config.where} turns its rotary positions by rope_scaling, {spelled(older)}; where "
            "kinds of layers differ, xopt reads rope_parameters alone.",
            hint="Write rope_parameters as its class reads both, and leave rope_scaling out: "
            "transformers.AutoConfig.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        )
    stated = {**found, TRAINED: config.get(TRAINED, found.get(TRAINED))}
    numbers = _Numbers(config, stated)
    theta = numbers.get("rope_theta", config.get(old, default), above=1)
    if kind == "default":
        return Rotary(theta)
    factor = numbers.get("factor")
    if kind == "linear":
        return Rotary(theta, "linear", factor)
    trained = int(numbers.get(TRAINED, config.get("max_position_embeddings"), above=1))
    if kind == "llama3":
        slow = numbers.get("low_freq_factor")
        fast = numbers.get("high_freq_factor", above=slow)
        return Rotary(theta, "llama3", factor, slow, fast, trained)
    slow, fast = numbers.get("beta_slow", 1), numbers.get("beta_fast", 32)
    gain = numbers.get("attention_factor", _gain(numbers, factor))
    # Where kinds of layers differ, the class looks for this one beside them.
    even = bool((found if layer_type is None else whole).get("truncate", True))
    return Rotary(theta, "yarn", factor, slow, fast, trained, gain, even)


def _kind(group: Mapping[str, Any]) -> str:
    return str(group.get("rope_type", group.get("type", "default")))


def _gain(numbers: _Numbers, factor: float) -> float:
    """What YaRN (Peng et al., 2024) multiplies scores by, as a factor of cosine and sine."""
    one, other = (numbers.get(name, 0, above=-1) for name in ("mscale", "mscale_all_dim"))
    if factor <= 1:
        return 1.0
    scale = math.log(factor) / 10
    return (one * scale + 1) / (other * scale + 1) if one and other else scale + 1


class _Numbers:
    """One group of a config's numbers."""

    def __init__(self, config: Config, group: Mapping[str, Any]) -> None:
        self._where, self._group = config.where, group

    def get(self, name: str, default: Any = None, *, above: float = 0) -> float:
        """A number above ``above``.

        Raises:
            CheckpointError: it is none, or absent without a default.
        """
        value = self._group.get(name)
        value = default if value is None else value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not above < value < math.inf:
            raise CheckpointError(
                f"{self._where}: {name} of its rotary positions is {spelled(value)}."
            )
        return float(value)
