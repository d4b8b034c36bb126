"""The rooms are real folders at the root, linked into the package, and all of them in the wheel."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from xopt.encoders.families import FAMILIES

REPOSITORY = Path(__file__).parents[1]
ROOMS = ("calibrate", "compile", "engines", "evaluate", "tune")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_linked_into_the_package(room: str) -> None:
    link = REPOSITORY / "src" / "xopt" / room
    assert link.is_symlink(), "check out with symbolic links: git config core.symlinks true"
    assert link.readlink() == Path("..") / ".." / room
    assert (REPOSITORY / room / "__init__.py").is_file()


def test_no_file_grew_past_reading_in_one_sitting() -> None:
    sizes = {
        path.relative_to(REPOSITORY): len(path.read_text().splitlines())
        for room in (*ROOMS, "src", "tests", "benchmarks", "docs")
        for path in (REPOSITORY / room).rglob("*.py")
        if not path.is_symlink()
    }
    assert {str(path): size for path, size in sizes.items() if size > 300} == {}


def test_nothing_outside_the_families_names_a_weight_of_a_checkpoint() -> None:
    names = {name for family in FAMILIES for name in family.modules}
    ours = {o for family in FAMILIES for o in family.modules.values() if isinstance(o, str)}
    own = {part for name in ours for part in name.split(".")}
    # Words of every language apart, such as `norm` or `dense`.
    found = {part for name in names for part in name.split(".") if "_" in part} - own
    found |= {family.layers for family in FAMILIES if "." in family.layers}
    assert {"word_embeddings", "tok_embeddings", "q_proj", "encoder.layer"} <= found
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, sorted(found)))})(?!\w)")
    families = REPOSITORY / "src" / "xopt" / "encoders" / "families"
    named = {
        str(path.relative_to(REPOSITORY)): sorted(hits)
        for room in (*ROOMS, "src")
        for path in (REPOSITORY / room).rglob("*.py")
        if not path.is_relative_to(families) and (hits := set(pattern.findall(path.read_text())))
    }
    assert named == {}


def test_a_module_is_compiled_once_and_not_by_every_process() -> None:
    """`pip install --no-compile` leaves it to the first import, which may keep it."""
    told = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    shown = subprocess.run(
        ["make", "--silent", "--eval", "show: ; @env", "show"],
        cwd=REPOSITORY, env=told, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "\nPATH=" in shown
    assert "PYTHONDONTWRITEBYTECODE" not in shown


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # A copy: a build leaves its folder behind, and the next one would pack what was deleted since.
    copy = tmp_path_factory.mktemp("source") / "xopt"
    left = shutil.ignore_patterns(".venv", ".git", "build", "*.egg-info", "bundles", ".*_cache")
    shutil.copytree(REPOSITORY, copy, symlinks=True, ignore=left)
    command = [sys.executable, "-P", "-m", "build", "--wheel", "--outdir", str(out)]
    done = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    [path] = out.glob("*.whl")
    return path


def test_every_module_and_every_data_file_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    expected = {
        f"xopt/{path.relative_to(REPOSITORY)}"
        for room in ROOMS
        for path in (REPOSITORY / room).rglob("*")
        if path.suffix in (".py", ".txt", ".jsonl") and "__pycache__" not in path.parts
    }
    package = REPOSITORY / "src" / "xopt"
    expected |= {f"xopt/{p.name}" for p in package.glob("*.py")} | {"xopt/py.typed"}
    expected |= {f"xopt/cli/{p.name}" for p in (package / "cli").glob("*.py")}
    assert expected <= packed, sorted(expected - packed)
    assert not [name for name in packed if name.startswith(("tests/", "benchmarks/", "compile/"))]


def test_a_bundle_answers_from_the_base_install_alone(
    wheel: Path, tmp_path: Path, make_checkpoint: object
) -> None:
    """A bare environment: no torch, no transformers, no onnx; and every command shows its help."""
    from xopt.compile.build import BuildOptions, build_bundle

    folder = make_checkpoint("xlm-roberta", "classify")  # type: ignore[operator]
    bundle = build_bundle(BuildOptions(str(folder), out=str(tmp_path / "bundle"))).bundle
    make = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")]
    subprocess.run(make, check=True)
    bare = tmp_path / "bare" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(bare / "python")]
    install = [*pip, "install", "--quiet", "--no-compile"]
    constraints = str(REPOSITORY / "constraints.txt")
    subprocess.run([*install, "--constraint", constraints, str(wheel)], check=True)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(bare / "xopt"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    listed = subprocess.run([*pip, "list"], capture_output=True, text=True, check=True)
    for absent in ("torch", "transformers", "onnx ", "datasets"):
        assert absent not in listed.stdout
    answered = run("run", str(bundle.folder), "Habari za asubuhi", "一二三", "--json")
    assert answered.returncode == 0, answered.stderr
    assert '"logits"' in answered.stdout
    for command in ("build", "eval", "bench", "run", "inspect", "doctor"):
        assert run(command, "--help").returncode == 0
    assert run("inspect", str(bundle.folder), "--json").returncode == 0
    refused = run("build", str(folder))
    assert refused.returncode == 2
    assert f"pip install 'xopt-encoders[build] @ {wheel.as_uri()}'" in refused.stderr
