import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xopt.artifacts import Bundle, fingerprint, publish, write_manifest
from xopt.errors import ArtifactError, BuildError
from xopt.hashing import sha256_file_cached

FACTS = {"target": "null", "precision": "fp32", "head": {"kind": "embed"}}


def make_bundle(folder: Path, text: str = "engine") -> Bundle:
    with publish(folder) as work:
        (work / "engine.bin").write_text(text)
        write_manifest(work, Bundle.kind, fingerprint(text), FACTS)
    return Bundle.open(folder)


def test_a_published_folder_verifies(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    bundle.verify()
    assert bundle.fingerprint == fingerprint("engine")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_flipped_byte_is_found_before_anything_is_opened(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    data = bytearray((bundle.folder / "engine.bin").read_bytes())
    data[2] ^= 1
    (bundle.folder / "engine.bin").write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=r"engine\.bin is not the file that was built"):
        bundle.verify()


def test_a_missing_file_and_one_outside_of_the_folder(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    (bundle.folder / "engine.bin").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        bundle.verify()
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    manifest["files"] = {"../secret": {"sha256": "0", "bytes": 1}}
    del manifest["checksum"]
    manifest["checksum"] = fingerprint(manifest)
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="leaves the bundle's folder"):
        Bundle.open(bundle.folder).verify()


def test_a_changed_manifest_and_a_file_that_was_not_built(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    changed = manifest | {"precision": "int8"}
    (bundle.folder / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(ArtifactError, match=r"manifest\.json was changed"):
        Bundle.open(bundle.folder).verify()
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))
    (bundle.folder / "plugin.so").write_text("x")
    with pytest.raises(ArtifactError, match=r"plugin\.so is not among the files"):
        Bundle.open(bundle.folder).verify()


def test_a_manifest_of_an_older_xopt_is_not_called_changed(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    del manifest["checksum"]
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"comes from an older xopt .* must be built again"):
        Bundle.open(bundle.folder).verify()


def test_a_foreign_folder_with_a_manifest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension" / "manifest.json").write_text('{"manifest_version": 3}')
    with pytest.raises(ArtifactError, match="not something xopt made"):
        make_bundle(tmp_path / "extension")


def test_a_failed_rebuild_keeps_what_was_there(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    with pytest.raises(ZeroDivisionError), publish(bundle.folder) as work:
        (work / "engine.bin").write_text(f"half {1 // 0}")
    bundle.verify()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_full_disk_is_an_error_with_a_hint(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    with pytest.raises(BuildError, match="No space left") as caught, publish(bundle.folder):
        raise OSError(28, "No space left on device")
    assert "Free some space" in caught.value.hint
    bundle.verify()


def test_what_xopt_did_not_make_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ArtifactError, match="not something xopt made"), publish(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine" / "thesis.tex").exists()


KILLED = """
import sys, time
from pathlib import Path
from xopt.artifacts import publish
with publish(Path(sys.argv[1])) as work:
    (work / "engine.bin").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_kill_9_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    final = tmp_path / "b"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(final)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not final.exists()
    make_bundle(final).verify()
    assert [p.name for p in tmp_path.iterdir()] == ["b"], "the killed build's remains are gone"


def test_another_kind_and_damage_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="has no manifest"):
        Bundle.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        Bundle.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"kind": "graph"}')
    with pytest.raises(ArtifactError, match="holds a graph, not a bundle"):
        Bundle.open(tmp_path)


def test_a_remembered_hash_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("one")
    first = sha256_file_cached(path)
    assert sha256_file_cached(path) == first
    time.sleep(0.01)
    path.write_text("two")
    os.utime(path)
    assert sha256_file_cached(path) != first
