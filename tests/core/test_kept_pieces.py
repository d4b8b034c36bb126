"""Kept pieces in place of others, in every array of an encoding; damaged tables are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xopt.errors import ArtifactError
from xopt.kept_pieces import PIECES, KeptPieces
from xopt.packing import Encoding

TABLE = KeptPieces.of([[0], [1], [0, 3], [3], [1, 1, 0]])


def test_each_array_follows_its_token() -> None:
    ids, types = np.array([1, 2, 4, 0], np.int32), np.array([0, 0, 1, 1], np.int32)
    offsets = np.array([[0, 1], [1, 3], [3, 6], [6, 7]], np.int32)
    words = np.array([-1, 0, 1, 2], np.int32)
    given = Encoding(ids, types, offsets, sequence=types, words=words, prompt_tokens=1)
    found = TABLE.apply(given)
    assert found.ids.tolist() == [1, 0, 3, 1, 1, 0, 0]
    assert found.type_ids.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert found.words is not None
    assert found.words.tolist() == [-1, 0, 0, 1, 1, 1, 2]
    assert found.offsets is not None
    assert found.offsets[:, 0].tolist() == [0, 1, 1, 3, 3, 3, 6]
    assert (found.replaced, found.prompt_tokens) == (2, 1)


def test_an_encoding_of_kept_pieces_is_the_same_object() -> None:
    given = Encoding(np.array([3, 0], np.int32), np.zeros(2, np.int32))
    assert TABLE.apply(given) is given


def test_a_table_comes_back(tmp_path: Path) -> None:
    TABLE.save(tmp_path)
    found = KeptPieces.read(tmp_path)
    assert found.starts.tolist() == TABLE.starts.tolist()
    assert found.ids.tolist() == TABLE.ids.tolist()
    assert found.kept.tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("counts", "ids"),
    [
        ([1, 1], [0, 1, 1]),
        ([1, 0], [0]),
        ([1, 1], [0, 2]),
        ([1, 1], [-1, 1]),
        # 1 stands for 0, and has no row itself.
        ([1, 2], [1, 0, 0]),
        ([], []),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    tmp_path: Path, counts: list[int], ids: list[int]
) -> None:
    np.savez(tmp_path / PIECES, counts=np.array(counts, np.uint16), ids=np.array(ids, np.int32))
    with pytest.raises(ArtifactError, match=PIECES):
        KeptPieces.read(tmp_path)


def test_a_table_that_unpacks_to_more_than_memory_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(
        tmp_path / PIECES, counts=np.ones(2000, np.uint16), ids=np.zeros(2000, "i4")
    )
    assert (tmp_path / PIECES).stat().st_size < 4000
    monkeypatch.setattr("xopt.kept_pieces.MOST_BYTES", 4000)
    with pytest.raises(ArtifactError, match=r"its arrays take .* more than they may"):
        KeptPieces.read(tmp_path)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    for content in (None, b"no table"):
        if content is not None:
            (tmp_path / PIECES).write_bytes(content)
        with pytest.raises(ArtifactError, match=PIECES):
            KeptPieces.read(tmp_path)
