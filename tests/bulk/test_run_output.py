"""`xopt run --input --output`: what is written, and what a killed run leaves to be done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import xopt
from xopt.artifacts import Bundle
from xopt.cli import run as command_run  # noqa: F401
from xopt.cli.app import app
from xopt.errors import XoptError

Bundles = Callable[..., Bundle]

SENTENCES = ["Habari za asubuhi", "Доброе утро всем", "おはようございます", "Guten Morgen, Nachbar"]


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-P", "-m", "xopt", "run", *map(str, arguments)]


def run(*arguments: Any, code: int = 0) -> str:
    """What the command says, in this process."""
    done = CliRunner().invoke(app, ["run", *map(str, arguments)])
    if code == 2:
        assert isinstance(done.exception, XoptError), done.output
        return done.output + str(done.exception)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.output


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough rows for four chunks."""
    path = tmp_path_factory.mktemp("many") / "many.txt"
    lines = [f"{SENTENCES[n % 4]} {n} " * (n % 5 + 1) for n in range(7000)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(many: Path, bundles: Bundles) -> bytes:
    """What a run that nobody stops writes."""
    out = many.with_name("whole.npy")
    run(bundles("encoder").folder, "--input", many, "--output", out)
    return out.read_bytes()


def test_files_hold_what_the_model_says(bundles: Bundles, tmp_path: Path) -> None:
    import pyarrow.parquet

    given = tmp_path / "pairs.jsonl"
    pairs = [("Habari", "Good morning"), ("一二三", "four"), ("a", "b c d")]
    rows = [json.dumps({"first": a, "second": b}) for a, b in pairs]
    given.write_text("\n".join(rows), encoding="utf-8")
    with xopt.load(bundles("nli").folder) as model:
        expected = model.predict(pairs)
    table = ("--column", "first", "--pair-column", "second")
    for ending in (".jsonl", ".parquet", ".npy"):
        run(bundles("nli").folder, "--input", given, *table, "--output", tmp_path / f"o{ending}")
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    stored = pyarrow.parquet.read_table(tmp_path / "o.parquet").to_pylist()
    array = np.load(tmp_path / "o.npy")
    assert array.dtype == np.float32
    for number, (pair, prediction) in enumerate(zip(pairs, expected, strict=True)):
        np.testing.assert_allclose(array[number], prediction.values, atol=1e-6)
        for row in (lines[number], stored[number]):
            assert (row["row"], row["text"], row["pair"]) == (number + 1, *pair)
            assert row["label"] == prediction.label
            named = dict(row["probabilities"])
            assert list(named) == list(prediction.labels)
            np.testing.assert_allclose(list(named.values()), prediction.values, atol=1e-6)


@pytest.mark.parametrize("name", ["ner", "qa"])
def test_tags_and_spans_are_written_too(bundles: Bundles, tmp_path: Path, name: str) -> None:
    import pyarrow.parquet

    given = tmp_path / "given.txt"
    given.write_text("Nairobi ni mji\nWho built it?\n")
    more = ["--pair", "Asha built the bridge."] if name == "qa" else []
    for ending in (".jsonl", ".parquet"):
        out = tmp_path / f"o{ending}"
        run(bundles(name).folder, "--input", given, "--output", out, *more)
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    stored = pyarrow.parquet.read_table(tmp_path / "o.parquet").to_pylist()
    key = "answer" if name == "qa" else "tags"
    for line, row in zip(lines, stored, strict=True):
        if name == "qa":
            assert line[key] == row[key]
            assert line[key] in "Asha built the bridge."
        else:
            assert [tag["label"] for tag in line[key]] == [tag["label"] for tag in row[key]]
    refused = run(bundles(name).folder, "--input", given, "--output", "o.npy", *more, code=2)
    assert ".jsonl or .parquet" in refused


# Kills its own process when the named function of xopt.bulk.job, or what it uses, is called for the
# nth time.
KILLED = """
import os, signal, sys
from xopt.bulk import job

name, moment = sys.argv.pop(1), int(sys.argv.pop(1))
owner = {"rmtree": job.shutil, "fsync": os}.get(name, job)
real, calls = getattr(owner, name), iter(range(1, 1000))

def counted(*arguments, **options):
    if next(calls) == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)

setattr(owner, name, counted)
from xopt.cli import main
main()
"""


@pytest.mark.parametrize(
    ("name", "moment", "parts"),
    [
        ("fsync", 5, 1),  # a part written and not yet renamed
        ("flush", 1, 4),  # all parts joined and not yet renamed
        ("rmtree", 1, 4),  # the output is there, the parts are not yet gone
    ],
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    many: Path, whole: bytes, bundles: Bundles, tmp_path: Path, name: str, moment: int, parts: int
) -> None:
    out = tmp_path / "out.npy"
    asked = command(bundles("encoder").folder, "--input", many, "--output", out)
    killed = [*asked[:2], "-c", KILLED, name, str(moment), *asked[4:]]
    done = subprocess.run(killed, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((tmp_path / ".out.npy.parts").glob("*.part"))) == parts
    said = run(*asked[5:])
    assert (f"that was stopped: {parts}." in said) == (parts > 0)
    assert out.read_bytes() == whole
    assert os.listdir(tmp_path) == ["out.npy"]


def test_another_input_or_option_begins_anew_and_says_so(
    bundles: Bundles, tmp_path: Path, many: Path
) -> None:
    given = tmp_path / "given.txt"
    given.write_bytes(many.read_bytes() + b"\xff\n")
    out = tmp_path / "out.npy"
    asked = (bundles("encoder").folder, "--input", given, "--output", out)
    assert "line 7001, byte" in run(*asked, code=2)
    parts = sorted((tmp_path / ".out.npy.parts").glob("*.part"))
    assert parts
    before = parts[0].stat().st_mtime_ns
    run(*asked, code=2)
    assert parts[0].stat().st_mtime_ns == before
    # As a machine whose engine rounds otherwise would have left it.
    manifest = tmp_path / ".out.npy.parts" / "manifest.json"
    other = {"attention": "another", "instruction set": "another"}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | other))
    said = run(*asked, "--normalize", code=2)
    assert "another normalize, attention, instruction set was given" in said
    given.write_text("Habari\n")
    said = run(*asked)
    assert "another input, normalize was given" in said
    assert np.load(out).shape[0] == 1


