"""Does the graph answer, from texts, as the checkpoint's own library does? Checked at build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.corpus import load_corpus
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.padded import padded_answer
from xopt.compile.reference import Asked, Reference, open_reference, reference_model
from xopt.compile.sparse import FILE, reference_weights
from xopt.compile.traced import WEIGHTS
from xopt.engines.openvino import open_core
from xopt.errors import ParityError
from xopt.host import collect_cycles, release_memory
from xopt.model.head import Head
from xopt.packing import Encoding, PackedBatch, pack
from xopt.tokenization import Tokenizer

if TYPE_CHECKING:
    import torch

__all__ = [
    "RELATIVE",
    "TOLERANCE",
    "allowed",
    "check_parity",
    "encode_asked",
    "parity_texts",
    "reference_answers",
]

TOLERANCE = 1e-4
# Of the largest value of an answer, where that is above 10: fp32 has no finer steps to offer there.
RELATIVE = 1e-5
# Of the one long text: the padded attention of a reference costs the square of its tokens.
LONGEST = 1024
# Of each of the others: reference models are slow, and every layer sees every script either way.
SHORT = 160

_SCRIPTS = ("ar", "el", "en", "hi", "ja", "ka", "ko", "ru", "sw", "ta", "th", "zh")


def parity_texts(checkpoint: Checkpoint) -> list[Asked]:
    """Ragged texts in many scripts, pairs, one text alone, and one as long as the encoder takes.

    That is about :data:`LONGEST` tokens for an encoder that takes more.
    """
    texts = [text for language, text in load_corpus().rows if language in _SCRIPTS]
    short = [text[:SHORT] for text in texts[::7][:11]]
    if checkpoint.head.include_prompt:
        # Where the prompt is left out, so short a text may have nothing to pool.
        short.append("a")
    limit = min(LONGEST, checkpoint.text.max_tokens)
    words = " ".join(texts[:200])
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    [whole] = tokenizer.encode([words], max_tokens=None, details=True)
    assert whole.offsets is not None
    # One character more than fills the limit, where the encoder takes no more; else just below it.
    last = max(min(limit, len(whole) - 1) - 2, 0)
    end = int(whole.offsets[last, 1]) if len(whole) else 0
    longest = words if limit == checkpoint.text.max_tokens else words[:end]
    asked = [Asked(tuple(short)), Asked((short[0],))]
    if checkpoint.head.kind in ("classify", "span"):
        asked.append(Asked(tuple(short[:4]), tuple(short[4:8])))
    if checkpoint.library == "sentence-transformers" and checkpoint.head.kind == "classify":
        # A cross-encoder reads pairs alone.
        return [asked[-1], Asked((longest,), (short[1],))]
    return [*asked, Asked((longest,))]


def encode_asked(checkpoint: Checkpoint, tokenizer: Tokenizer, asked: Asked) -> list[Encoding]:
    """The tokens that a bundle of this checkpoint would read."""
    pairs = None if asked.pairs is None else list(asked.pairs)
    return tokenizer.encode_behind(checkpoint.text.own_prompt, asked.texts, pairs)


def reference_answers(
    model: Any,
    checkpoint: Checkpoint,
    encodings: Sequence[Encoding],
    trail: list[Any] | None = None,
) -> NDArray[np.float32]:
    """transformers' answer to our tokens, padded; before the last step.

    Args:
        model: from :func:`~xopt.compile.reference.reference_model`.
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
    prompts = np.array([e.prompt_tokens for e in encodings], np.int64)
    return padded_answer(model, checkpoint, feed, prompts, trail)


def check_parity(checkpoint: Checkpoint, graph: Path, inputs: Sequence[str]) -> dict[str, Any]:
    """Compare the ONNX graph, run by OpenVINO in fp32, with the folder's own library, from texts.

    Both the logits and what the library makes of them are compared.

    Returns:
        Facts for the manifest: the largest difference, the library, and what was asked.

    Raises:
        ParityError: an answer differs by more than :data:`TOLERANCE`, and by more than
            :data:`RELATIVE` of its largest value; the first layer is named.
    """
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    asked = parity_texts(checkpoint)
    encodings = [encode_asked(checkpoint, tokenizer, one) for one in asked]
    reference = open_reference(checkpoint)
    against = reference.against
    expected = [_both(reference, one) for one in asked]
    del reference, tokenizer
    collect_cycles(graph.with_name(WEIGHTS).stat().st_size)
    release_memory()
    first = checkpoint.config.first_position
    packs = [pack(items, first_position=first) for items in encodings]
    window = checkpoint.config.window
    found = _run_graph(graph, [p.arrays(window) for p in packs], inputs)
    pairs = [
        pair
        for (answer, *_), (logits, finished) in zip(found, expected, strict=True)
        for pair in ((answer, logits), (_finish(checkpoint, answer), finished))
    ]
    if checkpoint.head.sparse is not None:
        model = reference_model(checkpoint)
        weights = reference_weights(model, checkpoint.root / FILE, encodings[0])
        pairs.append((found[0][1], weights))
    worst = max(_largest(ours, theirs) for ours, theirs in pairs)
    if not all(_largest(ours, theirs) <= allowed(theirs) for ours, theirs in pairs):
        raise ParityError(
            f"From texts, {checkpoint.source} answers differently from {against}: "
            f"max |Δ| is {worst:.2e}, allowed is {TOLERANCE:.0e}, or {RELATIVE:.0e} of the "
            "largest value.\n" + _first_difference(checkpoint, encodings[0], packs[0]),
            hint="Nothing was built. Please report this with the checkpoint's config.json.",
        )
    return {
        "against": f"{against}, fp32, from texts to answers",
        "max_abs_difference": worst,
        "tolerance": TOLERANCE,
        "relative_tolerance": RELATIVE,
        "sentences": sum(map(len, encodings)),
        "tokens": sum(p.tokens for p in packs),
    }


def _both(reference: Reference, asked: Asked) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        logits = reference.logits(asked)
        return logits, reference.answers(asked, logits)
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise ParityError(
            f"{reference.against} opens {reference.checkpoint.source} and does not answer a text: "
            f"{type(error).__name__}: {said}",
            hint="Nothing was built. Correct the folder, its config.json first, until the library "
            "itself answers.",
        ) from error


def allowed(theirs: NDArray[np.float32]) -> float:
    """How far from a reference an answer may lie."""
    return max(TOLERANCE, RELATIVE * float(np.abs(theirs).max()))


def _largest(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    return float(np.abs(ours - theirs).max())


def _finish(checkpoint: Checkpoint, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The last step, as whoever answers from a bundle takes it."""
    head = Head.read(checkpoint.head.manifest())
    if head.kind == "embed":
        return head.finish_embeddings(values)
    return values if head.kind == "span" else head.finish(values)


def _run_graph(
    graph: Path, batches: Sequence[Mapping[str, NDArray[Any]]], inputs: Sequence[str]
) -> list[list[NDArray[np.float32]]]:
    """Every output for each batch."""
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    program = open_core().compile_model(graph, "CPU", config)
    found = []
    for arrays in batches:
        outputs = program({name: arrays[name] for name in inputs})
        found.append([np.array(outputs[number], np.float32) for number in range(len(outputs))])
    return found


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
