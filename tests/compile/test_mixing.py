"""The search for what is not in INT8, on models whose bad site is planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.planted import plant
from typer.testing import CliRunner

import xopt
import xopt.cli.build
from xopt.artifacts import Bundle
from xopt.calibrate.corpus import DEFAULT, load_corpus
from xopt.cli import app
from xopt.compile import sensitivity
from xopt.compile.build import BuildOptions, build_bundle, open_checkpoint
from xopt.compile.mixing import bf16_obstacle, build_mix
from xopt.engines.openvino_layer import suits_here
from xopt.engines.openvino_native import obstacle
from xopt.errors import BuildError, DataError, InputError
from xopt.evaluate.held import Loss, Losses, SearchRows, divide
from xopt.evaluate.tasks import TASKS
from xopt.evaluate.tasks.udpos import UdPos
from xopt.tokenization import Tokenizer

# Only Greek drives two channels of the state before the layer, and two neurons in it.
BAD = ["layers.1.ffn_act", "layers.1.ffn_in"]
NAMES = {"el": "Greek", "en": "English"}


@pytest.fixture(scope="module")
def planted(make_checkpoint: Callable[..., Path], tmp_path_factory: Any) -> dict[str, Any]:
    """A tagger that loses Greek in one site, English texts that do not show it, and data.

    What is right is what the model says in fp32, so fp32 scores 100.
    """
    root = tmp_path_factory.mktemp("planted")
    tags = list(TASKS.resolve("udpos").tags)  # type: ignore[attr-defined]
    checkpoint = make_checkpoint("xlm-roberta", "tag", labels=tags)
    plant(checkpoint)
    texts = root / "en.txt"
    texts.write_bytes((DEFAULT / "en.txt").read_bytes())
    exact = build_bundle(
        BuildOptions(str(checkpoint), precision="fp32", out=str(root / "exact")), record=False
    ).bundle
    held: dict[str, list[list[str]]] = {}
    with xopt.load(exact.folder) as model:
        for code, name in NAMES.items():
            words = " ".join(t for c, t in load_corpus().rows if c == code).split()
            sentences = [words[i : i + 8] for i in range(0, len(words) - 8, 8)]
            held[code], given = sentences[::3], [s for i, s in enumerate(sentences) if i % 3]
            folder = root / "data" / f"udpos.{name}"
            folder.mkdir(parents=True)
            rows = [
                json.dumps({"tokens": s, "pos_tags": [tag for _, tag in found]})
                for s, found in zip(given, model.tag(given), strict=True)
            ]
            (folder / "test.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return {
        "checkpoint": str(checkpoint), "calibration": str(texts), "data": str(root / "data"),
        "exact": exact, "held": held,
    }  # fmt: skip


def options(planted: dict[str, Any], out: Path, **changes: Any) -> BuildOptions:
    given: dict[str, Any] = {
        "calibration": planted["calibration"], "task": "udpos", "out": str(out), "cpu": "any",
    }  # fmt: skip
    return BuildOptions(planted["checkpoint"], **given | changes)


def differ(planted: dict[str, Any], bundle: Bundle, code: str) -> float:
    """Percent of the tags of sentences of no search that are not fp32's."""
    found = []
    for one in (planted["exact"], bundle):
        with xopt.load(one.folder) as model:
            found.append([tag for row in model.tag(planted["held"][code]) for _, tag in row])
    return 100 * float(np.mean([a != b for a, b in zip(*found, strict=True)]))


