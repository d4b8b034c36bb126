"""Does the graph answer as transformers does? Checked on multilingual text before it is kept."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.corpus import load_corpus
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.head_spec import Head
from xopt.engines.openvino import open_core
from xopt.errors import ParityError, require
from xopt.packing import Encoding, PackedBatch, pack
from xopt.tokenization import Tokenizer

if TYPE_CHECKING:
    import torch

__all__ = ["TOLERANCE", "check_parity", "parity_batches", "reference_answers", "reference_model"]

TOLERANCE = 1e-4
# Of the one long text: the padded attention of a reference costs the square of its tokens.
LONGEST = 1024

AUTO_CLASSES = {
    "classify": "AutoModelForSequenceClassification",
    "tag": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "embed": "AutoModel",
}


def parity_batches(checkpoint: Checkpoint) -> list[list[Encoding]]:
    """Ragged batches in many scripts, one sentence alone, and one at the length limit.

    That limit is :data:`LONGEST` tokens for an encoder that takes more.
    """
    limit = checkpoint.text.max_tokens
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    texts = [text for language, text in load_corpus().rows if language in _SCRIPTS]
    short = tokenizer.encode(texts[::7], max_tokens=min(96, limit))
    longest = tokenizer.encode([" ".join(texts[:40])], max_tokens=min(LONGEST, limit))
    ragged = [*short[:11], *tokenizer.encode(["a"])]
    if checkpoint.config.types > 1 and checkpoint.head.kind in ("classify", "span"):
        ragged += tokenizer.encode(texts[:3], texts[3:6], max_tokens=64)
    return [ragged, [short[0]], longest]


_SCRIPTS = ("ar", "el", "en", "hi", "ja", "ka", "ko", "ru", "sw", "ta", "th", "zh")


def reference_model(checkpoint: Checkpoint) -> Any:
    """The checkpoint as transformers loads it: fp32, safetensors, no remote code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    transformers = require("transformers", extra="build", why="Checking parity")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    name = AUTO_CLASSES[checkpoint.head.kind]
    loader = getattr(transformers, "AutoModelForMultipleChoice" if checkpoint.is_choice else name)
    model = loader.from_pretrained(
        checkpoint.folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype="float32",
        attn_implementation="eager",
    )
    return model.eval()


def reference_answers(
    model: Any,
    checkpoint: Checkpoint,
    encodings: Sequence[Encoding],
    trail: list[Any] | None = None,
) -> NDArray[np.float32]:
    """transformers' answer to a padded batch, laid out as the packed graph lays it out.

    Args:
        model: from :func:`reference_model`.
        checkpoint: whose head is read.
        encodings: one batch.
        trail: receives every hidden state as ``[T, hidden]``.

    Returns:
        ``[B, …]`` for ``classify`` and ``embed``, ``[T, …]`` for ``tag`` and ``span``.
    """
    import torch

    lengths = torch.tensor([len(e) for e in encodings])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    ids = torch.full(mask.shape, int(checkpoint.raw.get("pad_token_id") or 0))
    ids[mask] = torch.from_numpy(np.concatenate([e.ids for e in encodings])).long()
    feed = {"input_ids": ids, "attention_mask": mask.long()}
    if checkpoint.config.types > 1:
        types = torch.zeros_like(ids)
        types[mask] = torch.from_numpy(np.concatenate([e.type_ids for e in encodings])).long()
        feed["token_type_ids"] = types
    if checkpoint.is_choice:
        # Every sequence is the only choice of its question.
        feed = {name: values[:, None] for name, values in feed.items()}
    with torch.inference_mode():
        out = model(**feed, output_hidden_states=True)
    if trail is not None:
        trail += [state[mask] for state in out.hidden_states]
    answer: torch.Tensor
    match checkpoint.head.kind:
        case "classify":
            answer = out.logits
        case "tag":
            answer = out.logits[mask]
        case "span":
            answer = torch.stack([out.start_logits, out.end_logits], dim=-1)[mask]
        case _:
            states = out.hidden_states[checkpoint.head.layer]
            prompts = torch.tensor([e.prompt_tokens for e in encodings])
            answer = _pooled(states, mask, prompts, checkpoint.head)
            if checkpoint.head.modules:
                from xopt.compile.packed_encoder import PackedEncoder

                head: Any = PackedEncoder.load(checkpoint).head
                for module in head.modules_behind:
                    answer = module(answer)
    found: NDArray[np.float32] = answer.numpy()
    return found


