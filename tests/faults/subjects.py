"""What is damaged: for each kind of file, a sound set and the command that reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.damage import damage_bytes, damage_json, damage_lines, damage_place

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
    damage: Callable[[Path, Random], str]
    words: tuple[str, ...]
    may_succeed: bool = True
    same: bool = False


def _bytes(*names: str) -> Callable[[Path, Random], str]:
    """Damage the bytes of one of these files."""

    def damage(folder: Path, random: Random) -> str:
        path = folder / random.choice(names)
        done, data = damage_bytes(path.read_bytes(), random)
        path.write_bytes(data)
        return f"{path.name}: {done}"

    return damage


def _json(*names: str, lines: bool = False) -> Callable[[Path, Random], str]:
    """Damage the values of one of these files, or of one of its lines."""

    def damage(folder: Path, random: Random) -> str:
        path = folder / random.choice(names)
        text = path.read_text(encoding="utf-8")
        if lines:
            given = text.rstrip("\n").split("\n")
            place = random.randrange(len(given))
            done, given[place] = damage_json(given[place], random)
            text = "\n".join(given) + "\n"
        else:
            done, text = damage_json(text, random)
        path.write_text(text, encoding="utf-8")
        return f"{path.name}: {done}"

    return damage


def _lines(*names: str) -> Callable[[Path, Random], str]:
    def damage(folder: Path, random: Random) -> str:
        path = folder / random.choice(names)
        done, text = damage_lines(path.read_text(encoding="utf-8"), random)
        path.write_text(text, encoding="utf-8", newline="")
        return f"{path.name}: {done}"

    return damage


def _place(*names: str) -> Callable[[Path, Random], str]:
    def damage(folder: Path, random: Random) -> str:
        path = folder / random.choice(names)
        return f"{path.name}: {damage_place(path, random)}"

    return damage


def _header(name: str) -> Callable[[Path, Random], str]:
    """Damage the JSON header of a safetensors file; its length is put right."""

    def damage(folder: Path, random: Random) -> str:
        path = folder / name
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        done, text = damage_json(data[8 : 8 + length].decode(), random)
        raw = text.encode()
        path.write_bytes(len(raw).to_bytes(8, "little") + raw + data[8 + length :])
        return f"{path.name}, header: {done}"

    return damage


def _manifest(folder: Path, random: Random) -> str:
    """Change the manifest, and sum it up again as a stranger would."""
    from xopt.artifacts import fingerprint

    path = folder / "b" / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    files, checksum = document.pop("files"), document.pop("checksum")
    done, text = damage_json(json.dumps(document), random)
    try:
        changed = json.loads(text)
        changed["files"] = files
        changed["checksum"] = fingerprint(changed)
    except (ValueError, TypeError, RecursionError):
        path.write_text(text[:-1] + f', "checksum": "{checksum}"}}', encoding="utf-8")
        return f"manifest.json: {done}"
    path.write_text(json.dumps(changed), encoding="utf-8")
    return f"manifest.json, summed up again: {done}"


def _other_parquet(folder: Path, random: Random) -> str:
    """A sound Parquet file of other columns and types."""
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {
        "numbers": pa.array([1, 2, 3]),
        "floats": pa.array([1.5, None, float("nan")]),
        "nothing": pa.nulls(3),
        "bytes": pa.array([b"a", b"\xff\xfe", b""]),
        "some nothing": pa.array(["a", None, "b"]),
        "lists": pa.array([["a", "b"], [], None]),
        "lists of lists": pa.array([[["a"]], [[]], []]),
        "structs": pa.array([{"a": 1}, None, {"a": 2}]),
        "words": pa.array(["a", "b", "a"]).dictionary_encode(),
        "large": pa.array(["a", "b", "c"], pa.large_string()),
        "views": pa.array(["a", "b", "c"], pa.string_view()),
        "times": pa.array([1, 2, 3], pa.timestamp("us")),
        "long": pa.array(["a " * 600_000, "b", "c"]),
        "no rows": pa.array([], pa.string()),
    }
    done = random.choice(list(columns))
    name = random.choice(("text", "text", "text", "other", ""))
    both = random.random() < 0.2
    arrays, names = [columns[done]], [name]
    if both:
        arrays, names = arrays * 2, names * 2
    parquet.write_table(pa.Table.from_arrays(arrays, names=names), folder / "t.parquet")
    return f"t.parquet: {done} in {name!r}{' twice' if both else ''}"


BUILD = ("build", ".", "--precision", "fp32", "-o", "out", "--json")
RUN = ("run", "b", "Habari za asubuhi", "--json")
EVAL = ("eval", "b", "--reference", "b", "--data", "data", "--languages", "sw,th", "--no-record",
        "--no-resume", "--resamples", "20", "--json")  # fmt: skip
FILES = tuple(f"b/{name}" for name in ("model.xml", "model.bin", "tokenizer.json", "manifest.json"))
ST = (
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
    "1_Pooling/config.json", "2_Dense/config.json",
)  # fmt: skip
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def _input(name: str) -> tuple[str, ...]:
    return ("run", "b", "--input", name, "--output", "o.jsonl", "--json")


SUBJECTS: tuple[Subject, ...] = (
    Subject("bundle, bytes", "bundle", _bytes(*FILES), RUN, same=True),
    Subject("bundle, links and pipes", "bundle", _place(*FILES, "b"), RUN, same=True),
    Subject("bundle, manifest of a stranger", "bundle", _manifest, RUN),
    Subject("classifier, manifest of a stranger", "classifier", _manifest, RUN),
    Subject("config.json", "embed", _json("config.json"), BUILD),
    Subject("config.json of a classifier", "classify", _json("config.json"), BUILD),
    Subject("checkpoint, bytes", "classify", _bytes("config.json", *TOKENIZER), BUILD),
    Subject(
        "checkpoint, links and pipes", "sentences",
        _place("config.json", "model.safetensors", *TOKENIZER, *ST, "2_Dense/model.safetensors"),
        BUILD,
    ),
    Subject("safetensors, bytes", "embed", _bytes("model.safetensors"), BUILD),
    Subject("safetensors, header", "embed", _header("model.safetensors"), BUILD),
    Subject("safetensors, index", "shards", _json("model.safetensors.index.json"), BUILD),
    Subject("tokenizer.json", "embed", _json("tokenizer.json"), BUILD),
    Subject("tokenizer_config.json", "embed", _json("tokenizer_config.json"), BUILD),
    Subject("module files", "sentences", _json(*ST), BUILD),
    Subject("module files, bytes", "sentences", _bytes(*ST), BUILD),
    Subject("Dense weights", "sentences", _header("2_Dense/model.safetensors"), BUILD),
    Subject("parquet, bytes", "tables", _bytes("t.parquet"), _input("t.parquet")),
    Subject("parquet, types", "tables", _other_parquet, _input("t.parquet")),
    Subject("csv, bytes", "tables", _bytes("t.csv"), _input("t.csv")),
    Subject("csv, lines", "tables", _lines("t.csv"), _input("t.csv")),
    Subject("jsonl, bytes", "tables", _bytes("t.jsonl"), _input("t.jsonl")),
    Subject("jsonl, values", "tables", _json("t.jsonl", lines=True), _input("t.jsonl")),
    Subject("jsonl, lines", "tables", _lines("t.jsonl"), _input("t.jsonl")),
    Subject("txt, bytes", "tables", _bytes("t.txt"), _input("t.txt")),
    Subject("tables, links and pipes", "tables", _place("t.parquet"), _input("t.parquet")),
    Subject("data set, parquet", "tables", _bytes("data/tatoeba.tha/validation.parquet"), EVAL),
    Subject("data set, jsonl", "tables",
            _json("data/tatoeba.swh/validation.jsonl", lines=True), EVAL),
    Subject("xopt.toml, bytes", "tables", _bytes("xopt.toml"), ("config", "--json")),
    Subject("xopt.toml, lines", "tables", _lines("xopt.toml"), EVAL),
    Subject("results", "reports", _json("REPORT"), ("report", "REPORT", "-o", "page.html")),
    Subject("results, bytes", "reports", _bytes("REPORT"), ("report", "REPORT", "-o", "page.md")),
)  # fmt: skip
