"""The command line: its reference, its first screen, and examples that run."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.scripts import load_script
from typer.main import get_command
from typer.testing import CliRunner

from xopt.artifacts import Bundle
from xopt.cli import app

REPOSITORY = Path(__file__).parents[1]
RUN = CliRunner()


SCRIPT: Any = load_script(REPOSITORY / "docs" / "make_cli.py")
TEXT: str = SCRIPT.reference()
WHOLE: Any = get_command(app)
COMMANDS = WHOLE.commands
# These need a cluster or days of training; the first example of every command runs.
ELSEWHERE = ("--ray", "--intermediate mnli", "--intermediate squad", "./encoder")
EXAMPLES = {name: SCRIPT.examples_of(COMMANDS[name].epilog) for name in COMMANDS}


def test_the_reference_is_what_the_code_says() -> None:
    found = (REPOSITORY / "docs" / "cli.md").read_text()
    assert found == TEXT, "type: python docs/make_cli.py"


def test_the_first_help_fits_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = RUN.invoke(app, ["--help"]).output
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    # The prompt takes one of 24 rows.
    assert len(lines) < 24
    words = shown.split()
    for name, command in COMMANDS.items():
        assert f"{name} {command.short_help}" in " ".join(words)
    for option in WHOLE.params:
        assert max(option.opts, key=len) in words
    assert "--help" in words


def test_a_help_says_what_is_taken_where_nothing_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["xopt", "serve", "-h"])
    shown = " ".join(RUN.invoke(app, ["serve", "-h"]).output.split())
    assert "Port to listen at; 0 for a free one. Default: 8000." in shown
    assert "Tokens that may wait; beyond that: 429. Default: 262144." in shown
    assert shown.count("Default: all.") == 1


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_ends_with_an_example_that_is_a_command(name: str) -> None:
    assert EXAMPLES[name]
    for line in EXAMPLES[name]:
        words = shlex.split(line)
        assert words[:2] == ["xopt", name]
        COMMANDS[name].make_context(name, words[2:])


@pytest.fixture(scope="module")
def place(
    heads: Callable[[str], Path],
    bundles: Callable[..., Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A working folder with what the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    made = folder / "bundles"
    small, exact = bundles("encoder", "int8").folder, bundles("encoder").folder
    for name in ("e5", "e5-int8", "multilingual-e5-small-int8-cpu"):
        shutil.copytree(small, made / name)
    shutil.copytree(exact, made / "e5-fp32")
    for name in ("xnli", "better"):
        shutil.copytree(bundles("nli", "int8").folder, made / name)
    shutil.copytree(small, made / "mini")
    shutil.copytree(heads("nli"), folder / "my-xnli-model")
    key = ed25519.Ed25519PrivateKey.generate()
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (folder / "texts").mkdir()
    (folder / "texts" / "sw.txt").write_text("Habari za asubuhi\n" * 80)
    (folder / "texts.csv").write_text("text\nHabari\nGood morning\n")
    shutil.copytree(REPOSITORY / "evaluate" / "data", folder / "DIR")
    written = REPOSITORY / "benchmarks" / "experiments" / "e5_small.toml"
    shutil.copyfile(written, folder / "experiment.toml")
    source = REPOSITORY / "docs" / "results" / "tatoeba-e5-small-int8.json"
    shutil.copyfile(source, folder / "bench.json")
    return folder


RUNS = [
    line
    for name in sorted(EXAMPLES)
    for line in EXAMPLES[name]
    if not any(words in line for words in ELSEWHERE)
]


def test_the_first_example_of_every_help_is_run() -> None:
    assert {lines[0] for lines in EXAMPLES.values()} <= set(RUNS)
    assert set(SCRIPT.examples_of(WHOLE.epilog)) <= set(RUNS)


class Hub:
    """huggingface_hub's API without the hub; on the wire it is tested with `push_bundle`."""

    endpoint = "https://hub"

    def create_repo(self, repo: str, **options: Any) -> None:
        assert options == {"private": True, "exist_ok": True}

    def create_commit(self, repo: str, added: list[Any], **_: Any) -> Any:
        assert {"README.md", "manifest.json"} <= {one.path_in_repo for one in added}
        return SimpleNamespace(commit_url=f"{self.endpoint}/{repo}/commit/1")


@pytest.mark.parametrize("line", RUNS)
def test_an_example_runs(
    line: str, place: Path, heads: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xopt.compile import sources

    kinds = {sources.DEFAULT: "encoder"}
    monkeypatch.setattr(
        sources, "find_on_hub", lambda name, offline: (heads(kinds.get(name, "nli")), name)
    )
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("xopt.hub._silence", lambda library, address: "")
    # All but the loop in which it answers.
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: [s.close() for s in sockets])
    monkeypatch.chdir(place)
    words = shlex.split(line)[1:]
    if words[0] in ("init", "deploy"):
        words.append("--force")
    if words[0] == "serve":
        words[-1] = "0"
    if words[0] == "tune":
        words += ["--epochs", "1"]
    if words[0] == "eval":
        words += ["--resamples", "20", "--max-drop", "100", "--languages", "sw,th"]
        words = [word if word != "1.0" else "100" for word in words]
    found = RUN.invoke(app, words)
    assert found.exit_code == 0, (found.output, found.exception)


def typed(document: str, begin: str, end: str) -> list[str]:
    """The commands of a document between two of its lines."""
    part = (REPOSITORY / document).read_text().partition(begin)[2].partition(end)[0]
    lines = [line.partition("  #")[0].strip() for line in part.splitlines()]
    return [line for line in lines if line.startswith("xopt ")]


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (typed("docs/tutorial.md", "## 1. Install", "## Next"), 8),
        (typed("README.md", "With nothing at hand", "With what is yours"), 10),
    ],
    ids=["tutorial", "README"],
)
def test_a_document_runs_as_typed(
    lines: list[str],
    count: int,
    heads: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In an empty folder, one command after another, with a small encoder in the hub's place."""
    from xopt.compile import sources

    monkeypatch.setattr(sources, "find_on_hub", lambda name, offline: (heads("encoder"), name))
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert len(lines) == count
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] == "serve":
            COMMANDS["serve"].make_context("serve", words[1:])
            continue
        # The head of a random encoder loses what it loses; the words are what is tried.
        words = [word if word not in ("5.0", "10") else "100" for word in words]
        found = RUN.invoke(app, words)
        assert found.exit_code == 0, (line, found.output, found.exception)
