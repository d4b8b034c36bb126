"""What flows through xopt, stored: folders with a ``manifest.json`` and one fingerprint each.

A fingerprint is ``sha256(parent fingerprint + recipe + tool versions)``: the cache key, the
staleness check and the provenance line of every report. A folder appears under its final name only
when it is complete: it is written beside, flushed, and renamed.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from xopt.errors import ArtifactError, BuildError
from xopt.hashing import cache_folder, sha256_file

__all__ = [
    "Artifact",
    "Bundle",
    "Graph",
    "LoweredGraph",
    "Ranges",
    "check_place",
    "fingerprint",
    "publish",
    "write_manifest",
]

MANIFEST = "manifest.json"
SCHEMA = 1
ID = "[0-9a-f]" * 8
KINDS = ("checkpoint", "graph", "ranges", "lowered", "bundle")


def fingerprint(*parts: object) -> str:
    """sha256, as 64 hexadecimal digits, of the canonical JSON of ``parts``."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def publish(final: Path) -> Iterator[Path]:
    """Yield a new folder beside ``final``; on a clean exit it becomes ``final``.

    An xopt artifact already standing there is replaced only then; anything else is left alone.

    Raises:
        ArtifactError: ``final`` exists and is no xopt artifact.
        BuildError: the disk is full, or the folder cannot be written.
    """
    final = final.absolute()
    check_place(final)
    work = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(final)
        work.mkdir()
        (work / ".pid").write_text(str(os.getpid()))
        yield work
        _flush(work)
        # Until here another process can see that this folder has an owner.
        (work / ".pid").unlink()
        _swap(work, final)
    except OSError as error:
        raise BuildError(
            f"Could not write {final}: {error.strerror or error}.",
            hint="Free some space or choose another place with -o; "
            "nothing that was there before is lost.",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_place(final: Path) -> None:
    """Refuse a place that :func:`publish` would refuse, before the work is done.

    Raises:
        ArtifactError: ``final`` exists and is no xopt artifact.
    """
    if final.exists() and not _is_ours(final):
        raise ArtifactError(
            f"{final.absolute()} exists and is not something xopt made.",
            hint="Choose another place with -o, or remove it yourself.",
        )


def _is_ours(path: Path) -> bool:
    """Whether xopt made this folder, as far as can be told when its manifest is damaged."""
    if not path.is_dir():
        return False
    if not any(path.iterdir()):
        return True
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return manifest["kind"] in KINDS and "fingerprint" in manifest
    except OSError:
        return False
    except (ValueError, KeyError, TypeError):
        return (path / "card.md").is_file() and (path / "tokenizer.json").is_file()


def _remove_stale(final: Path) -> None:
    """Remove what killed processes left half-written beside ``final``; put back what they moved."""
    name = glob.escape(final.name)
    for old in final.parent.glob(f".{name}.{ID}.old"):
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(final)
    for partial in final.parent.glob(f".{name}.{ID}.partial"):
        with contextlib.suppress(OSError, ValueError):
            owner = int((partial / ".pid").read_text())
            if Path(f"/proc/{owner}").exists():
                continue
        shutil.rmtree(partial, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _swap(work: Path, final: Path) -> None:
    old = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
    if final.exists():
        final.rename(old)
    work.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def write_manifest(folder: Path, kind: str, digest: str, facts: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` with ``facts``, the checksum of every other file, and the time."""
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256_file(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, ".pid")
    }
    manifest = {
        "kind": kind,
        "schema": SCHEMA,
        "fingerprint": digest,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **facts,
        "files": files,
    }
    manifest["checksum"] = fingerprint(manifest)
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Artifact:
    """A stored value of the flow: its folder and what its manifest says."""

    kind: ClassVar[str] = "artifact"
    needs: ClassVar[tuple[str, ...]] = ("fingerprint", "files")

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the manifest of ``folder``.

        Raises:
            ArtifactError: no such folder, no manifest, another kind or a newer schema.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise ArtifactError(
                f"{folder} is no {cls.kind}: it has no {MANIFEST}.",
                hint="Make one with: xopt build --precision int8",
            )
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{path} is damaged: {error}.", hint="Build it again.") from error
        if not isinstance(manifest, dict) or manifest.get("kind") != cls.kind:
            kind = manifest.get("kind") if isinstance(manifest, dict) else None
            raise ArtifactError(f"{folder} holds a {kind or 'foreign file'}, not a {cls.kind}.")
        if manifest.get("schema") != SCHEMA:
            raise ArtifactError(
                f"{folder} has schema {manifest.get('schema')}; this xopt reads {SCHEMA}.",
                hint="Build it again with this version of xopt.",
            )
        lacking = [key for key in cls.needs if key not in manifest]
        if lacking or not isinstance(manifest.get("files"), dict):
            raise ArtifactError(
                f"{path} is damaged: it lacks {', '.join(lacking) or 'its files'}.",
                hint="Build it again.",
            )
        return cls(folder, manifest)

    @classmethod
    def find(cls, digest: str) -> Self | None:
        """The cached artifact of this fingerprint, if it is complete."""
        folder = cls.place(digest)
        if not (folder / MANIFEST).is_file():
            return None
        found = cls.open(folder)
        return found if found.fingerprint == digest else None

    @classmethod
    def find_whole(cls, folder: Path, digest: str) -> Self | None:
        """What ``folder`` holds, if it has this fingerprint and every file is the one it was."""
        try:
            found = cls.open(folder)
            if found.fingerprint != digest:
                return None
            found.verify()
        except ArtifactError:
            return None
        return found

    @classmethod
    def place(cls, digest: str) -> Path:
        """Where the cache keeps the artifact of this fingerprint."""
        return cache_folder() / cls.kind / digest[:20]

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits."""
        return str(self.manifest["fingerprint"])

    @property
    def size_mib(self) -> float:
        """Size of all files together, in MiB."""
        total: int = sum(f["bytes"] for f in self.manifest["files"].values())
        return total / 2**20

    def verify(self) -> None:
        """Check every file against its sha256, before any of them is given to a native library.

        Raises:
            ArtifactError: a file is missing, outside the folder, or differs; it is named.
        """
        root = self.folder.resolve()
        if "checksum" not in self.manifest:
            raise ArtifactError(
                f"{self.folder} comes from an older xopt (its {MANIFEST} has no checksum) and must "
                "be built again.",
                hint="With: xopt build CHECKPOINT",
            )
        stated = {key: value for key, value in self.manifest.items() if key != "checksum"}
        if self.manifest["checksum"] != fingerprint(stated):
            raise ArtifactError(
                f"{self.folder}: {MANIFEST} was changed after it was written.",
                hint="Copy the bundle again, or rebuild it with: xopt build",
            )
        present = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
        extra = sorted(present - set(self.manifest["files"]) - {MANIFEST})
        if extra:
            raise ArtifactError(
                f"{self.folder}: {extra[0]} is not among the files that were built.",
                hint="Remove it, or copy the bundle again.",
            )
        for name, expected in self.manifest["files"].items():
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise ArtifactError(f"{self.folder}: {name} leaves the {self.kind}'s folder.")
            if not path.is_file():
                raise ArtifactError(f"{self.folder}: {name} is missing.", hint="Build it again.")
            if path.stat().st_size != expected["bytes"] or sha256_file(path) != expected["sha256"]:
                raise ArtifactError(
                    f"{self.folder}: {name} is not the file that was built (its sha256 differs).",
                    hint="Copy the bundle again, or rebuild it with: xopt build",
                )


@dataclass(frozen=True)
class Graph(Artifact):
    """The encoder as one padding-free ONNX graph in fp32: ``graph.onnx`` and ``weights.bin``."""

    kind: ClassVar[str] = "graph"

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.folder / "graph.onnx"


@dataclass(frozen=True)
class Ranges(Artifact):
    """Ranges of the quantization sites (``ranges.json``), smoothing divisors and centers (npz)."""

    kind: ClassVar[str] = "ranges"


@dataclass(frozen=True)
class LoweredGraph(Artifact):
    """The graph at one precision for one target: ``graph.onnx`` and ``weights.bin``."""

    kind: ClassVar[str] = "lowered"

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.folder / "graph.onnx"


@dataclass(frozen=True)
class Bundle(Artifact):
    """The deployable folder: engine files, ``tokenizer.json``, ``card.md``, evidence."""

    kind: ClassVar[str] = "bundle"
    needs: ClassVar[tuple[str, ...]] = ("fingerprint", "files", "target", "precision", "head")

    @property
    def target(self) -> str:
        """The engine that runs it."""
        return str(self.manifest["target"])

    @property
    def precision(self) -> str:
        """``fp32``, ``fp16`` or an INT8 recipe."""
        return str(self.manifest["precision"])

    @property
    def head(self) -> Mapping[str, Any]:
        """The head: its ``kind`` and what belongs to it (labels, layer, pooling)."""
        head: Mapping[str, Any] = self.manifest["head"]
        return head
