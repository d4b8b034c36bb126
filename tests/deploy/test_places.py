"""The folder of a deployment is replaced as a whole, or stays as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from xopt.artifacts import Bundle
from xopt.deploy.containers import ContainerOptions
from xopt.deploy.places import MARK, write_folder
from xopt.deploy.ray_files import RayOptions
from xopt.errors import InputError


def test_a_deployment_takes_the_place_of_an_earlier_one_whole(
    tensorrt: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_folder(tensorrt, out, lambda work: (work / "first").touch())
    with pytest.raises(InputError, match="exists, and has another deployment") as caught:
        write_folder(tensorrt, out, lambda work: (work / "second").touch())
    assert "--force" in caught.value.hint
    found = write_folder(tensorrt, out, lambda work: (work / "second").touch(), force=True)
    assert sorted(map(str, found)) == ["second", MARK]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "sts"]


@pytest.mark.parametrize("kind", [ContainerOptions, RayOptions])
@pytest.mark.parametrize("name", ["cpus", "replicas"])
def test_a_number_below_one_is_told_by_its_option(kind: Any, name: str) -> None:
    with pytest.raises(InputError, match=f"--{name} is 0; at least 1"):
        kind(**{name: 0})


def test_one_that_fails_leaves_the_earlier_one(tensorrt: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(tensorrt, out, lambda work: (work / "first").touch())

    def fail(work: Path) -> None:
        (work / "half").touch()
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_folder(tensorrt, out, fail, force=True)
    assert sorted(p.name for p in out.iterdir()) == ["first", MARK]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "sts"]


def test_two_at_once_do_not_write_into_one_folder(tensorrt: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(tensorrt, out, lambda work: None)
    both = Barrier(2)

    def deploy(name: str) -> list[str]:
        def write(work: Path) -> None:
            both.wait()
            (work / name).touch()
            both.wait()

        return [str(path) for path in write_folder(tensorrt, out, write, force=True)]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(deploy, ("a", "b")))
    assert sorted(p.name for p in out.iterdir()) in (["a", MARK], ["b", MARK])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "sts"]
