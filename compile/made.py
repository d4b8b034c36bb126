"""Whether what a bundle was built of still stands where it did.

A machine remembers the options of a build, and folders go on: a checkpoint is tuned again in its
place, texts are added to a corpus. What is then made of the same options is not the bundle's.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

from xopt.artifacts import Bundle
from xopt.calibrate.sampling import Sample
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.options import BuildOptions
from xopt.compile.ranging import choose_recipe
from xopt.errors import InputError
from xopt.evidence import built_with
from xopt.settings import as_typed

__all__ = ["check_checkpoint", "check_sample"]


def check_checkpoint(bundle: Bundle, found: str) -> None:
    """Refuse another checkpoint than the bundle's at the place where that was read.

    Args:
        bundle: that was built here.
        found: fingerprint of the checkpoint that is there now.

    Raises:
        InputError: it is another one.
    """
    if found != bundle.manifest["provenance"]["checkpoint"]:
        raise _changed(
            bundle,
            f"The checkpoint {bundle.manifest['checkpoint']} is no longer the one that "
            f"{bundle.folder.name} was built of",
        )


def check_sample(
    bundle: Bundle, checkpoint: Checkpoint, sample: Sample, options: BuildOptions
) -> None:
    """Refuse other calibration than the bundle's.

    Args:
        bundle: that was built here, in INT8 for the CPU.
        checkpoint: of which it was built.
        sample: that its options give now.
        options: of the build, on the same numbers.

    Raises:
        InputError: the texts changed, or ranges are found in another way than they were.
    """
    held = bundle.manifest["provenance"]
    if sample.facts != held["calibration"]:
        raise _changed(
            bundle,
            f"The calibration texts ({sample.facts['corpus']}) are no longer those that "
            f"{bundle.folder.name} was built with",
        )
    if asdict(choose_recipe(options, checkpoint)) != held["calibration_recipe"]:
        raise _changed(bundle, f"{bundle.folder.name} was calibrated as this xopt no longer does")


def _changed(bundle: Bundle, what: str) -> InputError:
    given: dict[str, Any] = {**(built_with(bundle) or {}), "out": str(bundle.folder)}
    made = BuildOptions(**given)
    typed = shlex.join(["xopt", "build", *as_typed(made)])
    return InputError(
        f"{what}: what is made of it now would not be this bundle's.",
        hint=f"Build it again, then type this again: {typed}",
    )
