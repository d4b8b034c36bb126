"""Every family, head and target: built, or refused before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.encoders.families import save
from tests.encoders.test_families import CASES, SMALL

import xopt.compile.build as stages
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.calibration import calibrate_checkpoint
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.recipes import LOWERINGS, check_encoder
from xopt.errors import UnsupportedError
from xopt.progress import Silent

TARGETS = ("cuda", "tensorrt", "tensorrt-rtx", "torch-tensorrt")
EVERY = dict.fromkeys(("embed", "mlm", "tag", "span", "classify", "choice"), TARGETS)
ROTARY = dict.fromkeys(("embed", "mlm", "tag", "span", "classify"), ("cuda", "tensorrt-rtx"))
CUDA = dict.fromkeys(EVERY, ("cuda",))
# As README's table has it; what is not named runs on the CPU alone.
ABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "Bert": EVERY,
    "XLMRoberta": EVERY,
    "DistilBert": EVERY | {"classify": ("cuda",), "choice": ("cuda",)},
    "ModernBert": CUDA | {"embed": ROTARY["embed"], "mlm": ROTARY["mlm"]},
    "Gte": ROTARY,
    "JinaEmbeddingsV3": ROTARY,
    "EuroBert": CUDA,
    "RoFormer": CUDA,
    "XLMRobertaXL": CUDA,
}
# Heads of 32 values, the narrowest that the kernels of `cuda` take.
WIDER = {"hidden_size": 64, "dim": 64}


@pytest.mark.parametrize("prefix", CASES)
def test_a_target_takes_what_readme_says_and_refuses_the_rest_at_once(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in ("trace_checkpoint", "ranges_of", "sample_of"):
        monkeypatch.setattr(stages, stage, lambda *_: pytest.fail("ran before the refusal"))
    for head in CASES[prefix][1]:
        folder = tmp_path / head
        folder.mkdir()
        numbers = {name: WIDER.get(name, value) for name, value in SMALL[prefix].items()}
        checkpoint = Checkpoint.open(save(folder, prefix, head, **numbers))
        able = ABLE.get(prefix, {}).get(head, ())
        facts = checkpoint.config, checkpoint.head, checkpoint.depth
        for target in ("openvino", *able):
            check_encoder(target, *facts)
        for target in set(TARGETS) - set(able):
            precision = "int8" if (target, "int8") in LOWERINGS else "fp16"
            wanted = BuildOptions(str(folder), precision, target, out=str(tmp_path / "bundle"))
            with pytest.raises(UnsupportedError, match="it lacks") as caught:
                build_bundle(wanted, record=False)
            assert f"--target {' or '.join(('cpu', *able))}" in caught.value.hint
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"hidden_activation": "gelu_pytorch_tanh"}, "the activation gelu_tanh"),
        ({"num_attention_heads": 4}, "attention heads of 16 values"),
    ],
)
def test_what_the_kernels_do_not_have_is_refused_at_once(
    changes: dict[str, Any], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in ("trace_checkpoint", "ranges_of", "sample_of"):
        monkeypatch.setattr(stages, stage, lambda *_: pytest.fail("ran before the refusal"))
    save(tmp_path, "ModernBert", "embed", **(SMALL["ModernBert"] | {"hidden_size": 64} | changes))
    wanted = BuildOptions(str(tmp_path), "int8", "cuda", out=str(tmp_path / "bundle"))
    with pytest.raises(UnsupportedError, match=f"it lacks {word}"):
        build_bundle(wanted, record=False)


@pytest.mark.parametrize(
    ("prefix", "target", "able"),
    [
        # RMSNorm is not in the one, the last token's state not in the other.
        ("EuroBert", "tensorrt-rtx", "cpu"),
        ("EuroBert", "cuda", "cpu"),
        ("Gte", "cuda", "cpu or tensorrt-rtx"),
    ],
)
def test_a_target_that_a_refusal_names_takes_encoder_and_head(
    prefix: str, target: str, able: str, tmp_path: Path
) -> None:
    save(tmp_path, prefix, "embed", **(SMALL[prefix] | {"hidden_size": 64}))
    wanted = BuildOptions(str(tmp_path), "int8", target, pooling="lasttoken")
    with pytest.raises(UnsupportedError) as caught:
        build_bundle(wanted, record=False)
    assert caught.value.hint.endswith(f"--target {able}")
    with pytest.raises(UnsupportedError, match=str(caught.value.message)[:40]):
        calibrate_checkpoint(wanted, tmp_path / "ranges", Silent())


def test_int8_attention_needs_keys_that_are_not_rotated(tmp_path: Path) -> None:
    save(tmp_path, "Gte", "embed", **(SMALL["Gte"] | {"hidden_size": 64}))
    wanted = BuildOptions(str(tmp_path), "int8-attention", "cuda", out=str(tmp_path / "bundle"))
    with pytest.raises(UnsupportedError, match="cannot quantize the attention of this gte") as why:
        build_bundle(wanted, record=False)
    assert "--precision int8" in why.value.hint
