from collections.abc import Callable
from pathlib import Path

import numpy as np

from xopt.compile.build import BuildOptions, build_bundle
from xopt.engines.base import open_engine
from xopt.packing import Encoding, pack


def test_the_null_engine_answers_by_sentence(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    options = BuildOptions(
        str(make_checkpoint()), precision="fp32", target="null", out=str(tmp_path / "b")
    )
    items = [Encoding(np.arange(4, 4 + n, dtype=np.int32), np.zeros(n, np.int32)) for n in (3, 5)]
    with open_engine(build_bundle(options).bundle) as engine:
        both = engine.run(pack(items, first_position=2))["embeddings"]
        one = engine.run(pack(items[1:], first_position=2))["embeddings"]
    np.testing.assert_array_equal(both[1:], one)
    assert not np.array_equal(both[0], both[1])
