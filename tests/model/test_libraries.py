"""From texts to answers: `xopt.load` beside the library whose folder it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer import modules as parts

import xopt
from xopt.calibrate.corpus import load_corpus
from xopt.compile.build import BuildOptions, build_bundle
from xopt.errors import UnsupportedError

Factory = Callable[..., Path]
SCRIPTS = ("am", "ar", "el", "en", "hi", "ja", "ka", "ko", "ru", "sw", "ta", "th", "zh")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    found = [text[:50] for language, text in load_corpus().rows if language in SCRIPTS][::9]
    return [*found[:14], "a"]


def load(folder: Path, out: Path) -> Any:
    options = BuildOptions(checkpoint=str(folder), precision="fp32", out=str(out))
    return xopt.load(build_bundle(options, record=False).bundle.folder)


def classifier(
    make_checkpoint: Factory, place: Path, labels: int, seed: int = 0, **config: Any
) -> Path:
    names = [f"name {n}" for n in range(labels)]
    made = make_checkpoint("xlm-roberta", "classify", labels=names, seed=seed)
    folder = Path(shutil.copytree(made, place))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@pytest.mark.parametrize("form", ["e5", "labse"])
def test_encode_is_sentence_transformers(
    make_checkpoint: Factory, tmp_path: Path, texts: list[str], form: str
) -> None:
    behind: list[torch.nn.Module] = [parts.Pooling(64), parts.Normalize()]
    if form == "labse":
        behind = [parts.Pooling(64, "cls"), parts.Dense(64, 24), parts.Normalize()]
    model = SentenceTransformer(
        modules=[parts.Transformer(str(make_checkpoint(seed=11))), *behind],
        device="cpu",
        prompts={"query": "query: ", "passage": "passage: "},
        default_prompt_name="query" if form == "e5" else None,
    )
    model.max_seq_length = 120
    model.save_pretrained(str(tmp_path / "st"), create_model_card=False)
    theirs = SentenceTransformer(str(tmp_path / "st"), device="cpu")
    with load(tmp_path / "st", tmp_path / "bundle") as ours:
        for name in (None, "query", "passage"):
            found = ours.encode(texts, prompt_name=name, truncate=True)
            np.testing.assert_allclose(found, theirs.encode(texts, prompt_name=name), atol=1e-4)
        long = " ".join(texts * 3)
        np.testing.assert_allclose(
            ours.encode([long], truncate=True), theirs.encode([long]), atol=1e-4
        )
        assert ours.max_tokens == theirs.max_seq_length == 120
        parity = ours.bundle.manifest["parity"]
        assert parity["against"].startswith("sentence-transformers 6")
        card = (ours.bundle.folder / "card.md").read_text(encoding="utf-8")
        assert f"with {parity['against']}" in card


def test_encode_a_text_of_4000_tokens(make_checkpoint: Factory, tmp_path: Path) -> None:
    folder = make_checkpoint(
        seed=4, max_position_embeddings=8194, hidden_size=32, num_attention_heads=1
    )
    model = SentenceTransformer(
        modules=[parts.Transformer(str(folder)), parts.Pooling(32, "cls"), parts.Normalize()],
        device="cpu",
    )
    model.save_pretrained(str(tmp_path / "st"), create_model_card=False)
    theirs = SentenceTransformer(str(tmp_path / "st"), device="cpu")
    corpus = [text for _, text in load_corpus().rows]
    long = " ".join(corpus[:200])
    pieces = theirs.tokenizer(long, return_offsets_mapping=True)["offset_mapping"]
    asked = [long[: pieces[4000][1]], "short"]
    with load(tmp_path / "st", tmp_path / "bundle") as ours:
        assert ours.max_tokens == 8192
        np.testing.assert_allclose(ours.encode(asked), theirs.encode(asked), atol=1e-4)


# torch warns of a class whose axis nobody named, and the library names none.
@pytest.mark.filterwarnings("ignore:Implicit dimension choice:UserWarning")
@pytest.mark.parametrize(
    ("labels", "config"),
    [
        (1, {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}),
        (1, {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}),
        (3, {"sentence_transformers": {"version": "5.1.0"}}),
        (1, {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}),
        (3, {"sentence_transformers": {"activation_fn": "torch.nn.LogSoftmax"}}),
    ],
)
def test_predict_is_the_cross_encoder(
    make_checkpoint: Factory,
    tmp_path: Path,
    texts: list[str],
    labels: int,
    config: dict[str, Any],
) -> None:
    folder = classifier(make_checkpoint, tmp_path / "ce", labels, seed=labels, **config)
    pairs = [(a[:30], b[:30]) for a, b in zip(texts[:6], texts[6:12], strict=True)]
    theirs = CrossEncoder(str(folder), device="cpu")
    expected = theirs.predict(pairs).reshape(len(pairs), -1)
    with load(folder, tmp_path / "bundle") as ours:
        found = ours.predict(pairs)
        assert "sentence-transformers 6" in ours.bundle.manifest["parity"]["against"]
    np.testing.assert_allclose([p.values for p in found], expected, atol=1e-4)
    assert np.std(expected, axis=0).min() > 1e-3


def test_a_plain_classifier_with_one_label_is_the_reranker_that_it_is(
    make_checkpoint: Factory, tmp_path: Path, texts: list[str]
) -> None:
    """bge-reranker-v2-m3: no file of sentence-transformers, and its users load a CrossEncoder."""
    folder = classifier(make_checkpoint, tmp_path / "ce", 1, seed=9)
    pairs = [(a[:30], b[:30]) for a, b in zip(texts[:6], texts[6:12], strict=True)]
    expected = CrossEncoder(str(folder), device="cpu").predict(pairs)
    with load(folder, tmp_path / "bundle") as ours:
        found = ours.predict(pairs)
    np.testing.assert_allclose([p.value for p in found], expected, atol=1e-4)
    assert np.std(expected) > 1e-3


@pytest.mark.parametrize("form", ["one", "several"])
def test_a_cross_encoder_made_of_modules(
    make_checkpoint: Factory, tmp_path: Path, texts: list[str], form: str
) -> None:
    """An encoder, a pooling, and a Dense that gives the scores."""
    behind: list[torch.nn.Module] = [parts.Pooling(64)]
    last = {"module_output_name": "scores", "activation_function": None}
    if form == "several":
        behind = [parts.Pooling(64, ("cls", "max"), include_prompt=False)]
        gelu = torch.nn.GELU()
        behind += [parts.Dense(128, 32, activation_function=gelu), parts.LayerNorm(32)]
        behind += [parts.Normalize(), parts.Dense(32, 3, bias=False, **last)]
    else:
        behind += [parts.Dense(64, 1, **last)]
    torch.manual_seed(3)
    CrossEncoder(
        modules=[parts.Transformer(str(make_checkpoint("bert", seed=8))), *behind],
        device="cpu",
        prompts={"search": "Tafuta: "},
        default_prompt_name="search",
    ).save_pretrained(str(tmp_path / "ce"))
    theirs = CrossEncoder(str(tmp_path / "ce"), device="cpu")
    pairs = [(a[:30], b[:30]) for a, b in zip(texts[:6], texts[6:12], strict=True)]
    expected = theirs.predict(pairs).reshape(len(pairs), -1)
    with load(tmp_path / "ce", tmp_path / "bundle") as ours:
        found = ours.predict(pairs)
        assert "sentence-transformers 6" in ours.bundle.manifest["parity"]["against"]
        assert {p.says for p in found} == {"score" if form == "several" else "probability"}
    np.testing.assert_allclose([p.values for p in found], expected, atol=1e-4)
    assert np.std(expected, axis=0).min() > 1e-4
    with pytest.raises(UnsupportedError, match="a cross-encoder made of modules"):
        build_bundle(BuildOptions(checkpoint=str(tmp_path / "ce"), precision="fp16", target="cuda"))


@pytest.mark.parametrize("module", [False, True], ids=["tokenizer", "module"])
def test_a_tokenizer_that_cuts_and_pads_on_the_left(
    make_checkpoint: Factory,
    tmp_path: Path,
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    module: bool,
) -> None:
    made = Path(shutil.copytree(make_checkpoint("bert", seed=5), tmp_path / "left"))
    path = made / "tokenizer_config.json"
    sides = {"truncation_side": "left", "padding_side": "left", "model_max_length": 12}
    own = {} if module else sides
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    model = SentenceTransformer(
        modules=[parts.Transformer(str(made)), parts.Pooling(64, ("mean", "weightedmean"))],
        device="cpu",
    )
    model.save_pretrained(str(tmp_path / "st"), create_model_card=False)
    if module:
        path = tmp_path / "st" / "sentence_bert_config.json"
        more = {"processor_kwargs": sides | {"do_lower_case": True}}
        path.write_text(json.dumps(json.loads(path.read_text()) | more))
    theirs = SentenceTransformer(str(tmp_path / "st"), device="cpu")
    # What is cut before the tokenizer sees it is cut on the left too.
    monkeypatch.setattr("xopt.model.texts.LONGEST", 150)
    texts = [*texts, " ".join(texts)]
    # One by one: padding on the left moves BERT's positions, and with them the answer.
    expected = [theirs.encode(text) for text in texts]
    with load(tmp_path / "st", tmp_path / "bundle") as ours:
        np.testing.assert_allclose(ours.encode(texts, truncate=True), expected, atol=1e-4)


def test_a_text_that_is_cut_keeps_what_a_pipeline_keeps(
    make_checkpoint: Factory, tmp_path: Path, texts: list[str]
) -> None:
    import transformers

    folder = classifier(make_checkpoint, tmp_path / "c", 3)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 12}))
    pipe = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    text = " ".join(texts)[:100]
    expected: dict[bool, dict[str, float]] = {}
    for cut in (False, True):
        [found] = pipe([text], top_k=None, truncation=cut)
        expected[cut] = {entry["label"]: entry["score"] for entry in found}
    assert expected[True] != expected[False]
    with load(folder, tmp_path / "bundle") as ours:
        for cut, answer in expected.items():
            [made] = ours.predict([text], truncate=cut)
            assert made.named() == pytest.approx(answer, abs=1e-4)


def test_a_tokenizer_without_a_padding_token(
    make_checkpoint: Factory, tmp_path: Path, texts: list[str]
) -> None:
    """Its library answers one text at a time, which needs none."""
    import transformers

    folder = Path(shutil.copytree(make_checkpoint("xlm-roberta", seed=3), tmp_path / "bare"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token is None
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = [
            model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
            for text in texts[:6]
        ]
    with load(folder, tmp_path / "bundle") as ours:
        np.testing.assert_allclose(ours.encode(texts[:6]), torch.stack(expected), atol=1e-4)


def test_a_cross_encoder_has_prompts(
    make_checkpoint: Factory, tmp_path: Path, texts: list[str]
) -> None:
    folder = classifier(make_checkpoint, tmp_path / "c", 1)
    prompts = {"search": "Tafuta: ", "empty": ""}
    CrossEncoder(
        str(folder), device="cpu", prompts=prompts, default_prompt_name="search"
    ).save_pretrained(str(tmp_path / "ce"))
    theirs = CrossEncoder(str(tmp_path / "ce"), device="cpu")
    pairs = [(a[:30], b[:30]) for a, b in zip(texts[:6], texts[6:12], strict=True)]
    with load(tmp_path / "ce", tmp_path / "bundle") as ours:
        for options in ({}, {"prompt_name": "empty"}, {"prompt": "Jibu: "}):
            found = [p.value for p in ours.predict(pairs, **options)]
            np.testing.assert_allclose(found, theirs.predict(pairs, **options), atol=1e-4)
    assert np.abs(theirs.predict(pairs) - theirs.predict(pairs, prompt_name="empty")).max() > 1e-3


@pytest.mark.parametrize(
    ("labels", "problem", "says"),
    [
        (1, "regression", "score"),
        (3, "regression", "score"),
        (4, "multi_label_classification", "probability"),
        (1, None, "probability"),
    ],
)
def test_predict_is_the_pipeline(
    make_checkpoint: Factory,
    tmp_path: Path,
    texts: list[str],
    labels: int,
    problem: str | None,
    says: str,
) -> None:
    folder = classifier(make_checkpoint, tmp_path / "c", labels, problem_type=problem)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    with load(folder, tmp_path / "bundle") as ours:
        found = ours.predict(texts)
    for prediction, entries in zip(found, pipe(texts, top_k=None), strict=True):
        expected = {entry["label"]: entry["score"] for entry in entries}
        assert prediction.says == says
        assert prediction.named() == pytest.approx(expected, abs=1e-4)
