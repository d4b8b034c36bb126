"""A file under its final name is whole, whoever writes it and however that ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from xopt.publishing import write_whole


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_disk_that_fills_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "new" / "page.html", "before é")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "new" / "page.html", b"after" * 1000)
    assert (tmp_path / "new" / "page.html").read_bytes() == "before é".encode()
    assert names(tmp_path / "new") == {"page.html"}


KILLED = """
import os, signal, sys
from pathlib import Path
from xopt.publishing import write_whole
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), "half a page, and longer than the next")
"""


def test_what_a_killed_writer_left_is_gone_with_the_next(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = subprocess.run([sys.executable, "-c", KILLED, str(page)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not page.exists()
    assert len(names(tmp_path)) == 1, "it was killed while it wrote"
    write_whole(page, "whole")
    assert page.read_text() == "whole"
    assert names(tmp_path) == {"page.html"}


def test_of_many_writers_one_stands_there_whole(tmp_path: Path) -> None:
    page, together = tmp_path / "page.html", threading.Barrier(8)
    texts = [str(number) * (1000 + number) for number in range(8)]
    failed: list[Exception] = []

    def write(text: str) -> None:
        together.wait(timeout=60)
        for _ in range(20):
            try:
                write_whole(page, text)
                assert page.read_text() in texts
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert names(tmp_path) == {"page.html"}


def test_a_link_is_followed_but_for_one_that_lies_in_wait(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "page.html").symlink_to("far/page.html")
    write_whole(tmp_path / "page.html", "text")
    assert (tmp_path / "page.html").is_symlink()
    assert (tmp_path / "far" / "page.html").read_text() == "text"
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".other.html.partial").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "other.html", "text")
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert names(tmp_path) == {"pipe"}
