"""The cores or the GPU that an engine shall use."""

from __future__ import annotations

from typing import Any

from xopt.errors import InputError

__all__ = ["engine_options"]


def engine_options(target: str, threads: int | None, device: str | int | None) -> dict[str, Any]:
    """``threads`` and ``device`` as the engine of ``target`` takes them.

    Raises:
        InputError: it has no such choice.
    """
    options: dict[str, Any] = {}
    if threads is not None:
        if target != "openvino":
            raise InputError(f"threads is of the CPU; this bundle runs on {target}.")
        if threads < 1:
            raise InputError(f"threads is {threads}; at least 1 is needed.")
        options["threads"] = threads
    if device is None or (target == "openvino" and str(device).lower() == "cpu"):
        return options
    kind, _, number = str(device).rpartition(":")
    if str(device) == "cuda":
        kind, number = "cuda", "0"
    if target in ("openvino", "null") or kind not in ("", "cuda") or not number.isdecimal():
        takes = "'cpu'" if target == "openvino" else "a number or 'cuda:NUMBER'"
        raise InputError(f"There is no device {device!r} for {target}; it takes {takes}.")
    options["device"] = f"cuda:{number}" if target == "cuda" else int(number)
    return options
