"""What is kept of a vocabulary; the reference is the library `tokenizers`, with every piece."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from xopt.calibrate.corpus import load_corpus
from xopt.compile.cutting import cut_pieces
from xopt.compile.scripts import SCRIPTS, read_languages
from xopt.compile.vocabulary import Vocabulary, choose_pieces
from xopt.errors import InputError, UnsupportedError
from xopt.kept_pieces import KeptPieces
from xopt.languages import NAMES
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

ROWS = load_corpus().rows
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def unigram() -> FastTokenizer:
    fast = FastTokenizer(models.Unigram())
    fast.normalizer = normalizers.NFKC()
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=4000, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    fast.train_from_iterator((text for _, text in ROWS), trainer)
    return fast


def word_piece() -> FastTokenizer:
    fast = FastTokenizer(models.WordPiece(unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=6000, special_tokens=SPECIAL, show_progress=False
    )
    fast.train_from_iterator((text for _, text in ROWS), trainer)
    return fast


def byte_level() -> FastTokenizer:
    fast = FastTokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator((text for _, text in ROWS), trainer)
    return fast


def byte_fallback() -> FastTokenizer:
    """As Gemma's and mmBERT's: pieces of characters, bytes for those that have none."""
    tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    fast = FastTokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    fast.normalizer = normalizers.Replace(" ", "\u2581")
    fast.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=[*SPECIAL, *tokens],
        show_progress=False,
        max_token_length=16,
        limit_alphabet=1000,
    )
    fast.train_from_iterator((text[:200] for _, text in ROWS), trainer)
    return fast


KINDS = [unigram, word_piece, byte_level, byte_fallback]


@pytest.fixture(scope="module", params=KINDS, ids=lambda make: str(make.__name__))
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make: Callable[[], FastTokenizer] = request.param
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    make().save(str(path))
    return path


def texts(*languages: str) -> list[str]:
    return [text for code, text in ROWS if code in languages]


def trimmed(file: Path, languages: list[str], most: int) -> tuple[Vocabulary, KeptPieces]:
    vocabulary = Vocabulary.read(file, 0)
    fast = FastTokenizer.from_file(str(file))
    counted = {number for text in texts(*languages)[::2] for number in fast.encode(text).ids}
    return vocabulary, cut_pieces(vocabulary, choose_pieces(vocabulary, languages, counted, most))


def test_a_text_of_kept_pieces_has_the_tokens_that_it_had(file: Path) -> None:
    _, pieces = trimmed(file, ["sw", "hi"], 1500)
    tokenizer = Tokenizer(FastTokenizer.from_file(str(file)), TextSpec(512), pieces=pieces)
    reference = FastTokenizer.from_file(str(file))
    same = 0
    for text in texts(*NAMES):
        [found] = tokenizer.encode([text], max_tokens=None, details=True)
        expected = reference.encode(text)
        lost = [n for n in expected.ids if not pieces.kept[n]]
        assert found.replaced == len(lost)
        assert pieces.kept[found.ids].all()
        if not lost:
            same += 1
            assert found.ids.tolist() == expected.ids
            assert found.offsets is not None
            assert found.offsets.tolist() == [list(pair) for pair in expected.offsets]
    # Every counted text at least.
    assert same >= len(texts("sw", "hi")) / 2


def test_what_stands_for_a_piece_spells_it(file: Path) -> None:
    vocabulary, pieces = trimmed(file, ["sw"], 800)
    fast = FastTokenizer.from_file(str(file))
    checked = 0
    for number in np.flatnonzero(~pieces.kept):
        ids = pieces.ids[pieces.starts[number] : pieces.starts[number + 1]].tolist()
        if vocabulary.unknown in ids:
            continue
        # WordPiece's decoder would put a blank before what begins a word.
        before = [fast.token_to_id("a")]
        whole = fast.decode([*before, int(number)], skip_special_tokens=False)
        assert fast.decode(before + ids, skip_special_tokens=False) == whole
        checked += 1
    assert checked > 300


def test_no_text_of_an_asked_language_has_more_unknown_tokens(file: Path) -> None:
    vocabulary, pieces = trimmed(file, ["de", "ar", "th"], 1200)
    fast = FastTokenizer.from_file(str(file))
    # None of these was counted.
    ids = [n for text in texts("de", "ar", "th")[1::2] for n in fast.encode(text).ids]
    after = [n for i in ids for n in pieces.ids[pieces.starts[i] : pieces.starts[i + 1]]]
    assert after.count(vocabulary.unknown) == ids.count(vocabulary.unknown)


def test_pieces_of_other_scripts_go(file: Path) -> None:
    vocabulary, pieces = trimmed(file, ["sw"], 0)
    fast = FastTokenizer.from_file(str(file))
    kept = [fast.decode([int(n)]).strip(" #") for n in np.flatnonzero(pieces.kept)]
    for piece in kept:
        names = {unicodedata.name(c, "").split(" ")[0] for c in piece if c.isalpha()}
        assert len(piece) == 1 or not names & {"CYRILLIC", "THAI", "DEVANAGARI", "CJK", "HANGUL"}
    # With no limit all pieces of the asked script stay.
    latin = {p.strip("\u2581\u0120") for p in vocabulary.pieces if p.isascii() and p.isalpha()}
    assert len(latin) > 20
    assert latin <= {
        vocabulary.pieces[n].strip("\u2581\u0120") for n in np.flatnonzero(pieces.kept)
    }


def test_more_room_keeps_what_less_room_kept(file: Path) -> None:
    vocabulary = Vocabulary.read(file, 0)
    before = choose_pieces(vocabulary, ["de", "ru"], [], 1000)
    for most in (1500, 2500, 0):
        now = choose_pieces(vocabulary, ["de", "ru"], [], most)
        assert (now | before == now).all()
        assert most == 0 or now.sum() <= max(most, before.sum())
        before = now


def test_rows_without_a_piece_are_left_out(file: Path) -> None:
    size = len(Vocabulary.read(file, 0).pieces)
    vocabulary = Vocabulary.read(file, size + 7)
    kept = choose_pieces(vocabulary, ["sw"], [], 0)
    assert not kept[size:].any()
    assert len(cut_pieces(vocabulary, kept).starts) == size + 8


def test_every_language_by_name_has_its_scripts() -> None:
    assert set(NAMES) <= set(SCRIPTS)
    assert read_languages("de, swh,de") == ["de", "sw"]


@pytest.mark.parametrize("asked", ["", " , ", "xx", "de,xx"])
def test_no_language_and_an_unknown_one_are_refused(asked: str) -> None:
    with pytest.raises(InputError, match="--languages") as caught:
        read_languages(asked)
    assert caught.value.hint


def test_a_tokenizer_of_whole_words_is_refused(tmp_path: Path) -> None:
    words = FastTokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match="WordLevel"):
        Vocabulary.read(tmp_path / "tokenizer.json", 2)
