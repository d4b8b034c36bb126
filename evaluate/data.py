"""Rows of the data set ``google/xtreme``: from the hub, a folder in its layout, or our sample."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from xopt.artifacts import fingerprint
from xopt.errors import DataError, InputError, XoptError, require
from xopt.forms import WORDS, spelled
from xopt.hub import MIRROR, hub_at_hand
from xopt.parquet import read_rows
from xopt.reading import read_objects

__all__ = ["REVISION", "SAMPLE", "Row", "Source", "open_source", "rows_fingerprint"]

REPOSITORY = "google/xtreme"
REVISION = "ec5f1f46e9af79639a90684a7a70a956c4998f04"
SAMPLE = Path(__file__).parent / "data"
FETCHING = "Fetching XTREME from the hub"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        label: what every report calls it: ``sample``, a folder's name, or the hub data set.
        kind: ``sample``, ``folder`` or ``hub``; only the last is XTREME itself.
        folder: for the first two.
    """

    label: str
    kind: str
    folder: Path | None = None

    def has(self, config: str, split: str) -> bool:
        """Whether a folder holds this config; the hub is taken to hold it."""
        if self.folder is None:
            return True
        return bool(self._paths(config, split))

    def rows(self, config: str, split: str, columns: Mapping[str, type]) -> list[Row]:
        """All rows of a config's split, each checked against ``columns``.

        Raises:
            InputError: the config is not there.
            DataError: a column is missing or of another type; the row is named.
        """
        rows = _read(self, config, split)
        for number, row in enumerate(rows, 1):
            for name, kind in columns.items():
                if name not in row:
                    raise DataError(
                        f"{config}/{split}, row {number}: the column {name!r} is missing.",
                        hint=f"Expected columns: {', '.join(columns)}.",
                    )
                if not isinstance(row[name], kind):
                    raise DataError(
                        f"{config}/{split}, row {number}: {name!r} is {spelled(row[name])}, "
                        f"not {WORDS[kind]}."
                    )
        if not rows:
            raise DataError(f"{config}/{split} holds no row.")
        return rows

    def _paths(self, config: str, split: str) -> list[Path]:
        """The file of a split, or its parts as the hub names them; none if it is not there."""
        assert self.folder is not None
        place = self.folder / config
        for ending in ("jsonl", "parquet"):
            if (path := place / f"{split}.{ending}").is_file():
                return [path]
        part = re.compile(re.escape(split) + r"-\d{5}-of-\d{5}\.parquet")
        return sorted(path for path in place.glob("*.parquet") if part.fullmatch(path.name))

    def read(self, config: str, split: str) -> Iterator[Row]:
        """All rows as they stand.

        Raises:
            InputError: the config is not there.
            DataError: a file is damaged, or one of several parts is missing.
        """
        if self.folder is None:
            yield from _parquet(_hub_file(config, split))
            return
        paths = self._paths(config, split)
        if not paths:
            present = sorted(p.name for p in self.folder.iterdir() if p.is_dir())
            raise InputError(
                f"{self.folder} has no {config}/{split}.jsonl or .parquet.",
                hint=f"It holds: {', '.join(present[:12]) or 'nothing'}"
                + (f" and {len(present) - 12} more." if len(present) > 12 else "."),
            )
        _check_parts(paths, split)
        for path in paths:
            yield from (_jsonl(path) if path.suffix == ".jsonl" else _parquet(path))


# XNLI and TyDiQA keep all languages in one config, which is asked for language by language.
@lru_cache(maxsize=1)
def _read(source: Source, config: str, split: str) -> list[Row]:
    return list(source.read(config, split))


def open_source(name: str | None, *, probe: tuple[str, str]) -> Source:
    """The data to evaluate on.

    Args:
        name: a folder in the hub's layout (``CONFIG/SPLIT-00000-of-00001.parquet``, or shorter
            ``CONFIG/SPLIT.parquet`` or ``.jsonl``), ``sample``, ``hub``, or None for the hub where
            it is at hand and the sample where not.
        probe: a (config, split) to find out whether the hub is at hand.

    Raises:
        InputError: no such folder, or the hub was asked for and is out of reach.
    """
    sample = Source("sample (xopt's own sentences, not XTREME)", "sample", SAMPLE)
    if name == "sample":
        return sample
    if name in (None, "hub"):
        try:
            _hub_file(*probe)
        except XoptError:
            if name == "hub":
                raise
            return sample
        return Source(f"{REPOSITORY}@{REVISION[:12]}", "hub")
    assert name is not None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        what = f"{folder} is a file" if folder.exists() else f"There is no data folder {folder}"
        raise InputError(
            f"{what}.",
            hint="Give a folder in the layout of google/xtreme, or type: --data sample",
        )
    return Source(
        f"{folder.resolve().name} (a folder in the layout of {REPOSITORY})", "folder", folder
    )


def rows_fingerprint(rows: Sequence[Row]) -> str:
    """Of the rows as they are."""
    return fingerprint([dict(row) for row in rows])


def _check_parts(paths: Sequence[Path], split: str) -> None:
    """Refuse a download that stopped half-way: its score would pass for that of the whole."""
    if paths[0].stem == split:
        return
    total = paths[0].stem.rpartition("-of-")[2]
    names = [path.name for path in paths]
    wanted = [f"{split}-{number:05}-of-{total}.parquet" for number in range(int(total))]
    if names != wanted:
        raise DataError(
            f"{paths[0].parent} holds {', '.join(names[:4])}, which are not {total} parts of one "
            "split.",
            hint="Fetch the whole folder again.",
        )


def _jsonl(path: Path) -> Iterator[Row]:
    return (row for _, row in read_objects(path))


def _parquet(path: Path) -> Iterator[Row]:
    parquet = require("pyarrow.parquet", extra="build", why="Reading Parquet")
    try:
        with parquet.ParquetFile(path) as opened:
            rows = list(chain.from_iterable(read_rows(opened, path, kept=True)))
    except Exception as error:
        raise DataError(f"{path} is no readable Parquet file: {error}.") from error
    yield from rows


@cache
def _hub_fault() -> str:
    """Asked once: out of reach, every single file would wait for its own time-out."""
    with hub_at_hand(why=FETCHING) as hub:
        return hub.fault


def _hub_file(config: str, split: str) -> Path:
    hub = require("huggingface_hub", extra="build", why=FETCHING)
    name = f"{config}/{split}-00000-of-00001.parquet"
    for local_only in (True, False):
        if not local_only and _hub_fault():
            break
        try:
            path = hub.hf_hub_download(
                REPOSITORY,
                name,
                repo_type="dataset",
                revision=REVISION,
                local_files_only=local_only,
            )
            return Path(path)
        except Exception:
            continue
    raise InputError(
        f"{REPOSITORY} ({config}) is neither in the local cache nor within reach"
        f"{f': {fault}' if (fault := _hub_fault()) else ''}.",
        hint=f"Give --data DIR in the same layout, or --data sample, or {MIRROR}",
    )
