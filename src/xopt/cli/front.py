"""`xopt --help`: every command and option on one screen of 24 rows and 80 columns."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from xopt.cli.output import console

__all__ = ["GROUPS", "FrontPage"]

# What the commands are for, in the order in which they are used.
GROUPS = {
    "Make": ("tune", "calibrate", "build", "sweep"),
    "Measure": ("eval", "bench", "report", "inspect"),
    "Use": ("run", "serve", "deploy", "export", "sign", "push"),
    "Set up": ("doctor", "init", "config"),
}


class FrontPage(TyperGroup):
    """The whole command line, with a help that needs no panels."""

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
        """A line for each option of the commands, and one for those that print and end."""
        shown = [p for p in self.get_params(ctx) if not getattr(p, "hidden", False)]
        ends = [option for option in shown if option.is_eager or option.callback]
        rows = Table.grid(padding=(0, 2, 0, 0))
        for number, option in enumerate(o for o in shown if o not in ends):
            title = "" if number else "Options"
            rows.add_row(Text(title, "bold"), _typed(option), getattr(option, "help", "") or "")
        out = Table.grid()
        out.add_row(rows)
        names = "  ".join(max(option.opts, key=len) for option in ends)
        out.add_row(Text(" " * len("Options  ") + names, "cyan"))
        return out


def _typed(option: Any) -> Text:
    """``--name``, and what its value is called."""
    value = f" {option.metavar}" if option.metavar else ""
    return Text(max(option.opts, key=len) + value, "cyan")
