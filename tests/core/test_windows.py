"""Blocks of windowed attention against the definition: |i - j| <= w within one sentence."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xopt.windows import cut_windows

MASKED = -1e4


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=6),
    st.integers(0, 40),
    st.sampled_from([0, 96]),
)
def test_every_token_sees_exactly_its_window(lengths: list[int], window: int, width: int) -> None:
    sizes = np.array(lengths, np.int32)
    starts = (np.cumsum(sizes) - sizes).astype(np.int32)
    cut = cut_windows(starts, sizes, window, MASKED, width)
    blocks, size = cut.queries.shape
    assert cut.bias.shape == (blocks, 1, size, cut.keys.shape[1])
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(sizes.sum()) - starts[sentence]
    assert len(set(cut.slots.tolist())) == sizes.sum(), "every token has a slot of its own"
    for token, slot in enumerate(cut.slots.tolist()):
        block, row = divmod(slot, size)
        assert cut.queries[block, row] == token
        seen = cut.keys[block][cut.bias[block, 0, row] == 0].tolist()
        near = (sentence == sentence[token]) & (np.abs(place - place[token]) <= window)
        assert sorted(seen) == np.flatnonzero(near).tolist()


@given(st.lists(st.integers(65, 96), min_size=1, max_size=6), st.integers(0, 40))
def test_where_the_width_is_told_blocks_do_not_depend_on_batch_mates(
    lengths: list[int], window: int
) -> None:
    sizes = np.array(lengths, np.int32)
    starts = (np.cumsum(sizes) - sizes).astype(np.int32)
    together = cut_windows(starts, sizes, window, MASKED, 96)
    alone = cut_windows(starts[:1], sizes[:1], window, MASKED, 96)
    assert alone.whole == together.whole
    assert alone.queries.shape[1:] == together.queries.shape[1:]
    assert alone.keys.shape[1:] == together.keys.shape[1:]


def test_the_cost_grows_with_the_text_and_not_with_its_square() -> None:
    def scores(*lengths: int) -> int:
        sizes = np.array(lengths, np.int32)
        cut = cut_windows((np.cumsum(sizes) - sizes).astype(np.int32), sizes, 64, MASKED)
        return cut.bias.size

    assert scores(8192) == 2 * scores(4096) == 4096 * 2 * 3 * 64
    # Among short sentences a long one is cut; alone, short ones are not.
    assert scores(*[30] * 20, 2048) < 1.2 * scores(2048) + 20 * 64 * 192
    assert scores(*[30] * 20) == 20 * 30 * 30
