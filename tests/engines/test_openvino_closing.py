"""What CPU engines leave behind when they are closed, and in a fork."""

import subprocess
import sys

from xopt.engines.openvino import OpenVinoEngine

CLOSED_IN_ORDER = """
import gc, signal, sys
from pathlib import Path
import numpy as np
from xopt.artifacts import Bundle
from xopt.engines.base import open_engine
from xopt.packing import Encoding, pack

# A test run in the background inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
engines = [open_engine(Bundle.open(Path(path))) for path in sys.argv[1:]]
batch = pack([Encoding(np.array([5, 6, 7], np.int32), np.zeros(3, np.int32))], first_position=2)
for engine in engines:
    engine.run(batch)
while engines:
    engines.pop(0).close()
    engine = None
    gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_after_engines_were_closed_is_no_crash(
    engines: dict[tuple[str, str], OpenVinoEngine],
) -> None:
    """A core that goes before a younger one left the thread a freed signal stack."""
    folders = [str(engines["embed", precision].bundle.folder) for precision in ("int8", "fp32")]
    done = subprocess.run(
        [sys.executable, "-P", "-c", CLOSED_IN_ORDER, *folders],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


FORKED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from xopt.artifacts import Bundle
from xopt.engines.base import open_engine
from xopt.errors import InputError
from xopt.packing import Encoding, pack

bundle = Bundle.open(Path(sys.argv[1]))
batch = pack([Encoding(np.array([5, 6, 7], np.int32), np.zeros(3, np.int32))], first_position=2)

def forked():
    process = os.fork()
    if not process:
        signal.alarm(60)
        try:
            open_engine(bundle).run(batch)
            print("answered", flush=True)
        except InputError as error:
            print(*str(error).splitlines(), flush=True)
        finally:
            os._exit(0)
    os.waitpid(process, 0)

with open_engine(bundle) as engine:
    forked()
    engine.run(batch)
forked()
"""


def test_a_fork_behind_an_answer_is_refused_and_one_before_is_not(
    engines: dict[tuple[str, str], OpenVinoEngine],
) -> None:
    """OpenVINO would wait there for threads that stayed behind."""
    folder = str(engines["embed", "int8"].bundle.folder)
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", FORKED, folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    assert first == "answered", done.stderr
    assert second.startswith("This process was forked from one in which a model had answered")
    assert 'get_context("spawn")' in second
