"""A bundle that is replaced while it is asked: no request is lost."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.model.asking import Asking
from xopt.model.results import Embedding
from xopt.model.texts import Row
from xopt.serve.options import ServeOptions
from xopt.serve.service import Service


def kserve(text: str) -> dict[str, Any]:
    return {"inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [1], "data": [text]}]}


@pytest.fixture(scope="module")
def two(make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``old`` and ``new``: bundles of two encoders."""
    root = tmp_path_factory.mktemp("two")
    for seed, name in enumerate(("old", "new"), 21):
        checkpoint = str(make_checkpoint(seed=seed))
        options = BuildOptions(checkpoint=checkpoint, precision="fp32", out=str(root / name))
        build_bundle(options, record=False)
    return root


def test_a_replaced_bundle_is_served_without_a_lost_request(
    start: Callable[..., Any], two: Path, tmp_path: Path
) -> None:
    place = tmp_path / "b"
    shutil.copytree(two / "old", place)
    with start({"b": place}) as running:
        before = running.ask("/embed", {"inputs": "Habari"})[1]
        old = weakref.ref(running.service.models["b"].model)
        shutil.rmtree(place)
        shutil.copytree(two / "new", place)
        statuses: list[int] = []
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                statuses.append(running.ask("/embed", {"inputs": ["Habari", "za asubuhi"]})[0])

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert running.service.reload() == ["b"]
        stop.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200}
        gc.collect()
        assert old() is None, "the old bundle's model is still held"
        after = running.ask("/embed", {"inputs": "Habari"})[1]
        assert not np.allclose(before, after)
        assert running.service.reload() == []


def test_one_bundle_that_cannot_be_opened_keeps_no_other_from_being_replaced(
    two: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name in ("damaged", "good"):
        shutil.copytree(two / "old", tmp_path / name)
    service = Service({n: tmp_path / n for n in ("damaged", "good")}, ServeOptions())
    try:
        kept = service.find("damaged")
        for name in ("damaged", "good"):
            shutil.rmtree(tmp_path / name)
            shutil.copytree(two / "new", tmp_path / name)
        (tmp_path / "damaged" / "tokenizer.json").write_text("{")
        assert service.reload() == ["good"]
        assert service.find("damaged") is kept
        assert len(kept.model.encode(["Habari"])) == 1
        said = [record.message for record in caplog.records if record.name == "xopt.serve.service"]
        assert said[0].startswith("damaged keeps its old bundle: ")
        assert said[1:] == ["good is answered by its new bundle"]
    finally:
        service.close()


def test_a_request_whose_bundle_is_replaced_while_its_texts_are_read_is_read_again(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "b"
    shutil.copytree(two / "old", place)
    service = Service({"b": place}, ServeOptions())
    old = service.find("b")
    read = old.model.session.encode

    def replaced(work: Any) -> Any:
        encoded = read(work)
        shutil.rmtree(place)
        shutil.copytree(two / "new", place)
        assert service.reload() == ["b"]
        return encoded

    monkeypatch.setattr(old.model.session, "encode", replaced)
    try:
        # A browser's test may have left a loop in this thread.
        with ThreadPoolExecutor(1) as other:
            again = service.again(lambda: service.ask(service.find("b"), [Row("Habari")], Asking()))
            [found] = other.submit(asyncio.run, again).result()
        [right] = service.find("b").model.encode(["Habari"])
        assert isinstance(found, Embedding)
        np.testing.assert_array_equal(found.values, right)
    finally:
        service.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "Habari"}),
        ("/embed", {"inputs": "Habari"}),
        ("/v2/models/b/infer", kserve("Habari")),
    ],
)
def test_a_request_meets_a_bundle_of_another_head_as_if_it_had_come_later(
    start: Callable[..., Any],
    bundles: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: Any,
) -> None:
    place = tmp_path / "b"
    shutil.copytree(bundles["embed"], place)
    with start({"b": place}) as running:
        session = running.service.find("b").model.session
        read = session.encode

        def replaced(work: Any) -> Any:
            encoded = read(work)
            shutil.rmtree(place)
            shutil.copytree(bundles["nli"], place)
            assert running.service.reload() == ["b"]
            return encoded

        monkeypatch.setattr(session, "encode", replaced)
        found = running.ask(path, body)
        assert found[:2] == running.ask(path, body)[:2]
        assert found[0] == (200 if path.startswith("/v2") else 400)
        # A probe that meets the same is no sign of illness.
        assert running.ask("/health")[0] == 200
