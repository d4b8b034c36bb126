"""``xopt bench --lengths``: how long real texts are, out of a file or of an evaluation's data."""

from __future__ import annotations

from pathlib import Path

from xopt.artifacts import Bundle
from xopt.bulk.columns import Columns
from xopt.bulk.reading import ENDINGS, open_input
from xopt.errors import InputError, did_you_mean
from xopt.evaluate.lengths import DATA_SETS, TEXTS, RealLengths, evenly, task_lengths
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

__all__ = ["real_lengths"]


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
        raise InputError("--data belongs to --lengths with the name of a data set.")
    path = Path(source)
    if not path.suffix and not path.exists():
        raise InputError(
            f"--lengths {source!r} is no data set and no file.",
            hint=f"{did_you_mean(source, DATA_SETS)} Or a file: {', '.join(ENDINGS)}.",
        )
    rows = list(open_input(path, Columns(None, None), None).rows())
    if not rows:
        raise InputError(f"{path} holds no text.")
    if path.suffix == ".txt" and all(row.first.strip().isdecimal() for row in rows):
        return _numbers(path, [int(row.first) for row in rows], tokenizer.max_tokens)
    texts = [row.first for row in evenly(rows, TEXTS)]
    found = tokenizer.encode(texts, max_tokens=None)
    counts = [len(encoding) for encoding in found]
    most = tokenizer.max_tokens
    cut = sum(count > most for count in counts)
    return RealLengths(path.name, tuple(min(count, most) for count in counts), cut)


def _numbers(path: Path, counts: list[int], most: int) -> RealLengths:
    for number, count in enumerate(counts, 1):
        if not 1 <= count <= most:
            raise InputError(
                f"{path.name}: length {number} is {count}; this encoder takes 1 to {most} tokens."
            )
    return RealLengths(path.name, tuple(counts))
