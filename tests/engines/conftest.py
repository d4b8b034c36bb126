"""The kernels run in Triton's interpreter unless ``TRITON_INTERPRET=0`` asks for a GPU."""

from __future__ import annotations

import os

# Triton decides when it is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")
