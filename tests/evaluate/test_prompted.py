"""Tasks ask as the checkpoint's own library does: behind its default prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from xopt.artifacts import Bundle
from xopt.card import asked_behind
from xopt.evaluate.data import open_source
from xopt.evaluate.retention import compare_sessions
from xopt.evaluate.tasks.conventions import make_task
from xopt.model.core import Model
from xopt.model.session import Session
from xopt.text_spec import TextSpec, behind

Bundles = Callable[..., Bundle]
SAMPLE = open_source("sample", probe=("", ""))


def test_retrieval_asks_behind_the_checkpoints_default_prompt(bundles: Bundles) -> None:
    spec = TextSpec(128, prompts={"query": "swali: ", "other": "x "}, default_prompt="query")
    rows = make_task("tatoeba", {}).load(SAMPLE, "swh")[:12]
    sides = [[row[name] for row in rows] for name in ("target_sentence", "source_sentence")]
    for name in ("tatoeba", "bucc2018"):
        assert make_task(name, {}).asked_of(spec).conventions["prefix"] == "swali: "
        assert make_task(name, {"prefix": ""}).asked_of(spec).conventions["prefix"] == ""
        assert make_task(name, {}).asked_of(TextSpec(128)).conventions["prefix"] == ""
    with Session.open(bundles("encoder")) as session:
        session.tokenizer = replace(session.tokenizer, spec=spec)
        queries, index = (Model(session).encode(side, prompt="swali: ") for side in sides)
        task = make_task("tatoeba", {}).asked_of(spec)
        plain = [{n: row[n] for n in ("source_sentence", "target_sentence")} for row in rows]
        found = task.answer(session, plain, lambda share: None)
        given = [one.ids.tolist() for [one] in task.encodings(session.tokenizer, rows)]
        asked = [session.tokenizer.fast.encode("swali: " + text).ids for text in sides[1]]
        report = compare_sessions(
            make_task("tatoeba", {}), SAMPLE, session, session, languages=["sw"], resamples=10
        )
    assert given == asked
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(index, axis=1)
    assert found == (queries @ index.T / lengths).argmax(1).tolist()
    assert report["conventions"]["prefix"] == "swali: "
    assert asked_behind(report) == " behind 'swali: '"


def test_a_pair_is_asked_behind_the_checkpoints_default_prompt(bundles: Bundles) -> None:
    spec = TextSpec(128, prompts={"query": "swali: "}, default_prompt="query")
    task = make_task("xnli", {}).asked_of(spec)
    rows = task.load(SAMPLE, "sw")[:6]
    pairs = [(row["first"], row["second"]) for row in rows]
    with Session.open(bundles("nli")) as session:
        session.tokenizer = replace(session.tokenizer, spec=spec)
        asked = [session.tokenizer.fast.encode("swali: " + a, b).ids for a, b in pairs]
        assert [one.ids.tolist() for [one] in task.encodings(session.tokenizer, rows)] == asked
        found = task.answer(session, rows, lambda share: None)
        predicted = Model(session).predict(pairs, prompt="swali: ")
    assert found == [each.label.lower() for each in predicted]
    assert make_task("pawsx", {"prefix": ""}).asked_of(spec).conventions["prefix"] == ""


def test_prompts_in_words() -> None:
    assert behind(["query: "]) == " behind 'query: '"
    assert behind(["", "query: "]) == " behind nothing, 'query: ' in turn"
    assert behind([""]) == behind([]) == ""
