"""Versions of a model in a repository: one is added whole, and nothing of the others is touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.facts import RUNS_ON
from tests.deploy.pbtxt import parse
from tests.deploy.python_backend import fake_triton, request, served
from typer.testing import CliRunner

from xopt.artifacts import Bundle, write_manifest
from xopt.cli import deploy  # noqa: F401
from xopt.cli.app import app
from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.deploy import triton
from xopt.deploy.triton import TritonOptions, write_repository
from xopt.errors import ArtifactError, InputError
from xopt.model.core import load

Factory = Callable[..., Path]
Make = Callable[..., Bundle]


@pytest.fixture(scope="module")
def make(make_checkpoint: Factory, tmp_path_factory: pytest.TempPathFactory) -> Make:
    def build(head: str, seed: int) -> Bundle:
        out = tmp_path_factory.mktemp("versions") / f"{head}{seed}"
        folder = str(make_checkpoint(head=head, seed=seed))
        return build_bundle(BuildOptions(folder, "fp32", out=str(out)), record=False).bundle

    return build


@pytest.fixture(scope="module")
def two(make: Make) -> tuple[Bundle, Bundle]:
    return make("classify", 5), make("classify", 6)


def changed(bundle: Bundle, to: Path, change: Callable[[dict[str, Any]], None]) -> Bundle:
    """A copy whose manifest says something else."""
    shutil.copytree(bundle.folder, to)
    facts = json.loads(json.dumps(bundle.manifest))
    change(facts)
    own = ("schema", "kind", "fingerprint", "files", "created", "checksum", "signed")
    write_manifest(to, "bundle", "b" * 64, {k: v for k, v in facts.items() if k not in own})
    return Bundle.open(to)


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Of every file: what it holds, and when it was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def test_a_version_is_added_and_each_answers_as_its_own_model(
    two: tuple[Bundle, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(two[0], out, TritonOptions(name="m"))
    config = out / "models" / "m" / "config.pbtxt"
    policy = parse(config.read_text())["version_policy"]
    assert policy == [{"latest": [{"num_versions": [2]}]}]
    # Somebody's own.
    config.write_text(config.read_text().replace('"false"', '"true"'))
    before = content(out)
    files = write_repository(two[1], out, TritonOptions(name="m", version=20261128))
    after = content(out)
    added = {name for name in after if name not in before}
    assert added == {path.as_posix() for path in files}
    assert all(name.startswith("models/m/20261128/") for name in added)
    assert {name: after[name] for name in before} == before
    assert sorted(p.name for p in out.iterdir() if p.name.startswith(".")) == []
    for bundle, version in zip(two, ("1", "20261128"), strict=True):
        model = served(out, "m", fake_triton(), monkeypatch, model_version=version)
        [answer] = model.execute([request("Habari za asubuhi")])
        with load(bundle.folder) as own:
            right = own.predict(["Habari za asubuhi"])[0].logits
        assert abs(answer.tensors["logits"][0] - right).max() < 1e-5
        model.finalize()


def test_the_same_version_is_replaced_alone(two: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    out = tmp_path / "serving"
    write_repository(two[0], out, TritonOptions(name="m"))
    with pytest.raises(InputError, match="exists, and has version 1 of m") as caught:
        write_repository(two[1], out, TritonOptions(name="m"))
    assert "--version 2" in caught.value.hint
    assert "--force" in caught.value.hint
    write_repository(two[0], out, TritonOptions(name="m", version=2))
    before = content(out)
    with pytest.raises(InputError, match="version 2"):
        write_repository(two[1], out, TritonOptions(name="m", version=2))
    assert content(out) == before
    write_repository(two[1], out, TritonOptions(name="m", version=2), force=True)
    after = content(out)
    assert {k: v for k, v in after.items() if not k.startswith("models/m/2/")} == {
        k: v for k, v in before.items() if not k.startswith("models/m/2/")
    }
    found = Bundle.open(out / "models" / "m" / "2" / "bundle")
    assert found.fingerprint == two[1].fingerprint
    # Another name in the folder is no version of this one.
    with pytest.raises(InputError, match="exists"):
        write_repository(two[1], out, TritonOptions(name="other", version=3))


def test_one_that_fails_leaves_what_was_there(
    two: tuple[Bundle, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    for version in (1, 2):
        write_repository(two[0], out, TritonOptions(name="m", version=version))
    before = content(out)

    def fail(bundle: Bundle, to: Path) -> None:
        to.mkdir()
        raise OSError("no room")

    monkeypatch.setattr(triton, "copy_bundle", fail)
    for version, force in ((2, True), (3, False)):
        with pytest.raises(OSError, match="no room"):
            write_repository(two[1], out, TritonOptions(name="m", version=version), force=force)
    assert content(out) == before
    assert [p.name for p in out.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["head"].update(labels=["x", "b", "c"]), "labels x, b, c, and not a, b, c"),
        (lambda m: m["head"].update(kind="tag"), "answers tag, logits, and not classify, logits"),
        (lambda m: m["signature"].update(per_token=True), "logits for each token, and not"),
        (lambda m: m["signature"].update(width=4), "values 4, and not 3"),
        (lambda m: m.update(target="cuda"), "target cuda, and not openvino"),
    ],
)
def test_what_cannot_be_a_version_is_refused(
    two: tuple[Bundle, Bundle], tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    out = tmp_path / "serving"
    write_repository(two[0], out, TritonOptions(name="m"))
    before = content(out)
    other = changed(two[1], tmp_path / "other", change)
    with pytest.raises(InputError, match="cannot be a version of m") as caught:
        write_repository(other, out, TritonOptions(name="m", version=2))
    assert said in caught.value.message
    assert "another folder with -o" in caught.value.hint
    assert content(out) == before
    # In the place of the only one it is no version beside another.
    write_repository(other, out, TritonOptions(name="m"), force=True)


def test_options_of_all_versions_are_no_version_s(
    two: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    out = tmp_path / "serving"
    write_repository(two[0], out, TritonOptions(name="m", texts=8))
    with pytest.raises(InputError, match="--texts is the same for all versions of m") as caught:
        write_repository(two[1], out, TritonOptions(name="m", texts=64, version=2))
    assert "config.pbtxt" in caught.value.hint
    for number in (0, -1, 2**63):
        with pytest.raises(InputError, match="--version is"):
            TritonOptions(version=number)
    (out / "models" / "m" / "1" / "bundle" / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is no version that xopt wrote, or is damaged"):
        write_repository(two[1], out, TritonOptions(name="m", version=2))


def test_the_engines_model_has_the_same_versions(
    tensorrt: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(tensorrt, out, TritonOptions(name="m"))
    write_repository(tensorrt, out, TritonOptions(name="m", version=7))
    assert (out / "models" / "m_engine" / "7" / "model.plan").read_bytes() == b"plan"
    for name in ("m", "m_engine"):
        config = parse((out / "models" / name / "config.pbtxt").read_text())
        assert config["version_policy"] == [{"latest": [{"num_versions": [2]}]}]
    module = fake_triton(lambda arrays: "out of memory")
    served(out, "m", module, monkeypatch, model_version="7").execute([request("a text")])
    assert [asked["model_version"] for asked in module.asked] == [7]

    def profiles(facts: dict[str, Any]) -> None:
        del facts["engine"]["profiles"][1]

    def library(facts: dict[str, Any]) -> None:
        later = RUNS_ON.manifest() | {"version": "11.5.0.1"}
        facts["engine"].update(version="11.5.0.1", runs_on=later)

    for number, (change, said) in enumerate(
        ((profiles, "profiles 1, and not 2"), (library, "library TensorRT 11.5.0.1, and not"))
    ):
        other = changed(tensorrt, tmp_path / f"other{number}", change)
        with pytest.raises(InputError, match=said):
            write_repository(other, out, TritonOptions(name="m", version=8))


def test_the_command_adds_a_version(tensorrt: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "serving"
    words = ["deploy", "triton", str(tensorrt.folder), "-o", str(out)]
    assert CliRunner().invoke(app, words).exit_code == 0
    done = CliRunner().invoke(app, [*words, "--version", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert "models/sts_engine/2/model.plan" in json.loads(done.output)["files"]
    foreign = CliRunner().invoke(app, ["deploy", "compose", *words[2:], "--version", "2"])
    assert isinstance(foreign.exception, InputError)
    assert "--version is no option of compose" in foreign.exception.message
