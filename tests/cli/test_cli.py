"""Every command as a person or a machine would call it, and every bad input."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from typer.testing import CliRunner

from xopt.cli import app, bench, build, evaluate, inspect, run  # noqa: F401

Factory = Callable[..., Path]


def xopt(*arguments: str, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "xopt", *arguments],
        capture_output=True,
        cwd=cwd,
        input=stdin,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def document(*arguments: str, cwd: Path) -> dict[str, Any]:
    """What succeeds, in this process: PyTorch is imported already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "200")
        done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def place(make_checkpoint: Factory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a checkpoint ``encoder`` and its INT8 bundle ``bundle``."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(make_checkpoint("xlm-roberta", "embed"), folder / "encoder")
    built = document("build", "encoder", "-o", "bundle", cwd=folder)
    assert built["cached"] is False
    # Each stage with its share of the whole, which begins before the first and ends after the last;
    # four digits behind the point are told of a share, two of seconds.
    stages = built["stages"]
    assert list(stages) == ["checkpoint", "tracing", "calibrating", "lowering", "compiling"]
    for stage in stages.values():
        whole = built["seconds"]
        rounding = 5e-5 + 0.005 * (1 + stage["share"]) / whole
        assert stage["share"] == pytest.approx(stage["seconds"] / whole, abs=rounding)
    assert 0 < sum(stage["share"] for stage in stages.values()) <= 1 + 5 * 5e-5
    peaks = [stage["peak_rss_mib"] for stage in stages.values()]
    assert 0 < peaks[0] <= peaks[-1] <= built["peak_rss_mib"] + 1
    return folder


def test_build_reports_what_it_made_and_the_second_one_is_cached(place: Path) -> None:
    before = (place / "bundle" / "manifest.json").stat()
    again = document("build", "encoder", "-o", "bundle", cwd=place)
    assert again["cached"] is True
    assert set(again) >= {
        "bundle", "size_mib", "seconds", "peak_rss_mib", "fingerprint", "cached",
    }  # fmt: skip
    # Not even written again.
    assert (place / "bundle" / "manifest.json").stat() == before


def test_another_recipe_is_another_fingerprint(place: Path) -> None:
    first = document("build", "encoder", "-o", "bundle", cwd=place)
    other = document("build", "encoder", "-o", "other", "--seed", "1", cwd=place)
    assert other["cached"] is False
    assert other["fingerprint"] != first["fingerprint"]


def test_options_come_from_xopt_toml(place: Path, tmp_path: Path) -> None:
    encoder = place / "encoder"
    (tmp_path / "xopt.toml").write_text(
        f'[build]\ncheckpoint = "{encoder}"\nprecision = "fp32"\nout = "from-toml"\n'
    )
    assert document("build", cwd=tmp_path)["precision"] == "fp32"
    assert (tmp_path / "from-toml" / "manifest.json").is_file()


def test_eval_has_the_documented_form_and_records_its_evidence(place: Path) -> None:
    report = document(
        "eval", "bundle", "--task", "tatoeba", "--data", "sample", "--languages", "sw,deu",
        "--resamples", "200", cwd=place,
    )  # fmt: skip
    assert {
        "task", "precision", "target", "data", "metric", "languages", "mean", "worst",
        "throughput", "bundle", "host",
    } <= set(report)  # fmt: skip
    assert list(report["languages"]) == ["swh", "deu"]
    for found in report["languages"].values():
        assert set(found) == {
            "n", "distinct", "reference", "candidate", "difference", "ci95", "agreement", "parts",
        }  # fmt: skip
        low, high = found["ci95"]
        assert low <= found["difference"] <= high
        assert found["difference"] == pytest.approx(found["candidate"] - found["reference"])
    assert "sample" in report["data"]["label"]
    assert set(report["throughput"]["latency_ms"]) == {"p50", "p95", "p99"}
    assert report["in_turn"]["faster"] == median(report["in_turn"]["rounds"])
    inspected = document("inspect", "bundle", cwd=place)
    assert inspected["evidence"] == ["tatoeba"]
    card = (place / "bundle" / "card.md").read_text()
    assert "Swahili" in card
    assert "sample" in card


def test_the_gate_fails_with_1(place: Path) -> None:
    arguments = ("eval", "bundle", "--data", "sample", "--languages", "sw", "--resamples", "50")
    assert xopt(*arguments, "--max-drop", "100", cwd=place).returncode == 0
    # An embedding answers no premise: the task is not scored.
    both = ("--task", "tatoeba,xnli", "--bundle", "tatoeba=bundle", "--bundle", "xnli=bundle")
    failed = xopt("eval", *both, *arguments[2:], "--max-drop", "100", cwd=place)
    assert failed.returncode == 1
    assert "gate failed" in failed.stdout


def test_a_layer_other_than_the_bundles_is_built(place: Path) -> None:
    report = document(
        "eval", "bundle", "--data", "sample", "--languages", "sw", "--layer", "1", "--pooling",
        "cls", "--direction", "xx-en", "--resamples", "50", "--no-record", cwd=place,
    )  # fmt: skip
    assert report["conventions"]["layer"] == 1
    assert report["conventions"]["pooling"] == "cls"
    assert report["conventions"]["direction"] == "xx-en"


def test_bench_compares_two_bundles(place: Path) -> None:
    document("build", "encoder", "--precision", "fp32", "-o", "fp32", cwd=place)
    found = document(
        "bench", "bundle", "--against", "fp32", "--work", "b1_s32", "--repeat", "3", cwd=place
    )
    timed = found["cases"]["b1_s32"]
    assert len(timed) == 2
    for entry in timed.values():
        assert len(entry["samples_ms"]) == 3
        assert entry["median_ms"] > 0


def test_run_answers_and_reads_standard_input(place: Path) -> None:
    found = document("run", "bundle", "Habari", "Guten Morgen", cwd=place)
    assert [a["text"] for a in found["answers"]] == ["Habari", "Guten Morgen"]
    assert len(found["answers"][0]["embeddings"]) == 64
    piped = xopt("run", "bundle", cwd=place, stdin="eins\nдва\n".encode())
    assert piped.returncode == 0
    assert "cosine similarity" in piped.stdout


def tables(place: Path, *arguments: str) -> str:
    done = xopt(*arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tables_for_people(place: Path) -> None:
    shown = tables(
        place, "eval", "bundle", "--data", "sample", "--languages", "sw", "--resamples", "50"
    )
    assert "Swahili (swh)" in shown
    assert "sentences/s" in shown
    assert "not comparable with XTREME's scores" in shown
    assert "near-duplicates" in shown
    assert "every sha256 verified" in tables(place, "inspect", "bundle")
    assert "already built" in tables(place, "build", "encoder", "-o", "bundle")


BAD = [
    (["run", "bundle", ""], "Text 1 is empty"),
    (["run", "bundle", "neno " * 20_000], "--truncate"),
    (["run", "nowhere", "x"], "The bundle nowhere is not there."),
    (["run", "bundel", "x"], "Did you mean 'bundle'?"),
    (["run", ".", "x"], "Give one of those in it: "),
    (["run", "bundle/manifest.json", "x"], "Give the bundle's own folder: bundle"),
    (["run", "bundle", "x", "--pair", "y"], "Text 1 has a second text; this bundle embeds"),
    (["run", "classifier", "x", "--windows"], "--windows is for bundles with the head span"),
    (["run", "bundle", "--input", "latin.txt"], "Did you mean 'latin1.txt'?"),
    (["run", "bundle", "--input", "no/latin1.txt"], "There is no folder no either"),
    (["eval", "bundle", "--task", "tatoba"], "Did you mean 'tatoeba'?"),
    (["eval", "bundle", "--data", "sample", "--languages", "shw"], "Did you mean 'swh'?"),
    (["eval", "bundle", "--data", "nowhere"], "There is no data folder nowhere"),
    (["eval", "bundle", "--direction", "sideways"], "Possible: en-xx, xx-en"),
    (["eval", "classifier"], "the task tatoeba needs 'embed'"),
    (["build", "nowhere"], "There is no folder nowhere"),
    (["build", "encoder", "--precision", "int4"], "Unknown precision 'int4'"),
    (["build", "encoder", "--target", "tpu"], "Unknown target 'tpu'"),
    (["build", "bundle"], "ask it with: xopt inspect bundle"),
    (["build", "encoder/config.json"], "Give its folder: xopt build encoder"),
    (["build", "encoder", "--smooth", "2"], "--smooth is 2"),
    (["build", "encoder", "--ranges", "minmx"], "Did you mean 'minmax'?"),
    (["build", "encoder", "--percentile", "95"], "--percentile is for --ranges percentile"),
    (["build", "encoder", "--calibration", "nowhere"], "There is no calibration corpus"),
    (["build", "encoder", "--calibration", "latin1.txt"], "not valid UTF-8"),
    (["build", "encoder", "-o", "encoder"], "is not something xopt made"),
    (["build", "pickled"], "pickle"),
    (["build", "strange"], "does not compile"),
    (["bench", "bundle", "--work", "b1"], "Unknown work 'b1'"),
    (["bench", "bundle", "--threads", "0"], "--threads is 0; it must lie in 1..1024"),
    (["bench", "bundle", "--threads", "1", "--streams", "2"], "more than the threads: 1"),
    (["run", "bundle", "x", "--streams", "0"], "--streams is 0; it must lie in 1..1024"),
    (["run", "bundle", "x", "--threads", "1", "--streams", "2"], "more than the threads: 1"),
    (["eval", "bundle", "--data", "sample", "--threads", "0"], "--threads is 0"),
    (["serve", "bundle", "--streams", "2000"], "--streams is 2000"),
    (["inspect", "encoder"], "It looks like a checkpoint; compile it with: xopt build encoder"),
    (["build", "[/nowhere]"], "There is no folder [/nowhere], and no checkpoint of the hub has"),
    (["build", "my models/e5"], "There is no folder my models/e5, and no checkpoint"),
    (["build", "OWNER/"], "There is no folder OWNER/, and no checkpoint"),
    (["build", "encoder", "--seed", "-1"], "--seed is -1"),
    (["eval", "bundle", "--task", ","], "names no task"),
    (["eval", "bundle", "--max-drop", "nan"], "possible: 0 and above"),
    (["eval", "bundle", "--max-drop", "inf"], "possible: 0 and above"),
    (["eval", "bundle", "--max-drop", "-1"], "possible: 0 and above"),
    (["eval", "bundle", "--reference", "classifier", "--data", "sample"], "another checkpoint"),
    (["eval", "bundle", "--reference", "bundle"], "bundle is int8, and the reference is what fp32"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a)[:40] for a, _ in BAD])
def test_bad_input_gets_a_sentence_and_exit_code_2(
    place: Path, make_checkpoint: Factory, arguments: list[str], message: str
) -> None:
    prepare_bad(place, make_checkpoint)
    before = (place / "bundle" / "manifest.json").read_bytes()
    done = xopt(*arguments, cwd=place)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert (place / "bundle" / "manifest.json").read_bytes() == before


def prepare_bad(place: Path, make_checkpoint: Factory) -> None:
    if (place / "strange").exists():
        return
    (place / "latin1.txt").write_bytes("Grüße\n".encode("latin-1"))
    classifier = make_checkpoint("bert", "classify")
    document("build", str(classifier), "--precision", "fp32", "-o", "classifier", cwd=place)
    shutil.copytree(place / "encoder", place / "pickled")
    (place / "pickled" / "model.safetensors").rename(place / "pickled" / "pytorch_model.bin")
    shutil.copytree(place / "encoder", place / "strange")
    config = json.loads((place / "strange" / "config.json").read_text())
    (place / "strange" / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))


