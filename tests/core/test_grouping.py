import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xopt.grouping import length_groups, padded_width, width_groups

lengths_of = st.lists(st.integers(1, 40), min_size=1, max_size=24)


@given(lengths_of, st.sampled_from([1, 2, 4]))
def test_groups_hold_everything_once(lengths: list[int], count: int) -> None:
    groups = length_groups(np.array(lengths), count, slot_cost=0.001)
    assert 1 <= len(groups) <= count
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))


def test_two_groups_make_the_costlier_one_as_cheap_as_any_cut() -> None:
    lengths = np.array([5, 9, 40, 7, 64, 12, 33, 8])
    groups = length_groups(lengths, 2, slot_cost=0.01)

    def cost(part: np.ndarray) -> float:
        return part.sum() + 0.01 * len(part) * part.max() ** 2

    ordered = np.sort(lengths)
    best = min(max(cost(ordered[:i]), cost(ordered[i:])) for i in range(1, len(ordered)))
    assert max(cost(lengths[g]) for g in groups) == best


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.sampled_from([1, 2, 5]))
def test_a_group_has_one_width_which_is_of_the_sentence_alone(
    lengths: list[int], count: int
) -> None:
    sizes = np.array(lengths)
    groups = width_groups(sizes, count, slot_cost=0.001)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    widths = [{padded_width(int(n)) for n in sizes[group]} for group in groups]
    assert all(len(found) == 1 for found in widths)
    assert len(groups) <= len(set.union(*widths)) + count
    assert all(n <= padded_width(n) < n + 32 for n in lengths)


def test_sentences_of_one_width_are_cut_for_as_many_groups_as_are_wanted() -> None:
    groups = width_groups(np.full(40, 48), 8, slot_cost=0.001)
    assert [len(group) for group in groups] == [5] * 8
    found = width_groups(np.array([70, 200, 40, 90]), 1, slot_cost=0)
    assert [group.tolist() for group in found] == [[1], [0, 3], [2]]