@pytest.mark.parametrize(("how", "obstacle"), [("bf16", ""), ("fp32", "this CPU has none")])
def test_exactly_the_bad_sites_are_not_int8(
    planted: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    obstacle: str,
) -> None:
    monkeypatch.setattr("xopt.compile.mixing.bf16_obstacle", lambda base: obstacle)
    plain = build_bundle(options(planted, tmp_path / "plain"), record=False).bundle
    assert differ(planted, plain, "el") > 10
    asked = options(planted, tmp_path / "mix", max_drop=2.0, data=planted["data"])
    mixed = build_mix(asked)
    bundle = mixed.result.bundle
    engine = bundle.manifest["engine"]
    assert engine[f"{how}_sites"] == BAD
    assert not {"fp32_sites", "bf16_sites"} - {f"{how}_sites"} & set(engine)
    # Of all sites that could be kept, none of them alone is enough.
    for site in BAD:
        alone = options(planted, tmp_path / site, **{f"{how}_sites": site})
        assert differ(planted, build_bundle(alone, record=False).bundle, "el") > 2, site
    assert {entry["site"] for entry in mixed.search["kept"]} == set(BAD)
    assert all(entry["languages"] == ["el"] for entry in mixed.search["kept"])
    # More than all other sites together.
    assert sum(entry["share"] for entry in mixed.search["kept"]) > 0.5
    assert differ(planted, bundle, "el") < 2
    assert differ(planted, bundle, "en") < 2
    # What lies beyond the floor by chance alone is no loss (docs/int8.md).
    checked = mixed.search["checked"].values()
    assert all(found["difference"] >= -2.0 or found["ci95"][1] >= 0 for found in checked)
    assert json.loads((bundle.folder / "search.json").read_text()) == mixed.search
    card = (bundle.folder / "card.md").read_text()
    assert f"{BAD[0]} stays in {how}" in card
    assert ("bf16 was not tried: this CPU has none" in card) == (how == "fp32")
    found = mixed.search["sites"][BAD[0]]
    assert ("bf16_errors" in found) == (how == "bf16")
    if how == "bf16":
        assert found["bf16_errors"]["el"] < found["errors"]["el"] / 10
    bundle.verify()
    typed = ["build", asked.checkpoint, "--task", "udpos", "--max-drop", "2", "--cpu", "any"]
    typed += ["--data", planted["data"], "--calibration", planted["calibration"], "-o", asked.out]
    again = CliRunner().invoke(app, [*typed, "--json"])
    assert again.exit_code == 0, again.stderr
    said = json.loads(again.stdout)
    assert said["cached"]
    assert said["search"] == mixed.search
    assert set(said["time"]) == {"int8", "fp32", "int8 everywhere"}
    shown = CliRunner().invoke(app, typed).stdout
    assert f"layers.1.ffn_in stays in {how}: " in shown
    assert "Greek (el)" in shown


