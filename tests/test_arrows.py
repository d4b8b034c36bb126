"""No string names a module that an import could not: import-linter does not read strings."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import xopt

ROOT = Path(xopt.__file__).parent
PYPROJECT = ROOT.parents[1] / "pyproject.toml"
MODULE = re.compile(r"(xopt(?:\.\w+)+)(?::\w+)?")


def ranks() -> dict[str, int]:
    """Each module of the layers, the lowest layer as 0."""
    tool = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]
    [layers] = [c["layers"] for c in tool["importlinter"]["contracts"] if c["type"] == "layers"]
    return {
        name.strip(): rank
        for rank, layer in enumerate(reversed(layers))
        for name in layer.split("|")
    }


def rank_of(module: str, known: dict[str, int]) -> int | None:
    fits = [name for name in known if module == name or module.startswith(f"{name}.")]
    return known[max(fits, key=len)] if fits else None


def upward(source: str, module: str, known: dict[str, int]) -> list[str]:
    """Strings in ``source`` that name a module of a higher layer than its own."""
    own = rank_of(module, known)
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        named = MODULE.fullmatch(node.value)
        rank = rank_of(named[1], known) if named else None
        if own is not None and rank is not None and rank > own:
            found.append(node.value)
    return found


def test_no_string_hides_an_upward_arrow() -> None:
    known = ranks()
    assert "xopt.engines" in known
    read = 0
    for path in modules():
        module = ".".join(("xopt", *path.relative_to(ROOT).with_suffix("").parts))
        assert upward(path.read_text(encoding="utf-8"), module, known) == [], module
        read += 1
    assert read > 100


def modules() -> list[Path]:
    """Also through the links to the rooms."""
    rooms = [ROOT, *(path for path in ROOT.iterdir() if path.is_symlink())]
    return sorted({path for room in rooms for path in room.rglob("*.py")})


def test_it_would_be_found() -> None:
    source = 'TABLE = {"a": "xopt.compile.build:build_bundle", "b": "xopt.engines.null:NullEngine"}'
    assert upward(source, "xopt.engines.base", ranks()) == ["xopt.compile.build:build_bundle"]
    assert upward(source, "xopt.compile.builders", ranks()) == []
