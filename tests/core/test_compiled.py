"""C++ of ours in the cache: what damages it, and how its compiler is named."""

import subprocess
from pathlib import Path

import pytest

from xopt.compiled import compile_library, find_compiler, missing_compiler

pytestmark = pytest.mark.skipif(not find_compiler(), reason="there is no C++ compiler")


@pytest.mark.parametrize("kept", ["cut", "empty", "changed", "of another"])
def test_a_damaged_library_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: str
) -> None:
    """To load one that is cut off would end the process, so none is loaded here."""
    compiler = tmp_path / "compiler"
    compiler.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo 1; exit 0; fi\n'
        'while [ "$1" != -o ]; do shift; done\n'
        'echo library > "$2"\n'
    )
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cache"))
    library = compile_library("one.cpp", {"one.cpp": b""}, [])
    good = library.read_bytes()
    assert good.startswith(b"library")
    library.write_bytes(
        {
            "cut": good[: len(good) // 2],
            "empty": b"",
            "changed": good[:1] + b"?" + good[2:],
            "of another": b"another",
        }[kept]
    )
    assert compile_library("one.cpp", {"one.cpp": b""}, []) == library
    assert library.read_bytes() == good
    # What is whole is not made again.
    before = library.stat().st_mtime_ns
    compile_library("one.cpp", {"one.cpp": b""}, [])
    assert library.stat().st_mtime_ns == before


@pytest.mark.parametrize("given", ["", " ", "env g++", "g++ -pipe"])
def test_cxx_may_be_empty_or_more_than_a_name(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CXX", given)
    done = subprocess.run(
        [*find_compiler(), "--version"], capture_output=True, text=True, check=True
    )
    assert "Free Software Foundation" in done.stdout


@pytest.mark.parametrize("given", ["no-such-compiler", "no-such -O2", 'g++ "'])
def test_a_cxx_that_is_no_command_is_named(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CXX", given)
    assert find_compiler() == []
    assert missing_compiler() == f"CXX names {given!r}, which is no command here"
