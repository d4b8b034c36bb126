"""A bundle of one file that no engine opens."""

from pathlib import Path

from xopt.artifacts import Bundle, fingerprint, publish, write_manifest

FACTS = {"target": "null", "precision": "fp32", "head": {"kind": "embed"}}


def make_bundle(folder: Path, text: str = "engine") -> Bundle:
    with publish(folder) as work:
        (work / "engine.bin").write_text(text)
        write_manifest(work, Bundle.kind, fingerprint(text), FACTS)
    return Bundle.open(folder)
