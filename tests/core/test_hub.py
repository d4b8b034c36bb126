"""A hub out of reach costs one question, and no command waits for the retries of its libraries."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xopt.hub import hub_at_hand

HUB = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
CONSTANTS = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def closed() -> Iterator[str]:
    """An address of this machine at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``ask(address)``: what is wrong with the hub there, and whether the block was offline."""

    def put(address: str) -> tuple[str, bool]:
        monkeypatch.setattr(CONSTANTS, "ENDPOINT", address)
        monkeypatch.setattr(CONSTANTS, "HF_HUB_OFFLINE", False)
        with hub_at_hand(why="A test") as hub:
            inside = CONSTANTS.HF_HUB_OFFLINE
        assert not CONSTANTS.HF_HUB_OFFLINE
        return hub.fault, inside

    return put


def test_a_closed_port_is_told(ask: Any, closed: str) -> None:
    fault, offline = ask(closed)
    assert fault.startswith(f"{closed} cannot be reached")
    assert offline


def test_one_that_takes_the_call_and_says_nothing_is_given_up(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        fault, offline = ask(address)
    assert fault.startswith(address)
    assert offline


@pytest.mark.parametrize(("status", "works"), [(200, True), (404, True), (501, True), (503, False)])
def test_whatever_answers_is_a_hub_but_for_a_gateway(
    ask: Any, monkeypatch: pytest.MonkeyPatch, status: int, works: bool
) -> None:
    class Session:
        status_code = status

        def head(self, address: str, *, timeout: float) -> Session:
            return self

    monkeypatch.setattr(HUB, "get_session", Session)
    fault, offline = ask("https://hub.test")
    assert (not fault, not offline) == (works, works)
    assert works or str(status) in fault


COMMANDS = {
    "build someone/model": ("HF_ENDPOINT", "xopt tune", "pip:multilingual-e5-small", "folder"),
    "build --task xnli": ("--data sample", "xopt tune"),
    "calibrate hub:someone/texts --checkpoint CHECKPOINT": ("HF_ENDPOINT", "its own texts"),
    "tune CHECKPOINT --target xnli --intermediate none -o out": ("HF_ENDPOINT", "--data sample"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_once_what_to_do_without_the_hub(
    command: str, closed: str, make_checkpoint: Any, tmp_path: Path
) -> None:
    words = command.split()
    if "CHECKPOINT" in words:
        words[words.index("CHECKPOINT")] = str(make_checkpoint(layers=1))
    if "tune" in command or "hub:" in command:
        pytest.importorskip("datasets", reason="datasets is not installed")
    env = {**os.environ, "HF_ENDPOINT": closed, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "xopt", *words],
        env={**env, "NO_PROXY": "127.0.0.1"}, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert f"{closed} cannot be reached" in done.stderr
    assert done.stderr.count("error:") == 1
    # The hub's own library announces each of its retries.
    assert "Retrying" not in done.stderr
    for said in COMMANDS[command]:
        assert said in done.stderr