def test_a_floor_that_nothing_reaches_is_refused(
    planted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "mix"
    before = build_bundle(options(planted, place, precision="fp32", cpu=None)).bundle
    # Greek and English lose everything, whatever stays in fp32.
    lost = Loss(100, 90.0, 10.0, (-85.0, -75.0))
    monkeypatch.setattr(Losses, "of", lambda self, a, b, rows: dict.fromkeys(rows, lost))
    asked = options(planted, place, max_drop=2.0, data=planted["data"])
    with pytest.raises(
        BuildError, match=r"No mix with INT8 in it .* still loses 80\.00"
    ) as refused:
        build_mix(asked)
    assert "--precision fp32" in refused.value.hint
    assert Bundle.find_whole(place, before.fingerprint) is not None


def test_what_was_measured_is_not_measured_again(
    planted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(planted, tmp_path / "mix", max_drop=3.0, data=planted["data"], seed=5)
    done: list[Any] = []
    measure, answer = sensitivity.site_errors, UdPos.answer
    # Stopped in the middle of both parts.
    stops = [3, 12]

    def stop(key: Any) -> None:
        if stops and len(done) == stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt
        done.append(key)

    def measured(*given: Any, **more: Any) -> Any:
        for site, errors in measure(*given, **more):
            stop((site, more["precision"]))
            yield site, errors

    def answered(self: Any, session: Any, rows: Any, progress: Any) -> Any:
        stop([session.bundle.fingerprint, rows])
        return answer(self, session, rows, progress)

    monkeypatch.setattr(sensitivity, "site_errors", measured)
    monkeypatch.setattr(UdPos, "answer", answered)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            build_mix(asked)
        assert not (tmp_path / "mix").exists()
    mixed = build_mix(asked)
    assert len(done) > 12
    assert all(one not in done[:number] for number, one in enumerate(done))
    monkeypatch.undo()
    assert mixed.search["kept"]


def test_a_trimmed_vocabulary_is_searched_on_its_own_languages(planted: dict[str, Any]) -> None:
    """Texts of others lose pieces, which no site brings back."""
    checkpoint = open_checkpoint(BuildOptions(planted["checkpoint"]))
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    given = "udpos", planted["data"], checkpoint.head.manifest(), "it", tokenizer
    assert set(SearchRows.read(*given).search) == {"el", "en"}
    assert set(SearchRows.read(*given, ["el", "sw"]).search) == {"el"}
    with pytest.raises(InputError, match=r"none of the languages .*\(sw\)") as refused:
        SearchRows.read(*given, ["sw"])
    assert "It holds el, en" in refused.value.hint


def test_rows_are_divided_alike_and_repeats_stay_together() -> None:
    task = TASKS.resolve("tatoeba")()
    rows = [{"source_sentence": f"{i % 60}", "target_sentence": "x"} for i in range(100)]
    parts = divide(task, rows, most=1000)
    texts = [{row["source_sentence"] for row in part} for part in parts]
    assert sum(map(len, parts)) == 100
    assert [len(part) for part in texts] == [30, 15, 15]
    assert len(set.union(*texts)) == 60
    # Another language, whose rows translate these.
    other = [{"source_sentence": f"ß{i % 60}", "target_sentence": "x"} for i in range(100)]
    same = divide(task, other, most=1000)
    assert [[row["source_sentence"][1:] for row in part] for part in same] == [
        [row["source_sentence"] for row in part] for part in parts
    ]
    few = divide(task, rows, most=8)
    assert [len({row["source_sentence"] for row in part}) for part in few] == [8, 8, 8]
    with pytest.raises(DataError, match="8 distinct rows"):
        divide(task, rows[:5] * 9, most=1000)


def test_a_loss_is_beyond_the_floor_where_chance_does_not_explain_it() -> None:
    assert Loss(100, 90.0, 88.0, (-3.0, -1.0)).beyond(0.5)
    assert not Loss(100, 90.0, 88.0, (-5.0, 1.0)).beyond(0.5)
    assert not Loss(100, 90.0, 89.6, (-0.5, -0.3)).beyond(0.5)
    assert not Loss(1000, 86.9, 86.6, (-0.5, -0.1)).beyond(0.3)


def test_bf16_is_tried_where_it_is_faster_than_fp32(
    bundles: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundles("encoder", "int8")
    monkeypatch.setattr("xopt.compile.mixing.cpu_flags_left", lambda: ("avx2", "avx512f"))
    assert bf16_obstacle(bundle) == "this CPU has no AVX-512 BF16"
    monkeypatch.setattr("xopt.compile.mixing.cpu_flags_left", lambda: ("avx2", "avx512_bf16"))
    assert bool(bf16_obstacle(bundle)) == bool(obstacle() or not suits_here())
    monkeypatch.setattr("xopt.engines.openvino.suits_here", lambda: False)
    assert "OpenVINO's own layers run here" in bf16_obstacle(bundle)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_drop": -1.0, "task": "xnli"}, "possible: 0 and above"),
        ({"max_drop": float("nan"), "task": "xnli"}, "possible: 0 and above"),
        ({"max_drop": 0.5}, "needs the task"),
        ({"max_drop": 0.5, "task": "xnli", "precision": "fp16"}, "for the target cpu"),
        ({"max_drop": 0.5, "task": "xnli", "target": "cuda"}, "for the target cpu"),
        ({"max_drop": 0.5, "task": "xnli", "fp32_sites": "layers.0"}, "finds the sites"),
        ({"max_drop": 0.5, "task": "xnli", "bf16_sites": "layers.0"}, "that --bf16-sites names"),
        ({"data": "x"}, "--data is for --max-drop"),
    ],
)
def test_what_cannot_be_searched_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        BuildOptions("x", **given)
