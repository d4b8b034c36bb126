"""``xopt.engines.kernels`` as a package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xopt.engines import kernels


def test_import_loads_no_runtime() -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import xopt.engines.kernels;"
        " print([name for name in ('torch', 'triton') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_exported_names() -> None:
    assert kernels.__all__ == sorted(kernels.__all__)
    assert dir(kernels) == kernels.__all__
    for name in kernels.__all__:
        assert callable(getattr(kernels, name))
    with pytest.raises(AttributeError, match="no attribute 'flash'"):
        kernels.flash  # noqa: B018
