"""How a command ends: interrupted, with its streams closed."""

import subprocess
import sys
from pathlib import Path

import pytest

PRESSED = """
import importlib, signal, sys
from xopt.cli import main
command = importlib.import_module("xopt.cli." + {"eval": "evaluate"}.get(sys.argv[1], sys.argv[1]))
# A test run in the background inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
command.resolve = lambda *_: signal.raise_signal(signal.SIGINT)
main()
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval"], "Cancelled; nothing that was built is lost.\n"),
        (["serve", "b"], "The server has stopped.\n"),
    ],
)
def test_ctrl_c_says_what_it_ended_and_exits_with_130(
    words: list[str], said: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRESSED, *words],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == said


def test_closed_streams_are_no_failure_of_xopt() -> None:
    said = "import sys; from xopt.cli.app import _take_any_bytes as take; take(); print('heard')"
    line = f'"{sys.executable}" -c "{said}; sys.exit(7)" >&- 2>&-'
    assert subprocess.run(line, shell=True, check=False).returncode == 7
