"""What CPU engines leave behind when they are closed."""

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
