"""Bundles of a trimmed vocabulary, beside the bundle of all of it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xopt
from xopt.artifacts import Bundle
from xopt.calibrate.corpus import load_corpus
from xopt.card import vocabulary_lines
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.trimming import trim
from xopt.errors import ArtifactError, DataError, InputError, UnsupportedError
from xopt.kept_pieces import PIECES
from xopt.model import few
from xopt.packing import pack
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

Bundles = Callable[..., Bundle]
TEXTS = [text[:60] for code, text in load_corpus().rows if code in ("sw", "hi", "ru", "de")]
FOREIGN = "Доброе утро, друзья мои"


@pytest.fixture(scope="module")
def trimmed(
    heads: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Bundle]:
    """``trimmed("nli", "int8")``: the bundle of ``bundles``, of Swahili and Hindi."""
    root = tmp_path_factory.mktemp("trimmed")

    def find(name: str, precision: str = "fp32") -> Bundle:
        out = root / f"{name}-{precision}"
        if not out.is_dir():
            options: dict[str, Any] = {"checkpoint": str(heads(name)), "precision": precision}
            options |= {"calibration_tokens": 512, "out": str(out)}
            build_bundle(BuildOptions(**options, languages="sw,hi", pieces=700))
        return Bundle.open(out)

    return find


def split(bundle: Bundle, texts: list[str]) -> tuple[list[str], list[str]]:
    """Texts of kept pieces, and the others."""
    tokenizer = Tokenizer.open(bundle.folder, TextSpec.read(bundle.manifest))
    found = tokenizer.encode(texts)
    same = [t for t, e in zip(texts, found, strict=True) if not e.replaced]
    return same, [t for t, e in zip(texts, found, strict=True) if e.replaced]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_texts_of_kept_pieces_have_the_same_bits(
    bundles: Bundles, trimmed: Bundles, precision: str
) -> None:
    small = trimmed("encoder", precision)
    same, other = split(small, TEXTS)
    assert len(same) > 10
    assert len(other) > 10
    assert small.size_mib < bundles("encoder", precision).size_mib
    with xopt.load(bundles("encoder", precision).folder) as whole, xopt.load(small.folder) as model:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(model.encode(same), whole.encode(same))
        # The others are read as the whole bundle reads the pieces that stand for theirs.
        encodings = model.session.tokenizer.encode(other)
        batch = pack(encodings, first_position=2)
        found = model.session.engine.run(batch)["embeddings"]
        assert np.array_equal(found, whole.session.engine.run(batch)["embeddings"])


@pytest.mark.parametrize("name", ["pos", "qa"])
def test_every_head_tells_of_what_it_replaced(
    bundles: Bundles, trimmed: Bundles, name: str
) -> None:
    calls: dict[str, Callable[[xopt.Model, str], Any]] = {
        "pos": lambda model, text: model.tag([text.split()])[0].logits,
        "qa": lambda model, text: model.answer(["nani"], [text])[0].logits,
    }
    small = trimmed(name)
    [same, *_], _ = split(small, [t for t in TEXTS if split(small, [t, *t.split()])[1] == []])
    with xopt.load(bundles(name).folder) as whole, xopt.load(small.folder) as model:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(calls[name](model, same), calls[name](whole, same))
        with pytest.warns(UserWarning, match="Text 1 has .* tokens without a row"):
            calls[name](model, FOREIGN)
        assert model.session.usage.replaced > 0


def test_the_pieces_of_prompts_are_kept(heads: Callable[[str], Path]) -> None:
    found = Checkpoint.open(heads("encoder"))
    named = {"query": FOREIGN, "document": ""}
    prompted = replace(found, text=replace(found.text, prompts=named))
    [asked] = Tokenizer.open(found.tokenizer.path, found.text).encode([FOREIGN])
    assert not trim(found, "sw", 1, load_corpus()).kept[asked.ids].all()
    assert trim(prompted, "sw", 1, load_corpus()).kept[asked.ids].all()


def test_few_known_texts_are_read_alike(trimmed: Bundles, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = trimmed("encoder")
    spec = TextSpec.read(bundle.manifest)
    monkeypatch.setattr(few, "LEAST", 100)
    known = [*TEXTS[:4], FOREIGN]
    whole = Tokenizer.open(bundle.folder, spec).encode(known, details=True)
    found = few.open_few(bundle.folder / "tokenizer.json", spec, known).encode(known, details=True)
    for ours, theirs in zip(found, whole, strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert ours.replaced == theirs.replaced


@pytest.mark.parametrize("limit", [5, 6, 9, 20, 64])
def test_a_text_that_became_longer_is_cut_to_the_limit(trimmed: Bundles, limit: int) -> None:
    bundle = trimmed("encoder")
    tokenizer = Tokenizer.open(bundle.folder, TextSpec.read(bundle.manifest))
    long = " ".join([FOREIGN] * 9)
    [whole] = tokenizer.encode([long], max_tokens=None)
    [found] = tokenizer.encode([long], max_tokens=limit)
    assert len(found) <= limit
    assert found.ids[:-1].tolist() == whole.ids[: len(found) - 1].tolist()
    assert found.ids[-1] == whole.ids[-1]
    [pair] = tokenizer.encode([long], [long], max_tokens=limit)
    assert len(pair) <= limit


def test_a_text_that_became_too_long_is_told_why(trimmed: Bundles) -> None:
    with (
        xopt.load(trimmed("encoder").folder) as model,
        pytest.raises(InputError, match=r"tokens, for .* have no row in this trimmed bundle"),
    ):
        model.encode([FOREIGN * 99])


def test_the_manifest_says_what_is_kept_and_what_new_texts_lose(trimmed: Bundles) -> None:
    bundle = trimmed("encoder")
    facts = bundle.manifest["vocabulary"]
    assert facts["languages"] == ["sw", "hi"]
    tokenizer = Tokenizer.open(bundle.folder, TextSpec.read(bundle.manifest))
    assert tokenizer.pieces is not None
    assert (facts["kept"], facts["of"]) == (tokenizer.pieces.kept.sum(), 1200)
    assert facts["kept"] < 1100
    for found in facts["held_out"].values():
        assert found["tokens_after"] >= found["tokens"] > 0
        assert found["unknown_after"] == found["unknown_before"] == 0
    card = (bundle.folder / "card.md").read_text(encoding="utf-8")
    assert "of 1,200 pieces, for Swahili, Hindi" in card
    # Fewer were asked for than always stay.
    assert facts["kept"] > 700 == facts["asked"]
    assert "more than the 700 of --pieces" in card
    assert "unknown tokens 0.00% before, 0.00% after" in card


def test_the_same_build_is_found_and_another_is_not(
    heads: Callable[[str], Path], tmp_path: Path
) -> None:
    options = {"checkpoint": str(heads("encoder")), "precision": "fp32"}
    made = [
        build_bundle(BuildOptions(**options, out=str(tmp_path / str(n)), **given), record=False)
        for n, given in enumerate(
            [{}, {"languages": "sw"}, {"languages": "swh,sw"}, {"languages": "sw", "pieces": 1050}]
        )
    ]
    prints = [result.bundle.fingerprint for result in made]
    assert prints[1] == prints[2]
    assert len(set(prints)) == 3
    again = BuildOptions(**options, out=str(tmp_path / "1"), languages="sw")
    assert build_bundle(again, record=False).cached


def test_a_bundle_without_its_table_is_refused(trimmed: Bundles, tmp_path: Path) -> None:
    bundle = trimmed("encoder")
    copy = tmp_path / "copy"
    shutil.copytree(bundle.folder, copy)
    (copy / PIECES).unlink()
    with pytest.raises(ArtifactError, match=PIECES):
        xopt.load(copy)


def test_counted_texts_keep_their_pieces(heads: Callable[[str], Path], tmp_path: Path) -> None:
    corpus = tmp_path / "texts"
    corpus.mkdir()
    rows = [json.dumps({"text": f"{FOREIGN} {n}"}, ensure_ascii=False) for n in range(8)]
    (corpus / "sw.jsonl").write_text("\n".join(rows), encoding="utf-8")
    options: dict[str, Any] = {"checkpoint": str(heads("encoder")), "precision": "fp32"}
    options |= {"pieces": 500, "count": str(corpus)}
    built = build_bundle(
        BuildOptions(**options, languages="sw", out=str(tmp_path / "out")), record=False
    )
    assert split(built.bundle, [FOREIGN]) == ([FOREIGN], [])
    facts = built.bundle.manifest["vocabulary"]
    assert facts["counted_texts"] == 6
    assert facts["held_out"]["sw"]["texts"] == 2
    # Of a corpus without Hindi, what Hindi loses is not known, and that is said.
    assert "too few texts" not in "".join(vocabulary_lines(facts))
    lines = vocabulary_lines(facts | {"languages": ["sw", "hi"]})
    assert [line for line in lines if "- Hindi: " in line and "was not measured" in line]
    with pytest.raises(DataError, match="Hindi"):
        build_bundle(
            BuildOptions(**options, languages="sw,hi", out=str(tmp_path / "b")), record=False
        )


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"languages": ""}, InputError),
        ({"languages": "sw,xx"}, InputError),
        ({"languages": "sw", "pieces": -1}, InputError),
        ({"count": "texts"}, InputError),
        ({"pieces": 60_000}, InputError),
        ({"languages": "sw", "target": "cuda"}, UnsupportedError),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], error: type) -> None:
    with pytest.raises(error, match=r"--(languages|pieces|count)|target cuda"):
        BuildOptions(**given)


def test_the_reference_has_every_piece() -> None:
    options = BuildOptions(languages="sw", pieces=100, count="texts")
    assert options.reference() == BuildOptions().reference()
