"""What an engine refuses before a native library sees it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from xopt.engines.signature import Signature
from xopt.errors import InputError
from xopt.packing import Encoding, pack

SIGNATURE = Signature(
    inputs=("input_ids", "position_ids", "token_type_ids", "cu_seqlens"), output="embeddings",
    per_token=False, width=8, max_tokens=128, first_position=2, vocabulary=1200, types=1,
)  # fmt: skip
BATCH = pack(
    [Encoding(np.full(n, 7, np.int32), np.zeros(n, np.int32)) for n in (5, 6)], first_position=2
)


def int32(*values: int) -> Any:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "input_ids",
            BATCH.input_ids.astype(np.int64),
            r"input_ids is int64 \[11\]; .* int32 \[11\]",
        ),
        ("position_ids", BATCH.position_ids.astype(np.float32), "position_ids is float32"),
        ("token_type_ids", BATCH.token_type_ids[:-1], r"token_type_ids is int32 \[10\]; .* \[11\]"),
        ("input_ids", BATCH.input_ids[:, None], r"input_ids is int32 \[11, 1\]"),
        ("input_ids", BATCH.input_ids.tolist(), "input_ids is a list"),
        ("prompt_tokens", int32(0, 0, 0), r"prompt_tokens is int32 \[3\]; .* \[2\]"),
        ("cu_seqlens", BATCH.cu_seqlens.astype(np.uint32), "cu_seqlens is uint32"),
        ("cu_seqlens", int32(0, 5, 12), "must rise from 0 to 11"),
        ("cu_seqlens", int32(1, 5, 11), "must rise from 0 to 11"),
        ("cu_seqlens", int32(0, 11, 11), "no sentence is empty"),
        ("cu_seqlens", int32(0, 20, 11), "must rise from 0 to 11"),
    ],
)
def test_arrays_of_another_form_are_refused(name: str, value: Any, message: str) -> None:
    SIGNATURE.check(BATCH)
    with pytest.raises(InputError, match=message):
        SIGNATURE.check(replace(BATCH, **{name: value}))
