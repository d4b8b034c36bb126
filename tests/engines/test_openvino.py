"""The CPU engine: batch mates, grouping, and what it refuses."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xopt.artifacts import Bundle
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.engines.base import open_engine
from xopt.engines.openvino import OpenVinoEngine, open_core
from xopt.errors import ArtifactError, InputError, UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack

Factory = Callable[..., Path]


@pytest.fixture(scope="module")
def engines(
    make_checkpoint: Factory, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], OpenVinoEngine]:
    opened = {}
    for head in ("embed", "tag"):
        folder = make_checkpoint("xlm-roberta", head, hidden_size=96, num_attention_heads=3)
        for precision in ("fp32", "int8"):
            out = tmp_path_factory.mktemp("bundles") / f"{head}-{precision}"
            options = BuildOptions(
                str(folder), precision=precision, out=str(out), calibration_tokens=3000
            )
            engine = open_engine(build_bundle(options).bundle, threads=2)
            assert isinstance(engine, OpenVinoEngine)
            opened[head, precision] = engine
    return opened


def sentences(lengths: list[int], seed: int) -> list[Encoding]:
    generator = np.random.default_rng(seed)
    return [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]


def answer(engine: OpenVinoEngine, items: list[Encoding]) -> np.ndarray:
    return np.asarray(engine.run(pack(items, first_position=2))[engine.signature.output])


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mates=st.lists(st.integers(1, 120), max_size=30),
    length=st.integers(1, 120),
    place=st.integers(0, 30),
    seed=st.integers(0, 1000),
)
def test_an_answer_never_depends_on_its_batch_mates(
    engines: dict[tuple[str, str], OpenVinoEngine],
    mates: list[int],
    length: int,
    place: int,
    seed: int,
) -> None:
    [one] = sentences([length], seed)
    others = sentences(mates, seed + 1)
    place = min(place, len(others))
    batch = [*others[:place], one, *others[place:]]
    for head in ("embed", "tag"):
        engine = engines[head, "fp32"]
        alone = answer(engine, [one])
        together = answer(engine, batch)
        if head == "embed":
            part = together[place : place + 1]
        else:
            start = sum(len(e) for e in batch[:place])
            part = together[start : start + length]
        assert np.abs(alone - part).max() <= 1e-5


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 5e-3)])
@pytest.mark.parametrize("lengths", [[7], [9] * 8, [3, 90, 12, 44, 5, 61, 100], [60] * 6 + [2]])
def test_every_way_a_batch_runs_gives_the_torch_answer(
    make_checkpoint: Factory, tmp_path: Path, lengths: list[int], precision: str, tolerance: float
) -> None:
    """Dense and packed programs, in one part and in several, against PackedEncoder."""
    folder = make_checkpoint("bert", "tag")
    options = BuildOptions(str(folder), precision=precision, out=str(tmp_path / "b"))
    bundle = build_bundle(options).bundle
    batch = pack(sentences(lengths, 5), first_position=0)
    expected = PackedEncoder.load(Checkpoint.open(folder)).run(batch).numpy()
    for threads in (1, 2):
        with open_engine(bundle, threads=threads) as engine:
            assert np.abs(engine.run(batch)["logits"] - expected).max() <= tolerance


def test_parts_of_one_new_size_do_not_run_at_the_same_time(
    engines: dict[tuple[str, str], OpenVinoEngine],
) -> None:
    """At once they lost their GELU about once in 100 new sizes; see ``openvino_parts``."""
    bundle = engines["embed", "fp32"].bundle
    engine = open_engine(bundle, threads=2, own_attention=False)
    assert isinstance(engine, OpenVinoEngine)
    busy: set[int] = set()
    most = 0

    class Watched:
        latency = 0.0

        def __init__(self, request: Any) -> None:
            self.request = request
            self.get_output_tensor = request.get_output_tensor

        def start_async(self, *args: Any, **options: Any) -> None:
            nonlocal most
            busy.add(id(self))
            most = max(most, len(busy))
            self.request.start_async(*args, **options)

        def wait(self) -> None:
            self.request.wait()
            busy.discard(id(self))

    for dense in (False, True):
        program = engine._compiled((dense, 2))
        program.idle = [Watched(program.model.create_infer_request()) for _ in range(4)]

    def together(*lengths: list[int]) -> int:
        nonlocal most
        most = 0
        batches = [pack(sentences(part, 1), first_position=2) for part in lengths]
        started = [engine._start(batch, 2) for batch in batches]
        for part in started:
            part.take()
        return most

    assert together([60, 40], [50, 30, 20]) == 1, "one number of tokens"
    assert together([60, 40], [50, 30, 20]) == 2, "no longer new"
    assert together([61, 40, 3, 2], [50, 40, 1, 1]) == 1, "one number of sentences"
    assert together([61, 41, 7], [50, 41]) == 2, "nothing in common"
    assert together([50, 50], [50, 50]) == 1, "new to the program without padding"
    engine.close()


@pytest.mark.parametrize("kind", ["embed", "tag"])
def test_answers_may_be_taken_late_and_in_any_order(
    engines: dict[tuple[str, str], OpenVinoEngine], kind: str
) -> None:
    engine = engines[kind, "fp32"]
    batches = [
        pack(sentences(lengths, seed), first_position=2)
        for seed, lengths in enumerate(([9, 70, 33], [80, 20, 20, 20], [5], [64, 64], [40, 3]))
    ]
    alone = [engine.run(batch)[engine.signature.output] for batch in batches]
    started = [engine.submit(batch) for batch in batches]
    for index in (2, 0, 4, 1, 3):
        late = started[index]()[engine.signature.output]
        assert np.array_equal(late, alone[index])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_beside_others_answers_as_alone(
    engines: dict[tuple[str, str], OpenVinoEngine], precision: str
) -> None:
    engine = engines["embed", precision]
    if engine.lanes == 1:
        pytest.skip("attention is OpenVINO's here")
    items = sentences([5, 100, 60, 17], seed=3)
    expected = answer(engine, items)
    batch, one = (pack(part, first_position=2) for part in (items, items[1:2]))
    started = [engine.submit(part, beside=True) for part in (batch, one, batch)]
    started[2].settle()
    late = [np.asarray(take()[engine.signature.output]) for take in reversed(started)]
    assert np.array_equal(late[0], expected)
    assert np.array_equal(late[1], expected[1:2])
    assert np.array_equal(late[2], expected)
    # Streams of a core each, of the one program.
    assert (False, 2) in engine._programs


CLOSED_IN_ORDER = """
import gc, signal, sys
from pathlib import Path
import numpy as np
from xopt.artifacts import Bundle
from xopt.engines.base import open_engine
from xopt.packing import Encoding, pack

