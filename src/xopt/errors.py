"""The errors xopt raises on purpose.

    XoptError                 what was asked, what is possible, what to type next
    ├── InputError            a text, file, option or name that cannot be used
    ├── CheckpointError       a checkpoint that is incomplete, unsafe or of unknown architecture
    ├── ArtifactError         a stored graph, ranges or bundle that are damaged or of another kind
    ├── DataError             a row of an evaluation or calibration set that breaks its schema
    ├── ParityError           a graph whose answers differ from the reference implementation
    ├── UnsupportedError      a combination of recipe, target and device that cannot work
    ├── MissingExtraError     a command whose optional dependencies are not installed
    └── BuildError            an engine build that stopped half-way (disk full, a native crash)

The command line prints the message and the hint and exits with 2; ``--debug`` adds the traceback.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, ClassVar

from xopt.distribution import install_command

__all__ = [
    "ArtifactError",
    "BuildError",
    "CheckpointError",
    "DataError",
    "InputError",
    "MissingExtraError",
    "ParityError",
    "UnsupportedError",
    "XoptError",
    "did_you_mean",
    "require",
]

# Through it OpenVINO tells its makers of every process that imports it.
OBSERVER = "openvino_telemetry"
# Characters of a name in which others like it are sought.
LONGEST_NAME = 200


class XoptError(Exception):
    """Base of every deliberate error: ``message`` says what is wrong, ``hint`` what to do next.

    Where the place that raises it has no advice of its own, the kind of error has one.
    """

    advice: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.advice

    def __str__(self) -> str:
        """Message and hint on two lines."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class InputError(XoptError):
    """A text, file, option or name that cannot be used."""

    advice = "To see what is possible, type the command with --help."


class CheckpointError(XoptError):
    """A checkpoint that is incomplete, unsafe or of an unknown architecture."""

    advice = "Copy or download the checkpoint again, or save it anew with its own library."


class ArtifactError(XoptError):
    """A stored graph, range file or bundle that is damaged or of another kind."""

    advice = "Copy it again, or build it again with: xopt build CHECKPOINT"


class DataError(XoptError):
    """A row of an evaluation or calibration set that breaks its schema."""

    advice = "Mend that place, or leave it out, and type the same command again."


class ParityError(XoptError):
    """A graph whose answers differ from the reference implementation."""

    advice = "Nothing was built. Save the checkpoint anew with its own library (save_pretrained)."


class UnsupportedError(XoptError):
    """A combination of recipe, target and device that cannot work."""

    advice = "What this machine can build and run is said by: xopt doctor"


class MissingExtraError(XoptError):
    """A command whose optional dependencies are not installed."""


class BuildError(XoptError):
    """An engine build that stopped half-way."""

    advice = "Mend that and type the same command again; nothing that was there before is lost."


def did_you_mean(name: str, possible: Iterable[str]) -> str:
    """One sentence that lists ``possible`` and, if one is close, suggests it first."""
    choices = sorted(possible)
    # No choice is longer; a name of megabytes, as a server may be sent, would take seconds.
    name = name[:LONGEST_NAME]
    close = difflib.get_close_matches(name.lower(), [c.lower() for c in choices], n=1, cutoff=0.5)
    suggestion = ""
    if close:
        original = next(c for c in choices if c.lower() == close[0])
        suggestion = f"Did you mean {original!r}? "
    return f"{suggestion}Possible: {', '.join(choices)}."


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import ``module``, or say which extra of xopt brings it.

    Raises:
        MissingExtraError: the module is not installed.
    """
    try:
        with _unobserved():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{why} needs {error.name or module}, which is not installed.",
            hint=f"Install it with: {install_command(extra)}",
        ) from error


@contextlib.contextmanager
def _unobserved() -> Iterator[None]:
    """Without :data:`OBSERVER`, which also keeps a number in the home folder; OpenVINO goes on."""
    modules: dict[str, Any] = sys.modules
    ours = OBSERVER not in modules
    if ours:
        modules[OBSERVER] = None
    try:
        yield
    finally:
        if ours:
            modules.pop(OBSERVER, None)
