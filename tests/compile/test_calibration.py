"""A corpus as it is shown, and ranges that are written once and built from later."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xopt.artifacts import Ranges
from xopt.calibrate.corpus import Corpus
from xopt.calibrate.overview import overview, scripts_of
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.calibration import calibrate_checkpoint
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.ranging import form_of, sample_of
from xopt.errors import ArtifactError, InputError
from xopt.progress import Silent
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "de.txt").write_text("Guten Morgen, liebe Welt.\nDas Haus ist groß.\n" * 8)
    (folder / "ru.txt").write_text("Доброе утро.\nДом большой и тёплый.\n" * 8)
    (folder / "notes.txt").write_text("Habari za asubuhi\n" * 4)
    return folder


def test_scripts_are_shares_of_letters() -> None:
    found = scripts_of(["ab, 12!", "дом", "猫", "かカ", "ｆ"])
    assert found == pytest.approx({"Latin": 3 / 9, "Cyrillic": 3 / 9, "Han": 1 / 9, "Kana": 2 / 9})
    assert scripts_of(["12 – 34", "٣"]) == {}


def test_a_corpus_is_counted(tokenizer_file: Path) -> None:
    rows = (("de", "Haus"), ("de", "Haus"), ("ru", "дом " * 200), ("und", "nyumba"))
    tokenizer = Tokenizer.open(tokenizer_file, 64)
    found = overview(Corpus("made", rows), tokenizer)
    assert (found["texts"], found["distinct"], found["cut"]) == (4, 3, 1)
    assert found["languages"]["ru"]["script"] == "Cyrillic"
    lengths = [len(e) for e in tokenizer.encode([t for _, t in rows], max_tokens=None)]
    assert found["tokens"] == sum(lengths)
    assert found["lengths"]["percentiles"]["100"] == max(lengths)
    assert sum(found["lengths"]["classes"].values()) == 4
    assert found["unnamed"] == 1
    assert "sw" in found["absent"]
    assert "ru" not in found["absent"]


def test_unknown_tokens_are_counted(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Fast
    from tokenizers import models, pre_tokenizers

    fast = Fast(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.open(tmp_path, 64)
    found = overview(Corpus("made", (("de", "a b x a"), ("ru", "x y"))), tokenizer)
    assert found["unknown"] == pytest.approx(3 / 6)
    assert {c: row["unknown"] for c, row in found["languages"].items()} == {"de": 0.25, "ru": 1.0}


def options(checkpoint: Path, texts: Path | str, **changes: object) -> BuildOptions:
    given = {"calibration_tokens": 300} | changes
    return BuildOptions(str(checkpoint), calibration=str(texts), **given)  # type: ignore[arg-type]


def test_ranges_are_built_from_without_their_corpus(
    make_checkpoint: Factory, texts: Path, tmp_path: Path
) -> None:
    """The bundle is the one that the corpus itself gives, and other numbers are refused."""
    folder, out = make_checkpoint(), tmp_path / "ranges"
    found = calibrate_checkpoint(options(folder, texts, ranges="mse", seed=3), out, Silent())
    assert found.ranges is not None
    assert found.ranges.manifest["sample"]["by_language"].keys() == {"de", "ru", "und"}
    direct = build_bundle(
        options(folder, texts, ranges="mse", seed=3, out=str(tmp_path / "direct")), record=False
    )
    shutil.rmtree(texts)
    stored = options(folder, out, out=str(tmp_path / "stored"))
    built = build_bundle(stored, record=False)
    assert built.bundle.fingerprint == direct.bundle.fingerprint
    # OpenVINO numbers the nodes of model.xml through a process.
    made, whole = (found.bundle.manifest["files"] for found in (built, direct))
    assert made["model.bin"] == whole["model.bin"]
    for changes in ({"ranges": "entropy"}, {"smooth": 0.5}, {"seed": 4}):
        [(name, asked)] = changes.items()
        with pytest.raises(InputError, match=f"asks for --{name} {asked}") as refused:
            build_bundle(options(folder, out, out=str(tmp_path / "x"), **changes), record=False)
        assert f"--{name} {asked}" in str(refused.value.hint)
    with pytest.raises(InputError, match="another checkpoint"):
        build_bundle(options(make_checkpoint(seed=1), out, out=str(tmp_path / "x")), record=False)
    (out / "sites.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"sites\.json"):
        build_bundle(options(folder, out, out=str(tmp_path / "x")), record=False)


@pytest.mark.parametrize(
    ("head", "labels", "task", "form"),
    [
        ("span", None, None, "question"),
        ("tag", None, None, "text"),
        ("embed", None, None, "text"),
        ("classify", ["NEUTRAL", "Entailment", "contradiction"], None, "pair"),
        ("classify", ["score"], None, "pair"),
        ("classify", ["0", "1"], "pawsx", "pair"),
        ("classify", ["negative", "positive"], None, "text"),
    ],
)
def test_heads_are_calibrated_as_they_are_asked(
    make_checkpoint: Factory, head: str, labels: list[str] | None, task: str | None, form: str
) -> None:
    checkpoint = Checkpoint.open(make_checkpoint("xlm-roberta", head, labels=labels))
    assert form_of(checkpoint, task) == form


@pytest.mark.parametrize("limit", [128, 512])
def test_questions_are_calibrated_in_the_windows_that_they_are_read_in(
    make_checkpoint: Factory, tmp_path: Path, limit: int
) -> None:
    """At most 64 tokens of a question, and of the passage what 384 or the encoder's limit leaves.

    Reference: `tokenizers` cutting the passage alone.
    """
    from tokenizers import Tokenizer as Fast

    folder = make_checkpoint("xlm-roberta", "span", max_position_embeddings=limit + 2)
    lines = [f"{number} " + "Das Haus ist groß. " * size for size in (1, 4, 30, 90)
             for number in range(6)]  # fmt: skip
    (tmp_path / "de.txt").write_text("\n".join(lines))
    asked = options(folder, tmp_path / "de.txt", calibration_tokens=20_000)
    sample = sample_of(Checkpoint.open(folder), asked)
    fast = Fast.from_file(str(folder / "tokenizer.json"))
    seen = set()
    for (_, question, passage), encoding in zip(sample.rows, sample.encodings, strict=True):
        whole = fast.encode(question, add_special_tokens=False)
        kept = question[: whole.offsets[:64][-1][1]]
        assert fast.encode(kept, add_special_tokens=False).ids == whole.ids[:64]
        fast.enable_truncation(min(384, limit), strategy="only_second")
        assert encoding.ids.tolist() == fast.encode(kept, passage).ids
        fast.no_truncation()
        seen.add((len(whole.ids) > 64, len(encoding) == min(384, limit)))
    assert seen == {(False, False), (False, True), (True, True)}
    out = tmp_path / "ranges"
    calibrate_checkpoint(asked, out, Silent())
    again = sample_of(Checkpoint.open(folder), options(folder, out))
    assert again.fingerprint == sample.fingerprint


def test_ranges_of_single_texts_are_none_of_a_model_that_is_asked_with_pairs(
    make_checkpoint: Factory, texts: Path, tmp_path: Path
) -> None:
    """The names of its labels do not tell it; the task does, to both commands."""
    folder = make_checkpoint("xlm-roberta", "classify", labels=["0", "1"])
    checkpoint = Checkpoint.open(folder)
    for name, task in (("alone", None), ("pairs", "pawsx")):
        calibrate_checkpoint(options(folder, texts, task=task), tmp_path / name, Silent())
    with pytest.raises(InputError, match=r"measured on single texts; .* with pairs") as refused:
        sample_of(checkpoint, options(folder, tmp_path / "alone", task="pawsx"))
    assert "--task pawsx" in str(refused.value.hint)
    with pytest.raises(InputError, match=r"measured on pairs of texts; .* with single") as refused:
        sample_of(checkpoint, options(folder, tmp_path / "pairs"))
    assert "give the --task" in str(refused.value.hint)
    sample = sample_of(checkpoint, options(folder, tmp_path / "pairs", task="pawsx"))
    assert {len(row) for row in sample.rows} == {3}


def test_an_encoder_too_short_for_windows_says_so(make_checkpoint: Factory, texts: Path) -> None:
    folder = make_checkpoint("xlm-roberta", "span", max_position_embeddings=7)
    with pytest.raises(InputError, match="no room for a passage"):
        sample_of(Checkpoint.open(folder), options(folder, texts))


def test_a_cross_encoder_of_several_labels_is_calibrated_on_pairs(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    made = make_checkpoint("xlm-roberta", "classify", labels=["negative", "positive"])
    folder = Path(shutil.copytree(made, tmp_path / "ce"))
    config = json.loads((folder / "config.json").read_text())
    config["sentence_transformers"] = {"version": "5.1.0"}
    (folder / "config.json").write_text(json.dumps(config))
    assert form_of(Checkpoint.open(folder)) == "pair"


@pytest.mark.parametrize("text", ['{"name": "mine", "version": 2}', "not JSON", "[]"])
def test_another_programs_manifest_beside_texts_is_no_matter(
    texts: Path, text: str, tmp_path: Path
) -> None:
    from xopt.compile.ranging import _stored

    (texts / "manifest.json").write_text(text)
    assert _stored(options(tmp_path, texts)) is None
    (texts / "manifest.json").write_text('{"kind": "bundle", "schema": 1, "fingerprint": "0"}')
    with pytest.raises(ArtifactError, match="bundle"):
        _stored(options(tmp_path, texts))


def test_what_needs_no_ranges_is_refused_and_a_look_needs_none(
    make_checkpoint: Factory, texts: Path, tmp_path: Path
) -> None:
    asked = options(make_checkpoint(), texts, precision="fp32")
    with pytest.raises(InputError, match="by ranges"):
        calibrate_checkpoint(asked, tmp_path / "ranges", Silent())
    assert calibrate_checkpoint(asked, None, Silent()).ranges is None
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError):
        calibrate_checkpoint(options(make_checkpoint(), texts), tmp_path / "full", Silent())


def test_seed_and_corpus_fix_the_bytes(
    make_checkpoint: Factory, texts: Path, tmp_path: Path
) -> None:
    """Measured again, not taken from the cache."""
    folder, files = make_checkpoint(), []
    for number, seed in enumerate((0, 0, 1)):
        asked = options(folder, texts, calibration_tokens=150, seed=seed)
        found = calibrate_checkpoint(asked, tmp_path / f"ranges{number}", Silent()).ranges
        assert found is not None
        shutil.rmtree(Ranges.place(found.fingerprint))
        files.append(found.manifest["files"])
    assert files[0] == files[1] != files[2]


def test_a_look_from_the_command_line(
    make_checkpoint: Factory, texts: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-P", "-m", "xopt", "calibrate", str(texts),
        "--checkpoint", str(make_checkpoint()),
    ]  # fmt: skip
    shown, written = (
        subprocess.run([*command, *more], capture_output=True, text=True, timeout=200, cwd=tmp_path)
        for more in ([], ["--json"])
    )
    assert shown.returncode == written.returncode == 0, shown.stderr + written.stderr
    assert "Cyrillic" in shown.stdout
    assert "unknown tokens" in shown.stdout
    found = json.loads(written.stdout)
    assert found["ranges"] is None
    assert found["corpus"]["languages"]["ru"]["script"] == "Cyrillic"


def test_a_corpus_is_looked_for_before_a_checkpoint_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fetched(Exception):
        pass

    def locate(name: str | None, task: str | None = None) -> None:
        raise Fetched

    monkeypatch.setattr("xopt.compile.build.locate", locate)
    with pytest.raises(InputError, match="There is no calibration corpus nowhere"):
        build_bundle(BuildOptions("a/b", calibration="nowhere"))
    # An fp32 build reads none.
    with pytest.raises(Fetched):
        build_bundle(BuildOptions("a/b", "fp32", calibration="nowhere"))
