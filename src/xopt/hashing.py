"""Checksums of files and of our source, and the folder in which every stage is remembered."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from filelock import FileLock

__all__ = [
    "cache_folder", "locked", "sha256_file", "sha256_file_cached", "source_digest", "using_cache",
]  # fmt: skip

# Where the rooms lie, as they are installed or through links.
PACKAGE = Path(__file__).parent
# How long a table that another process writes is waited for.
WAIT_S = 5.0
# Those that were waited for in vain: until one can be had again, nobody waits for it once more.
_BUSY: set[Path] = set()
_CHOSEN: ContextVar[Path | None] = ContextVar("cache", default=None)


@contextlib.contextmanager
def using_cache(folder: Path) -> Iterator[None]:
    """Keep stages in ``folder`` instead, for what this thread does until the end of the block."""
    token = _CHOSEN.set(folder)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def cache_folder() -> Path:
    """Where stages are kept: as chosen, else ``$XOPT_CACHE``, else ``~/.cache/xopt``."""
    chosen = _CHOSEN.get()
    if chosen is not None:
        return chosen
    root = os.environ.get("XOPT_CACHE")
    if root:
        return Path(root)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "xopt"


@functools.cache
def source_digest(*rooms: str) -> str:
    """sha256 of the Python source of some rooms: what decides the bytes of what they make.

    A part of the fingerprints of stages, so that a change of the source makes them anew and nobody
    has to count versions of them. Within one installed version it is always the same.

    Args:
        rooms: folders of the package, such as ``compile``.
    """
    digest = hashlib.sha256()
    for room in rooms:
        root = PACKAGE / room
        for path in sorted(root.rglob("*.py")):
            text = path.read_bytes()
            digest.update(f"{room}/{path.relative_to(root).as_posix()} {len(text)}\n".encode())
            digest.update(text)
    return digest.hexdigest()


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
    path = cache_folder() / "hashes.sqlite"
    known = _ask(path, "SELECT sha256 FROM hashes WHERE key = ?", key)
    if known:
        return str(known[0])
    digest = sha256_file(real)
    _ask(path, "INSERT OR REPLACE INTO hashes VALUES (?, ?)", key, digest)
    return digest


def _ask(path: Path, question: str, *values: str) -> tuple[Any, ...] | None:
    """A row of the table of remembered hashes; None where the table cannot be had just now.

    A damaged file is begun anew. One that another process has locked, or that cannot be written,
    is left alone: what it would say is computed.
    """
    create = "CREATE TABLE IF NOT EXISTS hashes (key TEXT PRIMARY KEY, sha256 TEXT)"
    for _ in range(2):
        wait = 0.0 if path in _BUSY else WAIT_S
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(path, timeout=wait)) as database, database:
                database.execute(create)
                row: tuple[Any, ...] | None = database.execute(question, values).fetchone()
            _BUSY.discard(path)
            return row
        except (sqlite3.OperationalError, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                _BUSY.add(path)
            return None
        except sqlite3.DatabaseError:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                return None
    return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that share this cache from changing ``path`` until the block ends."""
    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:20]
    lock = cache_folder() / "locks" / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        yield
