"""The options of sentence-transformers' Transformer module, and which of them xopt can follow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xopt.errors import CheckpointError
from xopt.forms import spelled
from xopt.reading import parse_json

__all__ = ["read_json", "read_transformer"]

# Where the Transformer module's own options lie; the first that says anything counts.
TRANSFORMER_CONFIGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# Options of the Transformer module that change no answer of ours: how and where it is loaded.
LOADING = {
    "add_pooling_layer", "attn_implementation", "cache_dir", "device_map", "dtype",
    "local_files_only", "low_cpu_mem_usage", "model_max_length", "padding_side", "revision",
    "token", "torch_dtype", "trust_remote_code", "use_fast", "use_safetensors",
}  # fmt: skip
# Options of transformers' loader of tokenizers, whose tokens are compared and adopted.
TOKENIZING = {
    "add_prefix_space", "clean_up_tokenization_spaces", "do_lower_case", "split_special_tokens",
    "strip_accents", "tokenize_chinese_chars", "truncation_side",
}  # fmt: skip
# Name of a group of options -> those that xopt follows.
ARGUMENTS = {
    "model_args": LOADING, "model_kwargs": LOADING,
    "config_args": LOADING, "config_kwargs": LOADING,
    "tokenizer_args": LOADING | TOKENIZING, "processor_kwargs": LOADING | TOKENIZING,
}  # fmt: skip


def read_json(path: Path, kind: type = dict) -> Any:
    """A JSON file that holds an object (or a list).

    Raises:
        CheckpointError: it is damaged, or holds something else.
    """
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    if not isinstance(found, kind):
        wanted = "JSON object" if kind is dict else "list"
        raise CheckpointError(f"{path} is damaged: it holds no {wanted}.")
    return found


def read_transformer(folder: Path) -> tuple[Mapping[str, Any], list[Path]]:
    """The options, and the files that were read.

    Args:
        folder: of the module.

    Raises:
        CheckpointError: a file is damaged, or asks for what xopt does not do.
    """
    files: list[Path] = []
    for name in TRANSFORMER_CONFIGS:
        path = folder / name
        if path.is_file():
            files.append(path)
            options: Mapping[str, Any] = read_json(path)
            if options:
                _check_transformer(options, path)
                return options, files
    return {}, files


def _check_transformer(options: Mapping[str, Any], path: Path) -> None:
    """Refuse what would change the encoder's answers and what xopt does not read."""

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(f"{path}: xopt does not do this: {what}.")

    task = options.get("transformer_task", "feature-extraction")
    if task not in ("feature-extraction", "sequence-classification"):
        raise refuse(f"transformer_task is {spelled(task)}")
    for key in ("query_length", "document_length", "query_expansion", "tokenizer_name_or_path"):
        if options.get(key) is not None:
            raise refuse(f"{key} is {spelled(options[key])}")
    for name, followed in ARGUMENTS.items():
        unknown = sorted(set(options.get(name) or {}) - followed)
        if unknown:
            raise refuse(f"{name} sets {unknown[0]!r}")
    for part in (options.get("processing_kwargs") or {}).values():
        known = not part or set(part) <= {"padding", "truncation", "return_tensors"}
        if not known or (part or {}).get("truncation", True) not in (True, "longest_first"):
            raise refuse(f"processing_kwargs holds {spelled(part)}")
    modalities = options.get("modality_config") or {}
    if "message" in modalities:
        raise refuse("it writes every text into a chat template (the modality message)")
    reads = modalities.get("text")
    wanted = "logits" if task == "sequence-classification" else "last_hidden_state"
    if reads and (reads.get("method"), reads.get("method_output_name")) != ("forward", wanted):
        raise refuse(f"it takes {spelled(reads)} from the encoder, not {wanted}")
