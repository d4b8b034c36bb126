"""The sound sets of files that are then damaged, or worked on while they are stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.tiny import save_checkpoint, save_tokenizer

__all__ = ["EXPERIMENT", "Workshop", "write_training_rows"]

TEXTS = ["Habari za asubuhi", "Good morning", "おはよう", "a, \"b\" and 'c'", "x " * 60]
EXPERIMENT = """
name = "one"
checkpoints = ["embed"]
intermediates = ["none"]
targets = ["tatoeba"]
precisions = ["fp32", "int8"]
data = "data"

[build]
calibration_tokens = 256

[eval]
languages = ["sw", "th"]
resamples = 20
"""


class Workshop:
    """Makes the sound sets, once, under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self, names: Collection[str]) -> None:
        """Write the sets of these names; one that is there is left alone."""
        self.root.mkdir(parents=True, exist_ok=True)
        if not (self.root / "tokenizer.json").exists():
            save_tokenizer(self.root / "tokenizer.json")
        for name in sorted(names):
            self._make(name)

    def _make(self, name: str) -> None:
        """A set whose making was stopped is made again, behind those that it is made of."""
        folder, done = self.root / name, self.root / f"{name}.done"
        if done.exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        making, *needed = SETS[name]
        for other in needed:
            self._make(other)
        making(self.root, folder)
        done.touch()


def _checkpoint(root: Path, folder: Path) -> None:
    """The encoder, or the classifier, that the folder is named for."""
    folder.mkdir()
    tokenizer = root / "tokenizer.json"
    save_checkpoint(folder, tokenizer, "xlm-roberta", folder.name, num_hidden_layers=1)


def _bundle(root: Path, folder: Path, source: str, **options: Any) -> None:
    """A bundle in ``b``."""
    from xopt.compile.build import build_bundle
    from xopt.compile.options import BuildOptions

    folder.mkdir()
    given: dict[str, Any] = {
        "checkpoint": str(root / source), "precision": "fp32", "out": str(folder / "b"), **options
    }  # fmt: skip
    build_bundle(BuildOptions(**given), record=False)


def _sentences(root: Path, folder: Path) -> None:
    """A folder of sentence-transformers, with a Dense."""
    import torch
    from safetensors.torch import save_file

    shutil.copytree(root / "embed", folder)
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    places = ("", "1_Pooling", "2_Dense", "3_Normalize")
    listed = [
        {
            "idx": n,
            "name": str(n),
            "path": place,
            "type": f"sentence_transformers.models.{kind}",
        }
        for n, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]
    _write(folder / "modules.json", listed)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "query: "}, "default_prompt_name": None},
    )
    pooling = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True}
    dense = {"in_features": 64, "out_features": 8, "bias": True}
    for place, config in (("1_Pooling", pooling), ("2_Dense", dense), ("3_Normalize", {})):
        (folder / place).mkdir()
        _write(folder / place / "config.json", config)
    tensors = {"linear.weight": torch.ones(8, 64), "linear.bias": torch.zeros(8)}
    save_file(tensors, folder / "2_Dense" / "model.safetensors")


