"""Where rows come from: the hub, its cache, files as the hub names them, and damaged ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xopt.errors import DataError, InputError
from xopt.evaluate import data
from xopt.evaluate.data import REVISION, open_source
from xopt.evaluate.tasks import TASKS

PARQUET = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
HUB = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
CONSTANTS = pytest.importorskip("huggingface_hub.constants")

PROBE = ("PAWS-X.de", "test")
NAME = "PAWS-X.de/test-00000-of-00001.parquet"
COLUMNS = {"sentence1": str, "sentence2": str, "label": str}


def pairs(*texts: str) -> list[dict[str, Any]]:
    return [{"sentence1": text, "sentence2": "b", "label": "1"} for text in texts]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow

    path.parent.mkdir(parents=True, exist_ok=True)
    PARQUET.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


class Hub:
    """Stands for huggingface_hub: what is cached, what is online, and what was asked."""

    def __init__(self, cached: Path | None = None, online: Path | None = None) -> None:
        self.cached, self.online = cached, online
        self.downloads: list[tuple[str, str, dict[str, Any]]] = []
        self.questions: list[str] = []

    def hf_hub_download(self, repository: str, name: str, **options: Any) -> str:
        self.downloads.append((repository, name, options))
        place = self.cached if options["local_files_only"] else self.online
        if place is None:
            raise FileNotFoundError(name)
        return str(place)

    def get_session(self) -> Hub:
        return self

    def head(self, address: str, *, timeout: float) -> Any:
        self.questions.append(address)
        if self.online is None:
            raise ConnectionError(address)
        return SimpleNamespace(status_code=200)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``install(hub, offline=True)``"""

    def put(hub: Hub, *, offline: bool) -> Hub:
        monkeypatch.setattr(CONSTANTS, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(HUB, "hf_hub_download", hub.hf_hub_download)
        monkeypatch.setattr(HUB, "get_session", hub.get_session)
        return hub

    # They remember what another test's hub answered.
    data._hub_fault.cache_clear()
    data._read.cache_clear()
    yield put
    data._hub_fault.cache_clear()
    data._read.cache_clear()


def test_the_hub_is_asked_for_the_pinned_revision(install: Any, tmp_path: Path) -> None:
    online = write(tmp_path / "x.parquet", pairs("eins", "zwei"))
    hub = install(Hub(online=online), offline=False)
    source = open_source(None, probe=PROBE)
    assert (source.kind, source.label) == ("hub", f"google/xtreme@{REVISION[:12]}")
    assert source.rows(*PROBE, COLUMNS) == pairs("eins", "zwei")
    assert hub.questions == [CONSTANTS.ENDPOINT]
    assert {(repository, name) for repository, name, _ in hub.downloads} == {
        ("google/xtreme", NAME)
    }
    for _, _, options in hub.downloads:
        assert (options["revision"], options["repo_type"]) == (REVISION, "dataset")
    assert [options["local_files_only"] for _, _, options in hub.downloads] == [True, False] * 2
    task = TASKS.resolve("pawsx")()
    assert [row["first"] for row in task.load(source, "de")] == ["eins", "zwei"]


@pytest.mark.parametrize("offline", [True, False])
def test_a_cached_file_needs_no_network(offline: bool, install: Any, tmp_path: Path) -> None:
    hub = install(Hub(cached=write(tmp_path / "x.parquet", pairs("eins"))), offline=offline)
    source = open_source("hub", probe=PROBE)
    assert source.rows(*PROBE, COLUMNS) == pairs("eins")
    assert hub.questions == []
    assert all(options["local_files_only"] for _, _, options in hub.downloads)


@pytest.mark.parametrize("offline", [True, False])
def test_without_hub_and_cache_the_sample_is_taken(offline: bool, install: Any) -> None:
    hub = install(Hub(), offline=offline)
    assert open_source(None, probe=PROBE).kind == "sample"
    with pytest.raises(InputError, match="neither in the local cache nor within reach") as caught:
        open_source("hub", probe=PROBE)
    assert "--data sample" in caught.value.hint
    # The hub is asked once, not once a file, and never when it must not be.
    assert len(hub.questions) == (0 if offline else 1)
    assert all(options["local_files_only"] for _, _, options in hub.downloads)


def test_files_named_as_the_hub_names_them(tmp_path: Path) -> None:
    place = tmp_path / "PAWS-X.de"
    for number, text in enumerate(("eins", "zwei", "drei")):
        write(place / f"test-{number:05}-of-00003.parquet", pairs(text, text))
    write(place / "validation-00000-of-00001.parquet", pairs("vier"))
    source = open_source(str(tmp_path), probe=PROBE)
    task = TASKS.resolve("pawsx")()
    assert task.available(source) == ["de"]
    texts = [row["first"] for row in task.load(source, "de")]
    assert texts == ["eins", "eins", "zwei", "zwei", "drei", "drei"]
    assert source.rows("PAWS-X.de", "validation", COLUMNS) == pairs("vier")
    assert not source.has("PAWS-X.de", "train")
    assert not source.has("PAWS-X.de", "*")


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_part_that_is_missing_is_no_smaller_split(gone: int, tmp_path: Path) -> None:
    for number in {0, 1, 2} - {gone}:
        write(tmp_path / "PAWS-X.de" / f"test-{number:05}-of-00003.parquet", pairs("a"))
    source = open_source(str(tmp_path), probe=PROBE)
    with pytest.raises(DataError, match="which are not 00003 parts of one split"):
        source.rows(*PROBE, COLUMNS)


def test_jsonl_and_parquet_say_the_same(tmp_path: Path) -> None:
    rows = [{"tokens": ["Ä", "𝄞"], "ner_tags": [1, 0], "langs": ["de", "de"]}]
    write(tmp_path / "a" / "PAN-X.de" / "test.parquet", rows)
    (tmp_path / "b" / "PAN-X.de").mkdir(parents=True)
    (tmp_path / "b" / "PAN-X.de" / "test.jsonl").write_text(json.dumps(rows[0]) + "\n\n")
    task = TASKS.resolve("panx")()
    found = [task.load(open_source(str(tmp_path / n), probe=PROBE), "de") for n in ("a", "b")]
    assert found[0] == found[1] == [{"tokens": ["Ä", "𝄞"], "tags": ["B-PER", "O"]}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test.jsonl", b'{"a": 1}\n\n{"a": \n', "test.jsonl, line 3 is no valid JSON"),
        ("test.jsonl", b"[" * 9000, "test.jsonl, line 1 is no valid JSON: it is nested too deep"),
        ("test.jsonl", b'{"a": 1}\n[1]\n', "test.jsonl, line 2 is no JSON object"),
        ("test.jsonl", b'{"a": "\\ud800"}\n', "test.jsonl, line 1 is no valid JSON: .*half of a"),
        ("test.jsonl", b'{"a": "\xff"}\n', "test.jsonl is not valid UTF-8: line 1, byte 7"),
        ("test.jsonl", b"\n", "PAWS-X.de/test holds no row"),
        ("test.parquet", b"PAR1 and no more", "test.parquet is no readable Parquet file"),
    ],
)
def test_damaged_files_are_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "PAWS-X.de").mkdir()
    (tmp_path / "PAWS-X.de" / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path), probe=PROBE).rows(*PROBE, {})
