"""What a class reads from its config is computed, or refused where it is not its default."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import transformers
from tests.encoders.families import save
from tests.encoders.test_families import CASES, small

from xopt.compile.checkpoint import Checkpoint
from xopt.encoders.config import Config
from xopt.encoders.families import family_of
from xopt.errors import CheckpointError

# No answer changes with them: dropout, training, caches, other classes of the same file, and what
# is read of every config elsewhere (labels, the sizes of pre-training heads).
IDLE = re.compile(
    r".*dropout.*|initializer_.*|output_.*|use_cache|return_dict|num_labels|problem_type|"
    r"_attn_implementation|chunk_size_feed_forward|is_encoder_decoder|get_text_config|"
    r"decoder_bias|sparse_pred.*|deterministic_flash_attn|final_logit_softcapping|legacy|"
    r"(text|vision)_config|image_token_id|mm_tokens_per_image|conv_(act|groups)"
)
# Of some families alone.
OWN = {
    # The table is stored either way.
    "DistilBert": {"sinusoidal_pos_embds"},
    # A choice with them is refused: RoFormer's has none of its own, and takes a last token.
    "RoFormer": {
        "summary_activation", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    },
}  # fmt: skip

# Without which others of its values are read by nobody, or the checkpoint is refused.
SWITCHES: dict[str, dict[str, Any]] = {
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["c2p"]},
    "Gemma3Text": {"use_bidirectional_attention": True},
}


class Recorded(Mapping[str, Any]):
    """A config that knows which of its values were asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_of, self.asked = dict(values), set[str]()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self.values_of[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


@pytest.mark.parametrize("prefix", [*CASES, "Roberta", "Camembert"])
def test_every_value_that_its_class_reads_is_read(prefix: str) -> None:
    source = inspect.getsource(sys.modules[getattr(transformers, f"{prefix}Model").__module__])
    reads = set(re.findall(r"\bconfig\.([a-z_0-9]+)", source))
    reads |= set(re.findall(r"getattr\((?:self\.)?config, ['\"]([a-z_0-9]+)", source))
    assert "num_hidden_layers" in reads or "n_layers" in reads
    values = getattr(transformers, f"{prefix}Config")().to_dict()
    values |= SWITCHES.get(prefix, {})
    family = family_of(values["model_type"], prefix)
    recorded = Recorded(values)
    config = Config(recorded, prefix)
    family.read(config)
    for kind in ("classify", "choice", "tag", "span"):
        family.head(config, kind)
    # A padding's id is where RoBERTa's positions begin, and has no effect on other answers.
    missed = {name for name in reads - recorded.asked if not IDLE.fullmatch(name)}
    assert missed - OWN.get(prefix, set()) - {"pad_token_id"} == set()


@pytest.mark.parametrize(
    ("prefix", "change", "advice"),
    [
        ("XLMRoberta", {"hidden_act": "sigmoid"}, "not at fault"),
        ("Bert", {"is_decoder": True}, "not at fault"),
        ("DistilBert", {"is_causal": True}, "not at fault"),
        ("Bert", {"position_embedding_type": "relative_key"}, "not at fault"),
        ("XLMRoberta", {"position_embedding_type": "rotary"}, "jinaai/jina-embeddings-v3-hf"),
        ("Gte", {"rope_scaling": {"type": "ntk", "factor": 8.0}}, "not at fault"),
        (
            "ModernBert",
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "rope_theta": 50.0, "factor": 2.0}
                },
                "rope_scaling": {"rope_type": "default"},
            },
            "AutoConfig",
        ),
        ("DebertaV2", {"conv_kernel_size": 3}, "not at fault"),
        ("DebertaV2", {"pos_att_type": "p2p"}, "not at fault"),
        ("Gte", {"quantization_config": {"bits": 8}}, "made from"),
        # Of no type that it could be: whoever wrote the file made a mistake.
        ("XLMRoberta", {"hidden_act": 3}, "Copy or download"),
    ],
)
def test_another_copy_is_advised_only_where_it_could_help(
    prefix: str, change: dict[str, Any], advice: str, tmp_path: Path
) -> None:
    folder = save(tmp_path, prefix, "embed", **small(prefix))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(folder)
    assert advice in caught.value.hint


@pytest.mark.parametrize("prefix", [*CASES, "Roberta", "Camembert"])
def test_a_value_that_is_left_out_is_its_class_s_own(prefix: str) -> None:
    values = getattr(transformers, f"{prefix}Config")().to_dict() | SWITCHES.get(prefix, {})
    family = family_of(values["model_type"], prefix)
    whole, found, refused = family.read(Config(values, prefix)), 0, []
    for name in set(values) - {"model_type", *SWITCHES.get(prefix, {})}:
        try:
            left = family.read(Config({k: v for k, v in values.items() if k != name}, prefix))
        except CheckpointError as error:
            refused.append(error.message)
        else:
            assert left == whole, name
            found += 1
    assert found > len(values) / 2
    # Sizes: a guess would hide that the file is none of this family.
    assert all("lacks a number: " in message for message in refused)
