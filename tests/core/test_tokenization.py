from pathlib import Path

import pytest

from xopt.errors import ArtifactError
from xopt.tokenization import Tokenizer


def test_pairs_and_truncation_follow_the_tokenizers_library(tokenizer_file: Path) -> None:
    from tokenizers import Tokenizer as Fast

    ours = Tokenizer.open(tokenizer_file, 20)
    reference = Fast.from_file(str(tokenizer_file))
    reference.enable_truncation(20)
    texts, pairs = ["ein kurzer Satz", "long " * 40], ["noch einer", "and the second text"]
    for found, expected in zip(
        ours.encode(texts, pairs), reference.encode_batch(list(zip(texts, pairs, strict=True))),
        strict=True,
    ):  # fmt: skip
        assert found.ids.tolist() == expected.ids
        assert found.type_ids.tolist() == expected.type_ids
        assert len(found) <= 20


def test_details_map_tokens_to_characters_and_words(tokenizer_file: Path) -> None:
    tokenizer = Tokenizer.open(tokenizer_file, 64)
    [found] = tokenizer.encode_words([["Nairobi", "ni", "mji"]])
    assert found.words is not None
    assert found.words[0] == -1
    assert set(found.words.tolist()) == {-1, 0, 1, 2}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        Tokenizer.open(tmp_path / "tokenizer.json", 64)
