"""Stored ranges come back as they were, and damaged ones are an error with a hint."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xopt.artifacts import Ranges
from xopt.calibrate.sites import Site, read_sites, write_sites
from xopt.errors import ArtifactError

SITE = Site("layers.0.qkv_in", 1.5, limits=(-1.0, 2.0), middle=np.zeros(4, np.float32))


def numbers(folder: Path, **changes: object) -> None:
    path = folder / "sites.json"
    found = json.loads(path.read_text())
    found["layers.0.qkv_in"] |= changes
    path.write_text(json.dumps(found))


def text(folder: Path) -> None:
    np.savez(folder / "sites.npz", **{"layers.0.qkv_in.middle": np.array(["a"] * 4)})


def infinite(folder: Path) -> None:
    np.savez(folder / "sites.npz", **{"layers.0.qkv_in.middle": np.full(4, np.inf)})


def undivided(folder: Path) -> None:
    held = {"middle": np.zeros(4, np.float32), "divisor": np.zeros(4, np.float32)}
    np.savez(folder / "sites.npz", **{f"layers.0.qkv_in.{k}": v for k, v in held.items()})


def damaged(folder: Path) -> None:
    data = (folder / "sites.npz").read_bytes()
    (folder / "sites.npz").write_bytes(data.replace(bytes(16), b"\1" * 16, 1))


def packed(folder: Path) -> None:
    np.savez_compressed(folder / "sites.npz", **{"layers.0.qkv_in.middle": np.zeros(10_000)})


def objects(folder: Path) -> None:
    held = np.array([{"a": 1}], dtype=object)
    np.savez(folder / "sites.npz", **{"layers.0.qkv_in.middle": held})


def parted(folder: Path) -> None:
    """An archive that says it goes on in another file."""
    data = (folder / "sites.npz").read_bytes()
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 0, 2)
    (folder / "sites.npz").write_bytes(data[:-22] + locator + data[-22:])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (
        lambda f: (f / "sites.npz").write_bytes((f / "sites.npz").read_bytes()[:-9]),
        "no .npz",
    ),
    "flipped": (lambda f: (f / "sites.npz").write_bytes(b"PK" + bytes(60)), "no .npz"),
    "gone": (lambda f: (f / "sites.npz").unlink(), "sites.npz is missing"),
    "damaged inside": (damaged, "CRC"),
    "in parts": (parted, "multiple disks"),
    "packed": (packed, "more than they may"),
    "objects": (objects, "Object arrays cannot be loaded"),
    "a text": (lambda f: numbers(f, amax="1.5"), r"qkv_in\.amax is '1.5', not a number"),
    "one limit": (lambda f: numbers(f, limits=[1.0]), "limits has 1 values, not 2"),
    "nested": (lambda f: (f / "sites.json").write_text("[" * 9000), "nested too deep"),
    "words": (text, "holds what is no number"),
    "infinite": (infinite, "holds what is no number"),
    "a range of 0": (lambda f: numbers(f, amax=0), r"qkv_in\.amax is 0, no range"),
    "a range below 0": (lambda f: numbers(f, moved=-1.5), r"qkv_in\.moved is -1\.5, no range"),
    "a range beyond fp32": (lambda f: numbers(f, amax=1e200), r"amax is 1e\+200, no range"),
    "a divisor of 0": (undivided, "nothing can be divided by"),
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_damaged_ranges_are_named(kind: str, tmp_path: Path) -> None:
    write_sites([SITE], tmp_path)
    ranges = Ranges(tmp_path, {})
    [found] = read_sites(ranges).values()
    assert found.limits == SITE.limits
    damage, said = DAMAGE[kind]
    damage(tmp_path)
    with pytest.raises(ArtifactError, match=said) as caught:
        read_sites(ranges)
    assert "xopt calibrate" in caught.value.hint
