"""Which bundle a command takes, and where it takes none at all."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.core.made import FACTS

from xopt.artifacts import Bundle, write_manifest
from xopt.cli import bench, common, evaluate, main
from xopt.cli.common import find_bundle
from xopt.cli.eval_bundles import find_candidate
from xopt.errors import UnsupportedError
from xopt.evaluate.tasks.conventions import make_task
from xopt.host import check_platform


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three bundles, the newest first: for a GPU, for the CPU, for the CPU."""
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cache"))
    folders = []
    for name, target in (("gpu", "cuda"), ("new", "openvino"), ("old", "openvino")):
        folder = tmp_path / name
        folder.mkdir()
        facts = FACTS | {"target": target, "precision": "int8"}
        write_manifest(folder, "bundle", name, facts)
        folders.append(folder)
    listed = [{"folder": str(f), "fingerprint": f.name, "options": {}} for f in folders]
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "builds.json").write_text(json.dumps(listed))
    return folders


@pytest.mark.parametrize("has_gpu", [True, False])
def test_the_newest_bundle_that_this_machine_can_run_is_taken(
    built: list[Path], has_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_engine(bundle: Any) -> Any:
        if not has_gpu:
            raise UnsupportedError("This machine has no GPU.")
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(common, "open_engine", open_engine)
    wanted = built[0 if has_gpu else 1]
    assert find_bundle(None).folder == wanted
    assert find_candidate(make_task("tatoeba", {}), None).folder == wanted


def test_where_none_runs_the_newest_says_why(
    built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_engine(bundle: Any) -> Any:
        raise UnsupportedError("This machine has no GPU.")

    monkeypatch.setattr(common, "open_engine", open_engine)
    listed = built[0].parent / "cache" / "builds.json"
    listed.write_text(json.dumps(json.loads(listed.read_text())[:1]))
    assert find_bundle(None).folder == built[0]


@pytest.mark.parametrize(
    ("system", "machine"), [("Windows", "AMD64"), ("Darwin", "arm64"), ("Linux", "riscv64")]
)
def test_other_systems_are_refused_by_name(
    system: str,
    machine: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(UnsupportedError, match=f"this is {system} {machine}"):
        check_platform()
    monkeypatch.setattr("sys.argv", ["xopt", "--version"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    said = capsys.readouterr().err
    assert f"{system} {machine}" in said
    assert "Traceback" not in said


def test_modules_that_only_unix_has_are_not_imported_with_the_package() -> None:
    import subprocess
    import sys

    script = (
        # The library that locks files has its own for every system.
        "import filelock, sys; sys.modules['resource'] = sys.modules['fcntl'] = None\n"
        "import xopt.cli.app, xopt.host, xopt.model.core, xopt.engines.base\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def no_gpu(*_: Any, **__: Any) -> None:
    raise UnsupportedError("no GPU here")


def test_bench_and_eval_build_no_reference_for_what_cannot_run(
    built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(built[0])
    monkeypatch.setattr(common, "open_engine", no_gpu)
    for module in (bench, evaluate):
        monkeypatch.setattr(module, "with_reference", lambda *_: pytest.fail("it was built"))
    monkeypatch.setattr(bench, "known_builds", list)
    with pytest.raises(UnsupportedError, match="no GPU here"):
        bench._reference(bundle, quiet=True)
    monkeypatch.setattr(evaluate, "find_candidate", lambda *_: bundle)
    unused: Any = None
    options = evaluate.EvalCommand(data="sample", languages="sw")
    with pytest.raises(UnsupportedError, match="no GPU here"):
        evaluate._evaluate("tatoeba", None, options, unused, unused, False, None)


def test_what_is_predicted_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle(tmp_path, {"target": "tensorrt-rtx"})
    monkeypatch.setattr(common, "open_engine", no_gpu)
    common.refuse_what_cannot_run(bundle, predict=True)
    with pytest.raises(UnsupportedError):
        common.refuse_what_cannot_run(bundle)
