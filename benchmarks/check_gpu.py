"""The first thing to run on a machine with a GPU: is everything right, and then how fast is it.

    PYTHONPATH=src python benchmarks/check_gpu.py --out docs/results/check_gpu

Needs Python, torch, triton and transformers, and no index. Seven stages, each a process of its own
with a time limit, and what those before it left of theirs: what one of them breaks or hangs costs
the others nothing. The rows of each are written when it ends (``rows.jsonl``), and so is the table
(``table.md``); those of a stage that was ended with all lie in ``STAGE.jsonl``. The first stages
say whether answers are right, the last two how long they take; how long that is is never a reason
to fail.

Exits with 1 if an answer is wrong, a stage died or one that checks answers did not end in time, or
nothing could be written; with 2 if there is no GPU, or nowhere to write to; else with 0.
``--interpret`` runs what can run in Triton's interpreter, small, without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Stage:
    """One process.

    Attributes:
        name: of its function in ``gpu_stages.py`` or ``gpu_timings.py``.
        limit_s: seconds after which it is stopped.
        what: for people.
        checks: whether it says what is right; else only how fast it is.
        interpreted: whether Triton's interpreter runs it too.
    """

    name: str
    limit_s: int
    what: str
    checks: bool = True
    interpreted: bool = False


STAGES = (
    Stage("ceilings", 40, "versions, copying, products: what the GPU reaches", checks=False),
    Stage(
        "kernels",
        110,
        "every kernel on fresh inputs, poisoned outputs, every tile",
        interpreted=True,
    ),
    Stage("ptx", 90, "the plugin's PTX through the driver, every tactic"),
    Stage("sessions", 40, "TensorRT's sessions over a stand-in that launches that PTX"),
    Stage("engine", 110, "the engine: eager, captured and evicted, bit for bit", interpreted=True),
    Stage("micro", 90, "kernels beside cuBLAS, _int_mm and torch's varlen attention", checks=False),
    Stage("whole", 110, "XLM-R base beside transformers and torch.compile"),
)
NO_GPU = "no GPU"
NEEDS = "torch triton transformers safetensors numpy"
# PR_SET_PDEATHSIG of prctl(2).
PARENT_DIED = 1
NOT_REACHED = {"rows": [{"what": "", "skipped": "not reached"}], "ended": ""}
# An interpreter on a busy machine.
SLOWER = 5


def run_stage(stage: Stage, rows: Path, interpret: bool, spare_s: float = 0) -> dict[str, Any]:
    """Run one stage; its last word: how it ended, with the rows that it wrote.

    Args:
        stage: to run.
        rows: where its rows go too.
        interpret: whether in Triton's interpreter.
        spare_s: seconds beyond its limit; what is left of both is ``spare_s`` of the result, less
            than nothing where ending it took longer.
    """
    limit_s = stage.limit_s * (SLOWER if interpret else 1) + spare_s
    begin = time.monotonic()
    place = rows.with_name(f"{stage.name}.jsonl")
    place.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "check_gpu.py"), "--stage", stage.name, "--rows", place]
    environment = dict(os.environ)
    environment["TRITON_INTERPRET"] = "1" if interpret else "0"
    source = str(HERE.parent / "src")
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, (source, environment.get("PYTHONPATH")))
    )
    status, said = run_process(command, environment, limit_s)
    ended = f"died ({status}): {said}" if status else ""
    if status is None:
        ended = f"stopped after {limit_s:.0f} s"
    found = read_rows(place)
    place.unlink(missing_ok=True)
    text = "".join(json.dumps({"stage": stage.name, **row}) + "\n" for row in found)
    left_s = limit_s - (time.monotonic() - begin)
    return {
        "stage": stage.name, "ended": ended, "rows": found, "spare_s": left_s,
        "kept": written(rows, text),
    }  # fmt: skip


def run_process(
    command: Sequence[Any], environment: dict[str, str], limit_s: float
) -> tuple[int | None, str]:
    """Its exit status, None if its time was over, and the last line that it said.

    What it started ends with it: a compiler's worker would keep the GPU or a pipe.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        status = None
        try:
            status = wait(process, limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # One that hangs in the driver is left behind.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines() or ["nothing"]
    return status, lines[-1][:300]


def wait(process: subprocess.Popen[bytes], limit_s: float) -> int:
    """For its end; TimeoutExpired after ``limit_s``."""
    return process.wait(max(1.0, limit_s))


def written(path: Path, text: str) -> bool:
    """Add to a file; where that fails it is told, and what was found stays in the table."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        print(f"{path} could not be written: {error.strerror}", file=sys.stderr)
        return False
    return True


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a stage; what a stopped process wrote by half is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def judge(stage: Stage, result: dict[str, Any]) -> str:
    """What is wrong with a stage; empty if nothing is."""
    if any(row.get("right") is False for row in result["rows"]):
        return "wrong"
    if result["ended"].startswith("died") or (stage.checks and result["ended"]):
        return result["ended"]
    if not stage.checks:
        return ""
    if not any("right" in row or "skipped" in row for row in result["rows"]):
        return "checked nothing"
    return ""


def render(results: Sequence[dict[str, Any]]) -> str:
    """The table, in Markdown."""
    lines = ["| stage | what | value |", "|---|---|---|"]
    for stage, result in zip(STAGES, results, strict=True):
        checked = [row["right"] for row in result["rows"] if "right" in row]
        verdict = judge(stage, result) or result["ended"]
        skipped = [row["skipped"] for row in result["rows"] if "skipped" in row]
        if not verdict and skipped and len(skipped) == len(result["rows"]):
            lines.append(f"| **{stage.name}** | {stage.what} | {skipped[0]} |")
            continue
        if not verdict and checked:
            verdict = f"{sum(checked)} of {len(checked)} right"
        lines.append(f"| **{stage.name}** | {stage.what} | {verdict or 'done'} |")
        for row in result["rows"]:
            if row.get("right") is not True or "value" in row:
                value = row.get("skipped") or row.get("value") or row.get("error", "")
                mark = "WRONG: " if row.get("right") is False else ""
                lines.append(f"| {stage.name} | {row.get('what', '')} | {mark}{value} |")
    return "\n".join(lines) + "\n"


def no_gpu() -> str:
    """Why there is none: no driver, or what PyTorch says of it; empty if there is one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return NO_GPU
    import torch

    if torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()
    except Exception as error:
        return f"{NO_GPU} for PyTorch: {str(error).strip().partition(chr(10))[0]}"
    return NO_GPU


def run_here(name: str, rows: Path) -> int:
    """The child: one stage in this process."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    with rows.open("a", encoding="utf-8", buffering=1) as stream:

        def say(**row: Any) -> None:
            # A number of NumPy's or PyTorch's is written as Python's.
            stream.write(json.dumps(row, default=lambda value: value.item()) + "\n")

        stage = next(stage for stage in STAGES if stage.name == name)
        try:
            reason = no_gpu() if not interpreted else "" if stage.interpreted else NO_GPU
            if reason:
                say(what=name, skipped=reason)
                return 0
            import gpu_stages
            import gpu_timings
            import torch
        except ModuleNotFoundError as error:
            print(
                f"{error.name} is missing: {sys.executable} -m pip install {NEEDS}", file=sys.stderr
            )
            return 1
        found = {**vars(gpu_timings), **vars(gpu_stages)}
        run = found.get(f"{name}_stage") or found[name]
        run(say, torch.device("cpu" if interpreted else "cuda"))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("check_gpu"), help="a folder")
    parser.add_argument("--interpret", action="store_true", help="in Triton's interpreter, small")
    parser.add_argument("--only", nargs="+", choices=[stage.name for stage in STAGES])
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)
        return run_here(options.stage, options.rows)
    rows, table_place = options.out / "rows.jsonl", options.out / "table.md"
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for place in (rows, table_place):
            place.write_text("")
    except OSError as error:
        parser.error(f"--out {options.out}: {error.strerror}; name a folder that can be written")
    results: list[dict[str, Any]] = []
    spare_s = 0.0
    # So that a stage is ended with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for stage in STAGES:
        if options.only and stage.name not in options.only:
            results.append({"rows": [{"what": "", "skipped": "not asked for"}], "ended": ""})
            continue
        print(f"{stage.name}: {stage.what}", file=sys.stderr, flush=True)
        results.append(run_stage(stage, rows, options.interpret, spare_s))
        spare_s = results[-1]["spare_s"]
        reached = [*results, *[NOT_REACHED] * (len(STAGES) - len(results))]
        with contextlib.suppress(OSError):
            table_place.write_text(render(reached), encoding="utf-8")
    table = render(results)
    print(table)
    with contextlib.suppress(OSError):
        table_place.write_text("")
    kept = [written(table_place, table), *(result.get("kept", True) for result in results)]
    if not all(kept) or any(
        judge(stage, result) for stage, result in zip(STAGES, results, strict=True)
    ):
        return 1
    skipped = [str(row.get("skipped")) for result in results for row in result["rows"]]
    if all(said.startswith((NO_GPU, "not asked for")) for said in skipped):
        print("Nothing was checked. Without a GPU, --interpret runs two stages.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
