"""What a type cannot hold is refused at the build, by the table's name, or told: no NaN gets in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.calibrate.measuring import run

from xopt.artifacts import Ranges
from xopt.calibrate.ranges import CalibrationRecipe
from xopt.calibrate.sites import read_sites, write_sites
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.export_torch_tensorrt import FlatEncoder
from xopt.compile.lower import lower_graph
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import Halves, check_finite
from xopt.compile.recipes import Lowering, lowering_for
from xopt.compile.trace import trace_checkpoint
from xopt.errors import CheckpointError, UnsupportedError

Factory = Callable[..., Path]

PLUGIN = replace(lowering_for("tensorrt", "int8"), form="tensorrt-plugin")
INT8 = {
    "cpu": lowering_for("openvino", "int8"),
    "cuda": lowering_for("cuda", "int8"),
    "tensorrt": lowering_for("tensorrt", "int8"),
    "plugin": PLUGIN,
}
FP16 = {
    "cuda": lowering_for("cuda", "fp16"),
    "tensorrt": lowering_for("tensorrt", "fp16"),
    "plugin": replace(PLUGIN, weights="fp16", activations="none", embeddings="fp16",
                      attention=False),
}  # fmt: skip
BERT = "roberta.encoder.layer.0."


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def lower(folder: Path, lowering: Lowering, ranges: Ranges | None = None) -> None:
    checkpoint = Checkpoint.open(folder)
    lower_graph(trace_checkpoint(checkpoint), lowering, ranges, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("target", "field"),
    [("cpu", "divisor"), ("cuda", "divisor"), ("tensorrt", "middle"), ("plugin", "middle"),
     ("tensorrt", "moved"), ("plugin", "moved")],
)  # fmt: skip
def test_int8_stores_no_infinity(
    make_checkpoint: Factory, target: str, field: str, tmp_path: Path
) -> None:
    """Ranges that are finite all, but what follows from one is not, where TensorRT holds in fp16 or
    a weight's row is multiplied by it."""
    folder = make_checkpoint("xlm-roberta", "tag", seed=31)
    changed(folder, lambda tensors: tensors[BERT + "intermediate.dense.weight"].mul_(1e3))
    sites = read_sites(run(folder, CalibrationRecipe(alpha=0.8)))
    site = sites["layers.0.ffn_in"]
    wide: Any = 2.0**118
    if field != "moved":
        wide = np.where(np.arange(64) == 3, 3e38, getattr(site, field)).astype(np.float32)
    sites[site.name] = replace(site, rounded=None, **{field: wide})
    write_sites(sites.values(), tmp_path)
    ranges = Ranges(tmp_path, {"fingerprint": f"made {target} {field}"})
    said = r"layers\.0\.ffn_in.*(would hold NaN or infinity|beyond the range of fp16)"
    with np.errstate(all="ignore"), pytest.raises(UnsupportedError, match=said):
        lower(folder, INT8[target], ranges)


@pytest.mark.parametrize("target", list(FP16))
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_fp16_refuses_what_is_beyond_its_range(
    make_checkpoint: Factory, target: str, part: str
) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=32)
    changed(folder, lambda tensors: tensors[BERT + f"intermediate.dense.{part}"][5:6].fill_(7e4))
    with pytest.raises(UnsupportedError, match=r"layers\.0\.ffn_in.*beyond the range of fp16"):
        lower(folder, FP16[target])


@pytest.mark.parametrize("target", list(FP16))
def test_a_table_that_fp16_would_flatten_is_refused(make_checkpoint: Factory, target: str) -> None:
    """The same encoder, but for two matrices of which one is as much smaller as the other larger:
    2^-20 beside 2^20 is what fp16 cannot hold."""
    folder = make_checkpoint("xlm-roberta", "tag", seed=33)
    changed(folder, lambda tensors: tensors[BERT + "output.dense.weight"].mul_(2.0**-20))
    with pytest.raises(UnsupportedError, match=r"layers\.0\.ffn_out.*loses its digits") as caught:
        lower(folder, FP16[target])
    assert "--target cpu" in caught.value.hint


@pytest.mark.parametrize("target", list(FP16))
def test_a_row_that_fp16_would_flatten_is_told(
    make_checkpoint: Factory, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=34)

    def tiny(tensors: dict[str, Any]) -> None:
        tensors[BERT + "intermediate.dense.weight"][7] *= 2.0**-20
        # A row of zeros loses nothing.
        tensors[BERT + "intermediate.dense.weight"][9] = 0

    lower(changed(folder, tiny), FP16[target])
    assert "1 of 128 rows of layers.0.ffn_in" in caplog.text
    assert "as row 7" in caplog.text
    assert caplog.text.count("xopt eval") == 1