# A test run in the background inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
engines = [open_engine(Bundle.open(Path(path))) for path in sys.argv[1:]]
batch = pack([Encoding(np.array([5, 6, 7], np.int32), np.zeros(3, np.int32))], first_position=2)
for engine in engines:
    engine.run(batch)
while engines:
    engines.pop(0).close()
    engine = None
    gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_after_engines_were_closed_is_no_crash(
    engines: dict[tuple[str, str], OpenVinoEngine],
) -> None:
    """A core that goes before a younger one left the thread a freed signal stack."""
    folders = [str(engines["embed", precision].bundle.folder) for precision in ("int8", "fp32")]
    done = subprocess.run(
        [sys.executable, "-P", "-c", CLOSED_IN_ORDER, *folders],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def gathers(engine: OpenVinoEngine, *, dense: bool) -> int:
    program = engine._compile(dense, 1).model
    kinds = [
        node.get_rt_info()["layerType"].astype(str)
        for node in program.get_runtime_model().get_ordered_ops()
    ]
    return kinds.count("Gather")


def test_a_dense_batch_pays_for_no_gather(engines: dict[tuple[str, str], OpenVinoEngine]) -> None:
    engine = OpenVinoEngine(engines["embed", "int8"].bundle, own_attention=False)
    # Three projections in, one context out, in each of two layers, and one to pool.
    assert gathers(engine, dense=False) - gathers(engine, dense=True) == 2 * 4 + 1


@pytest.fixture(scope="module")
def packed(
    engines: dict[tuple[str, str], OpenVinoEngine],
) -> dict[tuple[str, str], OpenVinoEngine]:
    """Engines with our own attention."""
    reasons = [e.attention for e in engines.values() if e.packed_model is None]
    if reasons:
        pytest.skip(reasons[0])
    return engines


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("head", ["embed", "tag"])
def test_own_attention_gives_the_same_bits_alone_and_in_any_batch(
    packed: dict[tuple[str, str], OpenVinoEngine], head: str, precision: str
) -> None:
    engine = packed[head, precision]
    lengths = np.random.default_rng(2).integers(1, 129, 400).tolist()
    items = sentences(lengths, 3)
    alone = np.concatenate([answer(engine, [one]) for one in items])
    for size in (7, 64, 400):
        starts = range(0, len(items), size)
        together = np.concatenate([answer(engine, items[at : at + size]) for at in starts])
        np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("head", ["embed", "tag"])
def test_openvinos_attention_in_int8_moves_an_answer_by_less_than_int8_does(
    engines: dict[tuple[str, str], OpenVinoEngine], head: str
) -> None:
    """Another last bit of a sum over padding can send a value to the next integer."""
    engine = OpenVinoEngine(engines[head, "int8"].bundle, threads=2, own_attention=False)
    items = sentences(np.random.default_rng(2).integers(1, 129, 200).tolist(), 3)
    alone = np.concatenate([answer(engine, [one]) for one in items])
    together = answer(engine, items)
    exact = answer(engines[head, "fp32"], items)
    # Two roundings of the same values, of which few differ.
    assert np.linalg.norm(alone - together) <= np.linalg.norm(alone - exact)


@pytest.mark.parametrize(
    ("head", "precision", "fewer"),
    [
        # In each of two layers three projections in and one context out; and the one to pool.
        ("tag", "int8", 2 * 4),
        ("embed", "int8", 2 * 4 + 1),
        # One joint projection.
        ("tag", "fp32", 2 * 2),
        ("embed", "fp32", 2 * 2 + 1),
    ],
)
def test_own_attention_gathers_nothing(
    packed: dict[tuple[str, str], OpenVinoEngine], head: str, precision: str, fewer: int
) -> None:
    own = packed[head, precision]
    padded = OpenVinoEngine(own.bundle, own_attention=False)
    assert gathers(padded, dense=False) - gathers(own, dense=False) >= fewer
    assert not {"pad_index", "unpad_index", "attention_bias"} & {*own._compiled((False, 1)).inputs}


@pytest.mark.parametrize(("threads", "parts"), [(1, 1), (2, 2), (6, 6), (12, 12), (64, 40)])
@pytest.mark.parametrize("own_attention", [True, False])
def test_a_batch_is_cut_for_any_number_of_cores(
    engines: dict[tuple[str, str], OpenVinoEngine], threads: int, parts: int, own_attention: bool
) -> None:
    bundle = engines["embed", "int8"].bundle
    engine = OpenVinoEngine(bundle, threads=threads, own_attention=own_attention)
    groups = engine.plan(pack(sentences([48] * 40, 1), first_position=2))
    assert len(groups) == parts
    assert sorted(np.concatenate(groups).tolist()) == list(range(40))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    assert len(engine.plan(pack(sentences([48], 1), first_position=2))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads is 0; it must lie in 1..1024"),
        ({"threads": 2, "streams": -1}, "streams is -1"),
        ({"threads": 2, "streams": 3}, "3 streams need as many threads; there are 2"),
    ],
)
def test_impossible_numbers_of_threads_are_refused(
    engines: dict[tuple[str, str], OpenVinoEngine], options: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        OpenVinoEngine(engines["embed", "int8"].bundle, **options)


def test_answers_belong_to_the_caller(engines: dict[tuple[str, str], OpenVinoEngine]) -> None:
    engine = engines["embed", "fp32"]
    first = answer(engine, sentences([9], 1))
    kept = first.copy()
    answer(engine, sentences([9], 2))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": 1200}, "input_ids must lie in 0..1199"),
        ({"input_ids": -1}, "input_ids must lie"),
        ({"position_ids": 130}, "position_ids must lie in 0..129"),
    ],
)
def test_ids_out_of_range_never_reach_the_native_library(
    engines: dict[tuple[str, str], OpenVinoEngine], change: dict[str, int], message: str
) -> None:
    batch = pack(sentences([5, 6], 0), first_position=2)
    arrays = {name: np.array(getattr(batch, name)) for name in ("input_ids", "position_ids")}
    for name, value in change.items():
        arrays[name][3] = value
    bad = PackedBatch(
        arrays["input_ids"], arrays["position_ids"], batch.token_type_ids, batch.cu_seqlens
    )
    with pytest.raises(InputError, match=message):
        engines["embed", "fp32"].run(bad)


