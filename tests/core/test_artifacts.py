import contextlib
import errno
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from xopt.artifacts import Bundle, Graph, fingerprint, publish, write_manifest
from xopt.errors import ArtifactError, BuildError
from xopt.evidence import read_reports, record_report
from xopt.hashing import cache_folder, sha256_file_cached, using_cache
from xopt.publishing import LOCK

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
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "Free some space" in caught.value.hint
    bundle.verify()


def test_an_error_that_has_nothing_to_do_with_space_is_told_as_what_it_is(tmp_path: Path) -> None:
    absent = tmp_path / "absent.txt"
    with (
        pytest.raises(BuildError, match=r"No such file.*absent\.txt") as caught,
        publish(tmp_path / "b"),
    ):
        absent.read_text()
    assert "space" not in caught.value.hint
    with pytest.raises(BuildError, match="Permission denied") as caught, publish(tmp_path / "b"):
        raise PermissionError(errno.EACCES, "Permission denied", "/other/weights.bin")
    assert "who may read and write" in caught.value.hint


def test_a_damaged_file_in_the_cache_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path))
    digest = fingerprint("a")
    with publish(Graph.place(digest)) as work:
        (work / "weights.bin").write_bytes(bytes(100))
        write_manifest(work, Graph.kind, digest, {})
    assert Graph.find(digest) is not None
    (Graph.place(digest) / "weights.bin").write_bytes(bytes(99) + b"x")
    assert Graph.find(digest) is None
    (Graph.place(digest) / "manifest.json").write_text("{")
    assert Graph.find(digest) is None


HOLDS = """
import sys
from pathlib import Path
from xopt.artifacts import publish
with publish(Path(sys.argv[1])) as work:
    print(work.name, flush=True)
    sys.stdin.read()
"""


def test_a_build_at_work_keeps_its_folder_and_a_dead_one_does_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "b")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        living = process.stdout.readline().strip()
        # A number of a living process says nothing: it may be of another container.
        dead = tmp_path / ".b.0123abcd.partial"
        dead.mkdir()
        (dead / ".pid").write_text(str(os.getpid()))
        (dead / LOCK).touch()
        make_bundle(tmp_path / "b")
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["b", living])
        process.kill()
    make_bundle(tmp_path / "b").verify()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


MANY = """
import sys
from pathlib import Path
from xopt.artifacts import Bundle, fingerprint, publish, write_manifest
facts = {"target": "null", "precision": "fp32", "head": {"kind": "embed"}}
for number in range(40):
    with publish(Path(sys.argv[1])) as work:
        (work / "engine.bin").write_text(f"{sys.argv[2]} {number}")
        write_manifest(work, Bundle.kind, fingerprint(number), facts)
"""


def test_builds_that_end_at_once_in_one_place_leave_a_whole_one(tmp_path: Path) -> None:
    final = tmp_path / "b"
    processes = [
        subprocess.Popen([sys.executable, "-c", MANY, str(final), name], stderr=subprocess.PIPE)
        for name in "abcd"
    ]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
    Bundle.open(final).verify()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_reports_of_two_evaluations_at_once_are_both_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cache"))
    bundle = make_bundle(tmp_path / "b")
    kept = []

    def slow(*_: object) -> str:
        # The other evaluation would write its report just now.
        kept.append(len(list(bundle.folder.glob("evidence/*"))))
        return "card"

    monkeypatch.setattr("xopt.evidence.render_card", slow)
    reports = [{"task": t, "data": {"kind": "x"}, "languages": {}} for t in ("xnli", "panx")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda report: record_report(bundle, report), reports))
    assert sorted(kept) == [0, 1]
    assert [r["task"] for r in read_reports(Bundle.open(bundle.folder))] == ["panx", "xnli"]
    make_bundle(bundle.folder, "another")
    with pytest.raises(ArtifactError, match="built anew while"):
        record_report(bundle, reports[0])


def test_a_locked_table_of_hashes_is_left_alone_and_a_damaged_one_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path))
    monkeypatch.setattr("xopt.hashing.WAIT_S", 0.0)
    (tmp_path / "weights").write_text("one")
    expected = hashlib.sha256(b"one").hexdigest()
    assert sha256_file_cached(tmp_path / "weights") == expected
    table = tmp_path / "hashes.sqlite"
    with contextlib.closing(sqlite3.connect(table)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert sha256_file_cached(tmp_path / "weights") == expected
        other.rollback()
        assert other.execute("SELECT count(*) FROM hashes").fetchone() == (1,)
    table.write_bytes(b"no database " * 1000)
    assert sha256_file_cached(tmp_path / "weights") == expected
    with contextlib.closing(sqlite3.connect(table)) as again:
        assert again.execute("SELECT count(*) FROM hashes").fetchone() == (1,)


def test_what_xopt_did_not_make_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ArtifactError, match="not something xopt made"), publish(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine" / "thesis.tex").exists()


KILLED = """
import signal, sys
from pathlib import Path
from xopt.artifacts import publish
with publish(Path(sys.argv[1])) as work:
    (work / "engine.bin").write_bytes(b"half")
    print("writing", flush=True)
    signal.pause()
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
    written = path.stat().st_mtime_ns
    path.write_text("two")
    # However coarse the clock of the file system is.
    os.utime(path, ns=(written + 1, written + 1))
    assert sha256_file_cached(path) != first


def test_a_cache_is_chosen_for_a_block_and_no_longer(tmp_path: Path) -> None:
    before = cache_folder()
    with using_cache(tmp_path / "a"):
        assert cache_folder() == tmp_path / "a"
        with using_cache(tmp_path / "b"):
            assert Graph.place("0" * 64).is_relative_to(tmp_path / "b")
        assert cache_folder() == tmp_path / "a"
        # Nothing but this thread sees it.
        with ThreadPoolExecutor(max_workers=1) as pool:
            assert pool.submit(cache_folder).result() == before
    assert cache_folder() == before


def test_a_link_to_itself_among_the_files_is_named(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    path = bundle.folder / "engine.bin"
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(ArtifactError, match=r"engine\.bin (cannot be read|is missing)"):
        bundle.verify()
