#!/usr/bin/env bash
# nvidia-modelopt: imported inside a function, it keeps the locals of all callers until the process ends, by the import errors that PuLP stores.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 nvidia-modelopt==0.47.0 pulp==3.3.2 requests==2.34.2 huggingface_hub==2.4.0
"$tmp/venv/bin/python" - <<'PY'
import gc
from importlib.metadata import version


class Encoder:
    """Stands for a gigabyte of weights."""


def measure() -> None:
    encoder = Encoder()  # noqa: F841
    import modelopt.torch.quantization.calib  # noqa: F401


def kept() -> int:
    gc.collect()
    return sum(isinstance(each, Encoder) for each in gc.get_objects())


measure()
print({name: version(name) for name in ("nvidia-modelopt", "pulp", "torch")})
print("expected    no encoder is left when the function has returned")
print("seen       ", kept(), "left")
if kept() != 1:
    raise SystemExit("CHANGED: nothing is kept")
print("SEEN: a lazy import in the middle of a calibration holds the model in memory, gc.collect() or not.")
PY
