"""Checksums of files, and the folder in which they and every stage are remembered."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from pathlib import Path

__all__ = ["cache_folder", "sha256_file", "sha256_file_cached"]


def cache_folder() -> Path:
    """Where stages are kept between runs: ``$XOPT_CACHE``, else ``~/.cache/xopt``."""
    root = os.environ.get("XOPT_CACHE")
    if root:
        return Path(root)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "xopt"


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
    with contextlib.closing(_hashes(folder / "hashes.sqlite")) as database:
        row = database.execute("SELECT sha256 FROM hashes WHERE key = ?", (key,)).fetchone()
        if row:
            return str(row[0])
        digest = sha256_file(real)
        database.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?)", (key, digest))
        database.commit()
    return digest


def _hashes(path: Path) -> sqlite3.Connection:
    """The table of remembered hashes, begun anew if the file is damaged."""
    create = "CREATE TABLE IF NOT EXISTS hashes (key TEXT PRIMARY KEY, sha256 TEXT)"
    try:
        database = sqlite3.connect(path, timeout=30)
        database.execute(create)
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
        database = sqlite3.connect(path, timeout=30)
        database.execute(create)
    return database
