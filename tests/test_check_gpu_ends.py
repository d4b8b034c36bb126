"""What ``benchmarks/check_gpu.py`` says where it cannot go on, and what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.scripts import load_script

FOLDER = Path(__file__).parents[1] / "benchmarks"
STAGES = 7


@pytest.fixture
def script() -> Any:
    return load_script(FOLDER / "check_gpu.py")


def test_the_table_holds_what_was_reached(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends the call keeps what is known."""
    monkeypatch.setattr(sys, "argv", ["check_gpu.py", "--out", str(tmp_path)])
    monkeypatch.setattr(script.signal, "signal", lambda *_: None)

    def run_stage(stage: Any, *_: Any) -> dict[str, Any]:
        if stage.name == "ptx":
            raise SystemExit(143)
        return {"rows": [{"right": True}], "ended": "", "spare_s": 0.0}

    monkeypatch.setattr(script, "run_stage", run_stage)
    with pytest.raises(SystemExit):
        script.main()
    table = (tmp_path / "table.md").read_text()
    assert table.count("1 of 1 right") == 2
    assert table.count("not reached") == STAGES - 2


def test_a_driver_that_pytorch_cannot_use_is_no_missing_gpu(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(script.ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old\nUpdate it.")

    monkeypatch.setattr(torch.cuda, "init", too_old)
    assert script.no_gpu() == "no GPU for PyTorch: The NVIDIA driver on your system is too old"


def test_a_missing_library_is_named_with_what_to_do(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gpu_timings", None)
    monkeypatch.setitem(sys.modules, "gpu_stages", None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert script.run_here("kernels", tmp_path / "rows") == 1
    assert "is missing: " in (said := capsys.readouterr().err)
    assert "-m pip install torch triton transformers" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_with_the_call(tmp_path: Path, number: int) -> None:
    """What goes on would keep the GPU."""
    for name in ("gpu_stages", "gpu_timings"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "gpu_stages.py").write_text(
        "import os, signal\n"
        "def kernels_stage(say, device):\n"
        "    say(what='process', value=str(os.getpid()), right=True)\n"
        "    signal.pause()\n"
    )
    copy = tmp_path / "check_gpu.py"
    copy.write_bytes((FOLDER / "check_gpu.py").read_bytes())
    out = tmp_path / "out"
    command = [sys.executable, str(copy), "--out", str(out), "--interpret", "--only", "kernels"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as call:
        rows = out / "kernels.jsonl"
        while not (rows.is_file() and rows.read_text()):
            assert call.poll() is None
            time.sleep(0.05)
        call.send_signal(number)
    stage = int(rows.read_text().split('"value": "')[1].split('"')[0])
    for _ in range(200):
        try:
            os.kill(stage, 0)
            if Path(f"/proc/{stage}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
        except (ProcessLookupError, FileNotFoundError):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the stage goes on")
