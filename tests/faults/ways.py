"""The ways of damage: what is done to the files of one kind, whose sound set lies in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.damage import damage_bytes, damage_json, damage_lines, damage_place

__all__ = [
    "Damage", "bomb", "bytes_of", "header_of", "lines_of", "manifest", "other_parquet", "place_of",
    "repeated", "summed_up", "values_of",
]  # fmt: skip

# Of the copy of a folder, and a seeded generator; says what was done.
Damage = Callable[[Path, Random], str]


def _files(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files of these names, or of these patterns."""
    return [path for name in names for path in sorted(folder.glob(name))]


def bytes_of(*names: str) -> Damage:
    """Damage the bytes of one of these files."""

    def damage(folder: Path, random: Random) -> str:
        path = random.choice(_files(folder, names))
        done, data = damage_bytes(path.read_bytes(), random)
        path.write_bytes(data)
        return f"{path.name}: {done}"

    return damage


def values_of(*names: str, lines: bool = False) -> Damage:
    """Damage the values of one of these files, or of one of its lines."""

    def damage(folder: Path, random: Random) -> str:
        path = random.choice(_files(folder, names))
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


def lines_of(*names: str) -> Damage:
    def damage(folder: Path, random: Random) -> str:
        path = random.choice(_files(folder, names))
        done, text = damage_lines(path.read_text(encoding="utf-8"), random)
        path.write_text(text, encoding="utf-8", newline="")
        return f"{path.name}: {done}"

    return damage


def place_of(*names: str) -> Damage:
    def damage(folder: Path, random: Random) -> str:
        path = random.choice(_files(folder, names))
        return f"{path.name}: {damage_place(path, random)}"

    return damage


def header_of(name: str) -> Damage:
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


def manifest(folder: Path, random: Random) -> str:
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


def other_parquet(folder: Path, random: Random) -> str:
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


def summed_up(inner: Damage, artifact: str) -> Damage:
    """The damage ``inner`` to a file of an artifact, whose manifest then says its new sum."""

    def damage(folder: Path, random: Random) -> str:
        from xopt.artifacts import fingerprint

        root = folder / artifact
        done = inner(folder, random)
        document = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
        for name in document["files"]:
            data = (root / name).read_bytes()
            document["files"][name] = {
                "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)
            }  # fmt: skip
        # Another artifact: nothing that was made of the sound one is taken for what this one gives.
        document["fingerprint"] = fingerprint(document["files"])
        del document["checksum"]
        document["checksum"] = fingerprint(document)
        (root / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
        return f"{done}, summed up again"

    return damage


def repeated(name: str, columns: tuple[str, ...]) -> Damage:
    """Put a Parquet file of a few hundred bytes there, whose rows hold gigabytes of one text."""

    def damage(folder: Path, random: Random) -> str:
        import pyarrow as pa
        from pyarrow import parquet

        rows, length = random.randint(2000, 6000), random.randint(800_000, 990_000)
        places = pa.array([0] * rows, pa.int32())
        column = pa.DictionaryArray.from_arrays(places, pa.array(["a" * length]))
        table = pa.table(dict.fromkeys(columns, column))
        parquet.write_table(table, folder / name, compression="zstd", store_schema=False)
        return f"{name}: {rows} rows of {length} bytes"

    return damage


def bomb(name: str, arrays: tuple[str, ...]) -> Damage:
    """Put another array into an .npz: of other types, or of a thousand times the file's bytes."""

    def damage(folder: Path, random: Random) -> str:
        import numpy as np

        kinds: dict[str, Any] = {
            "many zeros": np.zeros(2**27, np.int8), "none": np.zeros(0), "floats": np.ones(9),
            "text": np.array(["a"]), "a table": np.zeros((4, 4), np.int32), "one": np.int32(1),
            "infinite": np.array([np.inf, np.nan]), "ones": np.ones(2000, np.int32),
        }  # fmt: skip
        done = random.choice(list(kinds))
        chosen = random.choice(arrays)
        with np.load(folder / name) as stored:
            found = dict(stored)
        found[chosen] = kinds[done]
        np.savez_compressed(folder / name, **found)
        return f"{name}: {chosen} is {done}"

    return damage
