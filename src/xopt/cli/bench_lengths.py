"""``xopt bench --lengths``: how long real texts are, out of a file or of an evaluation's data."""

from __future__ import annotations

import re
from pathlib import Path

from xopt.artifacts import Bundle
from xopt.bulk.columns import Columns
from xopt.bulk.reading import ENDINGS, open_input
from xopt.errors import InputError, did_you_mean
from xopt.evaluate.lengths import DATA_SETS, TEXTS, RealLengths, evenly, task_lengths
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

__all__ = ["DATA_ALONE", "real_lengths"]

DATA_ALONE = "--data belongs to --lengths with the name of a data set."

# Whole or not: a file of these alone holds lengths, and one that is none is a slip and no text.
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# Leading zeros.
MORE_DIGITS = 20
# Characters of a line that a message shows.
SHOWN = 40


def real_lengths(bundle: Bundle, source: str, data: str | None) -> RealLengths:
    """The lengths that a bundle's tokenizer gives the texts of ``source``.

    Args:
        bundle: whose tokenizer and limit count.
        source: one of :data:`DATA_SETS`; or a file of texts as ``xopt run --input`` reads it; or a
            ``.txt`` file with one whole number on each line, which are the lengths themselves.
        data: for a data set, as ``xopt eval --data`` takes it.

    Raises:
        InputError: no such data set or file, or a length that the encoder does not take.
        DataError: a row that cannot be read; it is named.
    """
    tokenizer = Tokenizer.open(bundle.folder, TextSpec.read(bundle.manifest))
    if source in DATA_SETS:
        return task_lengths(source, data, tokenizer)
    if data is not None:
        raise InputError(DATA_ALONE, hint=f"Leave it out, or name one of {', '.join(DATA_SETS)}.")
    path = Path(source)
    if not path.suffix and not path.exists():
        raise InputError(
            f"--lengths {source!r} is no data set and no file.",
            hint=f"{did_you_mean(source, DATA_SETS)} Or a file: {', '.join(ENDINGS)}.",
        )
    rows = list(open_input(path, Columns(None, None), None, option="lengths").rows())
    if not rows:
        raise InputError(
            f"{path} holds no text.",
            hint="Give a file with a text or a number of tokens on each line, or rows of a task: "
            "--lengths xnli --data sample",
        )
    if path.suffix == ".txt" and all(NUMBER.fullmatch(row.first.strip()) for row in rows):
        return _numbers(path, [row.first.strip() for row in rows], tokenizer.max_tokens)
    texts = [row.first for row in evenly(rows, TEXTS)]
    found = tokenizer.encode(texts, max_tokens=None)
    counts = [len(encoding) for encoding in found]
    most = tokenizer.max_tokens
    cut = sum(count > most for count in counts)
    return RealLengths(path.name, tuple(min(count, most) for count in counts), cut)


def _numbers(path: Path, given: list[str], most: int) -> RealLengths:
    counts = []
    for number, text in enumerate(given, 1):
        # Digits without end are not made a number.
        plain = text.isdecimal() and len(text) <= len(str(most)) + MORE_DIGITS
        if not plain or not 1 <= int(text) <= most:
            shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
            raise InputError(
                f"{path.name}: length {number} is {shown}; this encoder takes 1 to {most} tokens, "
                "whole numbers of them.",
                hint="Correct that line. A file of texts is any that has a line of another kind.",
            )
        counts.append(int(text))
    return RealLengths(path.name, tuple(counts))
