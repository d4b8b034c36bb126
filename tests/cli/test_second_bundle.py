"""Where a second bundle cannot be opened, the first one's engine is closed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xopt.artifacts import Bundle
from xopt.cli import bench, build_within
from xopt.compile import build
from xopt.compile.options import BuildOptions
from xopt.engines.openvino import OpenVinoEngine
from xopt.errors import ArtifactError
from xopt.serve.options import ServeOptions
from xopt.serve.service import Service


@pytest.fixture(scope="module")
def sound(make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound") / "sound"
    options = BuildOptions(checkpoint=str(make_checkpoint()), precision="fp32", out=str(out))
    return build.build_bundle(options, record=False).bundle.folder


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "damaged"
    shutil.copytree(sound, folder)
    with (folder / "model.bin").open("r+b") as file:
        file.write(b"damaged!")
    return folder


@pytest.fixture
def left_open(monkeypatch: pytest.MonkeyPatch) -> list[OpenVinoEngine]:
    """Engines that were opened and not closed; those that ever were are its ``ever``."""

    class Open(list[OpenVinoEngine]):
        ever = 0

    engines = Open()
    begin, end = OpenVinoEngine.__init__, OpenVinoEngine.close

    def opened(self: OpenVinoEngine, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        engines.append(self)
        Open.ever += 1

    def closed(self: OpenVinoEngine) -> None:
        engines.remove(self)
        end(self)

    monkeypatch.setattr(OpenVinoEngine, "__init__", opened)
    monkeypatch.setattr(OpenVinoEngine, "close", closed)
    return engines


def by_bench(sound: Path, damaged: Path, patch: pytest.MonkeyPatch) -> None:
    bench.bench(str(sound), str(damaged), "b1_s32")


def by_serve(sound: Path, damaged: Path, patch: pytest.MonkeyPatch) -> None:
    Service({"a": sound, "b": damaged}, ServeOptions())


def by_max_drop(sound: Path, damaged: Path, patch: pytest.MonkeyPatch) -> None:
    """The times at the end of ``xopt build --max-drop``."""
    patch.setattr(
        build, "build_bundle", lambda *_, **__: SimpleNamespace(bundle=Bundle.open(damaged))
    )
    found = SimpleNamespace(bundle=Bundle.open(sound))
    mixed: Any = SimpleNamespace(result=found, reference=None, search={"kept": []}, lengths=[5])
    build_within._times(mixed)


@pytest.mark.parametrize("way", [by_bench, by_serve, by_max_drop])
def test_the_first_engine_is_closed(
    way: Callable[[Path, Path, pytest.MonkeyPatch], None],
    sound: Path,
    damaged: Path,
    left_open: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ArtifactError, match=r"model\.bin"):
        way(sound, damaged, monkeypatch)
    assert left_open.ever == 1
    assert left_open == []
