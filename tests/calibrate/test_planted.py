"""A model with outliers in one language alone: who calibrates without it loses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tests.planted import plant

import xopt
from xopt.calibrate.corpus import DEFAULT
from xopt.compile.build import BuildOptions, build_bundle
from xopt.evaluate.data import SAMPLE


def labels(bundle: Path, sentences: list[list[str]]) -> np.ndarray:
    """Of every word with a letter: full stops are of no language."""
    with xopt.load(bundle) as model:
        found = [pair for tags in model.tag(sentences) for pair in tags]
    return np.array([label for word, label in found if any(c.isalpha() for c in word)])


def test_a_language_that_did_not_calibrate_is_lost_and_the_default_keeps_it(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint("xlm-roberta", "tag")
    plant(checkpoint)
    english = tmp_path / "en.txt"
    english.write_bytes((DEFAULT / "en.txt").read_bytes())

    def build(name: str, **changes: str) -> Path:
        options = BuildOptions(str(checkpoint), out=str(tmp_path / name), **changes)  # type: ignore[arg-type]
        build_bundle(options, record=False)
        return tmp_path / name

    exact, default = build("exact", precision="fp32"), build("default")
    narrow = build("narrow", calibration=str(english), ranges="minmax")
    lost = {}
    for language in ("Greek", "English"):
        file = SAMPLE / f"udpos.{language}" / "test.jsonl"
        rows = filter(None, file.read_text(encoding="utf-8").split("\n"))
        sentences = [json.loads(row)["tokens"] for row in rows]
        given = labels(exact, sentences)
        lost[language] = [
            100 * float(np.mean(labels(bundle, sentences) != given)) for bundle in (default, narrow)
        ]
    assert lost["Greek"][0] <= 1
    assert lost["Greek"][1] >= 10
    assert max(lost["English"]) <= 2
