"""Which languages calibrate, told on tagging: what `calibration.py` tells on Tatoeba.

    python benchmarks/train_heads.py --data DIR --work HEADS --out HEADS --tasks panx,udpos \\
        --sentences 3000 --layers 3 --scored 20
    python benchmarks/calibration_tagging.py --data DIR --checkpoint panx=HEADS/panx --out FILE.json

The corpora are those of `calibration.py`. For each task, language and script: what INT8 costs the
F1, the mean Kullback-Leibler divergence of a word's tags from fp32's in nats, and the share of the
words that are tagged otherwise. F1 is told as the mean over the seeds; 95 % intervals are a paired
bootstrap's over distinct sentences. `--plot JSON` draws a finished run as SVG beside it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from calibration import CORPORA, by_script, panels, save, write_corpora
from int8_scores import CASES
from numpy.typing import NDArray

from xopt.calibrate.overview import scripts_of
from xopt.compile.build import BuildOptions, build_bundle
from xopt.evaluate.data import Source, open_source
from xopt.evaluate.statistics import Difference, Scored, mean_difference, paired_bootstrap
from xopt.evaluate.tasks import Task
from xopt.evaluate.tasks.base import Examples
from xopt.evaluate.tasks.conventions import make_task
from xopt.evaluate.tasks.labels import match_labels
from xopt.evaluate.tasks.tagging import Tagging
from xopt.host import host_facts, tool_versions
from xopt.model.session import Session

Array = NDArray[np.float64]
TITLES = {"panx": "PAN-X", "udpos": "UD-POS"}
# Of each sentence the logarithms of the tags' probabilities: [words, tags].
Answers = list[Array]


def answer(session: Session, task: Tagging, rows: Examples) -> Answers:
    """Tags in the task's order, of every word at its first piece."""
    names = match_labels(session.bundle.head["labels"], task.tags, {}, what="", task=task.name)
    order = [names.index(tag) for tag in task.tags]
    sentences = [row["tokens"] for row in rows]
    found = []
    for _, parts, logits in session.parts(
        len(sentences), lambda t, a, b: task.encode(t, sentences[a:b])
    ):
        read = [x[p.words == 1] for p, x in zip(parts, logits, strict=True)]
        x = np.concatenate(read)[:, order].astype(np.float64)
        x -= x.max(axis=1, keepdims=True)
        found.append(x - np.log(np.exp(x).sum(axis=1, keepdims=True)))
    return found


def tags_of(task: Tagging, answers: Answers) -> list[list[str]]:
    return [[task.tags[i] for i in x.argmax(axis=1)] for x in answers]


def distance(exact: Answers, answers: Answers) -> tuple[float, float]:
    """Mean divergence from fp32's tags, in nats; share of words tagged otherwise, in percent."""
    p, q = np.concatenate(exact), np.concatenate(answers)
    divergence = (np.exp(p) * (p - q)).sum(axis=1)
    return float(divergence.mean()), 100 * float((p.argmax(1) != q.argmax(1)).mean())


def differences(drawn: Mapping[str, Difference]) -> dict[str, Any]:
    """Points by language and in the mean, with their intervals."""
    mean = mean_difference(list(drawn.values()))
    return {
        "mean": mean.seen, "ci95": mean.interval(),
        "worst": min(drawn, key=lambda code: drawn[code].seen),
        "languages": {
            code: {"difference": found.seen, "ci95": found.interval()}
            for code, found in drawn.items()
        },
    }  # fmt: skip


