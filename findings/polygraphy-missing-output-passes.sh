#!/usr/bin/env bash
# Polygraphy: SimpleCompareFunc says that two runs agree although the second has no such output: only a log line tells of it.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 polygraphy==0.53.6
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import polygraphy
from polygraphy.comparator import IterationResult, SimpleCompareFunc
from polygraphy.logger import G_LOGGER

G_LOGGER.module_severity = G_LOGGER.CRITICAL
first = IterationResult({"embedding": np.ones(3), "logits": np.ones(2)})
second = IterationResult({"embedding": np.ones(3)})
compared = {name: bool(result) for name, result in SimpleCompareFunc()(first, second).items()}
print("polygraphy", polygraphy.__version__, "numpy", np.__version__)
print("expected    a mismatch for 'logits', or an error")
print("seen       ", compared, "all true:", all(compared.values()))
if compared != {"embedding": True}:
    raise SystemExit("CHANGED: an output that one side lacks is now a mismatch")
print("SEEN: an engine that lost an output (renamed, or folded away) still passes the comparison that was to guard it.")
PY
