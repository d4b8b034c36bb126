"""A checkpoint, read once and without running any of its code: what its own library would read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from xopt.artifacts import fingerprint
from xopt.compile.head_reading import MULTIPLE_CHOICE, Choice, read_head
from xopt.compile.head_spec import Head, read_pooling
from xopt.compile.public import KINDS_OF_CHECKPOINTS
from xopt.compile.sparse import with_sparse
from xopt.compile.st_folder import (
    CONFIG,
    MODULES,
    encoder_folder,
    module_paths,
    read_modules,
)
from xopt.compile.st_transformer import read_json
from xopt.compile.text_reading import check_rows, read_text_spec
from xopt.compile.tokens import TokenizerFile, read_tokenizer
from xopt.compile.weight_files import refuse_adapter, refuse_special, weight_files
from xopt.encoders.config import Config
from xopt.encoders.families import family_of
from xopt.encoders.family import Family
from xopt.encoders.spec import EncoderSpec
from xopt.errors import CheckpointError
from xopt.hashing import sha256_file_cached
from xopt.publishing import MANIFEST
from xopt.reading import parse_json
from xopt.text_spec import Normalize, TextSpec

__all__ = ["Checkpoint"]

QUANTIZED = (
    "xopt quantizes by itself: build the checkpoint that this one was made from, whose weights are "
    "fp32, fp16 or bf16."
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with ``config.json``, safetensors weights and a tokenizer.

    Attributes:
        folder: where the encoder's files lie.
        source: where it came from, in words that stand in every report.
        raw: config.json as it is.
        config: the encoder's description.
        family: which reads its config and names its tensors.
        head: read from the module files or the config's architecture.
        text: how its own library reads a text.
        tokenizer: what that library makes of its tokenizer's files.
        root: what was given; the same folder but in sentence-transformers' old layout.
        files: sentence-transformers' module files that were read; none in another folder.
    """

    folder: Path
    source: str
    raw: Mapping[str, Any]
    config: EncoderSpec
    family: Family
    head: Head
    text: TextSpec
    tokenizer: TokenizerFile
    root: Path
    files: tuple[Path, ...] = ()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        source: str | None = None,
        layer: int | None = None,
        pooling: str | None = None,
        normalize: Normalize | None = None,
    ) -> Checkpoint:
        """Read and check a checkpoint folder.

        Args:
            folder: a local folder, of transformers or of sentence-transformers.
            source: what reports call it; the folder's name by default.
            layer: for an ``embed`` head, the hidden state to pool in place of the last.
            pooling: for an ``embed`` head, in place of the checkpoint's own: ``cls``, ``mean+max``.
            normalize: ``nfc`` or ``none``, before the tokenizer; NFC by default where the
                tokenizer's normalizer is SentencePiece's, which `tokenizers` does not follow for
                decomposed text, or composes first, for which `tokenizers` has wrong offsets.

        Raises:
            CheckpointError: a file is missing or unsafe, or asks for what xopt does not do.
            InputError: no such pooling.
        """
        refuse_special(folder)
        try:
            refuse_special(*(folder / name for _, name in module_paths(folder) if name))
            place = encoder_folder(folder)
        except CheckpointError:
            if (folder / "config.json").is_file():
                # Advice for an encoder helps more than that for the modules around it.
                _read_encoder(folder)
            raise
        refuse_adapter(folder, place)
        asked, family, config = _read_encoder(place)
        raw = asked.raw
        modules = read_modules(folder, config.hidden)
        path = folder / CONFIG
        sentence = read_json(path) if path.is_file() else {}
        choice = Choice(layer, None if pooling is None else read_pooling(pooling))
        head = read_head(asked, family, config, modules, sentence, choice)
        tokenizer = read_tokenizer(
            place,
            rows=config.vocabulary,
            types=max(config.types, 1),
            options=modules.tokenizer_options if modules else {},
        )
        head, sparse = with_sparse(folder, head, config, tokenizer)
        files = (*(modules.files if modules else ()), *([path] if path.is_file() else []), *sparse)
        name = source or folder.resolve().name
        made = cls(
            place, name, raw, config, family, head, TextSpec(config.max_tokens), tokenizer, folder,
            files,
        )  # fmt: skip
        # A cross-encoder's library reads that file beside modules.json alone.
        told = sentence if modules is not None or head.kind == "embed" else {}
        text = read_text_spec(
            place,
            config,
            tokenizer,
            modules,
            told,
            sentences=made.library == "sentence-transformers",
            counts_prompts=not head.include_prompt,
        )
        made.weight_files  # noqa: B018  (raises early when weights are missing or pickled)
        check_rows(tokenizer.path, place, config.vocabulary, text.kept_tokens)
        return replace(made, text=text if normalize is None else replace(text, normalize=normalize))

    @cached_property
    def weight_files(self) -> list[Path]:
        """The safetensors files of the encoder, one or several."""
        return weight_files(self.folder)

    @property
    def is_sentence_folder(self) -> bool:
        """Whether sentence-transformers itself opens it by what it wrote into it."""
        return (self.root / MODULES).is_file() or self.head.kind == "classify"

    @property
    def library(self) -> str:
        """The library whose folder this is: ``transformers`` or ``sentence-transformers``."""
        written = isinstance(self.raw.get("sentence_transformers"), dict)
        written |= self.raw.get("sbert_ce_default_activation_function") is not None
        return "sentence-transformers" if self.files or written else "transformers"

    @property
    def is_choice(self) -> bool:
        """Whether its head gives one score to each of several sequences."""
        return str((self.raw.get("architectures") or [""])[0]).endswith(MULTIPLE_CHOICE)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over config, weights, tokenizer and module files, and the head's choices."""
        files = [self.folder / "config.json", *self.weight_files, *self.files]
        return fingerprint(
            [[_within(path, self.root), sha256_file_cached(path)] for path in files],
            sha256_file_cached(self.tokenizer.path),
            self.head.manifest(),
            self.text.manifest(),
        )

    @cached_property
    def training(self) -> dict[str, Any] | None:
        """What ``xopt tune`` wrote of how this checkpoint was made, if it made it.

        Raises:
            CheckpointError: ``training.json`` is damaged.
        """
        path = self.root / "training.json"
        if not path.is_file():
            return None
        try:
            found = parse_json(path.read_bytes())
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}.") from error
        # Other tools write a file of this name too.
        ours = isinstance(found, dict) and {"phase", "tasks", "fingerprint"} <= set(found)
        return found if ours else None

    def signature(self, inputs: Sequence[str], output: str) -> dict[str, Any]:
        """What a bundle's manifest says of its inputs, its output and their limits."""
        head, config = self.head, self.config
        beside = {"sparse": True} if head.sparse is not None else {}
        return {
            "inputs": list(inputs),
            "output": output,
            "per_token": head.kind in ("tag", "span"),
            "width": head.width(config.hidden),
            "max_tokens": self.text.max_tokens,
            "first_position": config.first_position,
            "vocabulary": config.vocabulary,
            "types": max(config.types, 1),
            "window": config.window,
            **beside,
        }

    @property
    def depth(self) -> int:
        """How many layers run: all, or as many as an ``embed`` head's layer needs."""
        return self.config.layers if self.head.layer is None else self.head.layer

    @property
    def name(self) -> str:
        """A short name fit for a folder."""
        return re.sub(
            r"[^A-Za-z0-9._-]+", "-", self.source.split(" (")[0].split(":")[-1].split("/")[-1]
        )


def _read_encoder(folder: Path) -> tuple[Config, Family, EncoderSpec]:
    raw = _read_config(folder)
    asked = Config(raw, str(folder))
    asked.refuse("quantization_config", {}, hint=QUANTIZED)
    # transformers lets a text without padding see backwards alone then, whatever the class.
    asked.refuse("is_causal", False)
    family = family_of(str(raw.get("model_type")), str(folder))
    return asked, family, family.read(asked)


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        hint = KINDS_OF_CHECKPOINTS
        if (folder / MANIFEST).is_file():
            said = shlex.quote(str(folder))
            hint = f"It was made by xopt already; ask it with: xopt inspect {said}"
        raise CheckpointError(f"{folder} is no checkpoint: it has no config.json.", hint=hint)
    raw: Mapping[str, Any] = read_json(path)
    return raw


def _within(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
