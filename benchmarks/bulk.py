"""``xopt run --input --output`` over many paragraphs: memory, throughput, and what a kill leaves.

    python benchmarks/bulk.py memory bundles/e5 --rows 100000 --out memory.json
    python benchmarks/bulk.py kill bundles/e5 --rows 100000 --characters 40 --out kill.json
    python benchmarks/bulk.py speed bundles/e5 --rows 4000 --out speed.json
    python benchmarks/bulk.py requests bundles/e5 --rows 100000 --out requests.json

``memory``: the peak of the command over one paragraph and over all of them. ``kill``: the same run
stopped by SIGKILL at three random moments and typed again, against one that nothing stopped.
``speed``: tokens a second beside those of the session that ``xopt eval`` asks, over the same texts,
in turn, each in a fresh process. ``requests``: what a process holds that answers batches of 1 to 12
sentences of 2 to 48 tokens, as a server does.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from xopt.artifacts import Bundle
from xopt.calibrate.corpus import load_corpus
from xopt.engines.base import open_engine
from xopt.host import host_facts
from xopt.packing import Encoding, pack

# Of a paragraph: the fewest characters, and the most unless --characters says so.
SHORTEST, LONGEST = 40, 1100
KILLS = 3

EVALUATED = """
import json, sys, time
from pathlib import Path
from xopt.artifacts import Bundle
from xopt.model.session import Session

lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
begin = time.perf_counter()
with Session.open(Bundle.open(Path(sys.argv[1]))) as session:
    most = session.engine.signature.max_tokens
    session.rows(
        len(lines),
        lambda tokenizer, start, stop: tokenizer.encode(lines[start:stop], max_tokens=most),
    )
    print(json.dumps({"seconds": time.perf_counter() - begin, "tokens": session.usage.tokens}))
"""


def write_texts(path: Path, rows: int, longest: int) -> None:
    """Paragraphs of the calibration corpus's sentences, in many languages."""
    generator = random.Random(0)
    sentences = [text.replace("\n", " ") for _, text in load_corpus().rows]
    with path.open("w", encoding="utf-8") as stream:
        for row in range(rows):
            size, text = generator.randint(min(SHORTEST, longest), longest), f"{row}"
            while len(text) < size:
                text += " " + generator.choice(sentences)
            stream.write(text[:size].strip() + "\n")


def command(bundle: Path, texts: Path, output: Path) -> list[str]:
    """``xopt run`` over a file."""
    name = [sys.executable, "-P", "-m", "xopt", "run", str(bundle), "--truncate", "--json"]
    return [*name, "--input", str(texts), "--output", str(output)]


def run(bundle: Path, texts: Path, output: Path) -> tuple[float, float]:
    """(seconds, peak MiB) of the whole command."""
    begin = time.perf_counter()
    with subprocess.Popen(command(bundle, texts, output), stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"xopt run: exit {process.returncode}")
    return time.perf_counter() - begin, used.ru_maxrss / 1024


