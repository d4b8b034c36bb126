"""Folders that several processes write at once, or that one is killed in: whole, or not there."""

import errno
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.core.made import FACTS, make_bundle

from xopt.artifacts import Bundle, publish
from xopt.errors import ArtifactError, BuildError
from xopt.evidence import read_reports, record_report
from xopt.publishing import LOCK, check_place


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
import json, sys
from pathlib import Path
from xopt.artifacts import Bundle, fingerprint, publish, write_manifest
facts = json.loads(sys.argv[3])
for number in range(40):
    with publish(Path(sys.argv[1])) as work:
        (work / "engine.bin").write_text(f"{sys.argv[2]} {number}")
        write_manifest(work, Bundle.kind, fingerprint(number), facts)
"""


def test_builds_that_end_at_once_in_one_place_leave_a_whole_one(tmp_path: Path) -> None:
    final = tmp_path / "b"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(final), name, json.dumps(FACTS)],
            stderr=subprocess.PIPE,
        )
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


def test_a_report_for_a_bundle_that_has_nothing_to_say_on_its_card_changes_nothing(
    tmp_path: Path,
) -> None:
    bundle = make_bundle(tmp_path / "b")
    with pytest.raises(ArtifactError, match="lacks what its card says: it lacks") as caught:
        record_report(bundle, {"task": "xnli", "data": {"kind": "x"}, "languages": {}})
    assert "--no-record" in caught.value.hint
    bundle.verify()
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["b"]


def test_what_xopt_did_not_make_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ArtifactError, match="not something xopt made"), publish(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_what_xopt_made_as_something_else_is_left_alone(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    said = r"b is a bundle; an export is not written over it\."
    with pytest.raises(ArtifactError, match=said), publish(bundle.folder, "export"):
        pass
    bundle.verify()
    # Nor where only its files tell what a damaged one was.
    (bundle.folder / "manifest.json").write_text("{")
    for name in ("card.md", "tokenizer.json"):
        (bundle.folder / name).touch()
    with pytest.raises(ArtifactError, match=said):
        check_place(bundle.folder, "export")
    check_place(bundle.folder, "bundle")


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


# Ends as kill -9 would, before the Nth time that a name is moved or removed.
CUT = """
import json, os, sys
from pathlib import Path
from xopt.artifacts import Bundle, fingerprint, publish, write_manifest

left = int(sys.argv[2])

def counted(work):
    def call(*given, **named):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return work(*given, **named)
    return call

with publish(Path(sys.argv[1])) as work:
    (work / "engine.bin").write_text("new")
    write_manifest(work, Bundle.kind, fingerprint("new"), json.loads(sys.argv[3]))
    os.rename, os.unlink, os.rmdir = map(counted, (os.rename, os.unlink, os.rmdir))
"""


def test_a_process_killed_at_any_step_of_a_replacement_loses_no_bundle(tmp_path: Path) -> None:
    final = tmp_path / "b"
    ended, seen = 9, set()
    for steps in range(30):
        make_bundle(final, "old")
        ended = subprocess.run(
            [sys.executable, "-c", CUT, str(final), str(steps), json.dumps(FACTS)], check=False
        ).returncode
        found = final if final.exists() else next(tmp_path.glob(".b.*.old"))
        bundle = Bundle.open(found)
        # The lock moves along with the folder, and the killed process left it there.
        bundle.verify()
        seen.add((bundle.folder / "engine.bin").read_text())
        make_bundle(final, "next").verify()
        assert [p.name for p in tmp_path.iterdir()] == ["b"], steps
        if ended == 0:
            break
    assert ended == 0
    assert seen == {"old", "new"}
