"""Large bodies are read and written beside the loop, in steps, and give the same as small ones."""

from __future__ import annotations

import codecs
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xopt.model.remote import TooLargeError
from xopt.reading import parse_json
from xopt.serve import large, tei

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
PARTS = [
    "1", "-0", "01", "1.5", "1e5", "1E+", ".5", "1e400", "18446744073709551616", "NaN", "-Infinity",
    "1٣", "１", "true", "null", "nul", "{}", "[", "]", "{", "}", ",", ",", ",", ":", " ", "\n",
    "\u00a0", "\ufeff", '"a"', '"a":1', '{"a":1,"a":2}', '{"é":[]}', r'"\u00e9"', r'"\ud83d\ude00"',
    r'"\ud83d"', r'{"\ude00":1}', r'{"a":"\ud83d","a":1}', r'{"a":[{"\ude00":1}],"a":1}',
    r'"\ude00\ud83d"', r'"\uD83D\ud83d\uDE00"', r'"\\ud83d"', r'"\\\ud83d"', r'"\ud83d\n\ude00"',
    r'"\""', r'"\\"', r'"\x"', r'"\u12"', '"\t"', '"', "\\", "//",
]  # fmt: skip
CUTS = st.sampled_from([b"", b"", b"", b"\xff", b"\xc3", b"\x00", b"\xed\xa0\x80", b"\\", b'"'])


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_steps_read_what_json_says(value: Any, ascii_: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=ascii_, indent=indent)
    if not ascii_ or "\\ud" not in body:
        body = body.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    assert large.parse_in_steps(body.encode(), 10_000, 100) == json.loads(body)


@st.composite
def almost_json(draw: st.DrawFn) -> bytes:
    """A document, and what stands in it that only nearly is one."""
    parts = draw(st.lists(st.sampled_from(PARTS), max_size=12))
    body = ("[" + "".join(parts) + "]").encode()
    at = draw(st.integers(0, len(body)))
    return draw(st.sampled_from([b"", codecs.BOM_UTF8])) + body[:at] + draw(CUTS) + body[at:]


def read(body: bytes, how: Callable[[bytes], Any]) -> str | None:
    try:
        # As text, in which 1 is not 1.0 and NaN is NaN.
        return repr(how(body))
    except ValueError:
        return None


@settings(max_examples=500)
@given(almost_json())
def test_steps_take_what_small_bodies_may_hold_and_nothing_else(body: bytes) -> None:
    in_steps = read(body, lambda body: large.parse_in_steps(body, 10_000, 100))
    assert in_steps == read(body, parse_json)


@pytest.mark.parametrize(
    "text", [r"a\"b", r"\\", r"\\\"", '"'.replace('"', r"\""), r"\ud83d\ude00", ""]
)
def test_a_text_ends_where_json_says(text: str) -> None:
    body = f'["{text}", "{text}"]'
    assert large.parse_in_steps(body.encode(), 10, 1) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        (b"[" + b"1," * 99 + b"1]", TooLargeError, "more than 50 values"),
        (b"[" + b'{"a":{}},' * 60 + b"1]", TooLargeError, "more than 50 values"),
        (b'["' + b"a" * 2**20 + b'"]', TooLargeError, "more than 1 KiB"),
        (b'["' + rb"\"" * 2**20 + b'"]', TooLargeError, "more than 1 KiB"),
        (b"[" * 50_000, ValueError, "nested too deep"),
        (rb'["a", "\ud800"]', ValueError, "half of a surrogate pair"),
        (rb'[{"\ud800": "a"}]', ValueError, "half of a surrogate pair"),
        (rb'{"a": {"\ud800": 1}, "a": 2}', ValueError, "half of a surrogate pair"),
        ("[1٣]".encode(), ValueError, "digits other than 0 to 9"),
        ("[1.٣]".encode(), ValueError, "digits other than 0 to 9"),
        (b"[" + b"1" * 500 + b"]", ValueError, "more than 400 digits"),
        (b'["a', ValueError, "Unterminated string"),
        (b'["a\\', ValueError, "Unterminated string"),
        (b'["\xff"]', UnicodeDecodeError, "0xff"),
        (b"", ValueError, "Expecting value"),
    ],
)
def test_what_no_request_needs_is_refused(body: bytes, error: type[Exception], said: str) -> None:
    most = 100_000 if said == "nested too deep" else 50
    with pytest.raises(error, match=said):
        large.parse_in_steps(body, most, 1)


def test_steps_write_the_same_bytes() -> None:
    draw = np.random.default_rng(0)
    table = draw.normal(size=(3, large.LARGE + 5)).astype(np.float32)
    answer = {
        "data": [{"index": n, "embedding": row} for n, row in enumerate(table)],
        "flat": table.reshape(-1),
        "cube": table[0, :60].reshape(3, 5, 4),
        "tokens": np.arange(4, dtype=np.int32),
        "text": "ü",
        "none": None,
    }
    assert large.write_in_steps(answer) == large.write(answer)
    assert large.count_values(table[:, :4].tolist()) == 12
    assert large.count_values([{"a": table[0]}] * 7) == 7 * table.shape[1]


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Reading and writing in steps wait in their first step until they are let."""
    found: dict[str, Any] = {"began": threading.Semaphore(0), "go": threading.Event()}
    string, items = large._Steps._string, large._items

    def waiting(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any) -> Any:
            found["thread"] = threading.current_thread().name
            found["began"].release()
            assert found["go"].wait(60)
            return work(*given)

        return step

    monkeypatch.setattr(large._Steps, "_string", waiting(string))
    monkeypatch.setattr(large, "_items", waiting(items))
    yield found
    found["go"].set()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"inputs": ["Habari " * 5] * 4_000, "truncate": True}),
        # Much is answered to little.
        ("/embed", {"inputs": ["a"] * 1_000}),
        (
            "/v2/models/embed/infer",
            {
                "inputs": [
                    {"name": "TEXT", "datatype": "BYTES", "shape": [900], "data": ["a"] * 900}
                ]
            },
        ),
    ],
)
def test_others_are_answered_while_a_large_body_is_read_or_written(
    start: Callable[..., Any],
    bundles: dict[str, Path],
    gates: dict[str, Any],
    path: str,
    body: dict[str, Any],
) -> None:
    found: list[Any] = []
    with start({"embed": bundles["embed"]}, max_texts=4_000) as running:
        asks = threading.Thread(target=lambda: found.append(running.ask(path, body)))
        asks.start()
        assert gates["began"].acquire(timeout=60)
        assert running.ask("/health")[0] == 200
        small = running.ask("/embed", {"inputs": "a"})
        gates["go"].set()
        asks.join()
    assert gates["thread"].startswith("xopt-worker")
    assert (small[0], found[0][0]) == (200, 200)
    if path == "/embed":
        assert len(found[0][1]) == len(body["inputs"])


def test_the_texts_of_a_large_rerank_are_checked_beside_the_loop(
    start: Any, bundles: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    check = tei.check_row

    def seen(*rows: Any, **options: Any) -> None:
        threads.append(threading.current_thread().name)
        check(*rows, **options)

    monkeypatch.setattr(tei, "check_row", seen)
    with start({"rerank": bundles["rerank"]}) as running:
        body = {"query": "a", "texts": ["\u200b" * 2**17 + "a"], "truncate": True}
        assert running.ask("/rerank", body)[0] == 200
    assert len(threads) == 2
    assert all(name.startswith("xopt-worker") for name in threads)
