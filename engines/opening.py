"""What a user may choose of an open engine: cores, streams, device; one place for every command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xopt.errors import InputError
from xopt.host import check_count

__all__ = ["EngineOptions"]

CPU = "openvino"


@dataclass(frozen=True)
class EngineOptions:
    """Options of any engine; each is None where the engine chooses.

    Attributes:
        threads: cores to use, on the CPU.
        streams: parts of a batch that run side by side, on the CPU; at most ``threads``.
        device: the GPU to use: a number, or ``cuda:NUMBER``.

    Raises:
        InputError: a count is not in 1..1024.
    """

    threads: int | None = None
    streams: int | None = None
    device: str | int | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "streams"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))

    def of(self, target: str, called: str = "") -> dict[str, Any]:
        """As the engine of ``target`` takes them.

        Args:
            target: of the bundle.
            called: the bundle, as a message calls it.

        Raises:
            InputError: the engine has no such choice.
        """
        called = called or "this bundle"
        counts = {"threads": self.threads, "streams": self.streams}
        options: dict[str, Any] = {name: n for name, n in counts.items() if n is not None}
        if options and target != CPU:
            verb = "are" if len(options) > 1 else "is"
            raise InputError(
                f"{' and '.join(options)} {verb} of the CPU; {called} runs on {target}.",
                hint=f"Leave out --{' and --'.join(options)}.",
            )
        device = self.device
        if device is None or (target == CPU and str(device).lower() == "cpu"):
            return options
        kind, _, number = str(device).rpartition(":")
        if str(device) == "cuda":
            kind, number = "cuda", "0"
        if target in (CPU, "null") or kind not in ("", "cuda") or not number.isdecimal():
            takes = "'cpu'" if target == CPU else "a number or 'cuda:NUMBER'"
            raise InputError(
                f"There is no device {device!r} for {target}; it takes {takes}.",
                hint="Leave --device (in Python device=) out to take the usual one.",
            )
        options["device"] = f"cuda:{number}" if target == "cuda" else int(number)
        return options
