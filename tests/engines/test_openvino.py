"""The CPU engine: batch mates, grouping, and what it refuses."""

import subprocess
import sys
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
from xopt.engines.openvino import OpenVinoEngine
from xopt.errors import ArtifactError, InputError
from xopt.packing import Encoding, PackedBatch, pack

Factory = Callable[..., Path]
TOLERANCE = {"fp32": 1e-5, "int8": 1e-3}


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


@pytest.mark.parametrize("precision", ["fp32", "int8"])
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
    precision: str,
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
        engine = engines[head, precision]
        alone = answer(engine, [one])
        together = answer(engine, batch)
        if head == "embed":
            part = together[place : place + 1]
        else:
            start = sum(len(e) for e in batch[:place])
            part = together[start : start + length]
        assert np.abs(alone - part).max() <= TOLERANCE[precision]


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
    engines: dict[tuple[str, str], OpenVinoEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once they lost their GELU about once in 100 new sizes; see ``OpenVinoEngine._meet``."""
    engine = open_engine(engines["embed", "fp32"].bundle, threads=2)
    assert isinstance(engine, OpenVinoEngine)
    real = engine._request
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

    def watched(program: tuple[bool, int]) -> Watched:
        # Not one that was given back: it is watched already.
        engine._idle.pop(program, None)
        return Watched(real(program))

    monkeypatch.setattr(engine, "_request", watched)

    def together(*lengths: list[int]) -> int:
        nonlocal most
        most = 0
        batches = [pack(sentences(part, 1), first_position=2) for part in lengths]
        for part in [engine._start(batch, 2) for batch in batches]:
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


def test_a_dense_batch_pays_for_no_gather(engines: dict[tuple[str, str], OpenVinoEngine]) -> None:
    engine = engines["embed", "int8"]

    def gathers(dense: bool) -> int:
        program = engine._compile(dense, 1)
        kinds = [
            node.get_rt_info()["layerType"].astype(str)
            for node in program.get_runtime_model().get_ordered_ops()
        ]
        return kinds.count("Gather")

    # Three projections in, one context out, in each of two layers, and one to pool.
    assert gathers(dense=False) - gathers(dense=True) == 2 * 4 + 1


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
    kernels = engines["tag", "int8"].describe()["kernels"]
    products = {name: n for name, n in kernels.items() if name.startswith("FullyConnected")}
    assert sum(products.values()) >= 2 * 6, kernels