def cpu_of_children() -> float:
    """CPU seconds of every process that was waited for, which a busy machine changes little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def measure_memory(
    bundle: Path, folder: Path, rows: int, repeat: int, longest: int
) -> dict[str, Any]:
    """Peaks of one paragraph and of all; the growth is of the medians."""
    found: dict[str, Any] = {}
    for name, count in (("one", 1), ("all", rows)):
        texts = folder / f"{name}.txt"
        write_texts(texts, count, longest)
        times = repeat if count == 1 else 1
        taken = [run(bundle, texts, folder / f"{name}.npy") for _ in range(times)]
        found[name] = {
            "rows": count,
            "peak_mib": round(statistics.median(peak for _, peak in taken), 1),
            "seconds": [round(seconds, 2) for seconds, _ in taken],
        }
    found["growth_mib"] = round(found["all"]["peak_mib"] - found["one"]["peak_mib"], 1)
    return found


def measure_kill(
    bundle: Path, folder: Path, rows: int, repeat: int, longest: int
) -> dict[str, Any]:
    """Whether a run that was killed and typed again ends in the same bytes."""
    texts, whole, stopped = folder / "all.txt", folder / "whole.npy", folder / "stopped.npy"
    write_texts(texts, rows, longest)
    seconds, _ = run(bundle, texts, whole)
    generator = random.Random(repeat)
    parts = []
    for _ in range(KILLS):
        with subprocess.Popen(
            command(bundle, texts, stopped), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                process.wait(seconds * generator.uniform(0.1, 0.3))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            raise SystemExit("the run ended before it was killed")
        parts.append(len(list(folder.glob(f".{stopped.name}.parts/*.part"))))
    run(bundle, texts, stopped)
    same = digest(whole) == digest(stopped)
    left = [path.name for path in folder.glob(".*.parts")]
    return {
        "rows": rows,
        "characters_at_most": longest,
        "seconds": round(seconds, 1),
        "parts_when_killed": parts,
        "same_bytes": same,
        "left_behind": left,
    }


def measure_speed(
    bundle: Path, folder: Path, rows: int, repeat: int, longest: int
) -> dict[str, Any]:
    """Tokens a second of the command, and of the session of an evaluation, from open to close."""
    texts = folder / "all.txt"
    write_texts(texts, rows, longest)
    samples: dict[str, list[float]] = {"run": [], "eval": []}
    cpu: dict[str, list[float]] = {"run": [], "eval": []}
    tokens = 0
    for _ in range(repeat):
        before = cpu_of_children()
        done = subprocess.run(
            [sys.executable, "-P", "-c", EVALUATED, str(bundle), str(texts)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        facts = json.loads(done.stdout)
        tokens = facts["tokens"]
        samples["eval"].append(facts["seconds"])
        cpu["eval"].append(cpu_of_children() - before)
        before = cpu_of_children()
        output = folder / "speed.npy"
        done = subprocess.run(
            command(bundle, texts, output), check=True, capture_output=True, text=True
        )
        samples["run"].append(json.loads(done.stdout)["seconds"])
        cpu["run"].append(cpu_of_children() - before)
    rates = {name: tokens / statistics.median(taken) for name, taken in samples.items()}
    return {
        "rows": rows,
        "tokens": tokens,
        "seconds": {name: [round(s, 3) for s in taken] for name, taken in samples.items()},
        "cpu_seconds": {name: [round(s, 3) for s in taken] for name, taken in cpu.items()},
        "tokens_per_s": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["run"] / rates["eval"], 4),
    }


def measure_requests(
    bundle: Path, folder: Path, rows: int, repeat: int, longest: int
) -> dict[str, Any]:
    """MiB that are resident after the first request, and after each tenth of them."""
    del folder, longest
    generator = np.random.default_rng(repeat)
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page / 2**20

    held: dict[int, float] = {}
    with open_engine(Bundle.open(bundle)) as engine:
        signature = engine.signature
        for number in range(rows + 1):
            items = [
                Encoding(generator.integers(5, 99, n).astype(np.int32), np.zeros(n, np.int32))
                for n in generator.integers(2, 49, int(generator.integers(1, 13)))
            ]
            engine.run(pack(items, first_position=signature.first_position))
            if number % max(1, rows // 10) == 0:
                held[number] = round(resident(), 1)
    return {"requests": rows, "resident_mib": held}


MEASURES = {
    "memory": measure_memory,
    "kill": measure_kill,
    "speed": measure_speed,
    "requests": measure_requests,
}


def main() -> None:
    """Print and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--characters", type=int, default=LONGEST, help="of a paragraph, at most", metavar="N"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle.resolve())
    document: dict[str, Any] = {"date": datetime.date.today().isoformat(), "host": host_facts()}
    document |= {"shape": bundle.manifest["shape"], "precision": bundle.manifest["precision"]}
    with tempfile.TemporaryDirectory() as folder:
        measure = MEASURES[options.measure]
        document |= measure(
            bundle.folder, Path(folder), options.rows, options.repeat, options.characters
        )
    text = json.dumps(document, indent=1) + "\n"
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
