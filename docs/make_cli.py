"""docs/cli.md: every command with its options, out of the code.

    python docs/make_cli.py

`pytest tests/test_reference.py` fails where the file is not what this writes.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command

from xopt.cli.app import COMMANDS, app
from xopt.cli.config import OPTIONS

HERE = Path(__file__).parent
# What is typed for a value of each type.
KINDS = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}


def main() -> None:
    """Write the file."""
    (HERE / "cli.md").write_text(reference(), encoding="utf-8")


def reference() -> str:
    """The text of docs/cli.md."""
    for module in COMMANDS.values():
        import_module(f"xopt.cli.{module}")
    commands = get_command(app).commands  # type: ignore[attr-defined]
    lines = [
        "# The command line",
        "",
        "Made from the code by `docs/make_cli.py`. Every command also has `--help`. A default in "
        "brackets is taken where neither the command line nor `xopt.toml` says otherwise.",
    ]
    for name in sorted(commands):
        lines += ["", *_command(name, commands[name])]
    return "\n".join(lines) + "\n"


def _command(name: str, command: Any) -> list[str]:
    lines = [f"## xopt {name}", "", _cell(command.help), "", "| option | what |", "|---|---|"]
    fields = dataclasses.fields(OPTIONS[name]) if name in OPTIONS else ()
    defaults = {field.name: field.default for field in fields}
    for parameter in command.params:
        if parameter.name == "help":
            continue
        typed = ", ".join((*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            typed = parameter.name.upper()
        elif not parameter.is_flag:
            typed += f" {_kind(parameter.type_descriptor.annotation)}"
        default = defaults.get(parameter.name, parameter.default)
        plain = isinstance(default, str | int | float | Path) and not isinstance(default, bool)
        shown = f" [{default}]" if plain else ""
        lines.append(f"| `{typed}` | {_cell(parameter.help or '')}{shown} |")
    examples = examples_of(command.epilog)
    return [*lines, "", *(f"    {example}" for example in examples)]


def examples_of(epilog: str | None) -> list[str]:
    """The commands at a help's end."""
    return re.findall(r"^(?:Example: )?(xopt .+)$", epilog or "", re.MULTILINE)


def _kind(annotation: Any) -> str:
    """What is typed; of a list, one of its values."""
    inner = typing.get_args(annotation)
    return KINDS[inner[0] if inner else annotation]


def _cell(text: str) -> str:
    """One line that a Markdown table takes."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
