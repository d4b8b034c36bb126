"""How a command ends: interrupted, with its streams closed."""

import subprocess
import sys
from pathlib import Path

PRESSED = """
import signal
from xopt.cli import evaluate, main
# A test run in the background inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
evaluate.resolve = lambda *_: signal.raise_signal(signal.SIGINT)
main()
"""


def test_ctrl_c_says_that_nothing_is_lost_and_exits_with_130(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRESSED, "eval"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == "Cancelled; nothing that was built is lost.\n"


def test_closed_streams_are_no_failure_of_xopt() -> None:
    said = "import sys; from xopt.cli.app import _take_any_bytes as take; take(); print('heard')"
    line = f'"{sys.executable}" -c "{said}; sys.exit(7)" >&- 2>&-'
    assert subprocess.run(line, shell=True, check=False).returncode == 7
