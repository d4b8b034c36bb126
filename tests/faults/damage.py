"""How files are damaged: bytes, JSON values, and what stands at a file's place instead of it.

Every way takes a seeded generator and gives the same damage for the same seed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["damage_bytes", "damage_json", "damage_lines", "damage_place", "nested"]

MARK = "<nested>"
DEPTH = 50_000


def damage_bytes(data: bytes, random: Random) -> tuple[str, bytes]:
    """What was done, and the bytes: cut, flipped, overwritten, or with a part too many."""
    size = max(1, len(data))
    place = random.randrange(size)
    length = min(size, random.choice((1, 2, 8, 64, 512)))
    near = random.randrange(min(size, 64))
    ways: list[tuple[str, Callable[[], bytes]]] = [
        ("cut", lambda: data[:place]),
        ("cut near its start", lambda: data[:near]),
        ("begins later", lambda: data[near + 1 :]),
        ("one bit flipped", lambda: _flip(data, place, random)),
        ("one bit flipped near its start", lambda: _flip(data, near, random)),
        ("noise", lambda: data[:place] + random.randbytes(length) + data[place + length :]),
        ("noise near its start", lambda: data[:near] + random.randbytes(8) + data[near + 8 :]),
        ("zeros", lambda: data[:place] + bytes(length) + data[place + length :]),
        ("ones", lambda: data[:near] + b"\xff" * 8 + data[near + 8 :]),
        ("more at its end", lambda: data + random.randbytes(length)),
        ("a part twice", lambda: data[:place] + data[place : place + length] + data[place:]),
        ("a part left out", lambda: data[:place] + data[place + length :]),
        ("noise alone", lambda: random.randbytes(size)),
        ("zeros alone", lambda: bytes(size)),
    ]
    name, way = random.choice(ways)
    return name, way()


def _flip(data: bytes, place: int, random: Random) -> bytes:
    if not data:
        return data
    return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]


# What no reader should take on trust.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 10**6, 2**31, 2**63, 10**30, -(2**63), 0.5, -0.0, 1e308,
    float("nan"), float("inf"), "", "0", "a", "no such thing", "../../outside", "/outside", "a\0b",
    "\ud800", "long" * 50_000, [], {}, [[]], [None], [1, "a"], {"": None}, {"a": {"b": []}}, MARK,
)  # fmt: skip


def damage_json(text: str, random: Random) -> tuple[str, str]:
    """What was done, and JSON of which one value has another type, size or name, or is gone."""
    document = json.loads(text)
    places = list(_places(document))
    if not places:
        return "another value", json.dumps(random.choice(VALUES[:-1]))
    holder, key = random.choice(places)
    name = f"{key!r:.30}"
    way = random.randrange(6)
    if way == 0:
        del holder[key]
        done = f"{name} left out"
    elif way == 1 and isinstance(holder, dict):
        holder[random.choice(("", "x", "type", str(key).upper()))] = holder.pop(key)
        done = f"{name} renamed"
    elif way == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = random.choice((-holder[key], holder[key] + 1, holder[key] * 2, 0, -1))
        done = f"{name} is {holder[key]}"
    elif way == 3:
        holder[key] = [holder[key]]
        done = f"{name} in a list"
    else:
        holder[key] = random.choice(VALUES)
        done = f"{name} is {holder[key]!r:.30}"
    return done, json.dumps(document).replace(json.dumps(MARK), nested())


def nested(depth: int = DEPTH) -> str:
    """JSON that a reader without a limit follows down."""
    return "[" * depth + "]" * depth


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key); of a long list its ends stand for it."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict):
            keys: list[Any] = list(holder)
        elif isinstance(holder, list):
            keys = list(range(len(holder)))
        else:
            continue
        keys = keys if len(keys) <= 24 else keys[:12] + keys[-12:]
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys]
    return found


def damage_lines(text: str, random: Random) -> tuple[str, str]:
    """What was done, and a text of lines of which one is cut, doubled, gone, or another."""
    lines = text.split("\n")
    place = random.randrange(len(lines))
    line = lines[place]
    ways: list[tuple[str, list[str]]] = [
        ("cut", [line[: len(line) // 2]]),
        ("twice", [line, line]),
        ("gone", []),
        ("empty", [""]),
        ("a quote", [line + '"']),
        ("quotes", [f'"{line}', line]),
        ("a separator more", [line + ","]),
        ("very long", [line * 20_000]),
        ("brackets", ["[" * DEPTH]),
        ("a number", ["17"]),
        ("null", ["null"]),
        ("half a character", [line + "\\ud800"]),
        ("carriage returns", ["\r".join(line)]),
    ]
    done, instead = random.choice(ways)
    return f"line {place + 1}: {done}", "\n".join([*lines[:place], *instead, *lines[place + 1 :]])


def damage_place(path: Path, random: Random) -> str:
    """Put something else where the file was: nothing, a folder, a link, a pipe."""
    way = random.choice(
        ("gone", "folder", "empty", "pipe", "link outside", "link to itself", "link to nothing")
    )
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if way == "folder":
        path.mkdir()
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "link outside":
        path.symlink_to("/etc/hostname")
    elif way == "link to itself":
        path.symlink_to(path.name)
    elif way == "link to nothing":
        path.symlink_to("nothing-here")
    return way
