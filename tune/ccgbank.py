"""CCGbank's own files (Hockenmaier and Steedman, 2007), which only a licence brings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xopt.errors import DataError, InputError
from xopt.evaluate.data import Row

__all__ = ["read_ccgbank"]

# (<L category tag tag WORD predicate-argument-category>)
LEAF = re.compile(r"\(<L (\S+) \S+ \S+ (\S+) \S+>\)")
# The usual split: sections 02 to 21 are trained on, 00 is the dev set.
SECTIONS = {"train": range(2, 22), "validation": range(0, 1)}
PLACES = ("ccgbank/data/AUTO", "ccgbank_1_1/data/AUTO", "ccg/data/AUTO", "ccg/AUTO", "data/AUTO")


def read_ccgbank(folder: Path, split: str) -> Iterator[Row]:
    """Words and supertags of a split's sentences.

    Args:
        folder: holds CCGbank, unpacked, under ``ccgbank`` or ``ccg``.
        split: ``train`` or ``validation``.

    Raises:
        InputError: CCGbank is not there, with where it comes from, or lacks a section.
        DataError: a file without a sentence in it.
    """
    root = next((folder / place for place in PLACES if (folder / place).is_dir()), None)
    if root is None:
        raise InputError(
            f"{folder} holds no CCGbank. It is licensed by the Linguistic Data Consortium "
            "(LDC2005T13) and cannot be downloaded.",
            hint=f"Unpack your copy so that {folder}/ccgbank/data/AUTO/00 exists, or write "
            f"{folder}/ccg/train.jsonl and validation.jsonl with the columns tokens and tags.",
        )
    sections = {f"{number:02d}": root / f"{number:02d}" for number in SECTIONS[split]}
    files = {name: sorted(place.glob("*.auto")) for name, place in sections.items()}
    missing = [name for name, paths in files.items() if not paths]
    if missing:
        raise InputError(
            f"{root} lacks section {', '.join(missing)} of CCGbank, or it holds no .auto file.",
            hint=f"Copy it there; {split} takes sections {min(files)} to {max(files)}.",
        )
    for paths in files.values():
        for path in paths:
            found = 0
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                leaves = LEAF.findall(line)
                if leaves:
                    found += 1
                    yield {"tokens": [w for _, w in leaves], "tags": [c for c, _ in leaves]}
            if not found:
                raise DataError(f"{path} holds no sentence of CCGbank.")
