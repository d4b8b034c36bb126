"""What flows through xopt, stored: folders with a ``manifest.json`` and one fingerprint each.

A fingerprint is ``sha256(parent fingerprint + recipe + tool versions)``: the cache key, the
staleness check and the provenance line of every report. A folder appears under its final name only
when it is complete: it is written beside, flushed, and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from xopt.errors import ArtifactError, BuildError

__all__ = [
    "Artifact",
    "Bundle",
    "Graph",
    "LoweredGraph",
    "Ranges",
    "cache_folder",
    "fingerprint",
    "publish",
    "sha256_file",
    "sha256_file_cached",
    "write_manifest",
]

MANIFEST = "manifest.json"
SCHEMA = 1


def cache_folder() -> Path:
    """Where stages are kept between runs: ``$XOPT_CACHE``, else ``~/.cache/xopt``."""
    root = os.environ.get("XOPT_CACHE")
    if root:
        return Path(root)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "xopt"


def fingerprint(*parts: object) -> str:
    """sha256, as 64 hexadecimal digits, of the canonical JSON of ``parts``."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_file_cached(path: Path) -> str:
    """As :func:`sha256_file`, remembered by path, size, inode and modification time.

    Used for inputs that only decide staleness, never to verify a bundle.
    """
    real = path.resolve()
    stat = real.stat()
    key = f"{real}|{stat.st_size}|{stat.st_ino}|{stat.st_mtime_ns}"
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "hashes.sqlite", timeout=30)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS hashes (key TEXT PRIMARY KEY, sha256 TEXT)")
        row = database.execute("SELECT sha256 FROM hashes WHERE key = ?", (key,)).fetchone()
        if row:
            return str(row[0])
        digest = sha256_file(real)
        database.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?)", (key, digest))
        database.commit()
    return digest


@contextlib.contextmanager
def publish(final: Path) -> Iterator[Path]:
    """Yield a new folder beside ``final``; on a clean exit it becomes ``final``.

    An xopt artifact already standing there is replaced only then; anything else is left alone.

    Raises:
        ArtifactError: ``final`` exists and is no xopt artifact.
        BuildError: the disk is full, or the folder cannot be written.
    """
    final = final.absolute()
    if final.exists() and not (final / MANIFEST).is_file() and not _is_empty_folder(final):
        raise ArtifactError(
            f"{final} exists and is not something xopt made.",
            hint="Choose another place with -o, or remove it yourself.",
        )
    work = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(final)
        work.mkdir()
        (work / ".pid").write_text(str(os.getpid()))
        yield work
        (work / ".pid").unlink()
        _flush(work)
        _swap(work, final)
    except OSError as error:
        raise BuildError(
            f"Could not write {final}: {error.strerror or error}.",
            hint="Free some space or choose another place with -o; "
            "nothing that was there before is lost.",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _remove_stale(final: Path) -> None:
    """Remove what killed processes left half-written beside ``final``; put back what they moved."""
    for old in final.parent.glob(f".{final.name}.*.old"):
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(final)
    for partial in final.parent.glob(f".{final.name}.*.partial"):
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
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Artifact:
    """A stored value of the flow: its folder and what its manifest says."""

    kind: ClassVar[str] = "artifact"

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
        except (ValueError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{path} is damaged: {error}.", hint="Build it again.") from error
        if not isinstance(manifest, dict) or manifest.get("kind") != cls.kind:
            kind = manifest.get("kind") if isinstance(manifest, dict) else None
            raise ArtifactError(f"{folder} holds a {kind or 'foreign file'}, not a {cls.kind}.")
        if manifest.get("schema") != SCHEMA:
            raise ArtifactError(
                f"{folder} has schema {manifest.get('schema')}; this xopt reads {SCHEMA}.",
                hint="Build it again with this version of xopt.",
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
    """The range of each quantization site (``ranges.json``) and its smoothing (``smooth.npz``)."""

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
