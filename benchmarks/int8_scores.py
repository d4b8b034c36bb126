"""What INT8 costs tasks, language by language: fp32 and INT8 bundles answer the same rows.

    python benchmarks/int8_scores.py --data DIR --checkpoint panx=HEADS/panx --out scores.json

Differences in points with 95 % intervals, a paired bootstrap over distinct rows; the mean's over
all languages together; each for several seeds of the calibration sample, and medians. Heads:
benchmarks/train_heads.py, or `xopt tune`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from xopt.compile.build import BuildOptions, build_bundle
from xopt.evaluate.data import open_source
from xopt.evaluate.statistics import mean_difference, paired_bootstrap
from xopt.evaluate.tasks import Task
from xopt.evaluate.tasks.conventions import make_task
from xopt.host import host_facts, tool_versions
from xopt.model.session import Session

# Task -> conventions under which the data at hand can be scored.
CASES: dict[str, dict[str, Any]] = {
    "xnli": {"split": "validation"},
    "udpos": {"split": "validation", "config": "udpos_xtreme"},
    "panx": {"split": "validation"},
    "tatoeba": {},
}


def measure(
    task: Task, fp32: Session, int8: Mapping[int, Session], source: Any, rows: slice
) -> dict[str, Any]:
    """The same rows answered by fp32 once and by INT8 of each seed; medians over the seeds."""
    seeds: dict[int, dict[str, Any]] = {seed: {"languages": {}, "drawn": []} for seed in int8}
    for code in task.available(source):
        examples = task.load(source, code)[rows]
        theirs = task.answer(fp32, examples, lambda share: None)
        reference = task.score(examples, theirs)
        for seed, session in int8.items():
            ours = task.answer(session, examples, lambda share: None)
            candidate = task.score(examples, ours)
            drawn = paired_bootstrap(reference, candidate, clusters=task.clusters(examples))
            seeds[seed]["drawn"].append(drawn)
            seeds[seed]["languages"][code] = found = {
                "rows": len(examples),
                "fp32": reference.value,
                "int8": candidate.value,
                "difference": drawn.seen,
                "ci95": drawn.interval(),
                "agreement": float(np.mean([a == b for a, b in zip(theirs, ours, strict=True)])),
            }
            print(task.name, code, seed, json.dumps(found), flush=True)
    for found in seeds.values():
        mean = mean_difference(found.pop("drawn"))
        found |= {"mean": mean.seen, "ci95": mean.interval()}
    languages = {
        code: float(np.median([s["languages"][code]["difference"] for s in seeds.values()]))
        for code in next(iter(seeds.values()))["languages"]
    }
    return {
        "rows": sum(each["rows"] for each in next(iter(seeds.values()))["languages"].values()),
        "median": {
            "mean": float(np.median([found["mean"] for found in seeds.values()])),
            "worst": min(languages, key=lambda code: languages[code]),
            "languages": languages,
        },
        "seeds": seeds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder in the layout of google/xtreme")
    parser.add_argument("--checkpoint", action="append", required=True, help="TASK=FOLDER")
    parser.add_argument("--rows", default=":", help="of each language, such as :1000 or 1500:")
    parser.add_argument("--calibration", help="as xopt build takes it")
    parser.add_argument("--seeds", default="0,1,2", help="of the calibration sample")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    begin, _, end = options.rows.partition(":")
    rows = slice(int(begin or 0), int(end) if end else None)
    source = open_source(options.data, probe=("", ""))
    document: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "host": host_facts(),
        "tools": tool_versions("xopt", "openvino", "transformers"),
        "rows": options.rows,
        "calibration": options.calibration,
        "tasks": {},
    }
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as sessions:

        def session(folder: str, **given: Any) -> Session:
            out = tempfile.mkdtemp(dir=scratch) + "/bundle"
            asked = BuildOptions(folder, out=out, calibration=options.calibration, **given)
            bundle = build_bundle(asked, record=False).bundle
            return sessions.enter_context(Session.open(bundle))

        for name, folder in (pair.split("=", 1) for pair in options.checkpoint):
            fp32 = session(folder, precision="fp32")
            int8 = {
                seed: session(folder, precision="int8", seed=seed)
                for seed in map(int, options.seeds.split(","))
            }
            task = make_task(name, CASES[name])
            document["tasks"][name] = measure(task, fp32, int8, source, rows)
            options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
