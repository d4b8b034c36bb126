"""What is damaged: for each kind of file, a sound set and the command that reads it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.ways import (
    Damage,
    bomb,
    bytes_of,
    header_of,
    lines_of,
    manifest,
    other_parquet,
    place_of,
    repeated,
    summed_up,
    values_of,
)

__all__ = ["SUBJECTS", "Subject"]


@dataclass(frozen=True)
class Subject:
    """One kind of file.

    Attributes:
        name: of the kind.
        source: the folder of :class:`Workshop` that is copied and damaged.
        damage: what is done to the copy; returns what was done.
        words: the command.
        may_succeed: whether damage can leave something that is sound in itself.
        same: whether a command that succeeds must print what it prints of the sound set.
    """

    name: str
    source: str
    damage: Damage
    words: tuple[str, ...]
    may_succeed: bool = True
    same: bool = False


BUILD = ("build", ".", "--precision", "fp32", "-o", "out", "--json")
RUN = ("run", "b", "Habari za asubuhi", "--json")
EVAL = ("eval", "b", "--reference", "b", "--data", "data", "--languages", "sw,th", "--no-record",
        "--no-resume", "--resamples", "20", "--json")  # fmt: skip
TUNE = ("tune", "embed", "--target", "pawsx", "--data", "tune", "--max-steps", "1", "--batch", "4",
        "--max-tokens", "32", "-o", "tuned", "--json")  # fmt: skip
CALIBRATE = ("--checkpoint", ".", "--calibration-tokens", "256", "--json")
SWEEP = ("sweep", "one.toml", "--dry-run", "--json")
FILES = tuple(f"b/{name}" for name in ("model.xml", "model.bin", "tokenizer.json", "manifest.json"))
ST = (
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
    "1_Pooling/config.json", "2_Dense/config.json",
)  # fmt: skip
TATOEBA = ("source_sentence", "target_sentence", "source_lang", "target_lang")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def _input(name: str) -> tuple[str, ...]:
    return ("run", "b", "--input", name, "--output", "o.jsonl", "--json")


SUBJECTS: tuple[Subject, ...] = (
    Subject("bundle, bytes", "bundle", bytes_of(*FILES), RUN, same=True),
    Subject("bundle, links and pipes", "bundle", place_of(*FILES, "b"), RUN, same=True),
    Subject("bundle, manifest of a stranger", "bundle", manifest, RUN),
    Subject("classifier, manifest of a stranger", "classifier", manifest, RUN),
    Subject("manifest of a stranger, recorded in", "tables", manifest,
            tuple(word for word in EVAL if word != "--no-record")),
    Subject("manifest of a stranger, inspected", "bundle", manifest, ("inspect", "b", "--json")),
    Subject("manifest of a stranger, on a page", "bundle", manifest,
            ("report", "b", "-o", "b.html")),
    Subject("manifest of a stranger, deployed", "bundle", manifest,
            ("deploy", "compose", "b", "-o", "d")),
    Subject("bundle, tokenizer of a stranger", "bundle",
            summed_up(values_of("b/tokenizer.json"), "b"), RUN),
    Subject("trimmed bundle, table of a stranger", "trimmed",
            summed_up(bomb("b/pieces.npz", ("counts", "ids")), "b"), RUN),
    Subject("trimmed bundle, bytes of a stranger's table", "trimmed",
            summed_up(bytes_of("b/pieces.npz"), "b"), RUN),
    Subject("evidence of a stranger", "reported",
            summed_up(values_of("b/evidence/*.json"), "b"), ("report", "b", "-o", "b.html")),
    Subject("calibration texts, values", "texts", values_of("t.jsonl", lines=True),
            ("calibrate", "t.jsonl", *CALIBRATE)),
    Subject("calibration texts, bytes", "texts", bytes_of("t.txt"),
            ("calibrate", "t.txt", *CALIBRATE)),
    Subject("calibration texts, parquet", "texts", other_parquet,
            ("calibrate", "t.parquet", *CALIBRATE)),
    Subject("experiment, lines", "sweep", lines_of("one.toml"), SWEEP),
    Subject("experiment, bytes", "sweep", bytes_of("one.toml"), SWEEP),
    Subject("training rows", "training",
            values_of("tune/PAWS-X.en/train.jsonl", lines=True), TUNE),
    Subject("config.json", "embed", values_of("config.json"), BUILD),
    Subject("config.json of a classifier", "classify", values_of("config.json"), BUILD),
    Subject("checkpoint, bytes", "classify", bytes_of("config.json", *TOKENIZER), BUILD),
    Subject(
        "checkpoint, links and pipes", "sentences",
        place_of("config.json", "model.safetensors", *TOKENIZER, *ST, "2_Dense/model.safetensors"),
        BUILD,
    ),
    Subject("safetensors, bytes", "embed", bytes_of("model.safetensors"), BUILD),
    Subject("safetensors, header", "embed", header_of("model.safetensors"), BUILD),
    Subject("safetensors, index", "shards", values_of("model.safetensors.index.json"), BUILD),
    Subject("tokenizer.json", "embed", values_of("tokenizer.json"), BUILD),
    Subject("tokenizer_config.json", "embed", values_of("tokenizer_config.json"), BUILD),
    Subject("module files", "sentences", values_of(*ST), BUILD),
    Subject("module files, bytes", "sentences", bytes_of(*ST), BUILD),
    Subject("Dense weights", "sentences", header_of("2_Dense/model.safetensors"), BUILD),
    Subject("parquet, bytes", "tables", bytes_of("t.parquet"), _input("t.parquet")),
    Subject("parquet, types", "tables", other_parquet, _input("t.parquet")),
    Subject("parquet, one text over and over", "tables", repeated("t.parquet", ("text",)),
            _input("t.parquet")),
    Subject("data set, one text over and over", "tables",
            repeated("data/tatoeba.tha/validation.parquet", TATOEBA), EVAL),
    Subject("calibration texts, one over and over", "texts", repeated("t.parquet", ("text",)),
            ("calibrate", "t.parquet", *CALIBRATE)),
    Subject("csv, bytes", "tables", bytes_of("t.csv"), _input("t.csv")),
    Subject("csv, lines", "tables", lines_of("t.csv"), _input("t.csv")),
    Subject("jsonl, bytes", "tables", bytes_of("t.jsonl"), _input("t.jsonl")),
    Subject("jsonl, values", "tables", values_of("t.jsonl", lines=True), _input("t.jsonl")),
    Subject("jsonl, lines", "tables", lines_of("t.jsonl"), _input("t.jsonl")),
    Subject("txt, bytes", "tables", bytes_of("t.txt"), _input("t.txt")),
    Subject("tables, links and pipes", "tables", place_of("t.parquet"), _input("t.parquet")),
    Subject("data set, parquet", "tables", bytes_of("data/tatoeba.tha/validation.parquet"), EVAL),
    Subject("data set, jsonl", "tables",
            values_of("data/tatoeba.swh/validation.jsonl", lines=True), EVAL),
    Subject("xopt.toml, bytes", "tables", bytes_of("xopt.toml"), ("config", "--json")),
    Subject("xopt.toml, lines", "tables", lines_of("xopt.toml"), EVAL),
    Subject("results", "reports", values_of("REPORT"), ("report", "REPORT", "-o", "page.html")),
    Subject("results, bytes", "reports", bytes_of("REPORT"), ("report", "REPORT", "-o", "page.md")),
)  # fmt: skip
