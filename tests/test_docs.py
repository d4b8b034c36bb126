"""The README and the documents say what is there."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_command

from xopt.cli import app

MODULES: dict[str, str] = import_module("xopt.cli.app").COMMANDS
for name in MODULES.values():
    import_module(f"xopt.cli.{name}")
REPOSITORY = Path(__file__).parents[1]
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def test_a_command_alone_is_found_by_its_name() -> None:
    """`main` imports only the module of the command that was typed."""
    assert set(MODULES) == set(COMMANDS)
    for name, module in MODULES.items():
        owner = COMMANDS[name].callback.__module__
        assert owner == f"xopt.cli.{module}" or name == "deploy", name


def typed_commands() -> list[str]:
    lines = [line for path in DOCUMENTS for line in path.read_text().splitlines()]
    found = [line.strip().partition("#")[0] for line in lines if line.startswith("    xopt ")]
    found += [c for line in lines for c in re.findall(r"`(xopt [^`]+)`", line)]
    return sorted(set(found))


@pytest.mark.parametrize("line", typed_commands())
def test_a_command_in_the_documents_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    if words[0].startswith("--"):
        return
    name = words[0].rstrip(",")
    assert name in COMMANDS, line
    options = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)}
    for word in words[1:]:
        if word.startswith("-"):
            assert word.partition("=")[0] in options, line


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme_and_explains_itself(name: str) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert f"xopt {name}" in readme
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert parameter.name == "help" or getattr(parameter, "help", None), parameter.name


def test_the_readme_has_exactly_two_setup_commands() -> None:
    section = (REPOSITORY / "README.md").read_text().split("## Two commands")[1].split("\n## ")[0]
    commands = [line.split("#")[0].strip() for line in section.splitlines() if line[:4] == "    "]
    assert commands == ["make demo", "make test"]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Among them: a link, an anchor or a picture that is not there, a page in no menu."""
    command = [sys.executable, "-P", "-m", "mkdocs", "build", "--strict", "--site-dir"]
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    front = (tmp_path / "index.html").read_text()
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', front)


WORN = r"(?i)\b(likewise|shall)\b"
PLAIN = re.compile(r"\b(likewise|shall|whose \w+ alone)\b", re.IGNORECASE)


def test_what_people_read_is_plain_english() -> None:
    readers = [*DOCUMENTS, REPOSITORY / "CONTRIBUTING.md"]
    helps = {name: f"{c.help} {c.epilog}" for name, c in COMMANDS.items()}
    helps |= {
        f"{name} {p.name}": str(getattr(p, "help", "")) for name, c in COMMANDS.items()
        for p in c.params
    }  # fmt: skip
    found = [(path.name, m[0]) for path in readers for m in PLAIN.finditer(path.read_text())]
    found += [(name, m[0]) for name, text in helps.items() for m in PLAIN.finditer(text)]
    assert found == []


SOURCES = ("benchmarks", "calibrate", "compile", "docs", "engines", "evaluate", "src", "tune")


def test_what_the_source_says_of_itself_is_plain_english() -> None:
    files = [path for place in SOURCES for path in (REPOSITORY / place).rglob("*.py")]
    assert len(files) > 300
    lines = ((path, line) for path in files for line in path.read_text().splitlines())
    assert [(path.name, line) for path, line in lines if re.search(WORN, line)] == []


LINKS = SimpleNamespace(**runpy.run_path(str(REPOSITORY / "docs" / "check_links.py")))


def _said(node: ast.AST) -> str:
    """The text of a string, what is put into it as braces."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_said, node.values))
    return str(node.value) if isinstance(node, ast.Constant) else "{}"


def test_a_build_that_the_source_tells_to_type_names_what_is_built() -> None:
    rooms = [REPOSITORY / room for room in ("calibrate", "compile", "engines", "evaluate", "tune")]
    # Behind a colon; without a checkpoint it is the default one, or a task's.
    typed = re.compile(r": xopt build(?: --(?!task|precision int8).*|$)")
    loose = {
        (path.name, line)
        for room in (*rooms, REPOSITORY / "src")
        for path in room.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr | ast.Constant)
        for line in typed.findall(_said(node))
    }
    assert loose == set()


def test_links_lead_somewhere() -> None:
    assert len(LINKS.documents()) > len(DOCUMENTS)
    assert list(LINKS.dead_here()) == []
    assert all(address.startswith("https://") for address in LINKS.addresses())


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# Über `x`: two words\n\n# Again\n# Again\n")
    (tmp_path / "a.md").write_text(
        "[a](docs/b.md#über-x-two-words) [b](docs/b.md#again-1) [c](docs/c.md) [d](docs/b.md#no)\n"
        "[e](#none) ![f](f.png) [g](../outside.md) [h](https://a.example/) <https://b.example/x>\n"
        "    [in code](nowhere.md)\n[i](http://localhost:8000)\n"
    )
    dead = [line.partition(": ")[2] for line in LINKS.dead_here(tmp_path)]
    assert dead == ["docs/c.md", "docs/b.md#no", "#none", "f.png", "../outside.md"]
    assert list(LINKS.addresses(tmp_path)) == ["https://a.example/", "https://b.example/x"]
