"""A folder, or a file, appears under its final name only when it is complete.

A folder is written beside that name, flushed, and renamed. A build at work holds a lock on a file
in its folder. The operating system drops the lock when the process ends, however it ends, and it
holds across containers and machines that share the folder, where a process number means nothing.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from xopt.disk_errors import disk_error, disk_hint
from xopt.errors import ArtifactError, BuildError, InputError
from xopt.reading import parse_json

__all__ = [
    "LOCK", "MANIFEST", "check_outside", "check_place", "flush", "publish", "swap",
    "unique_beside", "write_whole",
]  # fmt: skip

MANIFEST = "manifest.json"
# Held by the process that writes a folder; never one of an artifact's files.
LOCK = ".lock"
ID = "[0-9a-f]" * 8
# As a manifest names them, and in words.
KINDS = {
    "checkpoint": "a checkpoint that xopt made", "graph": "a graph", "ranges": "ranges",
    "lowered": "a lowered graph", "bundle": "a bundle", "tokenizer": "a tokenizer",
    "export": "an export",
}  # fmt: skip
# A folder gets its lock and its next name at once; one that is older was left by a killed process.
NEW_S = 600.0
# Two builds that finish at once move each other's folder away at most this often.
TRIES = 50


@contextlib.contextmanager
def publish(final: Path, kind: str | None = None) -> Iterator[Path]:
    """Yield a new folder beside ``final``; on a clean exit it becomes ``final``.

    An xopt artifact already standing there is replaced only then; anything else is left alone. Of
    several builds that publish to one place at once, the last to finish stands there.

    Args:
        final: the folder.
        kind: of :data:`KINDS`, which alone is replaced; any if None.

    Raises:
        ArtifactError: ``final`` exists and is no xopt artifact, or one of another kind.
        BuildError: the disk is full, or a file cannot be read or written; it is named.
    """
    final = final.absolute()
    check_place(final, kind)
    new = unique_beside(final, "new")
    work = new.with_suffix(".partial")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(final)
        new.mkdir()
        with FileLock(new / LOCK):
            # Under this name the folder has an owner from its first moment on.
            new.rename(work)
            yield work
            _flush_all(work)
            # The lock moves along: at no moment is the folder without an owner.
            swap(work, final)
            (final / LOCK).unlink(missing_ok=True)
    except Exception as error:
        failed = disk_error(error)
        if failed is None:
            raise
        raise _explained(failed, final) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that appears under its name whole, or not at all.

    It is written beside that name under another one, which every writer of this file uses: what a
    killed process left there is written over by the next. A link is followed; what is no regular
    file, such as a pipe, is written to as it is.

    Raises:
        OSError: the disk is full, or the place cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    final = Path(os.path.realpath(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists() and not final.is_file():
        final.write_bytes(data)
        return
    partial = final.with_name(f".{final.name}.partial")
    with _opened_alone(partial) as stream:
        try:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            partial.replace(final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    flush(final.parent)


@contextlib.contextmanager
def _opened_alone(path: Path) -> Iterator[BinaryIO]:
    """An empty file that no other process writes."""
    import fcntl

    # Another's link or pipe under this name is an error.
    how = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        with os.fdopen(os.open(path, how, 0o666), "wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            # While this waited, the other writer may have given the file its final name.
            if _inode(path) == os.fstat(stream.fileno()).st_ino:
                stream.truncate(0)
                yield stream
                return


def unique_beside(final: Path, suffix: str) -> Path:
    """A hidden name beside ``final`` that no other process uses."""
    return final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.{suffix}")


def check_place(final: Path, kind: str | None = None) -> None:
    """Refuse a place that :func:`publish` would refuse, before the work is done.

    Raises:
        ArtifactError: ``final`` exists and is no xopt artifact, or one of another kind.
        InputError: it would lie in a bundle.
    """
    check_outside(final)
    found = None
    for _ in range(TRIES):
        number, found = _inode(final), _kind_of(final)
        if number is None or found == "" or (found and kind in (None, found)):
            return
        # Another build may have swapped the folder while it was looked at.
        if number == _inode(final):
            break
    made = f"is {KINDS[found]}; {KINDS[kind]} is not written over it" if found and kind else ""
    raise ArtifactError(
        f"{final.absolute()} {made or 'exists and is not something xopt made'}.",
        hint="Choose another place with -o, or remove it yourself.",
    )


def check_outside(place: Path, option: str = "-o") -> None:
    """Refuse to write into a bundle, which is not opened again with a file that it does not name.

    Args:
        place: a file or folder that a command is about to write.
        option: what chose it.

    Raises:
        InputError: a folder above it is a bundle.
    """
    for folder in Path(os.path.realpath(place)).parents:
        try:
            kind = parse_json((folder / MANIFEST).read_bytes())["kind"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if kind == "bundle":
            raise InputError(
                f"{place} would lie in the bundle {folder}, which holds what was built and "
                "nothing else.",
                hint=f"Choose a place outside of it with {option}.",
            )


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _kind_of(path: Path) -> str | None:
    """As what xopt made a folder, as far as can be told when its manifest is damaged.

    Empty if the folder is; None if xopt did not make it.
    """
    try:
        if not any(path.iterdir()):
            return ""
        manifest = parse_json((path / MANIFEST).read_bytes())
        return manifest["kind"] if manifest["kind"] in KINDS and "fingerprint" in manifest else None
    except OSError:
        return None
    except (ValueError, KeyError, TypeError):
        whole = (path / "card.md").is_file() and (path / "tokenizer.json").is_file()
        return "bundle" if whole else None


def _remove_stale(final: Path) -> None:
    """Remove what killed processes left half-written beside ``final``; put back what they moved."""
    name = glob.escape(final.name)
    for old in final.parent.glob(f".{name}.{ID}.old"):
        if final.exists():
            _discard(old)
        else:
            # Another process may have put it back, or published, in this moment.
            with contextlib.suppress(OSError):
                old.rename(final)
    for partial in final.parent.glob(f".{name}.{ID}.partial"):
        if not _has_owner(partial):
            shutil.rmtree(partial, ignore_errors=True)
    for new in final.parent.glob(f".{name}.{ID}.new"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - new.stat().st_mtime > NEW_S:
                shutil.rmtree(new, ignore_errors=True)


def _has_owner(partial: Path) -> bool:
    """Whether a process, here or in another container, still writes this folder."""
    try:
        FileLock(partial / LOCK, timeout=0).acquire().lock.release()
    except (Timeout, OSError):
        # Also where it has just been renamed to its final name.
        return True
    return False


def _flush_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        flush(path)


def flush(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk.

    Raises:
        OSError: it is not there, or cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def swap(work: Path, final: Path) -> None:
    """Rename ``work`` to ``final``, and what stands there away."""
    for left in reversed(range(TRIES)):
        old = unique_beside(final, "old")
        with contextlib.suppress(FileNotFoundError):
            final.rename(old)
        try:
            work.rename(final)
            break
        except OSError as error:
            # Another build put its folder there in between; it is the older one now.
            if left == 0 or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            if final.exists():
                _discard(old)


def _discard(old: Path) -> None:
    """Remove what was moved away; first its name, under which it would be put back.

    What a killed process leaves of it is cleared away by the next that publishes here.
    """
    gone = old.with_suffix(".partial")
    with contextlib.suppress(FileNotFoundError):
        old.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _explained(error: OSError, final: Path) -> BuildError:
    """What really failed, and what helps against that."""
    what = error.strerror or str(error) or type(error).__name__
    named = error.filename if error.filename is not None else final
    return BuildError(
        f"{final} was not written: {what}: {os.fsdecode(named)}.",
        hint=f"{disk_hint(error, final)}; nothing that was there before is lost.",
    )