def test_standard_input_that_is_not_utf_8(place: Path) -> None:
    done = xopt("run", "bundle", cwd=place, stdin=b"fine\n\xff\n")
    assert done.returncode == 2
    assert "not valid UTF-8" in done.stderr


def test_a_bundle_with_a_flipped_byte(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / "tokenizer.json"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    done = xopt("run", "bundle", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "tokenizer.json" in done.stderr


def test_a_damaged_bundle_is_built_again(place: Path) -> None:
    document("build", "encoder", "-o", "again", cwd=place)
    path = place / "again" / "model.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert document("build", "encoder", "-o", "again", cwd=place)["cached"] is False
    (place / "again" / "manifest.json").write_text("{")
    assert document("build", "encoder", "-o", "again", cwd=place)["cached"] is False
    assert document("build", "encoder", "-o", "again", cwd=place)["cached"] is True


def test_a_question_is_answered_from_its_context(place: Path, make_checkpoint: Factory) -> None:
    document(
        "build",
        str(make_checkpoint("bert", "span")),
        *("--precision", "fp32", "-o", "span"),
        cwd=place,
    )
    refused = xopt("run", "span", "Who?", cwd=place)
    assert refused.returncode == 2
    assert "--pair" in refused.stderr
    assert "answer" in tables(
        place, "run", "span", "Who?", "--pair", "Asha built the [old] bridge."
    )


def test_debug_adds_the_traceback(place: Path) -> None:
    done = xopt("--debug", "run", "bundle", "", cwd=place)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
