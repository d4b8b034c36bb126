"""How our own operations are compiled, kept and told where they cannot be had."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from xopt.engines.openvino import open_core
from xopt.engines.openvino_native import load_attention, obstacle


def test_without_a_compiler_attention_stays_openvinos(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    native = load_attention.__wrapped__(open_core())
    assert native.factory is None
    assert native.reason in (
        "there is no C++ compiler (Debian and Ubuntu: apt install g++)",
        "this CPU has no AVX2",
        "it is compiled on Linux x86-64 only",
    )


@pytest.mark.skipif(bool(obstacle()), reason=obstacle())
def test_a_compiler_that_fails_is_told_and_writes_beside_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compiler, seen = tmp_path / "compiler", tmp_path / "seen"
    compiler.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo 1; exit 0; fi\n'
        f'echo "$TMPDIR" > {seen}\nexec >&2\n'
        'echo "a.cpp: fatal error: No space left on device"\n'
        'echo "compilation terminated."\nexit 1\n'
    )
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cache"))
    native = load_attention.__wrapped__(open_core())
    assert native.factory is None
    assert native.reason == "a.cpp: fatal error: No space left on device"
    assert f"could not be compiled ({native.reason})" in caplog.text
    assert "Free some space or set XOPT_CACHE to another folder." in caplog.text
    assert Path(seen.read_text().strip()).is_relative_to(tmp_path / "cache")


def test_a_cache_that_is_a_file_is_told_with_what_chooses_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "file"))
    assert load_attention.__wrapped__(open_core()).factory is None
    assert "or set XOPT_CACHE to another folder, and type the same command" in caplog.text


def test_a_library_that_others_may_write_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path))
    native: Any = load_attention.__wrapped__(open_core())
    if native.factory is None:
        pytest.skip(native.reason)
    [library] = tmp_path.glob("native/*/attention.so")
    library.chmod(0o777)
    reason = load_attention.__wrapped__(open_core()).reason
    assert "written by somebody else; remove it, or set XOPT_CACHE" in reason
