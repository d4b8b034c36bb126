from pathlib import Path
from typing import Any

import pytest

from xopt.errors import ArtifactError
from xopt.panics import panics_as_errors
from xopt.text_spec import TextSpec
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


class PanicException(BaseException):
    """As PyO3 makes it of a panic: no Exception, and no name that could be imported."""


class Failing:
    """Stands for a tokenizer of tokenizers that fails at every text."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def enable_truncation(self, limit: int, *, direction: str) -> None:
        """As the library's."""

    def encode_batch_fast(self, items: Any, *, is_pretokenized: bool) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [PanicException("no entry"), ValueError("no entry")])
def test_a_file_at_which_its_library_fails_is_named(error: BaseException) -> None:
    tokenizer = Tokenizer(Failing(error), TextSpec(8))  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is damaged.*no entry") as caught:
        tokenizer.encode(["a"])
    assert "xopt build" in caught.value.hint


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), OSError("full")])
def test_nothing_else_is_taken_for_a_panic(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, panics_as_errors():
        raise error
    assert caught.value is error
