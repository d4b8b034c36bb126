"""A line that cannot be read as it was typed: one sentence, and what to type instead."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from xopt.cli.app import _load_commands, app
from xopt.cli.mistyped import meant

XOPT = [sys.executable, "-P", "-m", "xopt"]


def xopt(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*XOPT, *words], cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Every command's parser, in a folder with two bundles, a checkpoint and a page."""
    monkeypatch.chdir(tmp_path)
    for name in ("e5/manifest.json", "other/manifest.json", "encoder/config.json", "old.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    _load_commands([])
    found: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    return found


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("run 'good morning' e5", "run e5 'good morning'"),
        ("run one two e5 --json", "run e5 one two --json"),
        ("--require-signature key.pub run one e5", "--require-signature key.pub run e5 one"),
        ("run e5 one --require-signature key.pub", "--require-signature key.pub run e5 one"),
        ("build encoder --debug --json", "--debug build encoder --json"),
        ("push OWNER/e5 e5", "push e5 OWNER/e5"),
        ("deploy e5 compose -o out", "deploy compose e5 -o out"),
        ("deploy compose e5 out", "deploy compose e5 -o out"),
        ("report e5 page.html", "report e5 -o page.html"),
        ("report old.html e5", "report e5 -o old.html"),
        ("eval e5 tatoeba", "eval e5 --task tatoeba"),
        ("eval xnli e5 --data sample", "eval e5 --task xnli --data sample"),
        ("serve e5 8000", "serve e5 --port 8000"),
        ("bench e5 other", "bench e5 --against other"),
        ("build encoder bundles/mine", "build encoder -o bundles/mine"),
        ("export e5 out --form hf", "export e5 -o out --form hf"),
    ],
)
def test_words_are_put_where_they_belong(commands: dict[str, Any], typed: str, line: str) -> None:
    assert meant(commands, shlex.split(typed)) == f"xopt {line}"
    assert meant(commands, shlex.split(line)) == ""


@pytest.mark.parametrize(
    "typed",
    [
        "run e5 other",  # a text may have the name of a folder
        "run e5 --pair other text",
        "run text nowhere",
        "run -- text e5",
        "build encoder encoder",  # two checkpoints, and not where to write
        "build encoder out -o elsewhere",
        "export e5 out",  # --form is still missing
        "report e5 other -o page.html",
        "serve e5 other",
        "eval e5 xnli --task tatoeba",
        "rnu text e5",
        "",
    ],
)
def test_what_nothing_tells_is_not_guessed(commands: dict[str, Any], typed: str) -> None:
    assert meant(commands, shlex.split(typed)) == ""


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        ("run", "Missing argument 'bundle'.", "all that it takes: xopt run -h"),
        ("report e5 -o", "Option '-o' requires an argument.", "xopt report -h"),
        ("serve e5 --port x", "Invalid value for '--port'", "xopt serve -h"),
        ("run e5 --jsn", "No such option: --jsn (Possible options: --json).", "xopt run -h"),
        ("rnu e5", "No such command 'rnu'. Did you mean 'run'?", "All commands: xopt -h"),
        ("--versoin", "No such option: --versoin", "All commands: xopt -h"),
        ("inspect e5 other", "Got unexpected extra argument(s) (other).", "xopt inspect -h"),
        ("eval e5 tatoeba", "Got unexpected extra", "Did you mean: xopt eval e5 --task tatoeba"),
        ("run e5 x --debug", "No such option: --debug.", "Did you mean: xopt --debug run e5 x"),
    ],
)
def test_every_mistake_ends_in_something_to_type(
    typed: str, said: str, hint: str, tmp_path: Path
) -> None:
    done = xopt(*shlex.split(typed), cwd=tmp_path)
    assert done.returncode == 2
    lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert said in next(line for line in lines if line.startswith("error: "))
    assert lines[-1].startswith("hint: ")
    assert lines[-1].endswith(hint)


def test_without_a_word_the_help_is_shown(tmp_path: Path) -> None:
    done = xopt(cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")
    assert "Compile a checkpoint into a bundle" in done.stderr
