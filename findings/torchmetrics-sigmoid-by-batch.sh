#!/usr/bin/env bash
# torchmetrics: logits are put through a sigmoid only in a batch where one lies outside [0, 1]: the AUROC of the same logits changes with the batches, as some scores are logits and some probabilities.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 torchmetrics==1.9.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import torch
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

logits, labels = torch.tensor([0.9, 0.6, 2.0, 3.0]), torch.tensor([0, 0, 1, 1])
seen = {}
for metric in (BinaryAUROC, BinaryAveragePrecision):
    for size in (4, 2):
        state = metric()
        for rows in range(0, 4, size):
            state.update(logits[rows : rows + size], labels[rows : rows + size])
        seen[metric.__name__, size] = round(state.compute().item(), 4)
    print(f"{metric.__name__:23} one batch of four {seen[metric.__name__, 4]}, two batches of two {seen[metric.__name__, 2]}")
print({name: version(name) for name in ("torch", "torchmetrics")}, "logits", logits.tolist(), "labels", labels.tolist())
print("expected    a metric over all rows does not depend on how they were cut into batches; the ranking is perfect")
if seen["BinaryAUROC", 4] != 1 or seen["BinaryAUROC", 2] == 1 or seen["BinaryAveragePrecision", 2] == 1:
    raise SystemExit("CHANGED: the batches no longer matter")
print("SEEN: the last, short batch of an epoch is enough. Apply the sigmoid yourself before update().")
PY