def test_a_sentence_that_is_too_long(engines: dict[tuple[str, str], OpenVinoEngine]) -> None:
    with pytest.raises(InputError, match="has 200 tokens; this engine takes 128"):
        answer(engines["embed", "int8"], sentences([200], 0))


def test_a_flipped_byte_stops_the_engine_from_opening(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    bundle = build_bundle(
        BuildOptions(str(make_checkpoint()), precision="fp32", out=str(tmp_path / "b"))
    ).bundle
    path = bundle.folder / "model.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=r"model\.bin"):
        open_engine(Bundle.open(bundle.folder))


def test_int8_products_are_what_was_compiled(
    engines: dict[tuple[str, str], OpenVinoEngine],
) -> None:
    """What was compiled names the type it computes in, such as brgemm_avx512_I8."""

    def products(precision: str) -> Counter[str]:
        engine = engines["tag", precision]
        answer(engine, sentences([9], 1))
        kernels = engine.describe()["kernels"]
        found = Counter({"I8": 0, "f32": 0})
        for name, count in kernels.items():
            kind, type_ = name.split()[0], name.rpartition("_")[2]
            found[type_] += count * {"FullyConnected": 1, "PackedLayer": 6}.get(kind, 0)
        return found

    # Two layers of queries, keys, values, attention's output and two in the middle; the head's own.
    assert products("int8") == {"I8": 2 * 6, "f32": 1}
    # Queries, keys and values are one product.
    assert products("fp32") == {"I8": 0, "f32": 2 * 4 + 1}


def test_what_openvino_refuses_is_an_error_with_a_way_out(
    engines: dict[tuple[str, str], OpenVinoEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core:
        def __getattr__(self, name: str) -> Any:
            return getattr(open_core(), name)

        def compile_model(self, *_: Any) -> Any:
            raise RuntimeError(
                "Check 'x' failed at a.cpp:1:\nUnsupported CPU ISA: sse4.1 is needed"
            )

    monkeypatch.setattr("xopt.engines.openvino.open_core", Core)
    bundle = engines["embed", "fp32"].bundle
    with (
        open_engine(bundle, threads=1, own_attention=False) as engine,
        pytest.raises(UnsupportedError, match=r"on this CPU \(.*sse4\.1 is needed") as caught,
    ):
        answer(engine, [Encoding(np.array([0, 5, 2], np.int32), np.zeros(3, np.int32))])
    assert "xopt build" in caught.value.hint