def test_two_runs_do_not_write_one_file(bundles: Bundles, tmp_path: Path) -> None:
    from filelock import FileLock

    folder = tmp_path / ".out.npy.parts"
    folder.mkdir()
    given = tmp_path / "given.txt"
    given.write_text("Habari\n")
    asked = (bundles("encoder").folder, "--input", given, "--output", tmp_path / "out.npy")
    with FileLock(folder / ".lock"):
        assert "Another run writes" in run(*asked, code=2)
    run(*asked)


def test_rows_that_cannot_be_answered_are_named(bundles: Bundles, tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    long = "neno la siku " * 60
    given.write_text(f"text,pair\nfine,fine\nshort,{long}\n")
    asked = (bundles("nli").folder, "--input", given, "--output", tmp_path / "o.jsonl")
    assert "given.csv, row 2 with its pair has" in run(*asked, "--pair-column", "pair", code=2)
    given.write_text("text,pair\nfine,fine\nfine,fine\nfine, \n")
    said = run(*asked, "--pair-column", "pair", code=2)
    assert "given.csv, row 3, its pair, is empty" in said
    given.write_text("text,pair\n")
    assert "given.csv has no text" in run(*asked, "--pair-column", "pair", code=2)
    given.write_text("text,pair\nalone\n")
    assert "given.csv, row 1 has 1 columns" in run(*asked, "--pair-column", "pair", code=2)
    assert not (tmp_path / ".o.jsonl.parts").exists()


def test_two_workers_give_the_bytes_of_one_process(
    many: Path, whole: bytes, bundles: Bundles, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "out.npy"
    asked = (bundles("encoder").folder, "--input", many, "--output", out)
    # Ray forks what starts it, and this process has threads and locks, which a fork warns of.
    typed = command(*asked, "--ray", "local", "--workers", "2")
    done = subprocess.run(typed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == whole


def test_thousands_of_lines_of_standard_input_are_answered_in_little_memory(
    bundles: Bundles, tmp_path: Path
) -> None:
    measure = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[2:], stdout=open(sys.argv[1], 'wb'))\n"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )

    def peak(count: int) -> int:
        lines = [SENTENCES[n % 4] * (n % 4 + 1) + f" {n}" for n in range(count)]
        out = tmp_path / f"{count}.json"
        typed = command(bundles("encoder").folder, "--json")
        asked = [sys.executable, "-P", "-c", measure, str(out), *typed]
        done = subprocess.run(
            asked, input="\n".join(lines).encode(), capture_output=True, check=True
        )
        code, found = map(int, done.stdout.split())
        assert code == 0
        answers = json.loads(out.read_bytes())["answers"]
        assert [answer["text"] for answer in answers] == lines
        one = count - 7
        with xopt.load(bundles("encoder").folder) as model:
            [alone] = model.encode(lines[one : one + 1])
        # What docs/reliability.md promises of fp32, alone and together.
        np.testing.assert_allclose(answers[one]["embeddings"], alone, atol=1e-5)
        return found

    few, many = peak(500), peak(9500)
    # Kept as a whole, each row would hold more than 10 KiB.
    assert many - few < 9000 * 10 / 1024


def test_an_output_that_cannot_be_is_refused_before_anything_is_answered(
    bundles: Bundles, tmp_path: Path
) -> None:
    bundle = bundles("encoder").folder
    given = tmp_path / "given.jsonl"
    given.write_text('{"text": "Habari"}\n')
    (tmp_path / "folder.jsonl").mkdir()
    said = run(bundle, "--input", given, "--output", tmp_path / "folder.jsonl", code=2)
    assert "is a folder" in said
    (tmp_path / "other.jsonl").hardlink_to(given)
    for output in (given, tmp_path / "other.jsonl"):
        said = run(bundle, "--input", given, "--output", output, code=2)
        assert "is the input itself" in said
    assert given.read_text() == '{"text": "Habari"}\n'
    words = tmp_path / "words.jsonl"
    words.write_text('{"text": ["a", "b"]}\n')
    said = run(bundle, "--input", words, "--output", tmp_path / "o.jsonl", code=2)
    assert "a list of words" in said


@pytest.mark.parametrize("damage", ["{", "[]", "null"])
def test_parts_without_a_readable_manifest_are_left(
    bundles: Bundles, tmp_path: Path, damage: str
) -> None:
    given, out = tmp_path / "given.txt", tmp_path / "o.jsonl"
    given.write_text("Habari\n")
    parts = tmp_path / ".o.jsonl.parts"
    parts.mkdir()
    (parts / "manifest.json").write_text(damage)
    (parts / "00000000.part").write_bytes(b"of another run")
    run(bundles("encoder").folder, "--input", given, "--output", out)
    assert json.loads(out.read_text())["text"] == "Habari"


def test_where_nothing_could_be_written_nothing_is_called_kept(bundles: Bundles) -> None:
    said = run(bundles("encoder").folder, "Habari", "--output", "/proc/a.npy", code=2)
    assert "/proc/" in said
    assert "kept" not in said