def test_torch_tensorrt_looks_at_every_weight_that_it_halves(
    make_checkpoint: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    def flat(change: Callable[[dict[str, Any]], object]) -> None:
        folder = changed(make_checkpoint("xlm-roberta", "tag", seed=35), change)
        FlatEncoder(PackedEncoder.load(Checkpoint.open(folder)), plugin=False)

    name = BERT + "intermediate.dense.weight"
    flat(lambda tensors: None)
    assert not caplog.records
    with pytest.raises(UnsupportedError, match=r"ffn_in\.weight holds 7e\+04, beyond"):
        flat(lambda tensors: tensors[name][5:6].fill_(7e4))
    with pytest.raises(UnsupportedError, match=r"ffn_in\.weight .*loses its digits"):
        flat(lambda tensors: tensors[name].mul_(2.0**-20))
    flat(lambda tensors: tensors[name][7].mul_(2.0**-20))
    assert "as row 7" in caplog.text


@pytest.mark.parametrize("target", ["tensorrt", "plugin"])
def test_int8_beside_fp16_refuses_values_beyond_it(make_checkpoint: Factory, target: str) -> None:
    """What the sample showed leaves fp16, in which these targets compute in between: there INT8
    would make a number of an infinity. The CPU keeps fp32 in between."""
    folder = make_checkpoint("xlm-roberta", "tag", seed=36)
    changed(folder, lambda tensors: tensors[BERT + "intermediate.dense.bias"][5:6].fill_(6.6e4))
    changed(folder, lambda tensors: tensors[BERT + "output.dense.weight"][:, 5].mul_(1e-6))
    ranges = run(folder, CalibrationRecipe(alpha=0.8))
    assert 65504 < (read_sites(ranges)["layers.0.ffn_act"].largest or 0) < 6.7e4
    with pytest.raises(UnsupportedError, match=r"layers\.0\.ffn_act \(a value in between\)"):
        lower(folder, INT8[target], ranges)
    lower(folder, INT8["cpu"], ranges)


@pytest.mark.parametrize("target", ["tensorrt", "plugin"])
@pytest.mark.parametrize(
    ("value", "said"),
    [(7e4, "beyond the range"), (65504.0, "beyond the range"), (1e-6, "loses its digits")],
)
def test_int8_words_fit_into_what_a_lookup_gives(
    make_checkpoint: Factory, target: str, value: float, said: str
) -> None:
    """It multiplies numbers by a step in fp16. Of 65504 the step is rounded up, so that 127 of them
    are infinite; no text of the calibration needs to hold the word."""
    folder = make_checkpoint("xlm-roberta", "tag", seed=38)
    ranges = run(folder, CalibrationRecipe(alpha=0.8))

    def words(tensors: dict[str, Any]) -> None:
        table = tensors["roberta.embeddings.word_embeddings.weight"]
        table.mul_(min(value, 1.0) / table.abs().max())
        table[-1, -1] = value

    changed(folder, words)
    with pytest.raises(UnsupportedError, match=rf"embeddings\.word.*{said}"):
        lower(folder, INT8[target], ranges)


def test_a_range_too_small_for_a_step_of_fp16_is_told(caplog: pytest.LogCaptureFixture) -> None:
    halves = Halves("they")
    assert halves.step("wide", 0.5) == 0.5
    halves.tell()
    assert not caplog.records
    assert halves.step("layers.0.context", 1e-6) == np.float32(2**-14)
    halves.tell()
    assert "the step of layers.0.context (1e-06)" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_table_holds_what_is_no_number(bad: float) -> None:
    table = np.zeros((3, 4), np.float32)
    check_finite("table", table)
    table[2, 1] = bad
    for kind in (np.float16, np.float32):
        with pytest.raises(UnsupportedError, match="table would hold NaN or infinity"):
            check_finite("table", table.astype(kind))
        with pytest.raises(UnsupportedError):
            Halves("they").check_rows("table", table)
    check_finite("integers", np.zeros(3, np.int8))
    check_finite("nothing", np.zeros((0, 4), np.float32))


def test_a_weight_that_fp32_cannot_hold_is_refused(make_checkpoint: Factory) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", seed=37)

    def wide(tensors: dict[str, Any]) -> None:
        name = BERT + "intermediate.dense.weight"
        tensors[name] = tensors[name].to(torch.float64)
        tensors[name][1, 1] = 1e300

    with pytest.raises(CheckpointError, match="NaN or infinite"):
        PackedEncoder.load(Checkpoint.open(changed(folder, wide)))
