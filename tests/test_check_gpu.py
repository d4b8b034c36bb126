"""``benchmarks/check_gpu.py`` where there is no GPU, and how it judges what its stages say."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.scripts import load_script

FOLDER = Path(__file__).parents[1] / "benchmarks"
STAGES = ["ceilings", "kernels", "ptx", "sessions", "engine", "micro", "whole"]


@pytest.fixture
def script() -> Any:
    return load_script(FOLDER / "check_gpu.py")


def run(out: Path, *options: str, **environment: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, rows and table."""
    command = [sys.executable, "-P", str(FOLDER / "check_gpu.py"), "--out", str(out), *options]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    return done.returncode, rows, (out / "table.md").read_text()


def test_without_a_gpu_every_stage_says_so(tmp_path: Path) -> None:
    status, rows, table = run(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert status == 2
    assert [(row["stage"], row["skipped"]) for row in rows] == [(s, "no GPU") for s in STAGES]
    assert table.count("no GPU") == len(STAGES)


def test_without_a_gpu_it_says_what_runs_all_the_same(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(sys, "argv", ["check_gpu.py", "--out", str(tmp_path)])
    monkeypatch.setattr(script, "STAGES", script.STAGES[:1])
    assert script.main() == 2
    assert "Without a GPU, --interpret runs two stages." in capsys.readouterr().err


def test_answers_are_checked_in_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    status, rows, table = run(tmp_path, "--interpret", OMP_NUM_THREADS="1")
    assert status == 0, table
    for stage in STAGES:
        found = [row for row in rows if row["stage"] == stage]
        if stage in ("kernels", "engine"):
            assert any("right" in row for row in found)
            assert all(row.get("right", True) is True for row in found)
        else:
            assert [row["skipped"] for row in found] == ["no GPU"]
    said = "\n".join(row.get("what", "") for row in rows)
    forms = ("parts=2", "bulk=True, resident=0", "bulk=True, resident=2", "64 rows", "dependent")
    assert [form for form in forms if form not in said] == []


BARE = """
import sys
absent = (
    "onnx", "onnxscript", "onnx_ir", "openvino", "modelopt", "datasets", "pyarrow", "rich", "typer",
    "pytest", "hypothesis", "ray", "accelerate", "matplotlib", "tensorrt_rtx", "tensorrt_bindings",
)
sys.modules.update(dict.fromkeys(absent))
sys.path.insert(0, sys.argv[1])
import tempfile
from pathlib import Path
from gpu_peers import Models, packed
import gpu_stages, gpu_timings
with tempfile.TemporaryDirectory() as scratch:
    models = Models("tiny", "cpu", Path(scratch))
    print(models.engine("int8-attention").describe()["engine"])
    models.close()
"""


def test_it_needs_nothing_but_torch_triton_and_transformers() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    done = subprocess.run(
        [sys.executable, "-P", "-c", BARE, str(FOLDER)],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "cuda\n"), done.stderr


UNPADDED = """
import sys
sys.path.insert(0, sys.argv[1])
import tempfile
from pathlib import Path
import numpy as np
import torch
from torch.nn import functional
from torch.nn.attention import varlen
from gpu_peers import PEERS, Models

def by_sentence(q, k, v, starts, same, longest, longest_key):
    assert q.stride() == (64, 32, 1) and starts.dtype == torch.int32
    parts = [[x.transpose(0, 1) for x in i.split(starts.diff().tolist())] for i in (q, k, v)]
    answers = [functional.scaled_dot_product_attention(*part) for part in zip(*parts)]
    return torch.cat(answers, 1).transpose(0, 1)

varlen.varlen_attn = by_sentence
ids = [np.arange(5, 5 + n, dtype=np.int32) for n in (7, 1, 20)]
with tempfile.TemporaryDirectory() as scratch:
    models = Models("tiny", "cpu", Path(scratch))
    unpadded, padded = (PEERS[f"transformers {name} fp16"](models)(ids) for name in sys.argv[2:])
    print(unpadded.shape == padded.shape and np.abs(unpadded - padded).max() <= 2**-9)
    models.close()
"""


def test_the_peer_without_padding_answers_as_the_padded_one() -> None:
    """Its attention is CUDA's alone; one sentence after the other stands for it here."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("torch.nn.attention.varlen", reason="this PyTorch has no such attention")
    done = subprocess.run(
        [sys.executable, "-P", "-c", UNPADDED, str(FOLDER), "unpadded", "sdpa"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize(
    ("number", "rows", "ended", "verdict"),
    [
        (1, [{"right": True}], "", ""),
        (1, [{"right": True}, {"right": False}], "", "wrong"),
        (1, [{"right": True}], "stopped after 9 s", "stopped after 9 s"),
        (1, [], "died (-6): abort", "died (-6): abort"),
        (1, [], "", "checked nothing"),
        (5, [{"value": "1 µs"}], "stopped after 9 s", ""),
        (5, [{"value": "1 µs"}], "died (-6): abort", "died (-6): abort"),
        (5, [{"value": "1 µs"}, {"right": False}], "", "wrong"),
    ],
)
def test_only_a_wrong_answer_a_missing_one_or_a_crash_fails(
    script: Any, number: int, rows: list[dict[str, Any]], ended: str, verdict: str
) -> None:
    stage = script.STAGES[number]
    assert script.judge(stage, {"rows": rows, "ended": ended}) == verdict


@pytest.mark.parametrize(
    ("body", "ended", "rows"),
    [
        ("print('{\"right\": true}', file=out); os.abort()", "died (-6)", 1),
        ("print('{\"right\": tr', file=out, end='')", "", 0),
        ("print('{\"right\": true}', file=out); work(); hang()", "stopped after 60 s", 1),
    ],
)
def test_a_stage_that_breaks_or_hangs_costs_the_others_nothing(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    ended: str,
    rows: int,
) -> None:
    begun: list[Any] = []

    def over_when_it_hangs(process: Any, limit_s: float) -> Any:
        """What waiting does after its seconds, as soon as the stage has said a line."""
        begun.append(process)
        while not (tmp_path / "worker").is_file():
            time.sleep(0.05)
        raise subprocess.TimeoutExpired("", limit_s)

    if "hang()" in body:
        monkeypatch.setattr(script, "wait", over_when_it_hangs)
    (tmp_path / "check_gpu.py").write_text(
        "import os, subprocess, sys\nfrom signal import pause as hang\n"
        "def work():\n"
        "    worker = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        f"    with open({str(tmp_path / 'begun')!r}, 'w') as file: print(worker.pid, file=file)\n"
        f"    os.rename({str(tmp_path / 'begun')!r}, {str(tmp_path / 'worker')!r})\n"
        f"out = open(sys.argv[4], 'w', buffering=1)\n{body}\n"
    )
    script.HERE = tmp_path  # type: ignore[attr-defined]
    place = tmp_path / "rows.jsonl"
    result = script.run_stage(script.Stage("kernels", 60, ""), place, False)
    assert result["ended"].startswith(ended) if ended else not result["ended"]
    assert len(result["rows"]) == rows
    assert len(place.read_text().splitlines()) == rows
    for _ in begun:
        # A worker of its own has ended too, or is about to.
        state = Path("/proc") / (tmp_path / "worker").read_text().strip() / "stat"
        for _ in range(200):
            with contextlib.suppress(FileNotFoundError):
                if state.read_text().rpartition(")")[2].split()[0] != "Z":
                    time.sleep(0.05)
                    continue
            break
        else:
            pytest.fail("what the stage started goes on")


def test_every_stage_may_take_its_time_and_all_take_less_than_ten_minutes(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(stage.limit_s for stage in script.STAGES) < 600
    given: list[float] = []
    clock = iter([0.0, 10.0, 10.0, 200.0])

    def over(command: Any, environment: Any, limit_s: float) -> Any:
        given.append(limit_s)
        return None if len(given) > 1 else 0, ""

    monkeypatch.setattr(script, "run_process", over)
    monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    stage = script.Stage("kernels", 60, "")
    first = script.run_stage(stage, tmp_path / "rows.jsonl", False)
    second = script.run_stage(stage, tmp_path / "rows.jsonl", False, first["spare_s"])
    assert given == [60, 110]
    # What ending it took is the next ones' loss: the call ends in time.
    assert (second["ended"], second["spare_s"]) == ("stopped after 110 s", -80)


def test_what_cannot_be_written_is_told_and_the_table_is_printed(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["check_gpu.py", "--out", str(tmp_path / "taken")])
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert caught.value.code == 2
    assert "name a folder that can be written" in capsys.readouterr().err

    # The disk filled up while a stage ran.
    monkeypatch.setattr(script, "written", lambda path, text: False)
    monkeypatch.setattr(sys, "argv", ["check_gpu.py", "--out", str(tmp_path / "out")])
    monkeypatch.setattr(script, "STAGES", script.STAGES[:1])
    assert script.main() == 1
    assert "no GPU" in capsys.readouterr().out


def test_a_file_that_takes_nothing_is_told(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not script.written(tmp_path, "row")
    assert "could not be written" in capsys.readouterr().err


def test_numbers_of_numpy_are_rows_too(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kernels_stage(say: Any, device: Any) -> None:
        say(what="a product", right=np.bool_(False), error=np.float32(1.5))

    modules = {
        "gpu_stages": SimpleNamespace(kernels_stage=kernels_stage),
        "gpu_timings": SimpleNamespace(),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert script.run_here("kernels", tmp_path / "rows") == 0
    assert script.read_rows(tmp_path / "rows") == [
        {"what": "a product", "right": False, "error": 1.5}
    ]
