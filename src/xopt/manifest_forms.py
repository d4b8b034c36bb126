"""What the manifests of artifacts must hold; the forms of :mod:`xopt.forms`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xopt.forms import COUNT, Either, Maybe, Table

__all__ = ["ANY", "BUNDLE"]

ANY: Mapping[str, Any] = {"fingerprint": str, "files": Table({"sha256": str, "bytes": int})}
HEAD = {
    "kind": ("embed", "classify", "tag", "span"),
    "labels?": Maybe([Any]),
    "activation?": Maybe(str),
    "normalize?": Maybe(bool),
    "layer?": Maybe(int),
    "pooling?": Either([str], str),
    "sparse?": Maybe([COUNT]),
}
SIGNATURE = {
    "inputs": [str],
    "output": ("embeddings", "logits"),
    "per_token": bool,
    "width": COUNT,
    "max_tokens": COUNT,
    "first_position": COUNT,
    "vocabulary": COUNT,
    "types": COUNT,
    "window?": Maybe(COUNT),
    "sparse?": bool,
}
TEXT = {
    "max_tokens": COUNT,
    "normalize?": str,
    "lower?": bool,
    "prompts?": Table(str),
    "default_prompt?": Maybe(str),
    "special_ids?": [COUNT],
    "cut_tokens?": Maybe(COUNT),
    "trimmed?": bool,
}
CALIBRATION = Maybe(Table(Any))
PROVENANCE = {
    "checkpoint": str,
    "lowered": str,
    "calibration?": CALIBRATION,
    "calibration_recipe?": CALIBRATION,
}
# What is only shown is of any form there; a page or a card says it as it stands.
BUNDLE = {
    **ANY,
    "target": str,
    "precision": str,
    "head": HEAD,
    "tasks?": [str],
    "signature": SIGNATURE,
    "text?": Maybe(TEXT),
    "checkpoint": str,
    "provenance": PROVENANCE,
    "signed?": {"algorithm": ("ed25519",), "public_key": str, "signature": str},
    "engine": {"cpu?": str},
    "shape": {"layers": COUNT, "hidden": COUNT, "heads": COUNT},
    "tools": Table(Any),
    "parity?": {
        "against": str, "max_abs_difference": float, "sentences": int, "tokens?": int,
        "tolerance?": float, "relative_tolerance?": float,
    },
}  # fmt: skip
