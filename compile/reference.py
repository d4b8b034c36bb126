"""A checkpoint's own library, asked with texts: what every build is held against."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.padded import padded_answer
from xopt.errors import ParityError, require
from xopt.host import tool_versions

if TYPE_CHECKING:
    import torch

__all__ = ["Asked", "Reference", "open_reference", "reference_model"]

Array = NDArray[np.float32]

# A text behind padding has other positions in BERT, and another answer than alone.
PADDING = "right"
AUTO_CLASSES = {
    "classify": "AutoModelForSequenceClassification",
    "tag": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "embed": "AutoModel",
}


@dataclass(frozen=True)
class Asked:
    """Texts, or pairs of texts, asked together."""

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None

    @property
    def items(self) -> list[Any]:
        """Texts, or (first, second) pairs."""
        return list(self.texts if self.pairs is None else zip(self.texts, self.pairs, strict=True))


@dataclass(frozen=True)
class Reference:
    """A library that has opened the folder.

    Attributes:
        checkpoint: of the folder.
        against: library and version, and what is not the library's own work.
        model: transformers' model with its head.
        tokenizer: as the library opens it.
        whole: sentence-transformers' SentenceTransformer or CrossEncoder, where it opened it.
    """

    checkpoint: Checkpoint
    against: str
    model: Any
    tokenizer: Any
    whole: Any = None

    def answers(self, asked: Asked, logits: Array) -> Array:
        """The last step included: ``[B, …]``, or ``[T, …]`` for ``tag`` and ``span``.

        Args:
            asked: texts.
            logits: of :meth:`logits`, what the last step takes where that is all there is.
        """
        import torch

        if self.whole is None:
            found: Array = self._finished(torch.from_numpy(logits)).numpy()
            return found
        options = {"batch_size": len(asked.texts), "convert_to_numpy": True}
        options["show_progress_bar"] = False
        if self.checkpoint.head.kind == "classify":
            found = self.whole.predict(asked.items, **options)
            return found.reshape(len(asked.texts), -1)
        prompt = self.checkpoint.text.own_prompt
        found = self.whole.encode(list(asked.texts), prompt=prompt or None, **options)
        return found

    def logits(self, asked: Asked) -> Array:
        """Before the last step, from the library's own tokens."""
        limit = self.checkpoint.text.max_tokens
        prompt = self.checkpoint.text.own_prompt
        texts = [prompt + text for text in asked.texts]
        pairs = None if asked.pairs is None else list(asked.pairs)
        feed = dict(
            self.tokenizer(
                texts, pairs, padding=True, truncation=True, max_length=limit, return_tensors="pt"
            )
        )
        prompts = 0
        if not self.checkpoint.head.include_prompt and prompt:
            prompts = self.checkpoint.text.prompt_tokens(self.tokenizer(prompt)["input_ids"])
        counts = np.full(len(texts), prompts, np.int64)
        return padded_answer(self.model, self.checkpoint, feed, counts)

    def _finished(self, logits: torch.Tensor) -> torch.Tensor:
        import torch

        head = self.checkpoint.head
        if head.kind == "embed":
            return logits / logits.norm(dim=-1, keepdim=True) if head.normalize else logits
        if head.kind == "span":
            return logits
        classes = {name.lower(): name for name in dir(torch.nn)}
        along = {"dim": -1} if head.activation in ("softmax", "softmin", "logsoftmax") else {}
        last = getattr(torch.nn, classes[head.activation])(**along)
        found: torch.Tensor = last(logits)
        return found


def reference_model(checkpoint: Checkpoint) -> Any:
    """The checkpoint as transformers loads it: fp32, safetensors, no remote code.

    Raises:
        ParityError: transformers does not open it.
    """
    transformers = _transformers()
    name = AUTO_CLASSES["embed" if checkpoint.head.pooling else checkpoint.head.kind]
    loader = getattr(transformers, "AutoModelForMultipleChoice" if checkpoint.is_choice else name)
    try:
        model = loader.from_pretrained(
            checkpoint.folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="float32",
            attn_implementation="eager",
        )
    except Exception as error:
        raise ParityError(
            f"transformers cannot open {checkpoint.folder}, so nothing can be held against it: "
            f"{type(error).__name__}: {error}"
        ) from error
    return model.eval()


def open_reference(checkpoint: Checkpoint) -> Reference:
    """The folder's own library where it is installed, else transformers with xopt's reading.

    Raises:
        ParityError: transformers does not open it.
    """
    versions = tool_versions("transformers", "sentence-transformers")
    against = f"transformers {versions.get('transformers', '?')}"
    note = ""
    if checkpoint.library == "sentence-transformers":
        version = versions.get("sentence-transformers")
        note = " and xopt's own reading of sentence-transformers' files"
        if version is None:
            note += " (sentence-transformers is not installed)"
        elif checkpoint.head.overridden:
            note += " (options override them)"
        elif checkpoint.is_sentence_folder:
            whole = _whole(checkpoint)
            if not isinstance(whole, str):
                found = f"sentence-transformers {version}, {against}"
                whole.tokenizer.padding_side = PADDING
                model = whole.model if checkpoint.head.kind == "classify" else whole[0].model
                return Reference(checkpoint, found, model, whole.tokenizer, whole)
            note += f" (sentence-transformers {version} does not open the folder: {whole})"
    if "reason" in checkpoint.tokenizer.facts:
        note += f" with tokenizer.json as it stands ({checkpoint.tokenizer.facts['reason']})"
    tokenizer = _tokenizer(checkpoint)
    tokenizer.padding_side = PADDING
    return Reference(checkpoint, against + note, reference_model(checkpoint), tokenizer)


def _transformers() -> Any:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    transformers = require("transformers", extra="build", why="Checking parity")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _tokenizer(checkpoint: Checkpoint) -> Any:
    """transformers' tokenizer of the folder; of the file alone where no class of it reads that."""
    if "reason" in checkpoint.tokenizer.facts:
        path = checkpoint.tokenizer.path
        found = _transformers().PreTrainedTokenizerFast(tokenizer_file=str(path))
    else:
        try:
            found = _transformers().AutoTokenizer.from_pretrained(
                checkpoint.folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            raise ParityError(
                f"transformers cannot open the tokenizer of {checkpoint.folder}: "
                f"{type(error).__name__}: {error}"
            ) from error
    if found.pad_token is None:
        # A pipeline asks one text at a time and needs none; padded tokens change no answer.
        number = checkpoint.raw.get("pad_token_id")
        found.pad_token = found.convert_ids_to_tokens(number if type(number) is int else 0)
    return found


def _whole(checkpoint: Checkpoint) -> Any:
    """sentence-transformers' model of the folder, or why there is none."""
    _transformers()
    with _quiet_logging():
        import sentence_transformers

        classify = checkpoint.head.kind == "classify"
        kind = (
            sentence_transformers.CrossEncoder
            if classify
            else sentence_transformers.SentenceTransformer
        )
        options = {"dtype": "float32", "attn_implementation": "eager", "use_safetensors": True}
        try:
            whole = kind(
                str(checkpoint.root),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs=options,
            ).eval()
            # RoBERTa's table has rows for fewer tokens than it says; the library would run over it.
            whole.max_seq_length = checkpoint.text.max_tokens
            return whole
        except Exception as error:
            return (
                f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            )


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """Without sentence-transformers' remarks on prompts and versions."""
    import logging

    logger = logging.getLogger("sentence_transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
