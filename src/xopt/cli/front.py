"""`xopt --help` on one screen of 24 rows and 80 columns, and lines that cannot be parsed."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from xopt.cli.output import console
from xopt.errors import InputError

__all__ = ["GROUPS", "FrontPage"]

# Every error of the parser; typer names only this one of its kind.
USAGE: Any = typer.BadParameter.__bases__[0]
# What the commands are for, in the order in which they are used.
GROUPS = {
    "Make": ("tune", "calibrate", "build", "sweep"),
    "Measure": ("eval", "bench", "report", "inspect"),
    "Use": ("run", "serve", "deploy", "export", "sign", "push"),
    "Set up": ("doctor", "init", "config"),
}


class FrontPage(TyperGroup):
    """The whole command line: a help without panels, errors that say what to type."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parse what stands before the command."""
        with self._explained():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse what stands behind the command, and run it."""
        with self._explained():
            return super().invoke(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; before its help is shown, with what is taken where nothing is typed."""
        found = super().get_command(ctx, cmd_name)
        if found is not None and {"-h", "--help"} & {*sys.argv[1:]}:
            tell_defaults(found, cmd_name)
        return found

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Give the parser's errors a hint, as all others have one.

        Raises:
            InputError: a word, an option or its value that the command does not take.
        """
        try:
            yield
        except USAGE as error:
            if "NoArgs" in type(error).__name__:
                # The parser would print nothing: it takes a help to have printed itself.
                typer.echo(error.format_message(), err=True)
                raise typer.Exit(2) from None
            from xopt.cli.mistyped import help_of

            message = error.format_message()
            hint = help_of(self.commands, sys.argv[1:])
            raise InputError(message + "." * (message[-1] not in ".?"), hint=hint) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write it: a line for each command, beside what its group is for."""
        rows = Table.grid(padding=(0, 2, 0, 0))
        for group, names in GROUPS.items():
            for number, name in enumerate(names):
                command = self.get_command(ctx, name)
                if command is not None:
                    title = "" if number else group
                    rows.add_row(
                        Text(title, "bold"), Text(name, "cyan"), command.get_short_help_str(60)
                    )
        usage = Text(self.get_usage(ctx).strip(), "bold")
        out = console()
        with out.capture() as page:
            out.print(usage, self.help or "", rows, self._options(ctx), self.epilog or "", sep="\n")
        formatter.write(page.get())

    def _options(self, ctx: Any) -> Table:
        """A line for each option of the commands, and one for those whose names say it all."""
        shown = [p for p in self.get_params(ctx) if not getattr(p, "hidden", False)]
        ends = [o for o in shown if o.is_eager or o.callback or not getattr(o, "help", "")]
        rows = Table.grid(padding=(0, 2, 0, 0))
        for number, option in enumerate(o for o in shown if o not in ends):
            title = "" if number else "Options"
            rows.add_row(Text(title, "bold"), _typed(option), getattr(option, "help", ""))
        out = Table.grid()
        out.add_row(rows)
        names = "  ".join(max(option.opts, key=len) for option in ends)
        out.add_row(Text(" " * len("Options  ") + names, "cyan"))
        return out


def tell_defaults(command: Any, name: str) -> None:
    """Add to each help the default that stands in the command's options, beneath ``xopt.toml``."""
    from xopt.cli.config import OPTIONS

    fields = dataclasses.fields(OPTIONS[name]) if name in OPTIONS else ()
    defaults = {field.name: field.default for field in fields}
    for option in command.params:
        value = defaults.get(option.name)
        plain = isinstance(value, str | int | float | Path) and not isinstance(value, bool)
        said = f" Default: {value}."
        if plain and value != "" and "Default: " not in (option.help or ""):
            option.help = f"{option.help or ''}{said}"


def _typed(option: Any) -> Text:
    """``--name``, and what its value is called."""
    value = f" {option.metavar}" if option.metavar else ""
    return Text(max(option.opts, key=len) + value, "cyan")
