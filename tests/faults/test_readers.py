"""Readers of a stranger's bytes, beside sound ones; ``tests.faults.fuzz`` runs them long."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.made import make_bundle
from tests.faults.damage import damage_bytes
from tests.faults.readers import readers


def test_bytes_of_a_stranger_end_in_a_value_or_an_error_that_was_promised(tmp_path: Path) -> None:
    found = readers(tmp_path / "files", make_bundle(tmp_path / "b").folder)
    for reader in found.values():
        assert all(map(reader.holds, reader.seeds))

    @settings(max_examples=300)
    @given(st.sampled_from(sorted(found)), st.integers(0), st.binary(max_size=40))
    def damaged(name: str, seed: int, other: bytes) -> None:
        random = Random(seed)
        reader = found[name]
        data = random.choice(reader.seeds)
        for _ in range(random.randint(1, 3)):
            data = damage_bytes(data, random)[1]
        reader.holds(data)
        reader.holds(other)

    damaged()
