"""Sizes that a batch is rounded up to, and the kernels that are made for them."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xopt.compile.build import BuildOptions, build_bundle
from xopt.engines.openvino_sizes import fill, rounded_sentences, rounded_tokens
from xopt.packing import Encoding, pack

MOST = 4096


@given(st.integers(1, 100_000))
def test_rounding_is_upwards_and_stays(count: int) -> None:
    for rounded in (rounded_tokens, rounded_sentences):
        assert count <= rounded(count)
        assert rounded(rounded(count)) == rounded(count)
        assert rounded(count) <= rounded(count + 1)


def test_few_sizes_and_little_waste() -> None:
    counts = np.arange(1, MOST + 1)
    tokens = np.array([rounded_tokens(int(n)) for n in counts])
    assert len(set(tokens)) <= 170
    waste = tokens / counts - 1
    for low, high in itertools.pairwise((64, 128, 256, 512, 1024, 2048, 4096)):
        assert waste[low:high].mean() <= 0.045
        assert waste[low:high].max() <= 0.125
    assert waste[512:].max() <= 1 / 32
    assert all(rounded_tokens(2**power) == 2**power for power in range(2, 20))
    assert len({rounded_sentences(int(n)) for n in counts}) <= 45


@given(st.lists(st.integers(1, 40), min_size=1, max_size=24))
def test_what_is_added_belongs_to_nobody(lengths: list[int]) -> None:
    items = [Encoding(np.full(n, 7, np.int32), np.zeros(n, np.int32)) for n in lengths]
    part = pack(items, first_position=2)
    names = set(part.arrays())
    feed = fill(part, names, window=None, packed=True, per_token=False)
    arrays, rows = feed.arrays, len(feed.arrays["input_ids"])
    sentences = len(arrays["cu_seqlens"]) - 1
    assert feed.rows == part.sentences
    assert feed.sizes == {rows, sentences}
    assert rows == rounded_tokens(part.tokens)
    assert not arrays["input_ids"][part.tokens :].any()
    # Whatever reads the first or last row of a sentence without a token finds one.
    assert (arrays["cu_seqlens"][part.sentences :] == part.tokens).all()
    assert sentences == part.sentences or part.tokens < rows
    for name, array in part.arrays().items():
        first = tuple(slice(size) for size in array.shape)
        np.testing.assert_array_equal(arrays[name][first], array)
    bias = arrays["attention_bias"].astype(np.float32)
    assert (bias[part.sentences :] < 0).all()
    assert (bias[:, 0, 0, part.longest :] < 0).all()


NEW_SIZE = """
import sys
from pathlib import Path
import numpy as np
from xopt.artifacts import Bundle
from xopt.engines import openvino
from xopt.engines.base import open_engine
from xopt.packing import Encoding, pack

# As of an encoder that we have no layers for.
openvino.suits_here = lambda: False
engine = open_engine(Bundle.open(Path(sys.argv[1])), threads=1)
for lengths in ([9, 70], [9, 90], [11, 87], [3, 3, 5, 90]):
    items = [Encoding(np.full(n, 5, np.int32), np.zeros(n, np.int32)) for n in lengths]
    print("=", flush=True)
    engine.run(pack(items, first_position=2))
print(engine.attention)
"""


def test_layers_share_the_kernels_of_a_size_and_a_size_is_made_once(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Each layer had one of its own behind its GELU: 5 MiB for each number of tokens (e5-small)."""
    folder = make_checkpoint(hidden_size=96, num_attention_heads=3, num_hidden_layers=4)
    options = BuildOptions(str(folder), out=str(tmp_path / "b"), calibration_tokens=1000)
    bundle = build_bundle(options).bundle
    done = subprocess.run(
        [sys.executable, "-P", "-c", NEW_SIZE, str(bundle.folder)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "ONEDNN_VERBOSE": "profile_create"},
    )  # fmt: skip
    if "packed" not in done.stdout:
        pytest.skip(done.stdout.splitlines()[-1])
    _, first, new, same, more = done.stdout.split("=\n")
    made = [
        sum("create:cache_miss" in line and "inner_product" in line for line in part.splitlines())
        for part in (first, new, same, more)
    ]
    # Queries, keys and values are of one shape; into and out of the middle.
    assert made == [3, 3, 0, 0]
