"""``xopt init`` and ``xopt config``: the file of options, written and explained."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from xopt.cli.app import app, examples
from xopt.cli.common import JsonOption
from xopt.cli.evaluate import EvalCommand
from xopt.cli.output import console, print_json, table
from xopt.compile.options import BuildOptions
from xopt.errors import InputError, did_you_mean
from xopt.publishing import check_outside, write_whole
from xopt.serve.options import ServeOptions
from xopt.settings import FILE, SECTIONS, line_of, read_section, resolve
from xopt.tune.options import TuneOptions

__all__ = ["config", "init"]

# Section -> its options. A section has the name of its command.
OPTIONS: dict[str, type] = {
    "build": BuildOptions,
    "eval": EvalCommand,
    "tune": TuneOptions,
    "serve": ServeOptions,
}
# What the command line still has to say, so that the rest can be checked.
STILL_SAID = {"tune": {"target": "xnli"}}
WIDTH = 96


@app.command(short_help="Write a commented xopt.toml.", epilog=examples("xopt init"))
def init(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file.")] = Path(FILE),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an xopt.toml with every option, its default and what it is for, as comments."""
    if out.exists() and not force:
        raise InputError(f"{out} is there already.", hint="Pass --force to replace it.")
    check_outside(out)
    write_whole(out, template())
    if as_json:
        print_json({"file": str(out)})
        return
    said = f"{out}: take the # from the options you want to set."
    console().print(said, highlight=False, markup=False)


@app.command(
    short_help="Show where the value of each option comes from.",
    epilog=examples("xopt config build"),
)
def config(
    section: Annotated[
        str | None, typer.Argument(help=f"{', '.join(SECTIONS)}; all by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the value of every option in this folder, and whether xopt.toml or nobody set it."""
    if section is not None and section not in SECTIONS:
        raise InputError(f"There is no section {section!r}.", hint=did_you_mean(section, SECTIONS))
    names = [section] if section else list(SECTIONS)
    found = {name: values(name) for name in names}
    if as_json:
        print_json(found)
        return
    for name, entries in found.items():
        rows = [[key, _shown(entry["value"]), str(entry["from"])] for key, entry in entries.items()]
        table(f"[{name}]", ["option", "value", "from"], rows, left=3)


def values(section: str, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """``{option: {"value", "from"}}`` of a section, for the working folder or another.

    Raises:
        InputError: ``xopt.toml`` is damaged, or a value of it cannot be.
    """
    kind = OPTIONS[section]
    path = (folder or Path.cwd()) / FILE
    stored = read_section(kind, section, folder)
    text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    # What the file says must be possible together as well.
    said = {k: v for k, v in STILL_SAID.get(section, {}).items() if k not in stored}
    resolve(kind, section, said, folder)
    found = {}
    for field in dataclasses.fields(kind):
        where = "default"
        if field.name in stored:
            line = line_of(text, section, field.name)
            where = f"{FILE}, line {line}" if line else FILE
        value = stored.get(field.name, field.default)
        found[field.name] = {"value": value, "from": where}
    return found


def template() -> str:
    """The text of a commented ``xopt.toml``."""
    lines = [
        "# Options of xopt, for the commands that are typed in this folder.",
        "# The command line is above this file, and this file above the defaults.",
    ]
    # A command is known once its module was imported.
    from xopt.cli import build, evaluate, serve, tune  # noqa: F401

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for section, kind in OPTIONS.items():
        helps = {p.name: getattr(p, "help", None) for p in commands[section].params}
        lines += ["", f"[{section}]"]
        for field in dataclasses.fields(kind):
            said = helps.get(field.name) or ""
            lines += textwrap.wrap(said, WIDTH, initial_indent="# ", subsequent_indent="# ")
            lines.append(f"# {field.name} = {_written(field.default)}")
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    """A default as TOML; TOML has no word for None."""
    if value is None or value is dataclasses.MISSING:
        return '"…"  # not set'
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
