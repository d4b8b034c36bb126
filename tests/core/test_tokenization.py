from pathlib import Path

import pytest

from xopt.errors import ArtifactError, InputError
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


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_is_refused(tokenizer_file: Path, text: str) -> None:
    with pytest.raises(InputError, match="Text 2 is empty"):
        Tokenizer.open(tokenizer_file, 64).check_texts(["fine", text])


def test_a_huge_text_is_refused_unless_cut(tokenizer_file: Path) -> None:
    tokenizer = Tokenizer.open(tokenizer_file, 64)
    huge = "neno " * 20_000
    with pytest.raises(InputError, match="this encoder takes at most 64") as caught:
        tokenizer.check_texts([huge])
    assert "--truncate" in caught.value.hint
    [cut] = tokenizer.check_texts([huge], truncate=True)
    assert len(cut) == 64


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        Tokenizer.open(tmp_path / "tokenizer.json", 64)
