"""What INT8 costs tasks, language by language: fp32 and INT8 bundles answer the same rows.

    python benchmarks/int8_scores.py --data DIR --checkpoint panx=HEADS/panx --out scores.json

Differences in points with 95 % intervals, a paired bootstrap over distinct rows; the mean's over
all languages together. Heads: benchmarks/train_heads.py, or `xopt tune`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from xopt.compile.build import BuildOptions, build_bundle
from xopt.evaluate.data import open_source
from xopt.evaluate.statistics import interval, resample
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


def measure(task: Task, fp32: Session, int8: Session, source: Any, rows: slice) -> dict[str, Any]:
    languages: dict[str, Any] = {}
    draws = []
    for code in task.available(source):
        examples = task.load(source, code)[rows]
        answers = [task.answer(session, examples, lambda share: None) for session in (fp32, int8)]
        reference, candidate = (task.score(examples, found) for found in answers)
        drawn = resample(reference, candidate, clusters=task.clusters(examples))
        draws.append(drawn)
        languages[code] = {
            "rows": len(examples),
            "fp32": reference.value,
            "int8": candidate.value,
            "difference": candidate.value - reference.value,
            "ci95": interval(candidate.value - reference.value, drawn),
            "agreement": float(np.mean([a == b for a, b in zip(*answers, strict=True)])),
        }
        print(task.name, code, json.dumps(languages[code]), flush=True)
    differences = [found["difference"] for found in languages.values()]
    return {
        "rows": sum(found["rows"] for found in languages.values()),
        "mean": float(np.mean(differences)),
        "ci95": interval(float(np.mean(differences)), np.mean(draws, axis=0)),
        "worst": min(languages, key=lambda code: languages[code]["difference"]),
        "languages": languages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder in the layout of google/xtreme")
    parser.add_argument("--checkpoint", action="append", required=True, help="TASK=FOLDER")
    parser.add_argument("--rows", default=":", help="of each language, such as :1000 or 1500:")
    parser.add_argument("--calibration", help="as xopt build takes it")
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
    with tempfile.TemporaryDirectory() as scratch:
        for name, folder in (pair.split("=", 1) for pair in options.checkpoint):
            bundles = [
                build_bundle(
                    BuildOptions(
                        folder, precision=precision, out=f"{scratch}/{name}-{precision}",
                        calibration=options.calibration,
                    ),
                    record=False,
                ).bundle
                for precision in ("fp32", "int8")
            ]  # fmt: skip
            with Session.open(bundles[0]) as fp32, Session.open(bundles[1]) as int8:
                task = make_task(name, CASES[name])
                document["tasks"][name] = measure(task, fp32, int8, source, rows)
            options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
