"""Every family, head and target: built, or refused before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.encoders.families import save
from tests.encoders.test_families import CASES, SMALL

import xopt.compile.build as stages
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.recipes import LOWERINGS, check_encoder
from xopt.errors import UnsupportedError

TARGETS = ("cuda", "tensorrt", "tensorrt-rtx", "torch-tensorrt")
EVERY = dict.fromkeys(("embed", "mlm", "tag", "span", "classify", "choice"), TARGETS)
ROTARY = dict.fromkeys(("embed", "mlm", "tag", "span", "classify"), ("tensorrt-rtx",))
# As README's table has it; what is not named runs on the CPU alone.
ABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "Bert": EVERY,
    "XLMRoberta": EVERY,
    "DistilBert": EVERY | {"classify": (), "choice": ()},
    "ModernBert": {"embed": ("tensorrt-rtx",), "mlm": ("tensorrt-rtx",)},
    "Gte": ROTARY,
    "JinaEmbeddingsV3": ROTARY,
}


@pytest.mark.parametrize("prefix", CASES)
def test_a_target_takes_what_readme_says_and_refuses_the_rest_at_once(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in ("trace_checkpoint", "ranges_of", "sample_of"):
        monkeypatch.setattr(stages, stage, lambda *_: pytest.fail("ran before the refusal"))
    for head in CASES[prefix][1]:
        folder = tmp_path / head
        folder.mkdir()
        checkpoint = Checkpoint.open(save(folder, prefix, head, **SMALL[prefix]))
        able = ABLE.get(prefix, {}).get(head, ())
        facts = checkpoint.config, checkpoint.head.form, checkpoint.depth
        for target in ("openvino", *able):
            check_encoder(target, *facts)
        for target in set(TARGETS) - set(able):
            precision = "int8" if (target, "int8") in LOWERINGS else "fp16"
            wanted = BuildOptions(str(folder), precision, target, out=str(tmp_path / "bundle"))
            with pytest.raises(UnsupportedError, match="it lacks") as caught:
                build_bundle(wanted, record=False)
            assert f"--target {' or '.join(('cpu', *able))}" in caught.value.hint
    assert not (tmp_path / "bundle").exists()
