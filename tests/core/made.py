"""A bundle of one file that no engine opens, and what each manifest of a bundle holds."""

from pathlib import Path

from xopt.artifacts import Bundle, fingerprint, publish, write_manifest

FACTS = {
    "target": "null",
    "precision": "fp32",
    "head": {"kind": "embed"},
    "signature": {
        "inputs": ["input_ids"],
        "output": "embeddings",
        "per_token": False,
        "width": 4,
        "max_tokens": 8,
        "first_position": 0,
        "vocabulary": 9,
        "types": 1,
    },
    "checkpoint": "made by hand",
    "provenance": {"checkpoint": "0", "lowered": "0"},
    "engine": {},
    "shape": {"layers": 1, "hidden": 4, "heads": 1},
    "tools": {},
}


def make_bundle(folder: Path, text: str = "engine") -> Bundle:
    with publish(folder) as work:
        (work / "engine.bin").write_text(text)
        write_manifest(work, Bundle.kind, fingerprint(text), FACTS)
    return Bundle.open(folder)
