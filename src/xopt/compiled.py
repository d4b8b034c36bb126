"""C++ of ours, compiled on the machine that runs it and kept in the cache folder."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path

from xopt.hashing import cache_folder

__all__ = ["compile_library", "find_compiler", "missing_compiler", "read_sources"]

FLAGS = ("-std=c++17", "-fPIC", "-shared")
COMPILE_S = 600
# Bytes of a sha256.
DIGEST = 32
NO_COMPILER = "there is no C++ compiler (Debian and Ubuntu: apt install g++)"


def find_compiler() -> list[str]:
    """The command that ``$CXX`` names, with what it is given there, else ``g++``; [] if not there.

    ``CXX`` may hold a wrapper or options, such as ``ccache g++``.
    """
    try:
        words = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    except ValueError:  # An open quotation mark.
        return []
    found = shutil.which(words[0])
    return [found, *words[1:]] if found else []


def missing_compiler() -> str:
    """Why :func:`find_compiler` finds none."""
    named = os.environ.get("CXX", "").strip()
    return f"CXX names {named!r}, which is no command here" if named else NO_COMPILER


def read_sources(folder: Traversable) -> dict[str, bytes]:
    """Name -> content of the C++ files in a folder of the package."""
    return {
        part.name: part.read_bytes()
        for part in sorted(folder.iterdir(), key=lambda part: part.name)
        if part.name.endswith((".cpp", ".h"))
    }


def compile_library(
    main: str,
    sources: Mapping[str, bytes],
    flags: Sequence[str],
    *,
    facts: Sequence[object] = (),
    includes: Sequence[Path] = (),
    libraries: Sequence[Path] = (),
) -> Path:
    """A shared library of some sources, compiled if the cache has none of just these.

    Args:
        main: name of the file to compile; the library is called after it.
        sources: name -> content of all files.
        flags: of the compiler, beside :data:`FLAGS`.
        facts: what else the result depends on, the versions of the next two too.
        includes: folders of headers.
        libraries: what it is linked with.

    Raises:
        OSError: no compiler, or the cache is not ours alone.
        subprocess.SubprocessError: the compiler failed.
    """
    compiler = find_compiler()
    if not compiler:
        raise OSError(missing_compiler())
    flags = [*FLAGS, *flags]
    known = repr([dict(sources), flags, list(facts), _version(*compiler)])
    digest = hashlib.sha256(known.encode()).hexdigest()[:20]
    folder = cache_folder() / "native" / digest
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = folder / Path(main).with_suffix(".so").name
    for path in (folder, place):
        # What is loaded runs as this process: nobody else may have written it.
        if path.exists() and (path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o022):
            raise OSError(
                f"{path} can be written by somebody else; remove it, or set XOPT_CACHE to a folder "
                "of your own"
            )
    if not _is_whole(place):
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / place.name
            for name, content in sources.items():
                (Path(work) / name).write_bytes(content)
            headers = [f"-I{include}" for include in includes]
            command = [*compiler, *flags, *headers, str(Path(work) / main), "-o", str(made)]
            # The compiler's own files lie there too: another folder may have no room.
            subprocess.run(
                [*command, *map(str, libraries)], env=os.environ | {"TMPDIR": work, "LC_ALL": "C"},
                check=True, capture_output=True, text=True, timeout=COMPILE_S,
            )  # fmt: skip
            content = made.read_bytes()
            # A loader reads what an ELF file names, and nothing behind it.
            made.write_bytes(content + hashlib.sha256(content).digest())
            made.chmod(0o700)
            made.replace(place)
    return place


def _is_whole(library: Path) -> bool:
    """Whether a library ends in the digest of its other bytes.

    One that a full disk or a machine that went down cut off would end the process that loads it.
    """
    content = library.read_bytes() if library.exists() else b""
    return content[-DIGEST:] == hashlib.sha256(content[:-DIGEST]).digest()


@cache
def _version(*compiler: str) -> str:
    done = subprocess.run(
        [*compiler, "--version"], check=True, capture_output=True, text=True, timeout=COMPILE_S
    )
    return done.stdout.partition("\n")[0]
