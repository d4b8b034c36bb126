"""A file that is served and written over is told, and one that is replaced is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xopt.artifacts import Bundle, write_manifest
from xopt.serve.options import ServeOptions
from xopt.serve.service import Service


def test_health_tells_weights_that_were_written_over(
    start: Callable[..., Any],
    bundles: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = tmp_path / "served"
    shutil.copytree(bundles["embed"], place)
    weights = place / "model.bin"
    whole = weights.read_bytes()
    with start({"embed": place}) as running:
        if not running.service.models["embed"].files.held:
            pytest.skip("this engine reads its weights to the end, or the system does not say")
        assert running.ask("/health")[0] == 200
        # Touched alone.
        os.utime(weights, (1, 1))
        assert running.ask("/health")[0] == 200
        with weights.open("r+b") as file:
            file.write(bytes(len(whole)))
        assert running.ask("/health")[0] == 503
        assert "model.bin was written over while it is served" in caplog.text
        assert running.service.reload() == []
        assert "embed keeps its old bundle" in caplog.text
        with weights.open("r+b") as file:
            file.write(whole)
        assert running.ask("/health")[0] == 200
        # What stands in its place now is not what is served.
        (place / "new").write_bytes(bytes(len(whole)))
        (place / "new").replace(weights)
        assert running.ask("/health")[0] == 200


def test_a_reload_says_what_is_as_it_was_and_opens_what_says_something_else(
    bundles: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    place = tmp_path / "served"
    shutil.copytree(bundles["nli"], place)
    service = Service({"nli": place}, ServeOptions())
    try:
        assert service.reload() == []
        assert caplog.messages[-1] == "nli is unchanged"
        (tokenizer := place / "tokenizer.json").rename(tmp_path / "kept")
        assert service.reload() == []
        assert "tokenizer.json is missing" in caplog.text
        (tmp_path / "kept").rename(tokenizer)
        # Of the same recipe, but with other words.
        manifest = dict(Bundle.open(place).manifest)
        manifest["head"] = {**manifest["head"], "labels": ["x", "y", "z"]}
        apart = ("kind", "schema", "fingerprint", "created", "files", "checksum")
        facts = {key: value for key, value in manifest.items() if key not in apart}
        write_manifest(place, "bundle", manifest["fingerprint"], facts)
        assert service.reload() == ["nli"]
        assert service.find("nli").model.labels == ("x", "y", "z")
    finally:
        service.close()
