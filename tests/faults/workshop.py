"""The sound sets of files that are then damaged, or worked on while they are stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.tiny import save_checkpoint, save_tokenizer

__all__ = ["Workshop"]

TEXTS = ["Habari za asubuhi", "Good morning", "おはよう", "a, \"b\" and 'c'", "x " * 60]


class Workshop:
    """Makes the sound sets, once, under ``root``."""

    def __init__(self, root: Path, checkpoint: Path | None = None) -> None:
        self.root = root
        self.checkpoint = checkpoint

    def make(self) -> None:
        """Write every set; a second call finds them."""
        done = self.root / "done"
        if done.exists():
            return
        self.root.mkdir(parents=True, exist_ok=True)
        tokenizer = self.root / "tokenizer.json"
        save_tokenizer(tokenizer)
        self._checkpoints(tokenizer)
        self._bundles()
        self._tables()
        self._reports()
        done.touch()

    def _checkpoints(self, tokenizer: Path) -> None:
        for head in ("embed", "classify"):
            folder = self.root / head
            folder.mkdir()
            save_checkpoint(folder, tokenizer, "xlm-roberta", head, num_hidden_layers=1)
        shards = self.root / "shards"
        shutil.copytree(self.root / "embed", shards)
        _shard(shards)
        self._sentence_folder()

    def _sentence_folder(self) -> None:
        import torch
        from safetensors.torch import save_file

        folder = self.root / "sentences"
        shutil.copytree(self.root / "embed", folder)
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

    def _bundles(self) -> None:
        from xopt.compile.build import build_bundle
        from xopt.compile.options import BuildOptions

        for source, name in (("sentences", "bundle"), ("classify", "classifier")):
            out = str(self.root / name / "b")
            given = str(self.root / source)
            build_bundle(BuildOptions(checkpoint=given, precision="fp32", out=out), record=False)

    def _tables(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        folder = self.root / "tables"
        folder.mkdir()
        shutil.copytree(self.root / "bundle" / "b", folder / "b")
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

    def _reports(self) -> None:
        folder = self.root / "reports"
        folder.mkdir()
        results = Path(__file__).parents[2] / "docs" / "results"
        report = json.loads((results / "tatoeba-e5-small-int8.json").read_text())
        kept = dict(list(report["languages"].items())[:3])
        report |= {"languages": kept, "worst": {"language": next(iter(kept)), "difference": 0.0}}
        _write(folder / "eval.json", report)
        _write(folder / "suite.json", {"tasks": [report], "groups": {}, "average": None})
        shutil.copyfile(results / "e5_small_sweep.json", folder / "sweep.json")
        shutil.copyfile(Path(__file__).parent / "bench.json", folder / "bench.json")


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


def _shard(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

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
