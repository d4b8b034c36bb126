"""What an engine runs on, written into its bundle, and checked before the native library reads it.

TensorRT refuses a foreign engine too, with a number and a line of C++; and a change of the system
or of the processor it meets only as a damaged file.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.options import RTX_SM
from xopt.errors import UnsupportedError
from xopt.forms import reads

__all__ = ["Machine", "RunsOn", "this_machine", "version_of"]

Version = tuple[int, ...]


def version_of(text: str) -> Version:
    """``"11.4.0.106"`` as numbers; what is no number ends it."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


@dataclass(frozen=True)
class Machine:
    """Where an engine is about to be opened.

    Attributes:
        library: ``tensorrt`` or ``tensorrt_rtx``, with its version.
        version: of the library.
        sm: of the GPU, as 10 · major + minor.
        gpu: its name.
        system: as :func:`platform.system` says it.
        processor: as :func:`platform.machine` says it.
    """

    library: str
    version: str
    sm: int
    gpu: str
    system: str
    processor: str


@dataclass(frozen=True)
class RunsOn:
    """What a bundle says of itself.

    Attributes:
        library: that built it and has to run it.
        version: of the library.
        later: whether later versions run it too, up to the next major one.
        sm: the GPUs' compute capabilities.
        above: whether every later one will do too.
        gpu: the GPU it was built on; empty where it was built without one.
        system: operating system.
        processor: of the host.
        only_gpu: whether it runs on GPUs of that very name alone.
    """

    library: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    later: bool
    sm: tuple[int, ...]
    above: bool
    gpu: str
    system: str
    processor: str
    only_gpu: bool = False

    @classmethod
    def of_build(cls, machine: Machine, compat: str) -> RunsOn:
        """What an engine runs on that was built on ``machine``.

        Args:
            machine: with its GPU.
            compat: a key of :data:`xopt.engines.tensorrt.options.COMPAT`.
        """
        above = compat == "ampere-plus"
        facts: dict[str, Any] = asdict(machine) | {"sm": (80,) if above else (machine.sm,)}
        only_gpu = compat in ("none", "version")
        return cls(**facts, later=compat == "version", above=above, only_gpu=only_gpu)

    @classmethod
    def read(cls, engine: Mapping[str, Any]) -> RunsOn:
        """From the engine's part of a bundle's manifest.

        Raises:
            ArtifactError: it does not say.
        """
        what = "The bundle does not say what its engine runs on"
        with reads(what, hint="Build it again with this version of xopt."):
            facts = dict(engine["runs_on"])
            return cls(**{**facts, "sm": tuple(facts["sm"])})

    def manifest(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"sm": list(self.sm)}

    def describe(self) -> str:
        """One line for a card and for people."""
        version = f"{self.version}{' or later' if self.later else ''}"
        return f"{self._gpus()}; {self.library} {version}; {self.system} {self.processor}"

    def _gpus(self) -> str:
        numbers = ", ".join(map(str, self.sm)) + (" or later" if self.above else "")
        return f"{self.gpu} (SM {numbers})" if self.only_gpu else f"GPU of SM {numbers}"

    def refusals(self, machine: Machine) -> list[str]:
        """Why the engine cannot run on ``machine``, one sentence each; empty if it can."""
        reasons = []
        if (self.system, self.processor) != (machine.system, machine.processor):
            reasons.append(
                f"it was built for {self.system} {self.processor}, this is "
                f"{machine.system} {machine.processor}"
            )
        fits = machine.sm >= min(self.sm) if self.above else machine.sm in self.sm
        if not fits or (self.only_gpu and machine.gpu != self.gpu):
            reasons.append(
                f"it was built for {self._gpus()}, this one is {machine.gpu} (SM {machine.sm})"
            )
        if not self._takes(version_of(machine.version)):
            reasons.append(
                f"it was built with {self.library} {self.version}, this is {machine.version}"
            )
        return reasons

    def _takes(self, version: Version) -> bool:
        built = version_of(self.version)
        if not self.later:
            return version == built
        # An older library never reads a newer engine; of later majors only the next is promised.
        return version >= built and version[0] - built[0] <= 1

    def check(self, machine: Machine) -> None:
        """Refuse a machine that the engine does not run on.

        Raises:
            UnsupportedError: says every reason, and how to get an engine that fits.
        """
        reasons = self.refusals(machine)
        if reasons:
            target = "tensorrt"
            if self.library == "tensorrt_rtx" and machine.sm in RTX_SM:
                target = f"tensorrt-rtx --sm {machine.sm}"
            raise UnsupportedError(
                f"This bundle's engine does not run here: {'; '.join(reasons)}.",
                hint=f"Build it on this machine: xopt build CHECKPOINT --target {target}"
                " --precision int8",
            )


def this_machine(library: str, version: str, device: Device) -> Machine:
    """The machine this process runs on, with one of its GPUs.

    Args:
        library: ``tensorrt`` or ``tensorrt_rtx``.
        version: of the library.
        device: the GPU.
    """
    return Machine(
        library=library,
        version=version,
        sm=device.sm,
        gpu=device.name,
        system=platform.system(),
        processor=platform.machine(),
    )
