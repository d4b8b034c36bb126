"""One command in a forked child, with limits, and what its end says."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import resource
import select
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ending", "prepare", "run_forked"]

# Seconds of the processor that a damaged input may cost, and of the clock, which others share.
CPU_S, WALL_S = 10, 60
MEMORY_MIB = 2048
# What a command may not get at all, so that one fault takes no machine with it.
MOST_BYTES = 6 * 2**30
LIGHT = ("openvino", "pyarrow.parquet", "tokenizers", "xopt.cli", "xopt.report.render")
HEAVY = (
    "datasets", "modelopt.torch.quantization", "onnx", "onnx_ir", "onnxscript", "openvino",
    "pyarrow.parquet", "torch", "transformers", "xopt.cli", "xopt.compile.build",
    "xopt.compile.external", "xopt.compile.parity", "xopt.compile.reference",
    "xopt.engines.openvino", "xopt.report.render", "xopt.model.core",
)  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes:
        code: its exit code; minus the signal's number if one ended it.
        output, errors: standard output and standard error.
        seconds: of the processor.
        memory: the most MiB it held, of which a command that does nothing has some.
        late: whether it was ended because the clock ran out.
    """

    code: int
    output: str
    errors: str
    seconds: float
    memory: float
    late: bool

    def fault(self, *, may_succeed: bool, base_mib: float) -> str | None:
        """What is wrong with this ending; None if nothing is."""
        if self.late or self.code == -signal.SIGXCPU:
            return f"hangs ({self.seconds:.0f} s of the processor) in {place_of(self.errors)}"
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        if "Traceback (most recent call last)" in self.errors + self.output:
            return f"traceback: {last_line(self.errors)}"
        if "xopt itself failed" in self.errors:
            return f"xopt itself failed: {found_after(self.errors, 'failed: ')}"
        if self.memory > MEMORY_MIB + base_mib:
            return f"takes {self.memory:.0f} MiB"
        if self.code == 0:
            return None if may_succeed else "succeeds"
        if self.code != 2:
            return f"exit code {self.code}: {last_line(self.errors)}"
        if "Usage:" in self.errors or "hint:" in self.errors:
            return None
        return f"no hint: {last_line(self.errors)}"


def last_line(text: str) -> str:
    """The last line of a message, cut."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][-200:] if lines else "nothing said"


def found_after(text: str, words: str) -> str:
    """What a message says behind ``words``."""
    return re.sub(r"\s+", " ", text.partition(words)[2])[:160]


def place_of(text: str) -> str:
    """Where faulthandler saw the process when its time was up."""
    found = re.findall(r'File "[^"]*/([^/"]+/[^/"]+)", line (\d+)', text)
    return " < ".join(f"{name}:{line}" for name, line in found[:3]) or "native code"


def prepare(commands: Collection[str]) -> None:
    """Import once, before the forks, what these commands import; start no thread."""
    import gc
    import importlib

    heavy = {"build", "calibrate", "sweep", "tune"} & set(commands)
    for name in HEAVY if heavy else LIGHT:
        importlib.import_module(name)
    from xopt.cli.app import COMMANDS

    for name in commands:
        importlib.import_module(f"xopt.cli.{COMMANDS[name]}")
    # The collector would touch, and so copy, every page in every child.
    gc.freeze()


def run_forked(
    words: Sequence[str],
    place: Path,
    *,
    streams: Path | None = None,
    cpu_s: int = CPU_S,
    wall_s: float = WALL_S,
    first: Callable[[], None] = lambda: None,
    stop: tuple[float, int] | None = None,
) -> Ending:
    """Run ``xopt WORDS`` in a fork of this process, in the folder ``place``.

    Args:
        words: of the command.
        place: the working folder.
        streams: where what it prints is kept; ``place`` by default.
        cpu_s: seconds of the processor.
        wall_s: seconds of the clock.
        first: called in the child before anything else.
        stop: (seconds, signal): sent to it and all that it started, after these seconds.
    """
    files = [(streams or place) / "out.txt", (streams or place) / "err.txt"]
    process = os.fork()
    if process == 0:
        _be_child(words, place, files, cpu_s, first)
    late = False
    ends = os.pidfd_open(process)
    if stop and not _ended(ends, stop[0]):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, stop[1])
    if not _ended(ends, wall_s):
        late = True
        os.killpg(process, signal.SIGKILL)
    os.close(ends)
    _, status, used = os.wait4(process, 0)
    output, errors = (path.read_text(errors="replace") for path in files)
    seconds = used.ru_utime + used.ru_stime
    memory = used.ru_maxrss / 1024
    return Ending(os.waitstatus_to_exitcode(status), output, errors, seconds, memory, late)


def _ended(process: int, seconds: float) -> bool:
    """Wait for the end of a process, by its file descriptor; no longer than ``seconds``."""
    return bool(select.select([process], [], [], seconds)[0])


def _be_child(
    words: Sequence[str],
    place: Path,
    streams: Sequence[Path],
    cpu_s: int,
    first: Callable[[], None],
) -> None:
    code = 70
    try:
        os.setsid()
        first()
        os.chdir(place)
        for number, path in enumerate(streams, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        faulthandler.register(signal.SIGXCPU, all_threads=False, chain=True)
        # A crash is reported by its signal; its core would fill the disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        sys.argv = ["xopt", *words]
        os.environ.pop("XOPT_DEBUG", None)
        code = _call_main()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # No clean-up of the parent's: its tests' temporary folders are its own.
        os._exit(code)


def _call_main() -> int:
    import traceback

    from xopt.cli.app import main

    try:
        main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
