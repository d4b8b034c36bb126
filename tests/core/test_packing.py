import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xopt.errors import InputError
from xopt.packing import MASKED, Encoding, pack, plan_batches

lengths_of = st.lists(st.integers(1, 40), min_size=1, max_size=24)


def encodings(lengths: list[int]) -> list[Encoding]:
    generator = np.random.default_rng(sum(lengths))
    return [
        Encoding(generator.integers(2, 99, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]


@given(lengths_of, st.sampled_from([0, 2]))
def test_pack_lays_sentences_end_to_end(lengths: list[int], first: int) -> None:
    items = encodings(lengths)
    batch = pack(items, first_position=first)
    assert batch.tokens == sum(lengths)
    assert batch.longest == max(lengths)
    for number, item in enumerate(items):
        start, end = batch.cu_seqlens[number : number + 2]
        np.testing.assert_array_equal(batch.input_ids[start:end], item.ids)
        expected = np.arange(first, first + len(item))
        np.testing.assert_array_equal(batch.position_ids[start:end], expected)


@given(lengths_of)
def test_padding_and_unpadding_are_inverse(lengths: list[int]) -> None:
    batch = pack(encodings(lengths), first_position=0)
    padded = batch.input_ids[batch.pad_index]
    assert padded.shape == (len(lengths), max(lengths))
    np.testing.assert_array_equal(padded.reshape(-1)[batch.unpad_index], batch.input_ids)
    for row, n in enumerate(lengths):
        bias = batch.attention_bias[row, 0, 0]
        assert (bias[:n] == 0).all()
        assert (bias[n:] == MASKED).all()
        assert (batch.pad_index[row, n:] == 0).all()


@given(lengths_of, st.integers(0, 30))
def test_a_wider_batch_is_the_same_with_more_padding(lengths: list[int], more: int) -> None:
    plain = pack(encodings(lengths), first_position=0)
    wide = plain.padded(max(lengths) + more)
    assert wide.pad_index.shape == (len(lengths), max(lengths) + more)
    np.testing.assert_array_equal(wide.pad_index[:, : max(lengths)], plain.pad_index)
    np.testing.assert_array_equal(wide.pad_index.reshape(-1)[wide.unpad_index], range(sum(lengths)))
    np.testing.assert_array_equal(wide.attention_bias[..., : max(lengths)], plain.attention_bias)
    assert (wide.attention_bias[..., max(lengths) :] == MASKED).all()
    assert wide.is_dense == (plain.is_dense and not more)
    assert (wide.longest, wide.select(np.array([0])).slots) == (max(lengths), max(lengths) + more)


@given(lengths_of)
def test_every_array_is_int32_or_float32(lengths: list[int]) -> None:
    for name, array in pack(encodings(lengths), first_position=2).arrays().items():
        assert array.dtype == (np.float32 if name == "attention_bias" else np.int32), name


@given(lengths_of, st.randoms())
def test_select_gives_those_sentences(lengths: list[int], random: object) -> None:
    items = encodings(lengths)
    order = np.random.default_rng(len(lengths)).permutation(len(lengths))[: max(1, len(items) // 2)]
    part = pack(items, first_position=2).select(order)
    direct = pack([items[i] for i in order], first_position=2)
    for name, array in direct.arrays().items():
        np.testing.assert_array_equal(part.arrays()[name], array)


@given(lengths_of, st.integers(1, 200))
def test_batches_hold_everything_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = plan_batches(lengths, budget)
    seen = np.concatenate(batches)
    assert sorted(seen.tolist()) == list(range(len(lengths)))
    for batch in batches:
        slots = len(batch) * max(lengths[i] for i in batch)
        assert slots <= budget or len(batch) == 1


def test_nothing_to_pack_is_an_error() -> None:
    with pytest.raises(InputError, match="no sentence"):
        pack([], first_position=0)
    empty = Encoding(np.zeros(0, np.int32), np.zeros(0, np.int32))
    with pytest.raises(InputError, match="no token"):
        pack([empty], first_position=0)


@pytest.mark.parametrize("padding", [0, 1, 5])
def test_positions_are_those_of_roberta_wherever_a_text_names_the_padding(padding: int) -> None:
    import torch
    from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaEmbeddings

    generator = np.random.default_rng(padding)
    # Every third token is the padding's, also at the ends, in a row, and all of them.
    rows = [generator.integers(0, 3, n) for n in (1, 7, 40)]
    texts = [np.where(row == 0, padding, row + 10).astype(np.int32) for row in rows]
    texts += [np.full(4, padding, np.int32), np.array([padding, 8, padding], np.int32)]
    batch = pack([Encoding(ids, np.zeros_like(ids)) for ids in texts], first_position=padding + 1)
    expected = [
        XLMRobertaEmbeddings.create_position_ids_from_input_ids(torch.tensor(ids[None]), padding)
        for ids in texts
    ]
    assert batch.position_ids.tolist() == torch.cat(expected, dim=1)[0].tolist()
    assert batch.position_ids.dtype == np.int32
    part = batch.select(np.array([3, 1]))
    assert part.position_ids.tolist() == torch.cat([expected[3], expected[1]], 1)[0].tolist()


def test_bert_counts_every_token() -> None:
    ids = np.array([0, 3, 0, 0, 7], np.int32)
    batch = pack([Encoding(ids, np.zeros_like(ids))] * 2, first_position=0)
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 4] * 2