def _pooled(
    states: torch.Tensor, mask: torch.Tensor, prompts: torch.Tensor, head: Head
) -> torch.Tensor:
    """sentence-transformers' pooling of padded states ``[B, S, hidden]``."""
    import torch

    places = torch.arange(mask.shape[1])[None, :].expand(mask.shape)
    if not head.include_prompt:
        mask = mask & (places >= prompts[:, None])
    rows = torch.arange(len(states))
    weights = mask[:, :, None].float()
    parts = {
        "cls": lambda: states[rows, mask.int().argmax(1)],
        "lasttoken": lambda: states[rows, (places * mask).amax(1)],
        "max": lambda: states.masked_fill(~mask[:, :, None], -torch.inf).amax(1),
        "mean": lambda: (states * weights).sum(1) / weights.sum(1),
        "mean_sqrt_len_tokens": lambda: (states * weights).sum(1) / weights.sum(1).sqrt(),
        "weightedmean": lambda: (
            (states * weights * (places + 1)[:, :, None]).sum(1)
            / (weights * (places + 1)[:, :, None]).sum(1)
        ),
    }
    return torch.cat([parts[mode]() for mode in head.pooling], dim=-1)


def check_parity(checkpoint: Checkpoint, graph: Path, inputs: Sequence[str]) -> dict[str, Any]:
    """Compare the ONNX graph, run by OpenVINO in fp32, with transformers.

    Returns:
        Facts for the manifest: the largest difference and what it was measured on.

    Raises:
        ParityError: an answer differs by more than :data:`TOLERANCE`; the first layer is named.
    """
    batches = parity_batches(checkpoint)
    model = reference_model(checkpoint)
    expected = [reference_answers(model, checkpoint, encodings) for encodings in batches]
    del model
    gc.collect()
    first = checkpoint.config.first_position
    packs = [pack(encodings, first_position=first) for encodings in batches]
    window = checkpoint.config.window
    answers = _run_graph(graph, [p.arrays(window) for p in packs], inputs)
    worst = max(
        float(np.abs(a - e).max()) if a.shape == e.shape and np.isfinite(a).all() else np.inf
        for a, e in zip(answers, expected, strict=True)
    )
    if worst > TOLERANCE:
        raise ParityError(
            f"The traced graph of {checkpoint.source} answers differently from transformers: "
            f"max |Δ| is {worst:.2e}, allowed is {TOLERANCE:.0e}.\n"
            + _first_difference(checkpoint, batches[0], packs[0]),
            hint="Nothing was built. Please report this with the checkpoint's config.json.",
        )
    return {
        "against": "transformers, fp32",
        "max_abs_difference": worst,
        "tolerance": TOLERANCE,
        "sentences": sum(map(len, batches)),
        "tokens": sum(p.tokens for p in packs),
    }


def _run_graph(
    graph: Path, batches: Sequence[Mapping[str, NDArray[Any]]], inputs: Sequence[str]
) -> list[NDArray[np.float32]]:
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    program = open_core().compile_model(graph, "CPU", config)
    return [np.array(program({n: arrays[n] for n in inputs})[0], np.float32) for arrays in batches]


def _first_difference(
    checkpoint: Checkpoint, encodings: Sequence[Encoding], batch: PackedBatch
) -> str:
    """Which hidden state of the packed encoder is the first to leave transformers' own."""
    from xopt.compile.packed_encoder import PackedEncoder

    theirs: list[torch.Tensor] = []
    reference_answers(reference_model(checkpoint), checkpoint, encodings, theirs)
    ours: list[torch.Tensor] = []
    PackedEncoder.load(checkpoint).run(batch, trail=ours)
    for number, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        difference = float((a - b).abs().max())
        if not difference <= TOLERANCE:
            name = "the embeddings" if number == 0 else f"layer {number - 1}"
            return f"The first part that differs is {name} (max |Δ| {difference:.2e})."
    return "Every layer agrees in PyTorch: the difference arose in the head or in the export."
