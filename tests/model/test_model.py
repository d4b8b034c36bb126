"""`xopt.load`: each head's answers beside transformers', from texts, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xopt
from xopt.artifacts import Bundle
from xopt.errors import ArtifactError, InputError
from xopt.model.core import Model
from xopt.model.session import Session
from xopt.tokenization import Tokenizer

Bundles = Callable[..., Bundle]
Heads = Callable[[str], Path]

TEXTS = [
    "Habari za asubuhi, habari za asubuhi",
    "Доброе утро",
    "おはようございます",
    "a",
    "Guten Morgen, liebe Nachbarn! " * 4,
]
CONTEXT = "The river runs past the old mill. " * 12 + "Asha built the bridge on Tuesday."


def reference(folder: Path, kind: str) -> tuple[Any, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return getattr(transformers, f"AutoModel{kind}").from_pretrained(folder).eval(), tokenizer


def logits(model: Any, tokenizer: Any, *texts: Any, **options: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(**tokenizer(*texts, return_tensors="pt", **options))


def test_encode_gives_transformers_mean(bundles: Bundles, heads: Heads) -> None:
    model, tokenizer = reference(heads("encoder"), "")
    with xopt.load(bundles("encoder").folder) as ours:
        found = ours.encode(TEXTS)
        unit = ours.encode(TEXTS, normalize=True)
        assert ours.encode([]).shape == (0, ours.width)
    assert found.dtype == np.float32
    for text, row in zip(TEXTS, found, strict=True):
        expected = logits(model, tokenizer, text).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(row, expected, atol=1e-4)
    np.testing.assert_allclose(
        unit, found / np.linalg.norm(found, axis=1, keepdims=True), atol=1e-6
    )


def test_predict_gives_transformers_probabilities(bundles: Bundles, heads: Heads) -> None:
    model, tokenizer = reference(heads("nli"), "ForSequenceClassification")
    asked: list[Any] = [*TEXTS, ("Habari", "Good morning"), ("a b c", "d")]
    with xopt.load(bundles("nli").folder, threads=1) as ours:
        found = ours.predict(asked)
    for item, prediction in zip(asked, found, strict=True):
        texts = (item,) if isinstance(item, str) else item
        expected = logits(model, tokenizer, *texts).logits[0].softmax(-1).numpy()
        np.testing.assert_allclose(prediction.values, expected, atol=1e-4)
        assert prediction.label == model.config.id2label[int(expected.argmax())]
        assert prediction.says == "probability"
        assert sum(prediction.named().values()) == pytest.approx(1.0)
        assert prediction.tokens == len(tokenizer(*texts).input_ids)


def test_tag_reads_words_and_texts_as_transformers_does(bundles: Bundles, heads: Heads) -> None:
    model, tokenizer = reference(heads("ner"), "ForTokenClassification")
    words = ["Nairobi", "ni", "mji", "wa", "Kenya"]
    with xopt.load(bundles("ner").folder) as ours:
        by_word, by_token = ours.tag([words, TEXTS[1]])
    encoded = tokenizer(words, is_split_into_words=True)
    expected = logits(model, tokenizer, words, is_split_into_words=True).logits[0].softmax(-1)
    firsts = [encoded.word_ids().index(i) for i in range(len(words))]
    np.testing.assert_allclose(by_word.values, expected[firsts].numpy(), atol=1e-4)
    assert [word for word, _ in by_word] == words
    expected = logits(model, tokenizer, TEXTS[1]).logits[0].softmax(-1)[1:-1]
    np.testing.assert_allclose(by_token.values, expected.numpy(), atol=1e-4)
    assert by_token.offsets is not None
    spans = tokenizer(TEXTS[1], return_offsets_mapping=True).offset_mapping[1:-1]
    assert by_token.offsets.tolist() == [list(span) for span in spans]
    assert by_token.words[0] == TEXTS[1][slice(*spans[0])]


def test_a_word_without_a_token_changes_no_other(bundles: Bundles, heads: Heads) -> None:
    model, tokenizer = reference(heads("ner"), "ForTokenClassification")
    words = ["Nairobi", "", "mji", "wa", "", "Kenya"]
    with xopt.load(bundles("ner").folder) as ours:
        [found] = ours.tag([words])
        [empty] = ours.tag([["", "a"]])
    encoded = tokenizer(words, is_split_into_words=True)
    expected = logits(model, tokenizer, words, is_split_into_words=True).logits[0].softmax(-1)
    for number in (0, 2, 3, 5):
        row = expected[encoded.word_ids().index(number)].numpy()
        np.testing.assert_allclose(found.values[number], row, atol=1e-4)
    # It has a tag of its own all the same, the same wherever it stands.
    np.testing.assert_allclose(found.values[[1, 4]], empty.values[[0, 0]], atol=1e-5)
    assert found.words == tuple(words)


def test_a_sentence_in_words_of_any_length_is_tagged(bundles: Bundles) -> None:
    words = ["neno"] * 300
    with xopt.load(bundles("ner").folder) as model:
        [found] = model.tag([words])
    assert len(found.labels) == len(found.words) == 300
    assert found.tokens > 300


def test_answer_reads_windows_as_eval_does(bundles: Bundles) -> None:
    from xopt.evaluate.tasks.conventions import make_task

    bundle = bundles("qa")
    questions = ["Who built the bridge?", "Nani?"]
    with xopt.load(bundle.folder) as model:
        found = model.answer(questions, [CONTEXT, "Asha."])
        limit = model.max_tokens
    task = make_task("xquad", {"max_query": 64})
    rows = [
        {"question": q, "context": c} for q, c in zip(questions, [CONTEXT, "Asha."], strict=True)
    ]
    with Session.open(bundle) as session:
        expected = task.answer(session, rows, lambda share: None)
    assert [answer.text for answer in found] == expected
    assert found[0].tokens > limit
    for answer, context in zip(found, [CONTEXT, "Asha."], strict=True):
        assert answer.text == context[answer.start : answer.stop]
        assert 0 < answer.probability <= 1


def test_the_score_of_an_answer_is_that_of_transformers_logits(
    bundles: Bundles, heads: Heads
) -> None:
    model, tokenizer = reference(heads("qa"), "ForQuestionAnswering")
    question, context = "Who built it?", "Asha built the old bridge."
    with xopt.load(bundles("qa").folder) as ours:
        [found] = ours.answer([question], [context])
    said = logits(model, tokenizer, question, context)
    inside = np.array([number == 1 for number in tokenizer(question, context).sequence_ids(0)])
    start, end = (x[0].numpy()[inside] for x in (said.start_logits, said.end_logits))
    sums = np.triu(start[:, None] + end[None, :]) + np.tril(np.full((len(start),) * 2, -np.inf), -1)
    assert found.score == pytest.approx(float(sums.max()), abs=1e-4)
    first, last = np.unravel_index(sums.argmax(), sums.shape)
    share = [np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (start, end)]
    assert found.probability == pytest.approx(float(share[0][first] * share[1][last]), abs=1e-4)


def test_what_is_too_long_is_refused_by_name_or_cut_when_asked(bundles: Bundles) -> None:
    long = "neno la siku " * 60
    with xopt.load(bundles("nli").folder) as model:
        with pytest.raises(InputError, match=r"Text 2 with its pair has .* at most 128") as caught:
            model.predict(["fine", ("short", long)])
        assert "--truncate" in caught.value.hint
        assert model.predict([("short", long), long], truncate=True)[0].tokens == 128
        with pytest.raises(InputError, match="Text 1, its pair, is empty"):
            model.predict([("short", " ")])
        with pytest.raises(InputError, match="Text 3 is empty"):
            model.predict(["a", "b", "\n"])
        with pytest.raises(InputError, match="Text 2 has spaces and control or format characters"):
            model.predict(["a\u200b", "\u200b \ufeff\u0007"])
        with pytest.raises(InputError, match="Text 1 is not valid UTF-8"):
            model.predict(["\udcff"])
    with xopt.load(bundles("qa").folder) as model:
        with pytest.raises(InputError, match=r"Text 1: the question has .* leaves no room"):
            model.answer([long], ["a context"])
        assert model.answer([long], ["a context"], truncate=True)[0].text in "a context"
        with pytest.raises(InputError, match="2 questions and 1 contexts"):
            model.answer(["a", "b"], ["c"])


def test_a_long_question_does_not_change_the_answers_beside_it(bundles: Bundles) -> None:
    long = "Who built the bridge beside the mill and on which day of the week was that? " * 2
    with xopt.load(bundles("qa").folder) as model:
        alone = model.answer(["Who?"], [CONTEXT])[0]
        beside = model.answer([long, "Who?"], [CONTEXT, CONTEXT])[1]
    assert len(alone.logits) == len(beside.logits)
    assert alone.text == beside.text


def test_the_wrong_call_names_the_right_one(bundles: Bundles) -> None:
    with xopt.load(bundles("nli").folder) as model:
        with pytest.raises(InputError, match="cannot encode") as caught:
            model.encode(["a"])
        assert "model.predict" in caught.value.hint
        with pytest.raises(InputError, match="single text"):
            model.predict("a")
    with pytest.raises(InputError, match="closed"):
        model.predict(["a"])
    model.close()


def test_prompts_are_put_before_every_text(bundles: Bundles) -> None:
    bundle = bundles("encoder")
    text = {
        "max_tokens": 128,
        "prompts": {"query": "swali: ", "none": ""},
        "default_prompt": "query",
    }
    told = Bundle(bundle.folder, {**bundle.manifest, "text": text})
    with Session.open(bundle) as session:
        plain = Model(session).encode(TEXTS)
        expected = Model(session).encode(["swali: " + t for t in TEXTS])
        session.engine.bundle = told
        model = Model(session)
        np.testing.assert_array_equal(model.encode(TEXTS), expected)
        np.testing.assert_array_equal(model.encode(TEXTS, prompt="swali: "), expected)
        np.testing.assert_array_equal(model.encode(TEXTS, "none"), plain)
        np.testing.assert_array_equal(model.encode(TEXTS, prompt=""), plain)
        with pytest.raises(InputError, match="no prompt 'quer'") as caught:
            model.encode(TEXTS, "quer")
        assert "query" in caught.value.hint


def test_an_engine_is_closed_where_the_tokenizer_cannot_be_read(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xopt.engines.openvino import OpenVinoEngine

    closed = []
    monkeypatch.setattr(OpenVinoEngine, "close", lambda self: closed.append(self))

    def damaged(*arguments: Any) -> Any:
        raise ArtifactError("damaged")

    monkeypatch.setattr(Tokenizer, "open", damaged)
    with pytest.raises(ArtifactError, match="damaged"):
        xopt.load(bundles("encoder").folder)
    assert len(closed) == 1


def test_threads_share_a_model(bundles: Bundles) -> None:
    with xopt.load(bundles("encoder").folder) as model:
        expected = [model.encode([text] * 5, batch_tokens=64) for text in TEXTS]
        found: list[Any] = [None] * 8

        def work(number: int) -> None:
            text = TEXTS[number % len(TEXTS)]
            found[number] = [model.encode([text] * 5, batch_tokens=64) for _ in range(10)]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, tables in enumerate(found):
        for table in tables:
            np.testing.assert_allclose(table, expected[number % len(TEXTS)], atol=1e-5)


def test_threads_that_come_and_go_leave_nothing_behind(bundles: Bundles) -> None:
    """As of a server that starts one for each request."""
    with xopt.load(bundles("encoder").folder, threads=3) as model:
        [expected] = model.encode(TEXTS[:1])
        kept = set()
        for _ in range(12):
            # Its threads end with the block.
            with ThreadPoolExecutor(5) as pool:
                found = list(pool.map(model.encode, [TEXTS[:1]] * 5))
            np.testing.assert_array_equal(np.concatenate(found), [expected] * 5)
            engine: Any = model.session.engine
            assert not engine._running
            kept.add(sum(len(program.idle) for program in engine._programs.values()))
        assert max(kept) <= 5, "as many requests as threads at once, not as there ever were"


@pytest.mark.parametrize("device", ["cuda", "cuda:1", 0, "gpu"])
def test_a_device_that_the_bundle_cannot_use_is_refused(bundles: Bundles, device: Any) -> None:
    with pytest.raises(InputError, match="no device"):
        xopt.load(bundles("encoder").folder, device=device)


def test_a_choice_of_threads_is_checked(bundles: Bundles) -> None:
    with pytest.raises(InputError, match="threads is 0; it must lie in"):
        xopt.load(bundles("encoder").folder, threads=0)
    xopt.load(bundles("encoder").folder, device="cpu").close()