class Study:
    """One task: its rows, what fp32 answers, and what each corpus makes of INT8."""

    def __init__(self, task: Task, source: Source, fp32: Session, limit: int | None) -> None:
        assert isinstance(task, Tagging)
        self.task = task
        self.rows = {c: task.load(source, c)[:limit] for c in task.available(source)}
        self.exact = {c: answer(fp32, task, rows) for c, rows in self.rows.items()}
        self.clusters = {c: task.clusters(rows) for c, rows in self.rows.items()}
        self.reference = {
            c: task.score(rows, tags_of(task, self.exact[c])) for c, rows in self.rows.items()
        }
        # Corpus -> language -> what INT8 of each seed scores, and the points that it adds to fp32.
        self.scored: dict[str, dict[str, list[Scored]]] = {}
        self.points: dict[str, dict[str, list[float]]] = {}
        self.scripts = {
            c: next(iter(scripts_of(task.text(row) for row in rows)))
            for c, rows in self.rows.items()
        }
        self.document: dict[str, Any] = {
            "sentences": {c: len(rows) for c, rows in self.rows.items()},
            "distinct": {c: len(set(numbers)) for c, numbers in self.clusters.items()},
            "words": {c: sum(map(len, found)) for c, found in self.exact.items()},
            "fp32": {c: scored.value for c, scored in self.reference.items()},
            "scripts": self.scripts, "corpora": {},
        }  # fmt: skip

    def add(self, corpus: str, session: Session) -> None:
        """The answers of one more seed."""
        points = self.points.setdefault(corpus, {c: [] for c in self.rows})
        kept = self.scored.setdefault(corpus, {c: [] for c in self.rows})
        found = self.document["corpora"].setdefault(
            corpus, {"distance": {c: [] for c in self.rows}, "changed": {c: [] for c in self.rows}}
        )
        for code, rows in self.rows.items():
            answers = answer(session, self.task, rows)
            scored = self.task.score(rows, tags_of(self.task, answers))
            points[code].append(scored.value - self.reference[code].value)
            kept[code].append(scored)
            divergence, changed = distance(self.exact[code], answers)
            found["distance"][code].append(divergence)
            found["changed"][code].append(changed)
        self._conclude(corpus, found)

    def _conclude(self, corpus: str, found: dict[str, Any]) -> None:
        ours = self.scored[corpus]
        exact = {c: [self.reference[c]] * len(values) for c, values in ours.items()}
        against_fp32 = self._beside(exact, ours)
        points = {c: value["difference"] for c, value in against_fp32["languages"].items()}
        middle = {c: float(np.mean(values)) for c, values in found["distance"].items()}
        found |= {
            "against_fp32": against_fp32,
            "against_fp32_by_script": by_script(self.scripts, points),
            "distance_mean": float(np.mean(list(middle.values()))),
            "distance_by_script": by_script(self.scripts, middle),
            "changed_mean": float(np.mean(list(found["changed"].values()))),
            "seeds": np.mean(list(self.points[corpus].values()), axis=0).tolist(),
            "points": self.points[corpus],
        }
        if corpus == "english":
            return
        gained = self._beside(self.scored["english"], ours)
        gains = {c: value["difference"] for c, value in gained["languages"].items()}
        found |= {
            "against_english": gained, "against_english_by_script": by_script(self.scripts, gains),
        }  # fmt: skip

    def _beside(
        self, theirs: Mapping[str, list[Scored]], ours: Mapping[str, list[Scored]]
    ) -> dict[str, Any]:
        """Means over the seeds, each seed beside the same one."""
        return differences(
            {
                code: mean_difference(
                    [
                        paired_bootstrap(a, b, clusters=self.clusters[code])
                        for a, b in zip(theirs[code], scored, strict=True)
                    ]
                )
                for code, scored in ours.items()
            }
        )


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source = open_source(options.data, probe=("", ""))
    corpora = write_corpora(source, folder)
    document: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "host": host_facts(),
        "tools": tool_versions("xopt", "openvino", "torch"), "rows": options.rows,
        "calibration_tokens": options.calibration_tokens, "tasks": {},
    }  # fmt: skip
    checkpoints = dict(pair.split("=", 1) for pair in options.checkpoint)

    def opened(name: str, precision: str, calibration: str | None, seed: int) -> Session:
        out = tempfile.mkdtemp(dir=folder) + "/bundle"
        asked = BuildOptions(
            checkpoints[name], precision=precision, calibration=calibration, seed=seed,
            calibration_tokens=options.calibration_tokens, out=out,
        )  # fmt: skip
        return Session.open(build_bundle(asked, record=False).bundle)

    studies = {}
    for name in checkpoints:
        with opened(name, "fp32", None, 0) as session:
            studies[name] = Study(make_task(name, CASES[name]), source, session, options.rows)
        document["tasks"][name] = studies[name].document
    for seed in range(options.seeds):
        for name, study in studies.items():
            for corpus in options.corpora.split(","):
                with opened(name, "int8", corpora[corpus], seed) as session:
                    study.add(corpus, session)
                found = study.document["corpora"][corpus]
                print(name, corpus, seed, f"{found['distance_mean']:.6f}", flush=True)
                document["seeds"] = seed + 1
                text = json.dumps(document, indent=1, ensure_ascii=False)
                options.out.write_text(text + "\n")
    return document


def draw(document: dict[str, Any], path: Path) -> None:
    """A row of panels for each task."""
    from matplotlib.figure import Figure

    tasks = document["tasks"]
    counts = [len(found["fp32"]) for found in tasks.values()]
    figure = Figure(figsize=(9, 0.9 * len(tasks) + 0.24 * sum(counts)), layout="constrained")
    axes = figure.subplots(len(tasks), 2, sharey="row", squeeze=False, height_ratios=counts)
    for (left, right), (name, found) in zip(axes, tasks.items(), strict=True):
        panels(left, right, found["corpora"])
        left.locator_params(axis="x", nbins=5)
        left.set_xlabel(f"{TITLES[name]}: divergence from fp32, nats a word")
        right.set_xlabel(f"{TITLES[name]}: points of F1 more than with English")
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="a folder in the layout of google/xtreme")
    parser.add_argument("--checkpoint", action="append", help="TASK=FOLDER, panx or udpos")
    parser.add_argument("--corpora", default=",".join(CORPORA), help="english first")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--calibration-tokens", type=int, default=16_384)
    parser.add_argument("--rows", type=int, help="the first of each language; all by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="draw this JSON and measure nothing")
    options = parser.parse_args()
    if options.plot:
        draw(json.loads(options.plot.read_text()), options.plot.with_suffix(".svg"))
        return
    if not (options.data and options.out and options.checkpoint):
        parser.error("--data, --checkpoint and --out are needed")
    corpora = options.corpora.split(",")
    if corpora[0] != "english" or not set(corpora) <= set(CORPORA):
        parser.error(
            f"--corpora {options.corpora}: english first, then any of {', '.join(CORPORA)}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        draw(measure(options, Path(scratch)), options.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
