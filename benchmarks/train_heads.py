"""Tune small heads on English and measure what INT8 costs them, language by language.

    python benchmarks/train_heads.py --data DIR --work DIR --out docs/results

The encoder's lower layers stay as they are: their states are computed once and kept, and only the
last layers and the head are tuned, which takes minutes on a laptop's CPU. The checkpoints are small
and trained on little: they show what INT8 costs a head that works, not what the encoder could do.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from xopt.artifacts import Bundle
from xopt.card import retention_rows
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.sources import PIP_E5, locate
from xopt.evaluate.data import Source, open_source
from xopt.evaluate.retention import compare_sessions
from xopt.evaluate.tasks import Task
from xopt.evaluate.tasks.conventions import make_task
from xopt.evaluate.tasks.tagging import Tagging
from xopt.host import host_facts
from xopt.model.session import Session
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

# Task -> conventions of the training rows, conventions of the scored rows.
TASKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "panx": ({"split": "train"}, {"split": "validation"}),
    "udpos": (
        {"split": "train", "config": "udpos_xtreme"},
        {"split": "validation", "config": "udpos_xtreme"},
    ),
    "xnli": ({"split": "validation"}, {"split": "validation"}),
}


def encoded(
    task: Task, examples: Sequence[Any], tokenizer: Tokenizer
) -> list[tuple[Encoding, Any]]:
    """(encoding, target): a class, or a class for each token with -100 where none is read."""
    if isinstance(task, Tagging):
        found = []
        parts = task.encode(tokenizer, [row["tokens"] for row in examples])
        for row, pieces in zip(examples, parts, strict=True):
            tags = iter([task.tags.index(tag) for tag in row["tags"]])
            for part in pieces:
                target = np.array([next(tags) if w else -100 for w in part.words])
                found.append((part, target))
        return found
    first, second = ([row[key] for row in examples] for key in ("first", "second"))
    classes = task.classes  # type: ignore[attr-defined]
    pairs = tokenizer.encode(first, second, max_tokens=128)
    return [(e, classes.index(row["label"])) for e, row in zip(pairs, examples, strict=True)]


def batches(items: list[tuple[Encoding, Any]], size: int) -> list[dict[str, torch.Tensor]]:
    order = sorted(range(len(items)), key=lambda i: len(items[i][0]))
    found = []
    for at in range(0, len(order), size):
        chosen = [items[i] for i in order[at : at + size]]
        longest = max(len(e) for e, _ in chosen)
        ids = torch.zeros(len(chosen), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        per_token = not isinstance(chosen[0][1], int)
        target = torch.full(ids.shape, -100) if per_token else torch.zeros(len(chosen)).long()
        for row, (encoding, wanted) in enumerate(chosen):
            ids[row, : len(encoding)] = torch.from_numpy(encoding.ids).long()
            mask[row, : len(encoding)] = 1
            if per_token:
                target[row, : len(wanted)] = torch.from_numpy(wanted)
            else:
                target[row] = wanted
        found.append({"ids": ids, "mask": mask, "target": target})
    return found


def tune(
    base: Path, task: Task, items: list[tuple[Encoding, Any]], layers: int, epochs: int, rate: float
) -> Any:
    """The model with its last ``layers`` layers and its head tuned."""
    torch.manual_seed(0)
    tagging = isinstance(task, Tagging)
    classes = list(task.tags if tagging else task.classes)  # type: ignore[attr-defined]
    kind = "AutoModelForTokenClassification" if tagging else "AutoModelForSequenceClassification"
    model = getattr(transformers, kind).from_pretrained(
        base,
        id2label=dict(enumerate(classes)),
        label2id={name: i for i, name in enumerate(classes)},
        attn_implementation="eager",
        dtype=torch.float32,
    )
    encoder = model.base_model.encoder.layer
    bottom, top = encoder[:-layers], encoder[-layers:]

    def through(part: Any, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        bias = (1.0 - mask[:, None, None, :].float()) * -1e4
        for layer in part:
            out = layer(states, bias)
            states = out[0] if isinstance(out, tuple) else out
        return states

    model.eval()
    prepared = []
    with torch.inference_mode(False), torch.no_grad():
        for batch in batches(items, 32):
            states = model.base_model.embeddings(input_ids=batch["ids"])
            prepared.append(batch | {"states": through(bottom, states, batch["mask"])})
    head = [p for n, p in model.named_parameters() if not n.startswith(model.base_model_prefix)]
    pooler = getattr(model.base_model, "pooler", None)
    if pooler is not None:
        head += list(pooler.parameters())
    body = [p for layer in top for p in layer.parameters()]
    optimiser = torch.optim.AdamW([{"params": body, "lr": rate}, {"params": head, "lr": 10 * rate}])
    steps = epochs * len(prepared)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / (0.1 * steps)) * max(0.0, 1 - step / steps)
    )
    generator = np.random.default_rng(0)
    model.train()
    for epoch in range(epochs):
        losses = []
        for number in generator.permutation(len(prepared)):
            batch = prepared[number]
            states = through(top, batch["states"], batch["mask"])
            if not tagging:
                pooled = pooler(states) if pooler is not None else states
                logits = model.classifier(model.dropout(pooled))
            else:
                logits = model.classifier(model.dropout(states))
            loss = torch.nn.functional.cross_entropy(
                logits.reshape(-1, len(classes)), batch["target"].reshape(-1), ignore_index=-100
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*body, *head], 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"{task.name} epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    return model.eval()


def cut(task: Task, source: Source, folder: Path, limit: int) -> Source:
    """A copy of the last rows of every language that ``source`` holds, as JSON lines."""
    by_config: dict[str, list[Any]] = {}
    for language in task.available(source):
        config = task.config_of(language)
        rows = list(source.read(config, task.split))
        if any("language" in row for row in rows[:1]):
            rows = [row for row in rows if row["language"] == language]
        # The last rows, because XNLI's English ones before them are trained on.
        by_config.setdefault(config, []).extend(rows[-limit:])
    for config, rows in by_config.items():
        (folder / config).mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / config / f"{task.split}.jsonl").write_text(text, encoding="utf-8")
    return open_source(str(folder), probe=("", ""))


def built(checkpoint: Path, precision: str) -> Bundle:
    out = checkpoint.with_name(f"{checkpoint.name}-{precision}")
    options = BuildOptions(checkpoint=str(checkpoint), precision=precision, out=str(out))
    return build_bundle(options).bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder in the layout of google/xtreme")
    parser.add_argument("--work", required=True, type=Path, help="for checkpoints and bundles")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--tasks", default="panx,udpos,xnli")
    parser.add_argument("--sentences", type=int, default=1500, help="trained on")
    parser.add_argument("--scored", type=int, default=300, help="rows of each language")
    parser.add_argument("--layers", type=int, default=2, help="tuned, counted from the last")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=2e-4)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    source = open_source(options.data, probe=("", ""))
    base = locate(PIP_E5)
    facts: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "host": host_facts(),
        "encoder": base.label,
        "options": {k: v for k, v in vars(options).items() if k not in ("data", "work", "out")},
        "reports": [],
    }
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.tasks.split(","):
        train, scored = TASKS[name]
        task = make_task(name, train)
        checkpoint = options.work / name
        start = time.perf_counter()
        if not (checkpoint / "config.json").is_file():
            tokenizer = Tokenizer.open(base.folder / "tokenizer.json", 512)
            examples = task.load(source, "en")
            if task.split == scored["split"]:
                examples = examples[: -options.scored]
            examples = examples[: options.sentences]
            items = encoded(task, examples, tokenizer)
            model = tune(base.folder, task, items, options.layers, options.epochs, options.rate)
            model.save_pretrained(checkpoint)
            shutil.copyfile(base.folder / "tokenizer.json", checkpoint / "tokenizer.json")
            print(f"{name}: tuned in {time.perf_counter() - start:.0f} s", flush=True)
        task = make_task(name, scored)
        few = cut(task, source, options.work / f"rows-{options.scored}", options.scored)
        with (
            Session.open(built(checkpoint, "fp32")) as reference,
            Session.open(built(checkpoint, "int8")) as candidate,
        ):
            languages = task.available(few)
            report = compare_sessions(task, few, reference, candidate, languages=languages)
        facts["reports"].append(report)
        print(json.dumps(report["mean"]), flush=True)
        write(facts, options.out)


def write(facts: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    (out / "xtreme_heads.json").write_text(text, encoding="utf-8")
    options, host = facts["options"], facts["host"]
    lines = [
        "## Trained heads: INT8 against fp32, language by language",
        "",
        f"Measured {facts['date']} on {host['cpu']} ({host['cores']} cores). Encoder: "
        f"{facts['encoder']}. Of each task the last {options['layers']} layers and the head were "
        f"tuned for {options['epochs']} epochs on at most {options['sentences']:,} English "
        f"examples; scored are the last {options['scored']} rows of each language's validation "
        "split. These are small heads trained on little: the differences are the result, not the "
        "scores, and none of them is comparable with published ones.",
        "",
        "XNLI is trained on the English validation rows before those that are scored: its "
        "training rows and its scored rows are disjoint in every language.",
        "",
        "    python benchmarks/train_heads.py --data DIR --work DIR --out docs/results "
        f"--scored {options['scored']}",
        "",
    ]
    for report in facts["reports"]:
        worst = report["worst"]
        faster = report["in_turn"]["faster"]
        lines += [
            f"### {report['task']} ({report['metric']})",
            "",
            "| language | n | fp32 | int8 | difference | 95 % interval | agreement |",
            "|---|--:|--:|--:|--:|---|--:|",
            *("| " + " | ".join(row) + " |" for row in retention_rows(report)),
            "",
            f"Worst: {worst['language']} ({worst['difference']:+.2f}). INT8 runs {faster:.2f} "
            "times as many tokens a second on these texts.",
            "",
        ]
    (out / "xtreme_heads.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
