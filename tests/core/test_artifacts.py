import contextlib
import errno
import hashlib
import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.core.made import make_bundle

from xopt.artifacts import Bundle, Graph, fingerprint, publish, write_manifest
from xopt.errors import ArtifactError
from xopt.hashing import cache_folder, sha256_file_cached, using_cache


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


def test_only_artifacts_of_the_kind_are_offered(tmp_path: Path) -> None:
    for name, kind in (("mine", "bundle"), ("exported", "export")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(f'{{"kind": "{kind}"}}')
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ArtifactError) as caught:
            Bundle.open(path)
        assert str(tmp_path / "mine") in caught.value.hint
        assert "exported" not in caught.value.hint


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


def test_a_renamed_file_is_called_what_it_is_and_not_to_be_removed(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    name = next(iter(bundle.manifest["files"]))
    (bundle.folder / name).rename(bundle.folder / "a.old")
    with pytest.raises(ArtifactError, match=rf"a\.old is not .* built: it is {name}\.") as caught:
        bundle.verify()
    assert caught.value.hint == "Give it that name again."


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


def test_a_locked_table_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path))
    monkeypatch.setattr("xopt.hashing.WAIT_S", 0.01)
    waits: list[float] = []
    connect = sqlite3.connect

    def counted(place: Path, timeout: float) -> sqlite3.Connection:
        waits.append(timeout)
        return connect(place, timeout=timeout)

    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    sha256_file_cached(tmp_path / "one")
    monkeypatch.setattr(sqlite3, "connect", counted)
    with contextlib.closing(connect(tmp_path / "hashes.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        for name in ("one", "two"):
            expected = hashlib.sha256(name.encode()).hexdigest()
            assert sha256_file_cached(tmp_path / name) == expected
        # The second question, and both of the other file, find it locked and go on.
        assert waits == [0.01, 0.0, 0.0, 0.0]
    waits.clear()
    sha256_file_cached(tmp_path / "two")
    sha256_file_cached(tmp_path / "one")
    assert waits == [0.0, 0.01, 0.01]


def test_a_damaged_table_that_cannot_be_removed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path))

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    (tmp_path / "hashes.sqlite").write_bytes(b"no database " * 1000)
    (tmp_path / "weights").write_text("one")
    assert sha256_file_cached(tmp_path / "weights") == hashlib.sha256(b"one").hexdigest()


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
