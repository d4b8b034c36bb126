"""Parts of several engines never keep more cores busy than there are."""

from typing import Any

import numpy as np
import pytest

from xopt.engines import openvino_parts
from xopt.engines.openvino_parts import RUNNING, Program, RunningPart, kernel_of, start
from xopt.engines.openvino_sizes import Feed


class Request:
    """Runs until it is waited for."""

    def __init__(self) -> None:
        self.runs = False

    def start_async(self, feed: Any, *, share_inputs: bool) -> None:
        self.runs = True

    def wait(self) -> None:
        self.runs = False


class Model:
    inputs: tuple[Any, ...] = ()


def part(program: Program, tokens: int) -> RunningPart:
    engine: Any = object()
    program.meet((tokens, 1))
    return RunningPart(engine, program, Request(), Feed({}, 1, frozenset((tokens, 1))), tokens)


@pytest.mark.parametrize("cores", [1, 2, 6, 12, 64])
def test_engines_take_turns_where_their_parts_would_oversubscribe(
    monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr(openvino_parts, "cpu_count", lambda: cores)
    assert not RUNNING
    programs = [Program(Model(), cores, streams) for streams in (1, cores, 1, cores)]
    parts = []
    for number in np.random.default_rng(0).integers(0, 4, 200):
        parts.append(part(programs[number], 5))
        start(parts[-1])
        assert parts[-1].request.runs
        busy = dict.fromkeys(programs, 0)
        for running in parts:
            if running.request.runs:
                busy[running.program] += running.program.cores
        assert sum(min(cores, used) for used in busy.values()) <= cores
    for one in parts:
        one.drop()
    assert not RUNNING


def test_parts_of_one_program_share_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_parts, "cpu_count", lambda: 2)
    program = Program(Model(), 2, 2)
    parts = [part(program, 5) for _ in range(5)]
    for one in parts:
        start(one)
    assert all(one.request.runs for one in parts), "the next ones stand ready"
    for one in parts:
        one.drop()


def test_a_part_is_seen_by_others_until_it_is_done() -> None:
    """Two threads met the race of :func:`start` while one of them waited for its answer."""
    program = Program(Model(), 2, 2)
    one = part(program, 5)
    seen: list[bool] = []

    class Watched(Request):
        def wait(self) -> None:
            seen.append(one in RUNNING)

    one.request = Watched()
    start(one)
    one.wait()
    assert seen == [True]
    assert one not in RUNNING


def test_engines_wait_for_each_other_where_a_size_is_new_to_both() -> None:
    """Also where a row is a token for one of them and a sentence for the other."""
    parts = [part(Program(Model(), 1, 1), tokens) for tokens in (40, 40)]
    for one in parts:
        one.program.met = {1: None}
        start(one)
    assert [one.request.runs for one in parts] == [False, True]
    for one in parts:
        one.drop()


def test_a_part_that_cannot_start_does_not_stay() -> None:
    class Broken(Request):
        def start_async(self, feed: Any, *, share_inputs: bool) -> None:
            raise RuntimeError("no")

    one = part(Program(Model(), 1, 1), 5)
    one.request = Broken()
    with pytest.raises(RuntimeError, match="no"):
        start(one)
    assert not RUNNING


def test_a_size_that_was_not_used_for_long_may_be_new_again() -> None:
    program = Program(Model(), 1, 1)
    program.meet((1, 7))
    for size in range(100, 100 + openvino_parts.KEPT_SIZES - 1):
        program.meet((1, size))
    assert program.lacks((1, 7, 100, 150)) == {7}


def test_a_kernel_that_openvino_has_no_name_for_is_called_onednns() -> None:
    class Text(str):
        def astype(self, kind: type) -> str:
            return kind(self)

    known = {name: kernel_of({"primitiveType": Text(name)}) for name in ("undef_I8", "jit_f32")}
    assert known == {"undef_I8": "onednn_I8", "jit_f32": "jit_f32"}
    assert kernel_of({}) == "?"
