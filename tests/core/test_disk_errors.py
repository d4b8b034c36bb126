"""A full disk is told as one, whichever library met it."""

from __future__ import annotations

import errno
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from xopt.artifacts import Bundle
from xopt.disk_errors import disk_error, disk_hint
from xopt.errors import BuildError, CheckpointError
from xopt.evaluate.resume import Partial
from xopt.evidence import record_build
from xopt.publishing import publish

# Writing beyond 64 KiB fails in this process, as on a disk that is full.
FULL = """
import resource, signal, sys
import numpy
import openvino
import torch
from safetensors.torch import save_file
from xopt.publishing import disk_error
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
tensors = {"a": torch.ones(100_000)}
x = openvino.opset13.parameter([1, 256], numpy.float32)
weight = openvino.opset13.constant(numpy.ones((256, 256), numpy.float32))
model = openvino.Model([openvino.opset13.matmul(x, weight, False, False)], [x])
for save in (
    lambda place: torch.save(tensors, place),
    lambda place: save_file(tensors, place),
    lambda place: openvino.save_model(model, place, compress_to_fp16=False),
    lambda place: numpy.save(place, numpy.ones(100_000)),
):
    try:
        save(sys.argv[1])
    except Exception as error:
        failed = disk_error(error)
        print(type(failed).__name__, failed.errno is not None, failed.strerror)
"""


def test_what_libraries_raise_is_read(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "x.xml")], capture_output=True, text=True
    )
    said = done.stdout.splitlines()
    assert [line.split()[:2] for line in said] == [["OSError", "True"]] * 4, done.stderr
    for line, library in zip(said, ("PyTorch", "File too large", "OpenVINO", "NumPy"), strict=True):
        assert library in line


def no_place(place: Path) -> None:
    save_file({"a": torch.ones(2)}, place / "none" / "x.safetensors")


def other(place: Path) -> None:
    raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize(("work", "kind"), [(no_place, BuildError), (other, RuntimeError)])
def test_a_build_that_cannot_write_says_so(
    tmp_path: Path, work: Callable[[Path], None], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught, publish(tmp_path / "b") as place:
        work(place)
    if kind is BuildError:
        assert isinstance(caught.value.__cause__, SafetensorError)
        assert "No such file" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_does_not_call_it_its_own_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(words: Any) -> Any:
        raise SafetensorError("Error while serializing: I/O error: File too large (os error 27)")

    # The package shows the application itself under the name of its module.
    module = importlib.import_module("xopt.cli.app")
    monkeypatch.setattr(module, "_load_commands", fails)
    monkeypatch.setattr(sys, "argv", ["xopt", "--version"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "File too large" in said
    assert "itself failed" not in said
    assert disk_error(ValueError("x")) is None
    assert disk_error(CheckpointError("is no file: I/O error (os error 21)")) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EROFS])
def test_what_helps_follows_from_the_place(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cache"))
    said = os.strerror(number)
    inside = disk_hint(OSError(number, said, str(tmp_path / "cache/locks/a")))
    assert "XOPT_CACHE" in inside
    assert "-o" not in inside
    outside = OSError(number, said, str(tmp_path / "b"))
    assert "choose another place with -o" in disk_hint(outside).lower()
    assert "choose another place with --output" in disk_hint(outside, option="--output").lower()
    without = disk_hint(outside, option="")
    assert "-o" not in without
    assert "XOPT_CACHE" not in without
    # A library that does not say where it failed was at work on a known place.
    assert "XOPT_CACHE" in disk_hint(OSError(number, said), tmp_path / "cache/graph/b")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["build", "-o", "b"], "-o"), (["run", "b", "--output", "x"], "--output"),
        (["eval", "b"], "--submission"), (["bench", "b"], ""), (["deploy", "triton", "b"], "-o"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_option_is_one_that_the_command_has(words: list[str], option: str) -> None:
    module = importlib.import_module("xopt.cli.app")
    module._load_commands(words)
    assert module._option_of_place(words) == option


def test_a_cache_that_cannot_be_written_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    # No folder can be made below a file, whoever asks.
    cache.write_text("")
    monkeypatch.setenv("XOPT_CACHE", str(cache))
    partial = Partial()
    partial.put("a", {"x": 1})
    assert "XOPT_CACHE" in caplog.text or "Mend that" in caplog.text
    assert partial.get("a") is None
    partial.put("b", {"x": 1})
    partial.clear()
    assert len(caplog.records) == 1
    record_build(Bundle(tmp_path, {"fingerprint": "0" * 64}), {})
    assert "is complete" in caplog.records[1].getMessage()


def test_a_copied_folder_tells_what_failed_first(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in "ab":
        (source / name).write_text("text")

    def full(_: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(source, tmp_path / "target", copy_function=full)
    failed = disk_error(caught.value)
    assert failed is not None
    assert (failed.errno, failed.strerror) == (errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert Path(failed.filename).parent == tmp_path / "target"
    assert "space" in disk_hint(failed)
    # It may hold one text, or a reason without a number.
    assert disk_error(shutil.Error("one text")) is not None
    other = disk_error(shutil.Error([("a", "b", "a named pipe")]))
    assert other is not None
    assert (other.filename, other.strerror) == ("b", "a named pipe")
