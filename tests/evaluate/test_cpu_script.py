"""``benchmarks/cpu.py`` refuses what it cannot time before it prepares anything."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "cpu.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Imported once: a process for each refusal would import PyTorch each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        return load_script(SCRIPT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "xopt,wrong"], "'wrong' is none of xopt, "),
        (["--cases", "b1_s8,nope"], "'nope' is none of b1_s8, "),
        (["--cases", "b1_s8,b1_s8"], "names one twice"),
        (["--shape", "none"], "invalid choice: 'none'"),
        (["--repeat", "0"], "'0' is no whole number of 1 or more"),
        (["--show", "other.json"], "other.json is no document of cpu.py --json"),
        (["--show", "absent.json"], "absent.json: No such file or directory."),
        (["--show", "bytes.json"], "bytes.json is no document of cpu.py --json"),
        (["--seconds", "0"], "'0' is no number of seconds above 0"),
        (["--seconds", "-1"], "'-1' is no number of seconds above 0"),
        (["--seconds", "nan"], "'nan' is no number of seconds above 0"),
    ],
)
def test_what_cannot_be_timed_or_shown_is_told(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "bytes.json").write_bytes(b"\xff\x00")
    # Whatever is prepared comes too early.
    monkeypatch.setattr(script, "random_checkpoint", lambda *_: pytest.fail("prepared"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cpu.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        script.main()
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, "")
    assert message in said.err
    assert "Traceback" not in said.err


def test_one_peer_alone_is_shown(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    timed = {"xopt": {"median_ms": 2.0, "samples_ms": [2.0]}}
    stored = {"shape": "tiny", "cases": {"b1_s8": timed}, "busy": {"b1_s8": [0.5]}}
    (tmp_path / "one.json").write_text(json.dumps(stored))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cpu.py", "--show", "one.json"])
    script.main()
    assert "b1_s8:  (1 busy rounds)\n  xopt" in capsys.readouterr().out


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    timed = {"xopt": {"median_ms": 2.0, "samples_ms": [2.0]}}
    cases = {f"case{number}": timed for number in range(2000)}
    stored = {"shape": "tiny", "cases": cases, "busy": {case: [0.5] for case in cases}}
    (tmp_path / "long.json").write_text(json.dumps(stored))
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), "--show", "long.json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"tiny\n"
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")
