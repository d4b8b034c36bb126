"""What docs/security.md promises of the source: ruff's S rules hold the rest."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ROOMS = ("src", "calibrate", "compile", "engines", "evaluate", "tune")
# Each is named there.
STARTS = {
    "compile/sources.py", "engines/kernels/ptx.py", "engines/openvino_native.py",
    "engines/tensorrt/child.py", "src/xopt/cli/doctor.py", "src/xopt/compiled.py",
    "src/xopt/model/compact.py",
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


# Notes down every address that is looked up or connected to.
WATCHED = """
import json, os, sys
def watch(event, given):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open(os.environ["SEEN"], "a") as seen:
            print(event, given[-1] if event == "socket.connect" else given[0], file=seen)
sys.addaudithook(watch)
from xopt.cli.app import main
sys.argv = ["xopt", *json.loads(os.environ["TYPED"])]
main()
"""


def test_nothing_is_written_elsewhere_and_nobody_is_told(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    places = {name: tmp_path / name for name in ("home", "temporary", "work")}
    for place in places.values():
        place.mkdir()
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # The run's own compiler: a first one takes as long as all else here.
    kept |= {name: value for name, value in os.environ.items() if name == "CXX"}
    build = ["build", str(make_checkpoint()), "--calibration-tokens", "300", "-o", "b"]
    for typed in (build, ["run", "b", "Habari"], ["inspect", "b"]):
        env = {
            **kept, "HOME": str(places["home"]), "TMPDIR": str(places["temporary"]),
            "SEEN": str(tmp_path / "seen"), "TYPED": json.dumps(typed),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-P", "-B", "-c", WATCHED], cwd=places["work"], env=env,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "seen").exists(), (tmp_path / "seen").read_text()
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    kept_in = ("home/.cache/xopt/", "work/b/", "temporary/")
    assert not {name for name in left if not name.startswith(kept_in)}
