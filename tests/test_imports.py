"""`import xopt` loads no runtime, and every module imports."""

import pkgutil
import subprocess
import sys

import xopt

HEAVY = ("torch", "transformers", "onnx", "openvino", "datasets", "modelopt", "triton", "tensorrt")


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_import_xopt_loads_no_runtime() -> None:
    assert not loaded_by("import xopt, xopt.engines.base, xopt.evaluate.tasks") & set(HEAVY)


def test_the_command_line_loads_no_runtime() -> None:
    code = "from xopt.cli import bench, build, deploy, doctor, evaluate, inspect, run, sweep, tune"
    assert not loaded_by(code) & set(HEAVY)


def test_every_room_is_found() -> None:
    names = {name for _, name, _ in pkgutil.walk_packages(xopt.__path__, "xopt.")}
    for room in ("calibrate", "compile", "engines", "evaluate", "tune"):
        assert f"xopt.{room}" in names
