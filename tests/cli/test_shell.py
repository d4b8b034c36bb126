"""What a shell sees: a closed pipe's exit code, empty variables, files of somebody else."""

import subprocess
import sys
from pathlib import Path

import pytest

from xopt.cli.output import table
from xopt.cli.serve import read_places
from xopt.errors import InputError

XOPT = [sys.executable, "-P", "-m", "xopt"]


def xopt(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*XOPT, *words], cwd=cwd, capture_output=True, text=True, timeout=300)


def test_a_reader_that_has_gone_is_no_failed_gate(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*XOPT, "config"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=300) == 141, said
    assert not said


@pytest.mark.parametrize(
    "words", [["build", "-o", ""], ["eval", "b", "--languages="], ["run", "b", "--input", ""]]
)
def test_an_empty_variable_is_told(words: list[str], tmp_path: Path) -> None:
    done = xopt(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{next(w for w in words if w.startswith('-')).rstrip('=')} is empty" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [["calibrate", ""], ["run", "", "x"], ["--debug", "eval", "", "--task", "xnli"]]
)
def test_an_empty_first_argument_is_not_the_current_folder(
    words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("Habari\n")
    done = xopt(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert f"What follows xopt {words[words.index('') - 1]} is empty" in done.stderr


def test_words_between_colons_are_no_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = xopt("inspect", "my:dog:bundle", cwd=tmp_path)
    assert "my:dog:bundle" in done.stderr
    table(":id: of a text", ["text"], [["a :dog: barks"]])
    shown = capsys.readouterr().out
    assert ":id: of a text" in shown
    assert "a :dog: barks" in shown


def test_a_report_is_not_written_over_another_file(tmp_path: Path) -> None:
    mine = tmp_path / "README.md"
    mine.write_text("# Mine\n")
    done = xopt("report", "runs", "-o", "README.md", cwd=tmp_path)
    assert done.returncode == 2
    assert "README.md exists and is no report of xopt" in done.stderr
    assert mine.read_text() == "# Mine\n"


@pytest.mark.parametrize(
    ("text", "way"),
    [("bundles/e5=", "xopt serve bundles/e5"), ("e5=", "e5=FOLDER"), ("=", "NAME=FOLDER")],
)
def test_a_bundle_without_a_folder_is_told_what_to_type(text: str, way: str) -> None:
    with pytest.raises(InputError, match="has no folder") as caught:
        read_places([text])
    assert caught.value.hint.endswith(way)
