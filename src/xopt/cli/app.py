"""The commands, and what happens to an error: message and hint on stderr, exit code 2."""

from __future__ import annotations

import itertools
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from xopt import __version__
from xopt.cli.front import FrontPage
from xopt.cli.output import error_console
from xopt.errors import InputError, XoptError
from xopt.host import check_platform
from xopt.settings import FILE, NO_FILE, leave_file_out
from xopt.signing import REQUIRED

__all__ = ["app", "examples", "main"]

# What a shell calls a command that Ctrl-C ended: 128 and the signal's number.
CANCELLED = 130
# As a shell tells it of a program that SIGPIPE ended; 1 would read as a gate that failed.
CLOSED = 141
# Options of which an empty value is a variable that was not set, and not what they do without one.
NEVER_EMPTY = frozenset(
    ("-o", "--out", "--output", "--input", "--data", "--task", "--languages", "--reference",
     "--against", "--work", "--lengths", "--calibration", "--count", "--checkpoint", "--fp32-sites",
     "--bf16-sites",
     "--submission")
)  # fmt: skip
# Commands that Ctrl-C is the usual end of, and what they say then.
ENDS = {"serve": "The server has stopped."}
# What a command can be told to write elsewhere with.
PLACES = ("-o", "--output", "--submission")
AGAIN = "Mend that and type the same command again; nothing that was built is lost."

# Command -> its module here.
COMMANDS = {
    "bench": "bench",
    "build": "build",
    "calibrate": "calibrate",
    "config": "config",
    "deploy": "deploy",
    "doctor": "doctor",
    "eval": "evaluate",
    "export": "export",
    "init": "config",
    "inspect": "inspect",
    "push": "push",
    "report": "report",
    "run": "run",
    "serve": "serve",
    "sign": "sign",
    "sweep": "sweep",
    "tune": "tune",
}


def examples(*commands: str) -> str:
    """The end of a help: what can be typed, a command a line."""
    return "Example: " + commands[0] if len(commands) == 1 else "\n".join(["Examples:", *commands])


app = typer.Typer(
    name="xopt",
    cls=FrontPage,
    help="Compile multilingual encoders to INT8; prove per language what it cost.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=examples("xopt build --precision int8"),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="XOPT_DEBUG",
            show_envvar=False,
        ),
    ] = False,
    require_signature: Annotated[
        Path | None,
        typer.Option(
            help="Open only bundles that this key has signed.",
            metavar="KEY",
            envvar=REQUIRED,
            show_envvar=False,
        ),
    ] = None,
    no_file: Annotated[
        bool, typer.Option(NO_FILE, help=f"Leave {FILE} out: take options as typed.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
    leave_file_out(no_file)
    if debug:
        os.environ["XOPT_DEBUG"] = "1"
    if require_signature is not None:
        # For the processes that a command starts, too.
        os.environ[REQUIRED] = str(require_signature.resolve())


def main() -> None:
    """Run the command line.

    It exits with 0 on success, 1 when a gate failed, 2 on an error, 130 on Ctrl-C and 141 where
    whoever read its output has gone.
    """
    _take_any_bytes()
    try:
        check_platform()
        _check_values(sys.argv[1:])
        _load_commands(sys.argv[1:])
        app()
    except XoptError as error:
        _fail(error.message, _instead(sys.argv[1:]) or error.hint)
    except RecursionError as error:
        _fail(f"{error}", AGAIN)
    except Exception as error:
        from xopt.disk_errors import disk_error, disk_hint

        if failed := disk_error(error):
            hint = disk_hint(failed, option=_option_of_place(sys.argv[1:]))
            _fail(_said(failed), f"{hint}; nothing that was built is lost.")
        _fail(
            f"xopt itself failed: {type(error).__name__}: {error}",
            "Please report it with the output of: xopt --debug ...",
        )
    except KeyboardInterrupt:
        _cancelled()
    except SystemExit as done:
        # typer makes this of Ctrl-C in a command, and says nothing; and 1 of a closed pipe.
        if isinstance(done.__context__, BrokenPipeError):
            sys.exit(CLOSED)
        if done.code != CANCELLED:
            raise
        _cancelled()


def _check_values(words: Sequence[str]) -> None:
    """Refuse an empty value where nothing could be meant by it.

    Raises:
        InputError: one of :data:`NEVER_EMPTY` is followed by an empty word, or the command is: as a
            folder that would be the current one.
    """
    if "--" in words:
        words = words[: list(words).index("--")]
    for word, value in itertools.pairwise([*words, "-"]):
        name = word.removesuffix("=")
        if name in NEVER_EMPTY and (word != name or not value):
            raise InputError(
                f"{name} is empty.",
                hint=f"Give {name} a value or leave it out; in a script, look whether its "
                "variable is set.",
            )
    if (command := _command(words)) and "" in words[words.index(command) + 1 :][:1]:
        raise InputError(
            f"What follows xopt {command} is empty.",
            hint="Give it a value or leave it out; the current folder is a dot. In a script, look "
            "whether its variable is set.",
        )


def _load_commands(words: Sequence[str]) -> None:
    """Import the command that was typed; all of them for help, completion or a mistake.

    `xopt config` shows the options of them all.
    """
    named = _command(words)
    completes = any(name.endswith("_COMPLETE") for name in os.environ)
    alone = named in COMMANDS and named != "config" and not completes
    chosen = (named,) if alone else COMMANDS
    for name in chosen:
        import_module(f"xopt.cli.{COMMANDS[name]}")


def _command(words: Sequence[str]) -> str:
    """The command that was typed; empty without one."""
    values = {n + 1 for n, word in enumerate(words) if word == "--require-signature"}
    plain = (w for n, w in enumerate(words) if not w.startswith("-") and n not in values)
    return next(plain, "")


def _option_of_place(words: Sequence[str]) -> str:
    """What the command that was typed takes its place with: ``-o``, or nothing."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    names = {name for option in command.params for name in option.opts}
    return next((name for name in PLACES if name in names), "")


def _instead(words: Sequence[str]) -> str:
    """A hint for words at the wrong place: the line that has them where they belong."""
    from xopt.cli.mistyped import meant

    line = meant(getattr(typer.main.get_command(app), "commands", {}), words)
    return f"Did you mean: {line}" if line else ""


def _said(error: OSError) -> str:
    """What failed where, without Python's number of it."""
    if error.filename is None or error.strerror is None:
        return f"{error.strerror}." if error.strerror else str(error)
    return f"{error.filename}: {error.strerror}."


def _cancelled() -> NoReturn:
    what = ENDS.get(_command(sys.argv[1:]), "Cancelled; nothing that was built is lost.")
    error_console().print(what, highlight=False)
    sys.exit(CANCELLED)


def _fail(message: str, hint: str = "") -> NoReturn:
    """Print the error, with the traceback if asked for, and exit with 2."""
    console = error_console()
    console.print("error: ", style="bold red", end="")
    console.print(message, highlight=False, markup=False)
    if hint:
        console.print("hint:  ", style="bold", end="")
        console.print(hint, highlight=False, markup=False)
    if os.environ.get("XOPT_DEBUG"):
        traceback.print_exc()
    sys.exit(2)


def _take_any_bytes() -> None:
    """A terminal that cannot show a character gets a stand-in; who closed it is told nothing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            sink = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (kept open)
            setattr(sys, name, sink)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
