"""Does the CPU predict what a TensorRT-RTX bundle will score? No GPU is needed.

    python benchmarks/predicted_scores.py --data DIR --checkpoint panx=HEADS/panx --out docs/results

Each checkpoint is built three times: fp32 and INT8 for the CPU, and INT8 for TensorRT-RTX, whose
graph OpenVINO then answers from (what `xopt eval` calls predicted). All three answer the same rows.
What is compared is the mean over the languages; the interval is a paired bootstrap's over rows, the
languages by themselves. Tatoeba needs no checkpoint: its encoder has no head.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.sources import PIP_E5
from xopt.evaluate.data import open_source
from xopt.evaluate.statistics import mean_difference, paired_bootstrap
from xopt.evaluate.tasks.conventions import make_task
from xopt.host import host_facts, tool_versions
from xopt.model.session import Session

# Task -> conventions under which the data at hand can be scored.
CASES: dict[str, dict[str, Any]] = {
    "tatoeba": {},
    "xnli": {"split": "validation"},
    "udpos": {"split": "validation", "config": "udpos_xtreme"},
    "panx": {"split": "validation"},
}
# Name -> target and precision.
FORMS = {
    "fp32": ("cpu", "fp32"),
    "cpu_int8": ("cpu", "int8"),
    "rtx_int8_predicted": ("tensorrt-rtx", "int8"),
}


def compare(task: Any, bundles: dict[str, Any], source: Any, limit: int) -> dict[str, Any]:
    languages: dict[str, dict[str, Any]] = {}
    drawn = []
    sessions = {name: Session.open(bundle, predict=True) for name, bundle in bundles.items()}
    for code in task.available(source):
        examples = task.load(source, code)
        if limit and task.head != "embed":
            examples = examples[:limit]
        scored = {}
        for name, session in sessions.items():
            answers = task.answer(session, examples, lambda share: None)
            scored[name] = task.score(examples, answers)
        languages[code] = {"rows": len(examples)} | {n: s.value for n, s in scored.items()}
        drawn.append(paired_bootstrap(scored["cpu_int8"], scored["rtx_int8_predicted"]))
        print(task.name, code, json.dumps(languages[code]), flush=True)
    for session in sessions.values():
        session.engine.close()
    means = {n: float(np.mean([row[n] for row in languages.values()])) for n in FORMS}
    return {
        "rows": sum(row["rows"] for row in languages.values()),
        "means": means,
        "apart": means["rtx_int8_predicted"] - means["cpu_int8"],
        # Of the difference, 95 %.
        "plus_or_minus": float(np.diff(mean_difference(drawn).interval())[0]) / 2,
        "languages": languages,
    }


def markdown(document: dict[str, Any]) -> str:
    host = document["host"]
    lines = [
        "## What the CPU predicts of a TensorRT-RTX bundle",
        "",
        f"Measured {document['date']} on {host['cpu']} ({host['cores']} cores), no GPU. The INT8 "
        "graph of the TensorRT-RTX bundle as OpenVINO answers it, beside the INT8 bundle for the "
        "CPU of the same checkpoint, on the first rows of each language of the data at hand. Means "
        "over languages; the interval is 95 %, from a paired bootstrap over rows.",
        "",
        *(f"    {command}" for command in document["commands"]),
        "",
        "| checkpoint | languages | rows | fp32 | INT8 `cpu` | INT8 `tensorrt-rtx`, predicted "
        "| apart |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, found in document["checkpoints"].items():
        scores = " | ".join(f"{found['means'][form]:.2f}" for form in FORMS)
        lines.append(
            f"| {name} | {len(found['languages'])} | {found['rows']:,} | {scores} | "
            f"{found['apart']:+.2f} ± {found['plus_or_minus']:.2f} |"
        )
    for name, found in document["checkpoints"].items():
        lines += ["", f"### {name}", "", "| | rows | fp32 | INT8 `cpu` | predicted |"]
        lines += ["|---|--:|--:|--:|--:|"]
        for code, row in found["languages"].items():
            scores = " | ".join(f"{row[form]:.2f}" for form in FORMS)
            lines.append(f"| {code} | {row['rows']:,} | {scores} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder in the layout of google/xtreme")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--examples", type=int, default=1000, help="of each language; 0 for all")
    parser.add_argument("--checkpoint", action="append", default=[], help="TASK=FOLDER, repeated")
    options = parser.parse_args()
    source = open_source(options.data, probe=("", ""))
    place = options.out / "predicted_scores.json"
    before = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    given = [pair.split("=", 1) for pair in options.checkpoint] or [["tatoeba", PIP_E5]]
    command = f"python benchmarks/predicted_scores.py --data DIR --examples {options.examples}"
    if options.checkpoint:
        command += "".join(f" --checkpoint {t}=HEADS/{Path(f).name}" for t, f in given)
    document: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "host": host_facts(),
        "tools": tool_versions("xopt", "openvino", "tensorrt-rtx", "transformers"),
        "commands": [*before.get("commands", []), command],
        "checkpoints": before.get("checkpoints", {}),
    }
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XOPT_CACHE"] = f"{scratch}/cache"
        for name, folder in given:
            bundles = {}
            for form, (target, precision) in FORMS.items():
                wanted = BuildOptions(
                    checkpoint=folder, precision=precision, target=target,
                    sm="86" if target == "tensorrt-rtx" else None,
                    out=f"{scratch}/{name}-{form}",
                )  # fmt: skip
                bundles[form] = build_bundle(wanted).bundle
            found = compare(make_task(name, CASES[name]), bundles, source, options.examples)
            title = "multilingual-e5-small" if folder == PIP_E5 else Path(folder).name
            document["checkpoints"][f"{name}: {title}"] = found
            options.out.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
            report = options.out / "predicted_scores.md"
            report.write_text(markdown(document), encoding="utf-8")


if __name__ == "__main__":
    main()
