"""What the CPU's target is asked for, and on which instruction sets its INT8 numbers hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xopt.encoders.spec import SITES, products_in_int8
from xopt.engines.building import BuilderOptions
from xopt.errors import InputError, UnsupportedError, did_you_mean
from xopt.host import cpu_flags, cpu_flags_left, int8_instructions, saturates
from xopt.settings import option

__all__ = ["CPUS", "PAIR_SUM", "CpuOptions", "check_numbers_fit", "check_width_fits", "facts_of"]

CPUS: dict[str, str] = {
    "any": "no two products of neighbours leave 16 bits, so every CPU gives the same sums",
    "vnni": "weights use all of their 8 bits; wrong on x86 without VNNI or AMX",
}
# 255 * 128 is the largest sum of two products that 16 bits hold.
PAIR_SUM = {"any": 128, "vnni": 0}
# What the linear layers of a block read.
KINDS = tuple(dict.fromkeys(SITES.values()))
WHOLE_LAYER = re.compile(r"layers\.\d+")
WORDS = "embeddings"
SITE = re.compile(rf"{WORDS}|layers\.\d+(\.({'|'.join(KINDS)}))?")


@dataclass(frozen=True, kw_only=True)
class CpuOptions(BuilderOptions):
    """Options of ``openvino``."""

    cpu: str | None = option(
        None,
        "cpu, INT8: any, numbers for every CPU, or vnni, closer to fp32 but wrong "
        "on x86 without VNNI. Default: vnni where this machine has it.",
    )
    fp32_sites: str | None = option(
        None,
        "cpu, INT8: what stays in fp32, with commas: layers.3.ffn_act, layers.3 for all four "
        "products of a layer, or embeddings. --max-drop finds them.",
    )
    bf16_sites: str | None = option(
        None,
        "cpu, INT8: what is in bf16, named as for --fp32-sites, but for embeddings. For CPUs "
        "with AVX-512 BF16. --max-drop finds them.",
    )

    def __post_init__(self) -> None:
        """Check the name."""
        super().__post_init__()
        if self.cpu is not None and self.cpu not in CPUS:
            raise InputError(f"Unknown --cpu {self.cpu!r}.", hint=did_you_mean(self.cpu, CPUS))
        for how in ("fp32", "bf16"):
            self._check_names(how)
        both = set(self._sites("fp32")) & set(self._sites("bf16"))
        if both:
            raise InputError(
                f"{', '.join(sorted(both))} cannot be in fp32 and in bf16.",
                hint="Name it in one of --fp32-sites and --bf16-sites.",
            )

    def _check_names(self, how: str) -> None:
        for name in self._named(how):
            if not SITE.fullmatch(name):
                raise InputError(
                    f"--{how}-sites names {name!r}, which is no part of an encoder.",
                    hint="Possible, of layer 0: layers.0, "
                    + ", ".join(f"layers.0.{kind}" for kind in KINDS)
                    + (" (no embeddings)." if how == "bf16" else "; and embeddings."),
                )
            if how == "bf16" and name == WORDS:
                raise InputError(
                    "The word embeddings are read row by row, which bf16 makes no faster.",
                    hint="Keep them in INT8, or in fp32: --fp32-sites embeddings",
                )

    @property
    def numbers(self) -> str:
        """For which CPUs INT8 numbers are made: ``any`` or ``vnni``."""
        return self.cpu or ("any" if saturates() else "vnni")

    def _named(self, how: str) -> list[str]:
        """What ``fp32_sites`` or ``bf16_sites`` names, as typed."""
        given = getattr(self, f"{how}_sites")
        return [] if given is None else [name.strip() for name in given.split(",")]

    def _sites(self, how: str) -> tuple[str, ...]:
        """The same, site by site."""
        sites: set[str] = set()
        for name in self._named(how):
            whole = WHOLE_LAYER.fullmatch(name)
            sites |= {f"{name}.{kind}" for kind in KINDS} if whole else {name}
        return tuple(sorted(sites))

    def changes(self, precision: str, max_tokens: int) -> dict[str, Any]:
        """How far weights go, and which products are not in INT8."""
        if precision != "int8":
            return {}
        return {
            "pair_sum": PAIR_SUM[self.numbers],
            "fp32_sites": self._sites("fp32"),
            "bf16_sites": self._sites("bf16"),
        }

    @property
    def own(self) -> dict[str, Any]:
        """Nothing: all of it is in the recipe."""
        return {}


def facts_of(lowering: Mapping[str, Any]) -> dict[str, Any]:
    """For the manifest: which CPUs INT8 numbers hold on, and which kind of CPU made them.

    Args:
        lowering: the recipe, as the lowered graph's manifest has it.
    """
    if lowering["activations"] == "none":
        return {}
    numbers = next(name for name, bound in PAIR_SUM.items() if bound == lowering["pair_sum"])
    kept = {name: list(lowering[name]) for name in ("fp32_sites", "bf16_sites") if lowering[name]}
    return {"cpu": numbers, "built_on": int8_instructions(), **kept}


def check_numbers_fit(manifest: Mapping[str, Any], folder: object) -> None:
    """Refuse INT8 numbers whose sums would be cut off on this CPU.

    Args:
        manifest: of the bundle.
        folder: as messages call it.

    Raises:
        UnsupportedError: names the command that builds it for every CPU.
    """
    numbers = manifest["engine"].get("cpu", "vnni")
    if manifest["precision"] != "int8" or numbers == "any" or not saturates():
        return
    if not products_in_int8(manifest):
        return
    raise UnsupportedError(
        f"The INT8 numbers of {folder} are for CPUs with VNNI or AMX; this one "
        f"({int8_instructions()}) adds products in 16 bits, where some of its sums do not fit.",
        hint="Build it for every CPU: xopt build CHECKPOINT --precision int8 --cpu any",
    )


def check_width_fits(manifest: Mapping[str, Any], folder: object) -> None:
    """Refuse a width at which OpenVINO ends the process where AVX-512 is withheld from it.

    OpenVINO 2026.4.1 then still makes a kernel of AVX-512, which does not bound its last vector of
    16 numbers. A CPU without AVX-512 gets another one.

    Args:
        manifest: of the bundle.
        folder: as messages call it.

    Raises:
        UnsupportedError: ``ONEDNN_MAX_CPU_ISA`` withholds AVX-512, and the width is none of 16s.
    """
    width = manifest["shape"]["hidden"]
    if width % 16 == 0 or "avx512f" not in set(cpu_flags()) - set(cpu_flags_left()):
        return
    raise UnsupportedError(
        f"{folder} has a width of {width}, no multiple of 16, and ONEDNN_MAX_CPU_ISA withholds "
        "AVX-512 from OpenVINO, which cannot run that.",
        hint="Unset ONEDNN_MAX_CPU_ISA; this CPU has AVX-512.",
    )
