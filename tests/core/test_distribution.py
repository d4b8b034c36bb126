"""Hints name the distribution that is installed, never another project's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xopt import distribution
from xopt.distribution import install_command
from xopt.errors import MissingExtraError, require


@pytest.fixture(autouse=True)
def fresh() -> None:
    distribution._installed.cache_clear()


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    *,
    editable: bool | None = None,
    url: str = "file:///checkout",
) -> None:
    """Metadata as pip writes it, and nothing else on the path."""
    facts = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "top_level.txt").write_text("xopt\n")
    (facts / "RECORD").write_text("xopt/__init__.py,,\n")
    if editable is not None or url != "file:///checkout":
        origin = {"url": url, "dir_info": {"editable": bool(editable)}}
        (facts / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.setattr("sys.path", [str(folder)])


@pytest.mark.parametrize(
    ("name", "editable", "command"),
    [
        ("xopt-encoders", None, "pip install 'xopt-encoders[build,cuda]'"),
        ("some-fork", False, "pip install 'some-fork[build,cuda]'"),
        ("xopt-encoders", True, "pip install '.[build,cuda]'"),
    ],
)
def test_the_name_is_that_of_the_installed_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, editable: bool | None, command: str
) -> None:
    install(tmp_path, monkeypatch, name, editable=editable)
    assert install_command("build", "cuda") == command


def test_what_came_from_a_folder_or_a_file_comes_from_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip installs a checkout that is not editable: no index has the name."""
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    install(tmp_path, monkeypatch, "xopt-encoders", url=checkout.as_uri())
    assert install_command("tune") == f"pip install '{checkout}[tune]'"
    wheel = tmp_path / "xopt_encoders-1.0-py3-none-any.whl"
    wheel.touch()
    facts = tmp_path / "xopt_encoders-1.0.dist-info" / "direct_url.json"
    facts.write_text(json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    distribution._installed.cache_clear()
    assert install_command("tune") == f"pip install 'xopt-encoders[tune] @ {wheel.as_uri()}'"
    wheel.unlink()
    distribution._installed.cache_clear()
    assert install_command("tune") == "pip install 'xopt-encoders[tune]'"


def test_a_source_tree_that_is_not_installed_is_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "xopt.egg-info"
    left.mkdir()
    (left / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: xopt\nVersion: 1.0\n")
    (left / "top_level.txt").write_text("xopt\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert install_command("build") == "pip install '.[build]'"


def test_a_missing_extra_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "xopt-encoders", editable=None)
    with pytest.raises(MissingExtraError) as caught:
        require("no_such_module", extra="tune", why="This")
    assert caught.value.hint == "Install it with: pip install 'xopt-encoders[tune]'"
