"""What flows through xopt, stored: folders with a ``manifest.json`` and one fingerprint each.

A fingerprint is ``sha256(parent fingerprint + recipe + tool versions)``: the cache key, the
staleness check and the provenance line of every report. :mod:`xopt.publishing` writes the folders.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from xopt.errors import ArtifactError, did_you_mean
from xopt.forms import misfit
from xopt.hashing import cache_folder, sha256_file
from xopt.manifest_forms import ANY, BUNDLE
from xopt.publishing import LOCK, MANIFEST, check_place, publish
from xopt.reading import parse_json
from xopt.signing import check_signature, required_key

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

SCHEMA = 1
SIGNATURE = "signed"
# What stands beside a bundle's files once it was on the Hugging Face hub; nothing reads it.
OF_THE_HUB = ("README.md", ".gitattributes", ".gitignore")
CACHE_OF_THE_HUB = ".cache/huggingface/"


def fingerprint(*parts: object) -> str:
    """sha256, as 64 hexadecimal digits, of the canonical JSON of ``parts``."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Path, kind: str, digest: str, facts: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` with ``facts``, the checksum of every other file, and the time."""
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256_file(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, LOCK)
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
    # What the manifest must hold, so that nobody who reads it has to ask; see `xopt.forms`.
    form: ClassVar[Mapping[str, Any]] = ANY

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
            raise _missing(folder, cls.kind)
        try:
            manifest = parse_json(path.read_bytes())
        except ValueError as error:
            raise ArtifactError(f"{path} is damaged: {error}.", hint=_again(folder)) from error
        if not isinstance(manifest, dict) or manifest.get("kind") != cls.kind:
            kind = manifest.get("kind") if isinstance(manifest, dict) else None
            raise ArtifactError(f"{folder} holds a {kind or 'foreign file'}, not a {cls.kind}.")
        if manifest.get("schema") != SCHEMA:
            raise ArtifactError(
                f"{folder} was made by another version of xopt (its schema is "
                f"{manifest.get('schema')}; this one reads {SCHEMA}).",
                hint="Build it again with this version: xopt build CHECKPOINT -o "
                + shlex.quote(str(folder)),
            )
        if wrong := misfit(manifest, cls.form):
            raise ArtifactError(f"{path} is damaged: {wrong}.", hint=_again(folder))
        return cls(folder, manifest)

    @classmethod
    def find(cls, digest: str) -> Self | None:
        """The cached artifact of this fingerprint, if every file is the one that was built."""
        return cls.find_whole(cls.place(digest), digest)

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

    def _checksum(self) -> str:
        """Of the manifest without itself, and without the signature of it."""
        apart = ("checksum", SIGNATURE)
        return fingerprint({k: v for k, v in self.manifest.items() if k not in apart})

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
        if self.manifest["checksum"] != self._checksum():
            raise ArtifactError(
                f"{self.folder}: {MANIFEST} was changed after it was written.",
                hint=_again(self.folder),
            )
        present = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
        files = self.manifest["files"]
        extra = sorted(present - set(files) - {MANIFEST, LOCK, *OF_THE_HUB})
        if extra := [name for name in extra if not name.startswith(CACHE_OF_THE_HUB)]:
            said = f"{self.folder}: {extra[0]} is not among the files that were built"
            digest = sha256_file(root / extra[0])
            if lost := [n for n in files if n not in present and files[n]["sha256"] == digest]:
                raise ArtifactError(f"{said}: it is {lost[0]}.", hint="Give it that name again.")
            raise ArtifactError(f"{said}.", hint="Remove it, or copy the bundle again.")
        for name, expected in files.items():
            try:
                path = (root / name).resolve()
            except (OSError, RuntimeError) as error:
                # A link to itself: Python before 3.13 calls it a RuntimeError.
                raise ArtifactError(f"{self.folder}: {name} cannot be read: {error}.") from error
            if not path.is_relative_to(root):
                raise ArtifactError(f"{self.folder}: {name} leaves the {self.kind}'s folder.")
            if not path.is_file():
                raise ArtifactError(f"{self.folder}: {name} is missing.", hint=_again(self.folder))
            if path.stat().st_size != expected["bytes"] or sha256_file(path) != expected["sha256"]:
                raise ArtifactError(
                    f"{self.folder}: {name} is not the file that was built (its sha256 differs).",
                    hint=_again(self.folder),
                )


def _again(folder: Path) -> str:
    """What helps against a damaged artifact."""
    return f"Copy it again, or build it: xopt build CHECKPOINT -o {shlex.quote(str(folder))}"


def _missing(folder: Path, kind: str) -> ArtifactError:
    """No artifact lies in ``folder``: what lies there or beside it, and how to get one."""
    hint = "Make one with: xopt build --precision int8"
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "is not there"
        if (folder.parent / MANIFEST).is_file():
            hint = f"Give the {kind}'s own folder: {folder.parent}"
        elif beside := [str(path) for path in _of_kind(folder.parent, kind)]:
            hint = did_you_mean(str(folder), beside)
        return ArtifactError(f"The {kind} {folder} {what}.", hint=hint)
    if inside := _of_kind(folder, kind):
        hint = f"Give one of those in it: {', '.join(map(str, inside))}."
    elif (folder / "config.json").is_file():
        hint = f"It looks like a checkpoint; compile it with: xopt build {shlex.quote(str(folder))}"
    return ArtifactError(f"{folder} is no {kind}: it has no {MANIFEST}.", hint=hint)


def _of_kind(folder: Path, kind: str) -> list[Path]:
    """The artifacts of a kind that lie in a folder; an exported one has a manifest, too."""
    found = []
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            facts = parse_json(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(facts, dict) and facts.get("kind") == kind:
            found.append(path.parent)
    return found


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
    """What was measured of the quantization sites: ``sites.json`` and ``sites.npz``."""

    kind: ClassVar[str] = "ranges"


@dataclass(frozen=True)
class LoweredGraph(Artifact):
    """The graph at one precision for one target: ``graph.onnx`` and ``weights.bin``.

    For our own kernels, the arrays that they read (:mod:`xopt.engines.cuda_weights`).
    """

    kind: ClassVar[str] = "lowered"

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.folder / "graph.onnx"


@dataclass(frozen=True)
class Bundle(Artifact):
    """The deployable folder: engine files, ``tokenizer.json``, ``card.md``, evidence."""

    kind: ClassVar[str] = "bundle"
    form: ClassVar[Mapping[str, Any]] = BUNDLE

    def verify(self) -> None:
        """As of every artifact; and that the bundle is signed, where that is required.

        Raises:
            ArtifactError: as there, or its signature is not the one that is required.
        """
        key = required_key()
        if key is not None:
            check_signature(self.manifest.get(SIGNATURE), self._checksum(), key, str(self.folder))
        super().verify()

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
        pooling = head.get("pooling")
        # Bundles of before 2026-11-27 say one name.
        return {**head, "pooling": pooling.split("+")} if isinstance(pooling, str) else head
