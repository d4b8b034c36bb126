"""Do xopt's answers to XTREME equal those of a plain transformers loop, in fp32, on real data?

    python benchmarks/xtreme_parity.py --data DIR --out docs/results

Both sides read the same checkpoint: multilingual-e5-small with a random head for each task (parity
needs no good model), or a tuned one given with ``--checkpoint TASK=FOLDER``. Tags are scored by
seqeval itself and English-normalised answers by a second implementation of SQuAD's definition.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from plain_transformers import CLASSES, Plain, mined_pairs, squad_scores

from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.sources import PIP_E5, locate
from xopt.evaluate.data import open_source
from xopt.evaluate.tasks import TASKS, Task
from xopt.evaluate.tasks.conventions import make_task
from xopt.evaluate.tasks.corpora import Mining
from xopt.host import host_facts, tool_versions
from xopt.model.session import Session

# Task -> conventions under which it can be scored: the splits whose labels are at hand.
CASES: dict[str, dict[str, Any]] = {
    "tatoeba": {},
    "pawsx": {"split": "validation"},
    "xnli": {"split": "validation"},
    "xquad": {},
    "mlqa": {"split": "validation"},
    "tydiqa": {"split": "train"},
    "udpos": {"split": "validation", "config": "udpos_xtreme", "seqeval": "1.2.2"},
    "panx": {"split": "validation", "seqeval": "1.2.2"},
    "bucc2018": {"split": "validation"},
}


def random_head(base: Path, kind: str, task: Task, folder: Path) -> Path:
    """The encoder with a head of random weights, large enough that answers are no ties."""
    if folder.is_dir():
        return folder
    torch.manual_seed(0)
    classes = list(getattr(task, "tags", ()) or getattr(task, "classes", ()))
    names: dict[str, Any] = {}
    if classes:
        # In another order than the task's own.
        classes = classes[::-1]
        names = {
            "id2label": dict(enumerate(classes)),
            "label2id": {c: i for i, c in enumerate(classes)},
        }
    model = getattr(transformers, CLASSES[kind]).from_pretrained(base, dtype=torch.float32, **names)
    head = model.qa_outputs if kind == "span" else model.classifier
    with torch.no_grad():
        head.weight.normal_(0, 0.2)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    return folder


def plain_answers(loop: Plain, kind: str, task: Task, examples: Any) -> list[Any]:
    if kind == "classify":
        return loop.classify([(row["first"], row["second"]) for row in examples])
    if kind == "tag":
        return loop.tag([row["tokens"] for row in examples])
    if kind == "span":
        return loop.span([(row["question"], row["context"]) for row in examples])
    if isinstance(examples, Mining):
        return mining_answers(loop, examples)
    foreign = loop.embed([row["source_sentence"] for row in examples])
    english = loop.embed([row["target_sentence"] for row in examples])
    return [int(i) for i in (english @ foreign.T).argmax(1)]


def mining_answers(loop: Plain, examples: Mining) -> list[Any]:
    corpora = examples.scored
    # One id for each text; texts of several ids are not in this data's gold pairs.
    left = {text: number for number, text in corpora.foreign.items()}
    right = {text: number for number, text in corpora.english.items()}
    repeated = [
        {t for t in set(s.values()) if list(s.values()).count(t) > 1}
        if len(table) < len(s)
        else set()
        for s, table in ((corpora.foreign, left), (corpora.english, right))
    ]
    lefts, rights = list(left), list(right)
    found = [
        (left[lefts[i]], right[rights[j]], score)
        for i, j, score in mined_pairs(loop.embed(lefts), loop.embed(rights))
        if lefts[i] not in repeated[0] and rights[j] not in repeated[1]
    ]
    best, threshold, correct = 0.0, np.inf, 0
    for number, (a, b, score) in enumerate(found, 1):
        correct += (a, b) in corpora.gold
        f1 = 2 * correct / (number + len(corpora.gold))
        if f1 > best:
            best, threshold = f1, (score + found[min(number, len(found) - 1)][2]) / 2
    mined = {a: b for a, b, score in found if score >= threshold}
    return [mined.get(row["id"]) for row in examples]


def plain_score(kind: str, task: Task, examples: Any, answers: Sequence[Any]) -> float:
    """By code that is not xopt's, where there is some; by xopt's for MLQA."""
    if kind == "tag":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from seqeval.metrics import f1_score

            return 100 * float(f1_score([row["tags"] for row in examples], list(answers)))
    if kind == "span" and task.name != "mlqa":
        exact, overlap = squad_scores(list(answers), [row["answers"] for row in examples])
        return (exact + overlap) / 2
    if kind == "classify":
        return 100 * float(
            np.mean([a == r["label"] for a, r in zip(answers, examples, strict=True)])
        )
    if isinstance(examples, Mining):
        found = {(r["id"], b) for r, b in zip(examples, answers, strict=True) if b is not None}
        gold = examples.scored.gold
        return 100 * 2 * len(found & gold) / (len(found) + len(gold))
    if task.name == "tatoeba":
        return 100 * float(np.mean(np.asarray(answers) == np.arange(len(examples))))
    return task.score(examples, answers).value


def compare(task: Task, kind: str, session: Session, loop: Plain, examples: Any) -> dict[str, Any]:
    start = time.perf_counter()
    ours = task.answer(session, examples, lambda share: None)
    middle = time.perf_counter()
    theirs = plain_answers(loop, kind, task, examples)
    end = time.perf_counter()
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    return {
        "examples": len(examples),
        "identical": same / len(examples),
        "xopt": task.score(examples, ours).value,
        "plain": plain_score(kind, task, examples, theirs),
        "xopt_s": round(middle - start, 2),
        "plain_s": round(end - middle, 2),
    }


def markdown(document: dict[str, Any]) -> str:
    host, tools = document["host"], document["tools"]
    lines = [
        "## Answers of xopt in fp32 against a plain transformers loop",
        "",
        f"Measured {document['date']} on {host['cpu']} ({host['cores']} cores), transformers "
        f"{tools['transformers']}, seqeval {tools['seqeval']}. Encoder: {document['encoder']}. A "
        "random head answers at random, so its score is low on both sides; what counts is that "
        "the answers are the same. Where fewer examples stand than the data holds, the first ones "
        "were taken. Tags are scored with seqeval's newer reading (`seqeval=1.2.2`), because the "
        "library that scores the other side is that version.",
        "",
        *(f"    {command}" for command in document["commands"]),
        "",
        "| task | language | head | examples | identical answers | xopt | plain loop |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for name, entry in document["tasks"].items():
        for language, found in entry["languages"].items():
            lines.append(
                f"| {name} | {language} | {entry['head']} | {found['examples']:,} | "
                f"{found['identical']:.2%} | {found['xopt']:.2f} | {found['plain']:.2f} |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder in the layout of google/xtreme")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--tasks", default=",".join(CASES))
    parser.add_argument("--examples", type=int, default=300, help="of each language; 0 for all")
    parser.add_argument("--questions", type=int, default=100, help="--examples of passages")
    parser.add_argument("--checkpoint", action="append", default=[], help="TASK=FOLDER, repeated")
    options = parser.parse_args()
    source = open_source(options.data, probe=("", ""))
    base = locate(PIP_E5)
    given = dict(pair.split("=", 1) for pair in options.checkpoint)
    place = options.out / "xtreme_parity.json"
    before = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    command = (
        f"python benchmarks/xtreme_parity.py --data DIR --tasks {options.tasks} "
        f"--examples {options.examples} --questions {options.questions}"
    ) + "".join(f" --checkpoint {name}=HEADS/{name}" for name in given)
    document: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "host": host_facts(),
        "tools": tool_versions("xopt", "openvino", "torch", "transformers", "seqeval"),
        "encoder": base.label,
        "commands": [*before.get("commands", []), command],
        "tasks": before.get("tasks", {}),
    }
    with tempfile.TemporaryDirectory() as scratch:
        # The graphs of passing heads need not stay.
        os.environ["XOPT_CACHE"] = f"{scratch}/cache"
        for name in options.tasks.split(","):
            kind = TASKS.resolve(name).head
            labels = kind if kind in ("span", "embed") else name
            folder = Path(given.get(name) or base.folder)
            if name not in given and kind != "embed":
                folder = random_head(base.folder, kind, make_task(name, {}), Path(scratch, labels))
            out = Path(scratch, f"{labels}-bundle")
            wanted = BuildOptions(checkpoint=str(folder), precision="fp32", out=str(out))
            bundle = build_bundle(wanted).bundle
            loop = Plain(folder, kind)
            found = {}
            with Session.open(bundle) as session:
                task = make_task(name, CASES[name])
                for language in task.available(source):
                    examples = task.load(source, language)
                    limit = options.questions if kind == "span" else options.examples
                    if limit and name != "bucc2018":
                        examples = examples[:limit]
                    found[language] = compare(task, kind, session, loop, examples)
                    print(name, language, json.dumps(found[language]), flush=True)
            head = "tuned" if name in given else "none" if kind == "embed" else "random"
            document["tasks"][name] = {"head": head, "languages": found}
            options.out.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
            (options.out / "xtreme_parity.md").write_text(markdown(document), encoding="utf-8")


if __name__ == "__main__":
    main()
