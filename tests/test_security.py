"""What docs/security.md promises of the source: ruff's S rules hold the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ROOMS = ("src", "calibrate", "compile", "engines", "evaluate", "tune")
# Each is named there.
STARTS = {
    "compile/sources.py", "engines/kernels/ptx.py", "engines/openvino_native.py",
    "engines/tensorrt/child.py", "src/xopt/cli/doctor.py",
}  # fmt: skip
UNPICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in (REPOSITORY / room).rglob("*.py"):
            place = path.relative_to(REPOSITORY)
            # The rooms are linked into the package.
            if not (room == "src" and path.resolve() != REPOSITORY.resolve() / place):
                yield place.as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    nodes = list(ast.walk(tree))
    names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_programs_are_started_where_the_document_says_and_nothing_is_unpickled() -> None:
    found = {place: imported(tree) for place, tree in trees()}
    assert len(found) > 200
    assert {place for place, names in found.items() if "subprocess" in names} == STARTS
    assert not {place for place, names in found.items() if names & UNPICKLES}


def test_no_code_of_a_checkpoint_is_asked_for() -> None:
    asked = []
    for place, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                asked += [
                    (place, ast.unparse(word.value))
                    for word in node.keywords
                    if word.arg in ("trust_remote_code", "allow_pickle")
                ]
                called = ast.unparse(node.func)
                assert called not in ("torch.load", "os.system", "os.popen"), place
    assert len(asked) >= 4
    assert {value for _, value in asked} == {"False"}
