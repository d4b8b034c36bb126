"""``tensorrt.plugin`` as the tests have it."""

import importlib.util
from pathlib import Path

_path = Path(__file__).parents[2] / "fake_plugin.py"
_spec = importlib.util.spec_from_file_location("fake_plugin", _path)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
globals().update({name: value for name, value in vars(_module).items() if name[:2] != "__"})
