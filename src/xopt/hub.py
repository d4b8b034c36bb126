"""Whether the Hugging Face hub answers, asked once before its libraries ask for files.

They ask six times and wait longer after each, for every single file: half a minute where the answer
is known after the first.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from xopt.errors import require

__all__ = ["MIRROR", "Hub", "hub_at_hand"]

# Seconds in which a hub begins to answer; the hub's own variable for it sets another number.
PATIENCE = 4.0
PATIENCE_VARIABLE = "HF_HUB_ETAG_TIMEOUT"
# What a gateway says where nothing behind it answers.
GATEWAY = (502, 503, 504)
# What helps, wherever files of the hub are asked for.
MIRROR = "name a mirror that you reach: export HF_ENDPOINT=https://MIRROR"


@dataclass(frozen=True)
class Hub:
    """The hub, as it was found.

    Attributes:
        library: the module ``huggingface_hub``.
        fault: why it cannot be asked, in words; empty where it answers.
    """

    library: Any
    fault: str


@contextmanager
def hub_at_hand(*, why: str, extra: str = "build") -> Iterator[Hub]:
    """Ask the hub for a sign of life; where none comes, its libraries work offline in the block.

    They then find what is on this machine, and refuse anything else at once.

    Args:
        why: what it is needed for, for the error.
        extra: of xopt's, that brings the library.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    library = require("huggingface_hub", extra=extra, why=why)
    constants: Any = require("huggingface_hub.constants", extra=extra, why=why)
    if constants.HF_HUB_OFFLINE:
        yield Hub(library, "HF_HUB_OFFLINE is set")
        return
    silence = _silence(library, constants.ENDPOINT)
    if not silence:
        yield Hub(library, "")
        return
    # `datasets` copies the switch when it is imported.
    switches: list[Any] = [constants, *filter(None, [sys.modules.get("datasets.config")])]
    before = [module.HF_HUB_OFFLINE for module in switches]
    for module in switches:
        module.HF_HUB_OFFLINE = True
    try:
        yield Hub(library, f"{constants.ENDPOINT} {silence}")
    finally:
        for module, value in zip(switches, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _silence(library: Any, address: str) -> str:
    """How the hub fails to answer; empty where it does, whatever it says."""
    patience = float(os.environ.get(PATIENCE_VARIABLE) or PATIENCE)
    heard: list[str] = []

    def ask() -> None:
        try:
            answer = library.get_session().head(address, timeout=patience)
        except Exception as error:
            heard.append(f"cannot be reached ({' '.join(str(error).split()):.100})")
        else:
            code = answer.status_code
            heard.append(f"is out of order (status {code})" if code in GATEWAY else "")

    # A thread of its own: looking up a name takes no time-out, and may last for minutes.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience)
    return heard[0] if heard else f"did not answer in {patience:g} s"
