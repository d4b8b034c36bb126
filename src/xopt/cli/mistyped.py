"""What can be typed instead: for words at the wrong place, and for a line that cannot be parsed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xopt.evaluate.tasks.base import TASKS
from xopt.publishing import MANIFEST
from xopt.settings import NO_FILE

__all__ = ["help_of", "meant"]

# Commands whose first word is a bundle.
BUNDLE_FIRST = frozenset(("bench", "eval", "export", "inspect", "push", "run", "sign"))
# Commands that write a folder, and how many words they take beside it.
WRITES = {"build": 1, "calibrate": 1, "deploy": 2, "export": 1, "sweep": 1, "tune": 1}
# What stands before the command.
EVERYWHERE = ("--debug", NO_FILE, "--require-signature")


def meant(commands: Mapping[str, Any], words: Sequence[str]) -> str:
    """The line with its words at their places: the bundle first, others behind their options.

    ``commands`` are the parsers by their names, ``words`` what was typed. Empty where the words
    stand where they belong, nothing tells what they were meant as, or an option is still missing.
    """
    name = next((word for word in words if word in commands), "")
    if not name or "--" in words:
        return ""
    start = list(words).index(name) + 1
    params = commands[name].params
    plain, options = _apart(params, words[start:])
    before, options = _global(words[: start - 1], options)
    placed = _placed(name, plain, options)
    needed = [p.opts for p in params if p.required and p.param_type_name == "option"]
    placed = [*before, name, *placed]
    moved = placed != [*words[:start], *plain, *options]
    if not moved or not all(set(names) & set(placed) for names in needed):
        return ""
    return "xopt " + shlex.join(placed)


def help_of(commands: Mapping[str, Any], words: Sequence[str]) -> str:
    """A hint that shows how the command that was typed is typed."""
    name = next((word for word in words if word in commands), "")
    if not name:
        return "All commands: xopt -h"
    example = (commands[name].epilog or "").removeprefix("Example").lstrip("s: \n").split("\n")[0]
    return f"For example: {example}; all that it takes: xopt {name} -h"


def _apart(params: Sequence[Any], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that belong to no option, and those that do."""
    known = (p for p in params if getattr(p, "is_flag", False))
    flags = {"--debug", NO_FILE, *(name for p in known for name in (*p.opts, *p.secondary_opts))}
    plain: list[str] = []
    options: list[str] = []
    value = False
    for word in words:
        option = word.startswith("-") and len(word) > 1
        (options if option or value else plain).append(word)
        value = option and not value and "=" not in word and word not in flags
    return plain, options


def _global(before: Sequence[str], options: list[str]) -> tuple[list[str], list[str]]:
    """What stands before the command, with the options of all commands; and the command's own."""
    own: list[str] = []
    found = list(before)
    value = False
    for word in options:
        (found if value or word.split("=")[0] in EVERYWHERE else own).append(word)
        value = word == "--require-signature"
    return found, own


def _placed(name: str, plain: list[str], options: list[str]) -> list[str]:
    """The same words, each where the command reads it."""
    first = next((word for word in plain if _fits_first(name, word)), None)
    if first is not None and not _fits_first(name, plain[0]):
        at = plain.index(first)
        plain = [first, *plain[:at], *plain[at + 1 :]]
    stay, moved = [], []
    for number, word in enumerate(plain):
        option = _option_of(name, word, number, taken=options)
        if option:
            moved += [option, word]
        else:
            stay.append(word)
    return [*stay, *moved, *options]


def _fits_first(name: str, word: str) -> bool:
    if name == "deploy":
        from xopt.cli.deploy import SERVERS

        return word in SERVERS
    return name in BUNDLE_FIRST and (Path(word) / MANIFEST).is_file()


def _option_of(name: str, word: str, number: int, *, taken: Sequence[str]) -> str:
    """The option that a word without one was meant for; empty where it needs none."""
    if name == "eval" and word in TASKS and not Path(word).exists():
        found = "--task"
    elif name == "serve" and word.isascii() and word.isdigit() and not Path(word).exists():
        found = "--port"
    elif name == "bench" and number == 1:
        found = "--against"
    elif (name == "report" and Path(word).suffix in (".html", ".md")) or (
        name in WRITES and number == WRITES[name] and not (Path(word) / "config.json").exists()
    ):
        found = "-o"
    else:
        return ""
    names = {found, *(("--out",) if found == "-o" else ())}
    return "" if any(given.split("=")[0] in names for given in taken) else found