def _tables(root: Path, folder: Path) -> None:
    """A bundle, texts in every kind of file, a data set and settings."""
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir()
    shutil.copytree(root / "bundle" / "b", folder / "b")
    table = pa.table({"id": list(range(len(TEXTS))), "text": TEXTS})
    parquet.write_table(table, folder / "t.parquet")
    lines = [json.dumps({"id": n, "text": text}) for n, text in enumerate(TEXTS)]
    (folder / "t.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    cells = ['"' + text.replace('"', '""') + '"' for text in TEXTS]
    (folder / "t.csv").write_text("text\n" + "\n".join(cells) + "\n", encoding="utf-8")
    (folder / "t.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    (folder / "xopt.toml").write_text(
        '[build]\nprecision = "fp32"\ncalibration_tokens = 4096\n\n[eval]\nmax_drop = 1.0\n'
        'languages = "sw,th"\nbundle = ["tatoeba=b"]\n'
    )
    _pairs(folder / "data")


RESULTS = Path(__file__).parents[2] / "docs" / "results"


def _report() -> dict[str, Any]:
    """What ``xopt eval --json`` printed, of three languages."""
    report: dict[str, Any] = json.loads((RESULTS / "tatoeba-e5-small-int8.json").read_text())
    kept = dict(list(report["languages"].items())[:3])
    return report | {"languages": kept, "worst": {"language": next(iter(kept)), "difference": 0.0}}


def _reports(root: Path, folder: Path) -> None:
    """What every command printed with ``--json``."""
    folder.mkdir()
    report = _report()
    _write(folder / "eval.json", report)
    _write(folder / "suite.json", {"tasks": [report], "groups": {}, "average": None})
    shutil.copyfile(RESULTS / "e5_small_sweep.json", folder / "sweep.json")
    shutil.copyfile(Path(__file__).parent / "bench.json", folder / "bench.json")


def _reported(root: Path, folder: Path) -> None:
    """A bundle that holds a report of its evaluation."""
    from xopt.artifacts import Bundle
    from xopt.evidence import record_report

    shutil.copytree(root / "bundle", folder)
    record_report(Bundle.open(folder / "b"), _report())


def _texts(root: Path, folder: Path) -> None:
    """A checkpoint, and texts to calibrate it on."""
    shutil.copytree(root / "embed", folder)
    lines = [json.dumps({"text": text, "language": "sw"}) for text in TEXTS]
    (folder / "t.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "t.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")


def _sweep(root: Path, folder: Path) -> None:
    """An experiment, its checkpoint and its data."""
    folder.mkdir()
    shutil.copytree(root / "embed", folder / "embed")
    _pairs(folder / "data")
    (folder / "one.toml").write_text(EXPERIMENT)


def _training(root: Path, folder: Path) -> None:
    """An encoder and rows to train it on."""
    folder.mkdir()
    shutil.copytree(root / "embed", folder / "embed")
    write_training_rows(folder / "tune", 8)


def write_training_rows(folder: Path, count: int) -> None:
    """Rows of PAWS-X in English, to train on and to choose by."""
    rows = [
        {"sentence1": f"river {n}", "gold_label": "neutral", "sentence2": f"stone {n % 3}",
         "label": str(n % 2)}
        for n in range(count)
    ]  # fmt: skip
    place = folder / "PAWS-X.en"
    place.mkdir(parents=True)
    for split in ("train", "validation"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (place / f"{split}.jsonl").write_text(text, encoding="utf-8")


def _pairs(folder: Path) -> None:
    """A data set in the layout of google/xtreme, as .jsonl and as .parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [
        {"source_sentence": f"sentensi {n}", "target_sentence": f"sentence {n}",
         "source_lang": "swh", "target_lang": "eng"}
        for n in range(8)
    ]  # fmt: skip
    for name in ("tatoeba.swh", "tatoeba.tha"):
        (folder / name).mkdir(parents=True)
    text = "\n".join(json.dumps(row) for row in rows) + "\n"
    (folder / "tatoeba.swh" / "validation.jsonl").write_text(text)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "tatoeba.tha" / "validation.parquet")


def _shards(root: Path, folder: Path) -> None:
    """The encoder in two files of weights."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(root / "embed", folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for name, chosen in parts.items():
        save_file({key: tensors[key] for key in chosen}, folder / name, {"format": "pt"})
    table = {key: name for name, chosen in parts.items() for key in chosen}
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": table})


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


# Name -> what makes it, and the sets that it is made of.
SETS: dict[str, tuple[Any, ...]] = {
    "embed": (_checkpoint,),
    "classify": (_checkpoint,),
    "shards": (_shards, "embed"),
    "sentences": (_sentences, "embed"),
    "bundle": (lambda root, folder: _bundle(root, folder, "sentences"), "sentences"),
    "classifier": (lambda root, folder: _bundle(root, folder, "classify"), "classify"),
    "trimmed": (
        lambda root, folder: _bundle(root, folder, "embed", languages="sw,hi", pieces=700),
        "embed",
    ),
    "tables": (_tables, "bundle"),
    "reports": (_reports,),
    "reported": (_reported, "bundle"),
    "texts": (_texts, "embed"),
    "sweep": (_sweep, "embed"),
    "training": (_training, "embed"),
}
